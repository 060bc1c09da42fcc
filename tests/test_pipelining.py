"""Clients that send without waiting for answers: they cost little memory, and take turns."""

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import pytest

from app.server.read_buffer import ReadBuffer
from tests.conftest import Farm
from tests.hostile_farm import member, session
from tests.programs import DEMO, RFGW, await_ready, finish, free_port, started
from tests.running import client_of
from tests.test_server import answer_on
from tests.test_upstream import body

KEY = "rfgw_k"
GET = b"GET /sessions/1010 HTTP/1.1\r\nHost: gw\r\n\r\n"
KEYED = b"GET /sessions/1010 HTTP/1.1\r\nHost: gw\r\nX-API-Key: %b\r\n\r\n" % KEY.encode()
ROUNDS = 300
"""How often the flood fills whatever takes bytes, each time after another client was answered."""
MIB = 2**20

CLOSED = {"RFGW_API_KEYS_FILE": "keys", "RFGW_RATE_LIMIT": "100000/60"}


@contextmanager
def serving(directory: Path, farm: Farm, settings: dict[str, str]) -> Iterator[tuple[int, int]]:
    """A gateway as a process of its own: its pid and its port. Its log is in ``log``."""
    (directory / "keys").write_text(f"test sha256:{sha256(KEY.encode()).hexdigest()}\n")
    port = free_port()
    given = {**DEMO, "RFGW_UPSTREAM_URL": farm.url, "RFGW_PORT": str(port), **settings}
    with (
        (directory / "log").open("w") as log,
        started(directory, *RFGW, "serve", settings=given, log=log) as program,
    ):
        await_ready(port)
        yield program.pid, port
        program.terminate()  # not killed: it writes its last log lines
        assert finish(program).returncode == 0


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    told = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert told is not None
    return int(told[1]) * 1024


def send_what_goes(client: socket.socket, data: bytes) -> int:
    """Send until nothing more is taken; how many bytes were."""
    sent = 0
    try:
        while True:
            sent += client.send(data)
    except BlockingIOError:
        return sent


@pytest.mark.parametrize(
    ("settings", "asks"),
    [({}, GET), (CLOSED, GET), (CLOSED, KEYED)],
    ids=["open", "keys and a limit, without a key", "keys and a limit, with a key"],
)
@pytest.mark.parametrize("reads", [False, True], ids=["never reads", "reads"])
def test_a_client_that_pipelines_costs_little_memory_and_nothing_after(
    tmp_path: Path, farm: Farm, settings: dict[str, str], asks: bytes, reads: bool
) -> None:
    headers = {"x-api-key": KEY}
    with (
        serving(tmp_path, farm, settings) as (pid, port),
        client_of(f"http://127.0.0.1:{port}") as other,
    ):
        for _ in range(50):
            assert other.get("/sessions/1010", headers=headers).status_code == 200
        before = resident(pid)
        largest, sent = before, 0
        with socket.create_connection(("127.0.0.1", port), timeout=60) as flood:
            flood.setblocking(False)
            for _ in range(ROUNDS):
                sent += send_what_goes(flood, asks * 500)
                if reads:
                    with suppress(BlockingIOError):
                        flood.recv(2**20)
                assert other.get("/sessions/1010", headers=headers).status_code == 200
                largest = max(largest, resident(pid))
        assert sent > 500 * len(asks)
        assert largest - before <= 30 * MIB
        for _ in range(50):
            assert other.get("/sessions/1010", headers=headers).status_code == 200
        assert resident(pid) - before <= 30 * MIB


LARGE = 400_000
"""Bytes of an answer that the system takes several of, though nobody reads them."""


@pytest.mark.parametrize(("size", "requests", "before"), [(0, 800, 17), (LARGE, 8, 2)])
def test_a_client_that_pipelines_takes_turns_with_the_others(
    tmp_path: Path, farm: Farm, size: int, requests: int, before: int
) -> None:
    if size:
        title = f"<string>{'x' * size}</string>"
        farm.next(body(session(member("title", title), number=1010)))
    with serving(tmp_path, farm, {"RFGW_FRESH_ACTIVE": "60"}) as (pid, port):
        address = ("127.0.0.1", port)
        with (
            socket.create_connection(address, timeout=60) as flood,
            socket.create_connection(address, timeout=60) as other,
        ):
            for client in (flood, other):
                client.sendall(GET)
                assert len(answer_on(client)) > size
            os.kill(pid, signal.SIGSTOP)
            flood.sendall(GET * requests)
            other.sendall(GET.replace(b"Host: gw", b"Host: gw\r\nX-Request-ID: other"))
            os.kill(pid, signal.SIGCONT)
            assert b"x-request-id: other" in answer_on(other).lower()
            received = b""
            while received.count(b"HTTP/1.1 200 OK") < requests:
                received += flood.recv(2**20)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    order = [line["request_id"] for line in lines if line.get("id") == 1010]
    assert len(order) == requests + 3
    assert order.index("other") <= 2 + before  # those that were asked for first


@pytest.mark.parametrize(
    ("sent", "pieces"),
    [
        ([b"a\r\n\r\nb\r\n\r\nc"], [b"a\r\n\r\n", b"b\r\n\r\n", b"c"]),
        ([b"a\r\n", b"\r\nb"], [b"a\r\n\r\n", b"b"]),
        ([b"", b"a"], [b"a"]),
    ],
)
def test_what_was_sent_is_taken_one_head_at_a_time(sent: list[bytes], pieces: list[bytes]) -> None:
    buffer = ReadBuffer()
    for data in sent:
        buffer.add(data)
    taken = []
    while buffer:
        taken.append(buffer.take())
    assert taken == pieces
    assert not buffer


@pytest.mark.parametrize("at", range(1, len(GET)))
def test_a_piece_that_ends_one_head_holds_nothing_of_the_next(at: int) -> None:
    buffer = ReadBuffer()
    buffer.add(GET[:at])
    assert buffer.take() == GET[:at]
    buffer.add(GET[at:] + GET + GET[:at])
    assert [buffer.take() for _ in range(3)] == [GET[at:], GET, GET[:at]]
    buffer.add(GET[at:])
    assert buffer.take() == GET[at:]
    assert not buffer


def test_line_ends_that_come_one_byte_at_a_time_end_a_head() -> None:
    buffer = ReadBuffer()
    for byte in GET[:-1]:
        buffer.add(bytes([byte]))
        assert buffer.take() == bytes([byte])
    buffer.add(GET[-1:] + GET)
    assert [buffer.take() for _ in range(2)] == [GET[-1:], GET]
