"""The demo: sandbox and gateway together, and neither left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from app.cli.demo import _await_ready, _stop
from app.login.sealed_cookies import new_cookie_key
from tests.conftest import Farm, StartGateway
from tests.programs import RFGW, WITHIN, finish, free_port, is_open, run, started
from tests.running import client_of

FOREIGN = {
    "RFGW_CONSUMER_KEY": "of-a-real-farm",
    "RFGW_CONSUMER_SECRET_FILE": "/no/such/file",
    "RFGW_OAUTH_TOKEN": "of-a-real-farm",
    "RFGW_UPSTREAM_URL": "https://farm.example",
    "RFGW_PORT": "1",
    "RFGW_CORS_ORIGINS": "https://a.example",
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_runs_both_programs_until_it_is_told_to_stop(
    number: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("RFGW_OAUTH_TOKEN_SECRET=of-a-real-farm\n")
    port, sandbox_port = free_port(), free_port()
    command = (*RFGW, "demo", "--port", str(port), "--sandbox-port", str(sandbox_port))
    with started(tmp_path, *command, settings=FOREIGN) as demo:
        assert demo.stdout is not None
        told = [demo.stdout.readline() for _ in range(8)]  # only once both are ready
        answer = httpx.get(f"http://127.0.0.1:{port}/sessions/42", trust_env=False, timeout=WITHIN)
        assert answer.json()["id"] == 42
        assert "Origin" in answer.headers["vary"]  # other settings hold
        children = Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()
        groups = {os.getpgid(int(child)) for child in children}
        assert groups == set(map(int, children)), "a terminal's Ctrl-C reaches the demo alone"
        assert len(groups) == 2
        demo.send_signal(number)
        done = finish(demo)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert f"curl -s http://127.0.0.1:{port}/sessions/1005" in "".join(told)
    assert not is_open(port)
    assert not is_open(sandbox_port)


def test_a_gateway_without_its_farm_is_not_ready_to_be_shown(
    farm: Farm, start_gateway: StartGateway
) -> None:
    gateway = str(start_gateway().base_url).rstrip("/")
    with subprocess.Popen(["sleep", "1"]) as program:
        assert not _await_ready(f"http://127.0.0.1:{free_port()}", gateway, [program])
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as program:
        assert _await_ready(farm.url, gateway, [program])


def test_the_demo_tells_where_the_page_is_and_runs_as_fast_as_asked(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("a page")
    port, sandbox_port = free_port(), free_port()
    ports = ("--port", str(port), "--sandbox-port", str(sandbox_port))
    (tmp_path / "key").write_text(new_cookie_key())
    settings = {
        "RFGW_DEMO_DIR": str(tmp_path),
        "RFGW_FRESH_ACTIVE": "0",
        "RFGW_COOKIE_KEY_FILE": str(tmp_path / "key"),  # the demo has one of its own
    }
    with started(tmp_path, *RFGW, "demo", *ports, "--speed", "1000", settings=settings) as demo:
        assert demo.stdout is not None
        address = f"http://127.0.0.1:{port}"
        assert any(f"{address}/demo?ids=1005," in line for line in demo.stdout)
        with client_of(address) as client:
            assert client.get("/demo/").text == "a page"
            deadline = time.monotonic() + WITHIN
            while client.get("/sessions/1005").json()["progress"]["phase"] != "completed":
                assert time.monotonic() < deadline, "270 of its seconds are not over"
        demo.terminate()
        assert finish(demo).returncode == 0


def test_what_does_not_stop_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.demo.STOP_WITHIN", 0.1)
    command = [sys.executable, "-c", STUBBORN]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        _stop([program])
        assert program.poll() == -signal.SIGKILL


STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
signal.pause()
"""
STOPPED_EARLY = """
import signal, sys
from app.cli import demo

def start(*_):
    raise SystemExit("started")

demo._start = start
sys.exit(demo.run_demo(demo.demo_settings(None, {port}), {sandbox_port}, 1, [signal.SIGINT]))
"""


def test_a_demo_that_was_told_to_stop_while_it_loads_starts_nothing(tmp_path: Path) -> None:
    program = STOPPED_EARLY.format(port=free_port(), sandbox_port=free_port())
    with started(tmp_path, sys.executable, "-c", program) as demo:
        done = finish(demo)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("option", ["--port", "--sandbox-port"])
def test_the_demo_tells_that_a_port_is_in_use(option: str, tmp_path: Path) -> None:
    ports = {"--port": free_port(), "--sandbox-port": free_port()}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports[option] = taken.getsockname()[1]
        arguments = [f"{name}={port}" for name, port in ports.items()]
        done = run(tmp_path, "demo", *arguments)
    told = f"rfgw demo: port {ports[option]} is in use; choose another with {option} (make run "
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(told)
    assert len(done.stderr.splitlines()) == 1


def test_the_demo_needs_two_ports(tmp_path: Path) -> None:
    port = free_port()
    done = run(tmp_path, "demo", f"--port={port}", f"--sandbox-port={port}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "is in use" in done.stderr


def test_the_demo_ends_when_the_gateway_does_not_start(tmp_path: Path) -> None:
    port, sandbox_port = free_port(), free_port()
    (tmp_path / "keys").write_text("no keys")
    settings = {"RFGW_API_KEYS_FILE": str(tmp_path / "keys")}
    arguments = (f"--port={port}", f"--sandbox-port={sandbox_port}")
    done = run(tmp_path, "demo", *arguments, settings=settings)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("RFGW_API_KEYS_FILE: ")
    assert len(done.stderr.splitlines()) == 1
    assert not is_open(sandbox_port)
