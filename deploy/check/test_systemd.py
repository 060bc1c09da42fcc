"""deploy/systemd/rfgw.service: valid, hardened, and true of the gateway that it starts."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app.config.environment import FILES, NAMES
from app.sandbox.server import DEMO_CONSUMER_SECRET
from app.server.server import GONE_WITHIN
from app.server.supervisor import ENDED_WITHIN
from tests.conftest import Farm
from tests.programs import DEMO, RFGW, ROOT, WITHIN, await_port, free_port, started

UNIT = ROOT / "deploy" / "systemd" / "rfgw.service"


@pytest.fixture(scope="module")
def analyze() -> str:
    """The program that judges units."""
    program = shutil.which("systemd-analyze")
    if program is None:
        reason = "no systemd-analyze here: the unit was not judged (apt-get install systemd)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return program


@pytest.fixture(scope="module")
def service() -> dict[str, list[str]]:
    """The settings of the service, each with all its values."""
    found: dict[str, list[str]] = {}
    section = UNIT.read_text(encoding="utf-8").partition("[Service]")[2].partition("[Install]")[0]
    for line in section.splitlines():
        name, equals, text = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(text)
    return found


def test_the_unit_is_valid(analyze: str, tmp_path: Path) -> None:
    text = UNIT.read_text(encoding="utf-8")
    assert "ExecStart=/opt/rfgw/bin/rfgw serve" in text
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace("/opt/rfgw/bin/rfgw", f"{sys.executable} -m app"))
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, timeout=WITHIN)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_service_is_exposed_no_more_than_it_has_to_be(analyze: str) -> None:
    command = [analyze, "security", "--offline=true", "--json=short", "--threshold=20", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN)
    assert done.returncode == 0, done.stdout + done.stderr
    exposed = [row for row in json.loads(done.stdout) if row["exposure"] is not None]
    assert exposed


def test_its_settings_are_the_gateway_s(service: dict[str, list[str]]) -> None:
    for text in service["Environment"]:
        name, _, value = text.partition("=")
        assert name in NAMES.keys() | FILES.keys()
        credential = value.removeprefix("%d/")
        assert any(loaded.startswith(f"{credential}:") for loaded in service["LoadCredential"])
    assert float(service["TimeoutStopSec"][0]) > max(ENDED_WITHIN, GONE_WITHIN)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("abstract", [False, True])
def test_it_says_that_it_is_ready_once_it_answers(
    farm: Farm, tmp_path: Path, workers: int, abstract: bool
) -> None:
    port = free_port()
    secret = tmp_path / "consumer_secret"
    secret.write_text(DEMO_CONSUMER_SECRET)
    settings = {
        "RFGW_CONSUMER_KEY": DEMO["RFGW_CONSUMER_KEY"],
        "RFGW_CONSUMER_SECRET_FILE": str(secret),
        "RFGW_UPSTREAM_URL": farm.url,
        "RFGW_PORT": str(port),
        "RFGW_WORKERS": str(workers),
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"\0rfgw-{os.getpid()}-{port}" if abstract else str(tmp_path / "notify")
        manager.bind(name)
        manager.settimeout(WITHIN)
        settings["NOTIFY_SOCKET"] = name.replace("\0", "@")
        with started(tmp_path, *RFGW, "serve", settings=settings) as program:
            for _ in range(workers):
                assert manager.recv(100) == b"READY=1"
                answer = httpx.get(f"http://127.0.0.1:{port}/sessions/1008", trust_env=False)
                assert answer.status_code == 200
            if workers > 1:
                program.send_signal(signal.SIGHUP)
                assert [manager.recv(100) for _ in range(workers)] == [b"READY=1"] * workers
            program.terminate()
            assert program.wait(WITHIN) == 0


def test_a_manager_that_is_not_there_changes_nothing(farm: Farm, tmp_path: Path) -> None:
    port = free_port()
    settings = {
        **DEMO,
        "RFGW_UPSTREAM_URL": farm.url,
        "RFGW_PORT": str(port),
        "NOTIFY_SOCKET": str(tmp_path / "nobody"),
    }
    with started(tmp_path, *RFGW, "serve", settings=settings) as program:
        await_port(port, program)
        address = f"http://127.0.0.1:{port}/health/ready"
        answer = httpx.get(address, trust_env=False, timeout=WITHIN)
        assert answer.status_code == 200
