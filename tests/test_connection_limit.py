"""More clients than there is room for: who has waited longest without a request makes room."""

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from app.main import create_app
from tests.conftest import Farm, settings_for
from tests.programs import DEMO, WITHIN, await_ready, free_port, started
from tests.running import running, serving

MOST = 6
GET = b"GET /sessions/1010 HTTP/1.1\r\nHost: gw\r\n\r\n"
WATCH = b"GET /sessions/1005/events HTTP/1.1\r\nHost: gw\r\n\r\n"


@pytest.fixture
def clients(farm: Farm) -> Iterator["Clients"]:
    server = serving(create_app(settings_for(farm.url)), connections=MOST)
    with running(server) as url, ExitStack() as stack:
        yield Clients(int(url.rpartition(":")[2]), stack)


class Clients:
    """Connects, and sees who is still connected."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._address, self._stack = ("127.0.0.1", port), stack

    def connect(self) -> socket.socket:
        return self._stack.enter_context(socket.create_connection(self._address, timeout=WITHIN))

    def ask(self, client: socket.socket, request: bytes = GET) -> bytes:
        """The first of an answer; nothing if there is none."""
        with suppress(ConnectionError):
            client.sendall(request)
            return client.recv(65536)
        return b""

    def is_gone(self, client: socket.socket) -> bool:
        """Waits for the end of the connection, or for what comes instead."""
        try:
            return client.recv(1) == b""
        except ConnectionResetError:
            return True


def test_who_never_asked_goes_before_who_did(clients: Clients) -> None:
    asked = clients.connect()
    assert clients.ask(asked).startswith(b"HTTP/1.1 200")
    silent = [clients.connect() for _ in range(MOST - 1)]
    newest = clients.connect()
    assert clients.ask(newest).startswith(b"HTTP/1.1 200")
    answers = [clients.ask(one) for one in (asked, *silent)]
    assert answers[0].startswith(b"HTTP/1.1 200")
    assert sorted(answer[:12] for answer in answers) == [b"", *[b"HTTP/1.1 200"] * (MOST - 1)]


def test_of_those_who_asked_the_idle_go_and_never_who_is_being_answered(clients: Clients) -> None:
    watching = clients.connect()
    assert clients.ask(watching, WATCH).startswith(b"HTTP/1.1 200")
    idle = [clients.connect() for _ in range(MOST - 1)]
    for one in idle:
        assert clients.ask(one).startswith(b"HTTP/1.1 200")
    for _ in range(3 * MOST):
        assert clients.ask(clients.connect()).startswith(b"HTTP/1.1 200")
    assert all(clients.is_gone(one) for one in idle)
    watching.setblocking(False)
    with suppress(BlockingIOError):
        assert watching.recv(65536), "it is still there"


def test_if_all_are_being_answered_the_newest_goes(clients: Clients) -> None:
    watching = [clients.connect() for _ in range(MOST)]
    for one in watching:
        assert clients.ask(one, WATCH).startswith(b"HTTP/1.1 200")
    assert clients.ask(clients.connect()) == b""
    watching[0].close()
    answer = b""
    while not answer:  # until its end is noticed
        answer = clients.ask(clients.connect())
    assert answer.startswith(b"HTTP/1.1 200")


def test_idle_clients_take_no_place_from_others_nor_from_the_farm(
    tmp_path: Path, farm: Farm
) -> None:
    port = free_port()
    settings = {**DEMO, "RFGW_UPSTREAM_URL": farm.url, "RFGW_PORT": str(port)}
    limited = ("sh", "-c", f"ulimit -n 100; exec {sys.executable} -m app serve")
    with (
        (tmp_path / "log").open("w") as log,
        started(tmp_path, *limited, settings=settings, log=log) as program,
        ExitStack() as crowd,
    ):
        await_ready(port)
        for _ in range(150):
            crowd.enter_context(socket.create_connection(("127.0.0.1", port), timeout=WITHIN))
        for number in range(1001, 1013):
            answer = httpx.get(
                f"http://127.0.0.1:{port}/sessions/{number}", trust_env=False, timeout=WITHIN
            )
            assert answer.status_code == 200
        assert len([*Path(f"/proc/{program.pid}/fd").iterdir()]) < 100 - 32
    assert farm.calls() == 12
