"""Runs our own programs as real processes; each is ended by its pid, whatever happens."""

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import httpx

from app.sandbox.server import DEMO_CONSUMER_KEY, DEMO_CONSUMER_SECRET
from tests.running import client_of

ROOT = Path(__file__).parents[1]
RFGW = (sys.executable, "-m", "app")
PATIENT = (sys.executable, "-m", "tests.patient")
DEMO = {"RFGW_CONSUMER_KEY": DEMO_CONSUMER_KEY, "RFGW_CONSUMER_SECRET": DEMO_CONSUMER_SECRET}
WITHIN = 60.0
"""Seconds: a bound for what takes one or two, on a machine with nothing else to do."""
AT_ONCE = {"RFGW_SHUTDOWN_GRACE": "0", "RFGW_UPSTREAM_CONNECT_TIMEOUT": "4"}
"""A program leaves at once, and a machine that is busy for a second is no fault of the farm's."""

Done = subprocess.CompletedProcess[str]
Program = subprocess.Popen[str]


@contextmanager
def started(
    directory: Path,
    *command: str,
    settings: Mapping[str, str] | None = None,
    log: IO[str] | None = None,
) -> Iterator[Program]:
    """A program in ``directory``, with these ``RFGW_*`` settings and those of ``AT_ONCE`` alone.

    What it says is there to be read; standard error of one that says much goes to ``log``.
    """
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("RFGW_")}
    program = subprocess.Popen(
        command,
        cwd=directory,
        env={**inherited, "PYTHONPATH": str(ROOT), **AT_ONCE, **(settings or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log or subprocess.PIPE,
        text=True,
    )
    with program:
        try:
            yield program
        finally:
            program.kill()


def finish(program: Program) -> Done:
    """Its exit code and all that it said, once it has ended."""
    out, err = program.communicate(timeout=WITHIN)
    return Done(program.args, program.returncode, out, err)


def run(directory: Path, *arguments: str, settings: Mapping[str, str] | None = None) -> Done:
    """One run of ``rfgw`` with these arguments, from its start to its end."""
    with started(directory, *RFGW, *arguments, settings=settings) as program:
        return finish(program)


PORTS = range(15_000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]), 32_000, 20)
"""Those of this process of tests: the next one's begin one later."""
_PORTS = random.sample(PORTS, len(PORTS))


def free_port() -> int:
    """A port that nobody listens on, as far as anyone can tell.

    Not one that the kernel gives away to whoever connects: it might, before it is listened on.
    """
    while is_open(port := _PORTS.pop()):
        pass
    return port


def is_open(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def await_port(port: int, program: Program) -> None:
    """Wait until ``program`` listens there. Fails with what it said if it ends before."""
    deadline = time.monotonic() + WITHIN
    while not is_open(port):
        assert program.poll() is None, program.communicate()
        assert time.monotonic() < deadline, "nobody listens"
        time.sleep(0.02)


def await_ready(port: int) -> None:
    """Wait until it says that it is ready."""
    deadline = time.monotonic() + WITHIN
    with client_of(f"http://127.0.0.1:{port}", timeout=5) as client:
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if client.get("/health/ready", headers={"connection": "close"}).is_success:
                    return
            time.sleep(0.05)
    raise AssertionError("it does not become ready")
