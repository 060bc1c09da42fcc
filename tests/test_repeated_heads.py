"""A head that repeats the last one is not parsed again: with the same answers, to the byte."""

import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import pytest

from app.server.connection import Connection
from app.server.request_head import MAX_HEAD
from tests.programs import WITHIN
from tests.running import running, serving
from tests.test_connection import BODIES, GOOD, REFUSED, TOO_LARGE, holds, padded
from tests.test_front import TAG, frozen_edge, same

FIELDS = b"Host: gw\r\nX-Request-ID: r-1\r\nAccept: */*\r\n\r\n"
KEPT = b"GET /sessions/42 HTTP/1.1\r\n" + FIELDS
OTHER = b"GET /sessions/42 HTTP/1.1\r\nHost: other\r\nX-Request-ID: r-2\r\n\r\n"
UNCHANGED = KEPT.replace(b"Accept: */*", b"If-None-Match: " + TAG.encode())
ANONYMOUS = b"GET /sessions/42 HTTP/1.1\r\nX-Number: 1\r\n\r\n"
OLDER = KEPT.replace(b"HTTP/1.1", b"HTTP/1.0")
CLOSING = KEPT.replace(b"Accept: */*", b"Connection: close")
LARGEST = KEPT.replace(b"*/*", b"*/*\r\nX: " + b"x" * (MAX_HEAD - 43))
HEAD = KEPT.replace(b"GET", b"HEAD")
LIVE = b"GET /health/live HTTP/1.1\r\n" + FIELDS
REFUSAL = KEPT.replace(b"/42 ", b"/300 ")


def connected(url: str) -> socket.socket:
    """A connection that sends each piece at once."""
    host, _, port = url.removeprefix("http://").partition(":")
    client = socket.create_connection((host, int(port)), timeout=WITHIN)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def asked(url: str, *pieces: bytes) -> bytes:
    """All answers to what is sent in these pieces, each of which is read by itself."""
    received = b""
    with connected(url) as client, suppress(OSError):  # refused while there was more to send
        for left, piece in zip(range(len(pieces), 0, -1), pieces, strict=True):
            if b"connection: close" in received:
                break
            client.sendall(piece)
            if left > 1 and piece.endswith(b"\r\n\r\n"):
                received += client.recv(65536)
            elif left > 1:
                with connected(url) as other:  # when it has its answer, the piece has been read
                    other.sendall(LIVE)
                    other.recv(65536)
        client.shutdown(socket.SHUT_WR)
        while data := client.recv(65536):
            received += data
    return same(received)


@contextmanager
def both(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str, Counter[str]]]:
    """A gateway, and one that parses every head. How often the first one did not is counted."""
    times = Counter[str]()

    class Parsing(Connection):
        """It never takes a head for the last one."""

        def _repeats(self, piece: bytes) -> bool:
            return False

    class Counting(Connection):
        """It counts what it answers without the parser."""

        def _answer_again(self, target: bytes) -> bool:
            answered = super()._answer_again(target)
            times["repeated"] += answered
            return answered

    urls = []
    with monkeypatch.context() as patched:
        for kind in (Counting, Parsing):
            patched.setattr("app.server.server.Connection", kind)
            edge: Any = frozen_edge("*")
            store = edge.app.state.services.gateway.store
            store.put("community.getSession(4242)", store.get("community.getSession(42)"))
            urls.append(serving(edge))
    with running(urls[0]) as one, running(urls[1]) as other:
        yield one, other, times


@pytest.fixture(name="pair", scope="module")
def _pair() -> Iterator[tuple[str, str, Counter[str]]]:
    with pytest.MonkeyPatch.context() as patched, both(patched) as pair:
        yield pair


def assert_same(pair: tuple[str, str, Counter[str]], *pieces: bytes) -> bytes:
    """Both gateways send the same; what they send."""
    answers = [asked(url, *pieces) for url in pair[:2]]
    assert answers[0] == answers[1], pieces
    return answers[0]


@pytest.mark.parametrize(("size", "status"), [(MAX_HEAD, 200), (MAX_HEAD + 1, 431)])
@pytest.mark.parametrize("first", [9, 9000])
def test_a_head_in_pieces_has_the_same_bound(
    pair: tuple[str, str, Counter[str]], first: int, size: int, status: int
) -> None:
    head = padded(size)
    answer = assert_same(pair, head[:first], head[first:])
    assert answer.startswith(b"HTTP/1.1 %d " % status)


def test_a_repeated_head_is_progress_like_any_other() -> None:
    """Deadlines count from the last whole request: who polls a kept answer is not idle."""
    server = serving(frozen_edge("*"))
    with running(server) as url, connected(url) as client:
        for _ in range(5):
            client.sendall(KEPT)
            assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")
        (connection,) = server.server_state.connections
        assert cast("Connection", connection).received == 5


def test_the_same_head_is_read_once(pair: tuple[str, str, Counter[str]]) -> None:
    before = pair[2]["repeated"]
    answers = assert_same(pair, *[KEPT] * 5)
    assert answers.count(b"HTTP/1.1 200 OK") == 5
    assert pair[2]["repeated"] - before == 4
    assert_same(pair, KEPT * 20)
    assert pair[2]["repeated"] - before == 4 + 19


SEQUENCES: dict[str, Sequence[bytes]] = {
    "other fields in between": [KEPT, KEPT, OTHER, OTHER, KEPT, KEPT],
    "other paths": [KEPT, REFUSAL, KEPT, LIVE, KEPT, LIVE],
    "304 and 200": [KEPT, UNCHANGED, UNCHANGED, KEPT, KEPT],
    "HEAD, then what is no request": [KEPT, HEAD, KEPT, b"\x00"],
    "HTTP/1.0": [KEPT, OLDER, KEPT],
    "the end, twice": [KEPT, CLOSING, CLOSING],
    "an empty line before": [KEPT, b"\r\n" + KEPT, b"\r\n", KEPT, b"\r", KEPT, b"\n", KEPT],
    "a head that waits": [KEPT, KEPT[:9], KEPT[9:], KEPT, KEPT[:-1], KEPT[-1:], KEPT],
    "a head, and a half": [KEPT, KEPT + KEPT[:50], KEPT[50:] + KEPT, KEPT],
    "a head within a field": [KEPT[:-2] + b"X: ", ANONYMOUS, ANONYMOUS],
    "a body of the same bytes": [
        KEPT, b"POST /sessions/42 HTTP/1.1\r\nContent-Length: %d\r\n" % len(KEPT) + FIELDS + KEPT,
    ],
    "an empty chunked body": [
        KEPT, KEPT.replace(b"Accept: */*", b"Transfer-Encoding: chunked") + b"0\r\n\r\n", KEPT,
    ],
    "an upgrade": [KEPT, KEPT.replace(b"Accept: */*", b"Connection: Upgrade\r\nUpgrade: x") + KEPT],
    "a longer path": [LARGEST, LARGEST, LARGEST.replace(b"/42", b"/4242"), KEPT],
    "a path too long": [KEPT, KEPT.replace(b"42", b"4" * MAX_HEAD), KEPT],
}  # fmt: skip


@pytest.mark.parametrize("pieces", SEQUENCES.values(), ids=SEQUENCES)
@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "at once"])
def test_what_comes_between_is_read_by_itself(
    pair: tuple[str, str, Counter[str]], pieces: Sequence[bytes], at_once: bool
) -> None:
    assert_same(pair, *([b"".join(pieces)] if at_once else pieces))


CONNECTION = {**REFUSED, **BODIES, **GOOD, **TOO_LARGE}


@pytest.mark.parametrize("sent", CONNECTION.values(), ids=CONNECTION)
def test_what_is_refused_is_refused_after_a_repeated_head(
    pair: tuple[str, str, Counter[str]], sent: bytes
) -> None:
    assert_same(pair, KEPT, KEPT, sent)
    assert_same(pair, KEPT + KEPT + sent + KEPT)
    line, end, fields = sent.partition(b"\r\n")
    repeated = line + end + FIELDS  # a line of any kind, before the fields of the last head
    assert_same(pair, KEPT, KEPT, repeated, KEPT)
    assert_same(pair, b"GET /sessions/42 HTTP/1.1\r\n" + fields, KEPT, KEPT)


STRANGE = [b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b"\x00", b"\x7f", b"\xff", b"#", b"%", b"?x"]


@pytest.mark.parametrize("strange", STRANGE)
def test_a_head_that_differs_in_one_place_is_another(
    pair: tuple[str, str, Counter[str]], strange: bytes
) -> None:
    for cut in range(len(KEPT)):
        other = KEPT[:cut] + strange + KEPT[cut + 1 :]
        assert_same(pair, KEPT + KEPT + other + KEPT)
        inserted = KEPT[:cut] + strange + KEPT[cut:]
        assert_same(pair, KEPT + KEPT + inserted + KEPT)


def test_a_drain_ends_the_connection_of_who_repeats() -> None:
    edge: Any = frozen_edge("*")
    server = serving(edge)
    with running(server) as url, connected(url) as client:
        for _ in range(3):
            client.sendall(KEPT)
            assert b"connection: close" not in client.recv(65536)
        (connection,) = server.server_state.connections
        begun = partial(server._drain, 0.0)
        connection.loop.call_soon_threadsafe(begun)
        assert holds(lambda: edge.drain.begun)
        client.sendall(KEPT)
        received = b""
        while data := client.recv(65536):
            received += data
    assert received.count(b"HTTP/1.1 200 OK") == 1
    assert received.count(b"connection: close") == 1


def test_a_key_that_leaves_the_file_opens_nothing_to_who_repeats(tmp_path: Path) -> None:
    keys, now = tmp_path / "keys", [1000.0]
    keys.write_text(f"one sha256:{sha256(b'rfgw_one').hexdigest()}\n")
    edge: Any = frozen_edge("*", api_keys_file=keys)
    edge._admission._clock = lambda: now[0]
    keyed = KEPT.replace(b"Accept: */*", b"X-API-Key: rfgw_one")
    with running(serving(edge)) as url, connected(url) as client:
        for _ in range(3):
            client.sendall(keyed)
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        keys.write_text(f"other sha256:{sha256(b'rfgw_other').hexdigest()}\n")
        now[0] += 2
        client.sendall(keyed)
        assert client.recv(65536).startswith(b"HTTP/1.1 401 ")
