"""Connections as the worst of clients make them: raw bytes, silence, no reading, hanging up."""

import asyncio
import json
import logging
import random
import re
import resource
import select
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.main import create_app
from app.server.deadlines import Limits
from app.server.lingering_close import RESET_ON_CLOSE
from app.server.request_head import MAX_FIELDS, MAX_HEAD
from tests.conftest import Farm, settings_for
from tests.running import Wrapped, running, serving

VANISHING = 10_000
"""How many clients vanish."""
WITHIN = 60.0
"""Seconds: a bound for what takes one or two."""


class Answer(NamedTuple):
    """One answer as it stood in the stream."""

    status: int
    fields: dict[str, str]
    body: bytes


def connect(url: str) -> socket.socket:
    """A connection to the server at ``url``."""
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=WITHIN)


def rest_of(client: socket.socket) -> bytes:
    """All that comes until the other side closes, or breaks, the connection."""
    pieces = list[bytes]()
    with suppress(ConnectionError):
        while piece := client.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def answers_in(stream: bytes) -> list[Answer]:
    """The answers of a stream, one after the other; each has a Content-Length."""
    answers = []
    while stream:
        head, _, stream = stream.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines)
        length = int(fields.get("content-length", 0))
        answers.append(Answer(int(first.split()[1]), fields, stream[:length]))
        stream = stream[length:]
    return answers


def exchange(url: str, *pieces: bytes) -> list[Answer]:
    """Everything that the server answers to these bytes until it closes."""
    with connect(url) as client:
        with suppress(ConnectionError):
            for piece in pieces:
                client.sendall(piece)
        return answers_in(rest_of(client))


def holds(condition: Callable[[], bool]) -> bool:
    """Whether it comes to hold before long."""
    deadline = time.monotonic() + WITHIN
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(scope="module")
def url(_farm: Farm) -> Iterator[str]:
    """A gateway that this file's tests share."""
    with running(serving(create_app(settings_for(_farm.url)))) as url:
        yield url


# --- What is no request, or could be two -----------------------------------------------------

GET = b"GET /health/live HTTP/1.1\r\nHost: gw\r\n"
POST = b"POST /health/live HTTP/1.1\r\nHost: gw\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "Content-Length, then Transfer-Encoding": POST
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding, then Content-Length": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "the same length twice": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a list of lengths": POST + b"Content-Length:  5,5\r\n\r\nhello",
    "a signed length": POST + b"Content-Length: +5\r\n\r\nhello",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a hexadecimal length": POST + b"Content-Length: 0x5\r\n\r\nhello",
    "an empty length": POST + b"Content-Length:\r\n\r\n",
    "a length beyond 64 bits": POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "chunked not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "another coding first": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "no chunked at all": POST + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "nearly chunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a control character before chunked": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"GET /health/live HTTP/1.1\nHost: gw\n\n",
    "one bare line feed": GET + b"X: y\n\r\n",
    "a line feed at the end": GET + b"\n",
    "a bare carriage return": GET + b"X: y\rZ: z\r\n\r\n",
    "a folded field": GET + b"X: a\r\n b\r\n\r\n",
    "a folded first field": b"GET /health/live HTTP/1.1\r\n X: a\r\nHost: gw\r\n\r\n",
    "a blank before the colon": b"GET /health/live HTTP/1.1\r\nHost : gw\r\n\r\n",
    "no colon": GET + b"nothing\r\n\r\n",
    "no name": GET + b": nothing\r\n\r\n",
    "no Host": b"GET /health/live HTTP/1.1\r\n\r\n",
    "two Hosts": GET + b"Host: gw\r\n\r\n",
    "two Hosts in HTTP/1.0": b"GET /health/live HTTP/1.0\r\nHost: gw\r\nHost: gw\r\n\r\n",
    "a Host that is none": b"GET /health/live HTTP/1.1\r\nHost: a b/c\r\n\r\n",
    "an 8-bit Host": b"GET /health/live HTTP/1.1\r\nHost: \xe9\r\n\r\n",
    "a Host with two ports": b"GET /health/live HTTP/1.1\r\nHost: gw:80:80\r\n\r\n",
    "a Host with a user": b"GET /health/live HTTP/1.1\r\nHost: me@gw\r\n\r\n",
    "a tab amid the Host": b"GET /health/live HTTP/1.1\r\nHost: g\tw\r\n\r\n",
    "an absolute target of another port": b"GET http://gw:81/x HTTP/1.1\r\nHost: gw\r\n\r\n",
    "an absolute target without a host": b"GET http:///x HTTP/1.1\r\nHost:\r\n\r\n",
    "an absolute target elsewhere": b"GET http://other/health/live HTTP/1.1\r\nHost: gw\r\n\r\n",
    "an absolute target of another scheme": b"GET ftp://gw/x HTTP/1.1\r\nHost: gw\r\n\r\n",
    "a target that is no address": b"GET http://[gw/x HTTP/1.1\r\nHost: [gw\r\n\r\n",
    "an authority as target": b"GET gw:80 HTTP/1.1\r\nHost: gw\r\n\r\n",
    "CONNECT": b"CONNECT gw:80 HTTP/1.1\r\nHost: gw:80\r\n\r\n",
    "a star as target": b"GET * HTTP/1.1\r\nHost: gw\r\n\r\n",
    "a fragment in the target": b"GET /health/live#x HTTP/1.1\r\nHost: gw\r\n\r\n",
    "NUL in the target": b"GET /health\x00 HTTP/1.1\r\nHost: gw\r\n\r\n",
    "a control character in the target": b"GET /health\x01 HTTP/1.1\r\nHost: gw\r\n\r\n",
    "a blank in the target": b"GET /health /live HTTP/1.1\r\nHost: gw\r\n\r\n",
    "an 8-bit target": b"GET /\xe9 HTTP/1.1\r\nHost: gw\r\n\r\n",
    "NUL in a value": GET + b"X: a\x00b\r\n\r\n",
    "a control character in a value": GET + b"X: a\x01b\r\n\r\n",
    "HTTP/0.9 by name": b"GET /health/live HTTP/0.9\r\nHost: gw\r\n\r\n",
    "HTTP/2.0 by name": b"GET /health/live HTTP/2.0\r\nHost: gw\r\n\r\n",
    "an unknown version": b"GET /health/live HTTP/1.2\r\nHost: gw\r\n\r\n",
    "no version number": b"GET /health/live HTTP/11\r\nHost: gw\r\n\r\n",
    "a version in lower case": b"GET /health/live http/1.1\r\nHost: gw\r\n\r\n",
    "the HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "an unknown method": b"BREW /health/live HTTP/1.1\r\nHost: gw\r\n\r\n",
    "a method in lower case": b"get /health/live HTTP/1.1\r\nHost: gw\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "garbage": b"\x00\x01\x02\r\n\r\n",
}


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
def test_a_malformed_request_is_one_problem_and_the_end(url: str, sent: bytes) -> None:
    (answer,) = exchange(url, sent + GET + b"\r\n")
    assert answer.status == 400
    assert json.loads(answer.body)["code"] == "malformed_request"
    assert json.loads(answer.body)["requestId"] == answer.fields["x-request-id"]
    assert answer.fields["connection"] == "close"
    assert answer.fields["cache-control"] == "no-store"
    assert answer.fields["content-type"] == "application/problem+json"
    assert answer.fields["access-control-allow-origin"] == "*"
    assert answer.fields["x-content-type-options"] == "nosniff"


def test_a_refusal_does_not_depend_on_how_the_bytes_come(url: str) -> None:
    sent = REFUSED["two Hosts"]
    (answer,) = exchange(url, *(sent[i : i + 1] for i in range(len(sent))))
    assert answer.status == 400


def test_a_refusal_takes_the_request_id_that_it_could_read(url: str) -> None:
    (answer,) = exchange(url, GET + b"X-Request-ID: mine\r\nAccept: */*\r\nbroken\r\n\r\n")
    assert (answer.status, answer.fields["x-request-id"]) == (400, "mine")


def test_blanks_behind_a_request_id_are_none_of_it(url: str) -> None:
    (answer,) = exchange(url, GET + b"X-Request-ID: blank-1 \t\r\nConnection: close \r\n\r\n")
    assert answer.fields["x-request-id"] == "blank-1"


def test_the_refusal_of_a_head_has_no_body(url: str) -> None:
    with connect(url) as client:
        client.sendall(b"HEAD /health/live HTTP/1.1\r\n\r\n")
        head, _, body = rest_of(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert body == b""


BODIES = {
    "of a length": POST + b"Content-Length: 5\r\n\r\nhello",
    "in chunks": CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
    "with a trailer": CHUNKED + b"0\r\nX-Request-ID: trailing\r\n\r\n",
    "with a broken size": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "with bare line feeds": CHUNKED + b"5\nhello\n0\n\n",
    "that is asked for": POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    "of another protocol": POST
    + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("sent", BODIES.values(), ids=BODIES)
def test_a_request_with_a_body_is_the_last(url: str, sent: bytes) -> None:
    (answer,) = exchange(url, sent + GET + b"\r\n")
    assert answer.status == 405
    assert answer.fields["connection"] == "close"
    assert answer.fields["x-request-id"] != "trailing"


def test_what_follows_the_answer_to_a_body_is_no_request(url: str) -> None:
    with connect(url) as client:
        client.sendall(CHUNKED)
        first = client.recv(65536)
        client.sendall(b"0\r\n\r\n" + GET + b"\r\n")
        (answer,) = answers_in(first + rest_of(client))
    assert answer.status == 405


def test_a_large_body_is_not_read(impatient: str) -> None:
    sent = 0
    with connect(impatient) as client:
        client.sendall(POST + b"Content-Length: 100000000\r\n\r\n")
        (answer,) = answers_in(rest_of(client))
        with suppress(ConnectionError):
            while sent < 100_000_000:
                sent += client.send(b"x" * 65536)
    assert (answer.status, answer.fields["connection"]) == (405, "close")
    assert sent < 50_000_000


GOOD = {
    "plain": GET + b"\r\n",
    "an empty body": GET + b"Content-Length: 0\r\n\r\n",
    "a length of zeros": GET + b"Content-Length: 00\r\n\r\n",
    "blanks behind a length": GET + b"Content-Length: 0 \t\r\n\r\n",
    "blanks around a Host": b"GET /health/live HTTP/1.1\r\nHost: \t gw \t\r\n\r\n",
    "an absolute target": b"GET http://GW/health/live HTTP/1.1\r\nHost: gw\r\n\r\n",
    "an absolute target with the default port": b"GET http://gw:80/health/live HTTP/1.1\r\n"
    b"Host: gw\r\n\r\n",
    "a Host with the default port": b"GET http://gw/health/live HTTP/1.1\r\nHost: gw:80\r\n\r\n",
    "a Host that is an address": b"GET /health/live HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n",
    "HTTP/1.0": b"GET /health/live HTTP/1.0\r\n\r\n",
    "an empty Host": b"GET /health/live HTTP/1.1\r\nHost:\r\n\r\n",
    "empty lines before": b"\r\n\r\n" + GET + b"\r\n",
    "an upgrade to WebSocket": GET
    + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "an upgrade to HTTP/2": GET
    + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
}


@pytest.mark.parametrize("sent", GOOD.values(), ids=GOOD)
def test_what_can_be_read_in_one_way_is_answered(
    url: str, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(url) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        (answer,) = answers_in(rest_of(client))
    assert answer.status == 200
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.usefixtures("farm")  # no script of other tests is left
def test_an_encoded_slash_separates_nothing(url: str) -> None:
    end = b" HTTP/1.1\r\nHost: gw\r\n\r\n"
    paths = [b"/sessions/1008", b"/sessions/%31008", b"/sessions%2f1008", b"/sessions%2F1008"]
    asked = [b"GET " + path + end for path in paths]
    answers = exchange(url, *asked, GET + b"Connection: close\r\n\r\n")
    assert [answer.status for answer in answers] == [200, 200, 404, 404, 200]
    assert json.loads(answers[2].body)["code"] == "route_not_found"


def test_an_absolute_target_without_a_path_names_the_root(url: str) -> None:
    end = b"Host: gw\r\nConnection: close\r\n\r\n"
    (bare,) = exchange(url, b"GET http://gw HTTP/1.1\r\n" + end)
    (root,) = exchange(url, b"GET / HTTP/1.1\r\n" + end)
    assert bare.status == root.status


def test_a_refused_request_is_answered_in_its_turn(url: str, farm: Farm) -> None:
    farm.next({"do": "late", "seconds": 0.3})
    slow = b"GET /sessions/1008 HTTP/1.1\r\nHost: gw\r\nCache-Control: no-cache\r\n\r\n"
    statuses = [answer.status for answer in exchange(url, slow + b"\x00" + GET + b"\r\n")]
    assert statuses == [200, 400]


def test_a_burst_is_answered_in_order(url: str) -> None:
    paths = ["/health/live", "/nope", "/sessions/x", "/health/ready"] * 50
    burst = "".join(f"GET {path} HTTP/1.1\r\nHost: gw\r\n\r\n" for path in paths).encode()
    last = GET + b"Connection: close\r\n\r\n"
    statuses = [answer.status for answer in exchange(url, burst + last)]
    assert statuses == [200, 404, 422, 200] * 50 + [200]


def test_a_body_on_get_is_refused_without_being_asked_for(url: str) -> None:
    sent = GET + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    (answer,) = exchange(url, sent)
    assert answer.status == 413
    assert json.loads(answer.body)["code"] == "request_too_large"


# --- Size -------------------------------------------------------------------------------------


def fields(count: int) -> bytes:
    """So many fields, the Host among them."""
    return b"Host: gw\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(count - 1))


def padded(size: int) -> bytes:
    """A head whose target, names and values are so many bytes."""
    used = len("/health/live") + len("Hostgw") + len("X")
    return GET + b"X: " + b"y" * (size - used) + b"\r\n\r\n"


TOO_LARGE = {
    "one field too many": b"GET /health/live HTTP/1.1\r\n" + fields(MAX_FIELDS + 1) + b"\r\n",
    "one byte too many": padded(MAX_HEAD + 1),
    "a long name": GET + b"X" * MAX_HEAD + b": y\r\n\r\n",
    "a long target": b"GET /" + b"x" * MAX_HEAD + b" HTTP/1.1\r\nHost: gw\r\n\r\n",
    "many small fields": b"GET /health/live HTTP/1.1\r\n" + fields(5000) + b"\r\n",
    "a field without an end": GET + b"X: " + b"y" * 1_000_000,
    "a target without an end": b"GET /" + b"x" * 1_000_000,
}


@pytest.mark.parametrize("sent", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_head_beyond_its_bounds_is_a_431_and_the_end(url: str, sent: bytes) -> None:
    (answer,) = exchange(url, sent)
    assert answer.status == 431
    assert json.loads(answer.body)["code"] == "request_too_large"
    assert answer.fields["connection"] == "close"
    assert answer.fields["access-control-allow-origin"] == "*"


def test_a_head_at_its_bounds_is_taken_again_and_again(url: str) -> None:
    most = b"GET /health/live HTTP/1.1\r\n" + fields(MAX_FIELDS) + b"\r\n"
    last = GET + b"Connection: close\r\n\r\n"
    answers = exchange(url, *[most, padded(MAX_HEAD)] * 20, last)
    assert [answer.status for answer in answers] == [200] * 41


# --- How it is written ------------------------------------------------------------------------


class BrokenOff(Response):
    """It tells a length and then fails."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        raise RuntimeError


async def broken_off(request: Request) -> Response:
    return BrokenOff(b"hello")


@pytest.mark.parametrize("path", ["/health/live", "/sessions/1008", "/nothing"])
def test_head_and_body_come_in_one_piece(url: str, path: str) -> None:
    with connect(url) as client:
        for _ in range(20):
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: gw\r\n\r\n".encode())
            head, _, body = client.recv(65536).partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            assert length
            assert len(body) == int(length[1]) > 0


def test_a_head_without_a_body_comes_too(url: str) -> None:
    with connect(url) as client:
        client.sendall(b"HEAD /health/live HTTP/1.1\r\nHost: gw\r\n\r\n" * 2)
        with client.makefile("rb") as answers:
            for _ in range(2):
                head = b"".join(iter(answers.readline, b"\r\n"))
                assert head.startswith(b"HTTP/1.1 200 ")
                assert b"content-length: " in head


def test_a_head_is_not_lost_when_its_body_fails() -> None:
    app = Starlette(routes=[Route("/health/live", broken_off)])
    edge = create_app(settings_for("http://127.0.0.1:1"))
    with running(serving(Wrapped(app, edge))) as url, connect(url) as client:
        client.sendall(GET + b"\r\n")
        assert rest_of(client).endswith(b"content-length: 5\r\n\r\n")


# --- Bodies that turn out empty ---

EMPTY = GET + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
LAST = GET + b"Connection: close\r\n\r\n"


def test_a_get_whose_chunked_body_is_empty_is_one_without_a_body(url: str) -> None:
    answers = exchange(url, EMPTY * 3 + LAST)
    assert [answer.status for answer in answers] == [200] * 4
    assert "connection" not in answers[0].fields


def test_an_empty_body_may_come_in_pieces_and_with_trailers(url: str) -> None:
    trailers = EMPTY.removesuffix(b"\r\n") + b"X-Sum: 1\r\nHost: other\r\n\r\n"
    pieces = [bytes([byte]) for byte in EMPTY + trailers] + [LAST]
    assert [answer.status for answer in exchange(url, *pieces)] == [200] * 3


@pytest.mark.parametrize("chunk", [b"1\r\nx\r\n0\r\n\r\n", b"5\r\nhe"])
def test_the_first_byte_of_a_body_nobody_wants_ends_the_connection(url: str, chunk: bytes) -> None:
    (answer,) = exchange(url, EMPTY.removesuffix(b"0\r\n\r\n") + chunk + LAST)
    assert (answer.status, answer.fields["connection"]) == (413, "close")


# --- Time -------------------------------------------------------------------------------------


async def endless() -> AsyncIterator[bytes]:
    """Bytes without an end."""
    while True:
        yield b"x" * 65536
        await asyncio.sleep(0)


async def stream(request: Request) -> Response:
    return StreamingResponse(endless())


def streaming() -> Any:
    """An application with a stream, behind the edge of a gateway."""
    app = Starlette(routes=[Route("/stream", stream)])
    edge = create_app(settings_for("http://127.0.0.1:1"))
    return Wrapped(app, edge)


@pytest.fixture(scope="module")
def impatient(_farm: Farm) -> Iterator[str]:
    """A gateway that waits for a second only."""
    app = create_app(settings_for(_farm.url, upstream_deadline=60))
    server = serving(app, limits=Limits(receive=1, send=1, keep_alive=1))
    with running(server) as url:
        yield url


UNFINISHED = {
    "silence": b"",
    "half a request line": b"GET /heal",
    "half a head": GET,
    "half a body": POST + b"Content-Length: 10\r\n\r\nhell",
    "half a line of HTTP/0.9": b"GET /health/live\r\n",
    "silence after an answer": GET + b"\r\n",
}


@pytest.mark.parametrize("sent", UNFINISHED.values(), ids=UNFINISHED)
def test_who_does_not_finish_a_request_is_hung_up_on(impatient: str, sent: bytes) -> None:
    with connect(impatient) as client:
        client.sendall(sent)
        assert len(answers_in(rest_of(client))) <= 1


def test_dripping_gains_no_time(impatient: str) -> None:
    began = time.monotonic()
    with connect(impatient) as client, suppress(ConnectionError):
        while time.monotonic() - began < WITHIN:
            client.sendall(b"\r\n")
            client.settimeout(0.1)
            with suppress(TimeoutError):
                assert client.recv(1) == b""
                return
    assert time.monotonic() - began < WITHIN


def test_who_goes_on_asking_stays_connected(farm: Farm) -> None:
    server = serving(create_app(settings_for(farm.url)), limits=Limits(receive=3, send=3))
    with running(server) as url, connect(url) as client:
        began = time.monotonic()
        while time.monotonic() - began < 4:  # longer than the deadline, all together
            client.sendall(GET + b"\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
            time.sleep(0.05)


def test_an_idle_connection_outlives_the_time_of_a_request(farm: Farm) -> None:
    limits = Limits(receive=1, send=1, keep_alive=600)
    with (
        running(serving(create_app(settings_for(farm.url)), limits=limits)) as url,
        connect(url) as idle,
        connect(url) as silent,
        connect(url) as begun,
    ):
        for client in (idle, begun):
            client.sendall(GET + b"\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        begun.sendall(GET)
        assert silent.recv(1) == b"", "it never sent a request"
        assert begun.recv(1) == b"", "it began one and sent no more"
        idle.sendall(GET + b"\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_slow_answer_is_not_the_clients_fault(impatient: str, farm: Farm) -> None:
    farm.next({"do": "late", "seconds": 3})
    slow = b"GET /sessions/1009 HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n"
    assert [answer.status for answer in exchange(impatient, slow)] == [200]


@pytest.mark.parametrize("path", ["/stream", "/openapi.json"])
def test_who_does_not_read_is_hung_up_on(impatient: str, path: str) -> None:
    """By a stream, which waits for the client; and with answers that are complete on our side."""
    with ExitStack() as stack:
        if path == "/stream":
            server = serving(streaming(), limits=Limits(send=1))
            url = stack.enter_context(running(server))
        else:
            url = impatient
        client = stack.enter_context(connect(url))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: gw\r\n\r\n".encode() * 200)
        poll = select.poll()
        poll.register(client, select.POLLERR | select.POLLHUP)
        assert poll.poll(WITHIN * 1000), "it is still connected"


# --- Many of them -----------------------------------------------------------------------------

LOOK = b"GET /health/live HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n"


@pytest.fixture
def _many_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def open_files() -> int:
    """Descriptors of this process, which is client and server."""
    return len(list(Path("/proc/self/fd").iterdir()))


def narrow(url: str) -> socket.socket:
    """A connection whose client's side takes next to nothing that is not read."""
    host, _, port = url.removeprefix("http://").partition(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.settimeout(WITHIN)
    client.connect((host, int(port)))
    return client


@pytest.mark.usefixtures("_many_files")
@pytest.mark.parametrize(
    ("count", "sent"),
    [(1000, b""), (500, b"GET /openapi.json HTTP/1.1\r\nHost: gw\r\n\r\n" * 50)],
    ids=["silent", "not reading"],
)
def test_a_crowd_that_only_waits_hinders_nobody_and_goes(
    farm: Farm, count: int, sent: bytes
) -> None:
    server = serving(create_app(settings_for(farm.url)), limits=Limits(receive=3, send=3))
    with running(server) as url, ExitStack() as stack:
        assert [answer.status for answer in exchange(url, LOOK)] == [200]
        assert holds(lambda: not server.server_state.connections)
        before = open_files()
        clients = []
        for _ in range(count):
            clients.append(stack.enter_context(narrow(url)))
            clients[-1].sendall(sent)  # at once: the first are soon hung up on
        while server.server_state.connections:
            assert [answer.status for answer in exchange(url, LOOK)] == [200]
        for client in clients:
            rest_of(client)  # comes to an end
        assert holds(lambda: open_files() <= before + count)  # the clients' own
        assert holds(lambda: not server.server_state.tasks)


@pytest.mark.timeout(600)
def test_clients_that_vanish_at_any_moment_leave_nothing_behind(
    farm: Farm, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(8)
    edge: Any = create_app(settings_for(farm.url))
    server = serving(edge)
    with running(server) as url:
        exchange(url, LOOK)
        for number in range(VANISHING):
            kept = b"GET /sessions/1008 HTTP/1.1\r\nHost: gw\r\n\r\n"
            cold = b"GET /sessions/%d HTTP/1.1\r\nHost: gw\r\n\r\n" % (2000 + number)
            sent = chance.choice([kept, cold, kept * 3, POST + b"Content-Length: 9\r\n\r\nabc"])
            with connect(url) as client:
                client.sendall(sent[: chance.randrange(len(sent) + 1)])
                if chance.random() < 0.3:
                    client.settimeout(0.001)
                    with suppress(TimeoutError):
                        client.recv(chance.randrange(1, 500))
                if chance.random() < 0.5:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        assert holds(lambda: not server.server_state.connections)
        assert holds(lambda: not server.server_state.tasks)
        fresh = b"GET /sessions/42 HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n"
        assert [answer.status for answer in exchange(url, fresh)] == [200]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
