"""The image, built and run: read-only, as nobody, without a capability."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from app.version import VERSION
from deploy.check.engine import Engine, Impossible, contained, first_process
from tests.programs import DEMO, await_port, free_port
from tests.running import client_of

IMAGE = "renderfarm-gateway"


pytestmark = pytest.mark.timeout(900)  # it makes a root file system, beside other work


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The image, built. A machine that cannot do this is told so, loudly."""
    with TemporaryDirectory() as folder:  # almost a gigabyte: gone at the end, whatever happens
        try:
            engine = Engine(Path(folder))
            engine.make_base()
        except Impossible as reason:
            pytest.skip(f"THE IMAGE WAS NOT BUILT: {reason}")
        engine.build(IMAGE)
        yield engine


@pytest.fixture(scope="session")
def tree(engine: Engine) -> Path:
    """The image's root file system."""
    return engine.mounted(IMAGE)


@pytest.fixture
def farm(engine: Engine, tree: Path) -> Iterator[str]:
    """The address of a sandbox farm that runs from the image."""
    port = free_port()
    with contained(tree, engine.configuration(IMAGE), "sandbox", "--port", str(port)) as program:
        await_port(port, program)
        yield f"http://127.0.0.1:{port}"


def test_the_image_says_how_it_is_to_be_run(engine: Engine) -> None:
    told = engine.configuration(IMAGE)
    assert (told["User"], told["Entrypoint"], told["Cmd"]) == ("10001:10001", ["rfgw"], ["serve"])
    assert told["Healthcheck"]["Test"][:2] == ["CMD", "python"]


def test_the_image_holds_the_program_and_nothing_of_the_checkout(
    engine: Engine, tree: Path
) -> None:
    with contained(tree, engine.configuration(IMAGE), "--version") as program:
        out, err = program.communicate(timeout=60)
    assert (out, err, program.returncode) == (f"rfgw {VERSION}\n", "", 0)
    assert not list(tree.glob("src")) + list(tree.glob("venv/lib/*/site-packages/tests"))


def test_a_gateway_answers_from_a_read_only_root_and_leaves_when_told(
    engine: Engine, tree: Path, farm: str
) -> None:
    port = free_port()
    settings = {**DEMO, "RFGW_UPSTREAM_URL": farm, "RFGW_PORT": str(port), "RFGW_HOST": "127.0.0.1"}
    with contained(tree, engine.configuration(IMAGE), settings=settings) as program:
        await_port(port, program)
        pid = first_process(program)
        status = dict(re.findall(r"^(\w+):\s+(.*)$", Path(f"/proc/{pid}/status").read_text(), re.M))
        assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        assert status["NoNewPrivs"] == "1"
        mounts = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
        assert ["ro" in mount[5].split(",") for mount in mounts if mount[4] == "/"] == [True]
        with client_of(f"http://127.0.0.1:{port}") as client:
            assert client.get("/health/ready").status_code == 200
            assert client.get("/sessions/1008").json()["title"]
        os.kill(pid, signal.SIGTERM)
        _, lines = program.communicate(timeout=60)
    assert program.returncode == 0, lines
    assert "Traceback" not in lines
