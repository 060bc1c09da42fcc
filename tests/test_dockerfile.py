"""The Dockerfile, as far as it holds without an engine: linted, whole, its health check runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from tests.programs import WITHIN

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()


def instructions(name: str) -> list[str]:
    """What stands behind each instruction of this name, in order."""
    return re.findall(rf"^{name} (.*)", DOCKERFILE, re.MULTILINE)


def copied() -> list[str]:
    """What the image takes from the checkout."""
    return [
        source
        for words in (line.split() for line in instructions("COPY"))
        if not words[0].startswith("--from")
        for source in words[:-1]
    ]


def test_hadolint_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_what_is_copied_exists_and_nothing_else_is_sent_to_the_engine() -> None:
    assert [source for source in copied() if not (ROOT / source).exists()] == []
    assert IGNORED[1] == "*"
    assert {line.removeprefix("!") for line in IGNORED if line.startswith("!")} == set(copied())


def test_the_image_installs_nothing_that_is_not_locked() -> None:
    commands = [pip for run in instructions("RUN") for pip in re.findall(r"\bpip [^&]*", run)]
    locked = "--require-hashes --no-deps --only-binary :all:"
    assert len(commands) == 4
    assert [pip for pip in commands if locked not in pip and "--no-index" not in pip] == []


def test_the_image_runs_the_gateway_as_nobody_in_particular() -> None:
    assert instructions("USER") == ["10001:10001"]
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(instructions("ENTRYPOINT")[0]) == ["rfgw"]
    assert json.loads(instructions("CMD")[0]) == ["serve"]
    assert {line.split()[0] for line in instructions("FROM")} == {"${BASE}"}


def test_images_of_others_are_named_by_digest() -> None:
    (base,) = instructions("ARG")
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"].values()
    images = {service["image"] for service in services} - {"renderfarm-gateway"}
    assert len(images) == 2
    for image in {base.removeprefix("BASE="), *images}:
        assert re.fullmatch(r"[a-z/-]+:[\w.-]+@sha256:[0-9a-f]{64}", image)
    assert base.startswith("BASE=python:3.11-slim@")


@pytest.mark.parametrize("up", [True, False])
def test_the_health_check_tells_a_running_gateway_from_none(
    gateway: httpx.Client, up: bool
) -> None:
    check = json.loads(instructions("HEALTHCHECK")[0].partition("CMD ")[2])
    port = str(gateway.base_url.port if up else 1)
    command = [sys.executable, *check[1:]]
    env = {**os.environ, "RFGW_PORT": port, "http_proxy": "http://127.0.0.1:1"}

    def code() -> int:
        return subprocess.run(command, env=env, capture_output=True, timeout=WITHIN).returncode

    assert check[0] == "python"
    if up:  # a machine may be busy for its two seconds
        assert any(code() == 0 for _ in range(30))
    else:
        assert code() == 1
