"""Bodies of requests whose route wants one: whole or not at all, small, and the last thing read."""

import json
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app import main
from app.main import create_app
from app.resources import ROUTERS
from app.server.deadlines import LIMITS, Limits
from tests.conftest import Farm, settings_for
from tests.running import Wrapped, client_of, running, serving
from tests.test_connection import answers_in, connect, exchange, rest_of

MOST = 100
GET = b"GET /health/live HTTP/1.1\r\nHost: gw\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: gw\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
EXPECT = POST + b"Expect: 100-continue\r\n"


class Echoing(Wrapped):
    """A gateway with one route more, which takes a body."""

    def max_body(self, method: bytes, target: bytes) -> int:
        return MOST if (method, target.partition(b"?")[0]) == (b"POST", b"/echo") else 0


async def echo(request: Request) -> Response:
    body = (await request.body()).decode("latin-1")
    return JSONResponse({"body": body, "fields": [name for name, _ in request.headers.items()]})


def echoing(farm: Farm, limits: Limits = LIMITS) -> AbstractContextManager[str]:
    gateway: Any = create_app(settings_for(farm.url))
    app = Starlette(routes=[Route("/echo", echo, methods=["GET", "POST"])])
    app.mount("/", gateway)
    return running(serving(Echoing(app, gateway), limits=limits))


@pytest.fixture(scope="module")
def url(_farm: Farm) -> Iterator[str]:
    with echoing(_farm) as url:
        yield url


def of_length(body: bytes, head: bytes = POST) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def in_chunks(*pieces: bytes) -> bytes:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))
    return CHUNKED + chunks


WHOLE = {
    "of a length": of_length(b"hello"),
    "in a chunk": in_chunks(b"hello"),
    "in chunks": in_chunks(b"he", b"l", b"lo"),
    "with a trailer": CHUNKED + b"5\r\nhello\r\n0\r\nX-Trailing: x\r\n\r\n",
    "with an extension": CHUNKED + b"5;a=b\r\nhello\r\n0\r\n\r\n",
    "of HTTP/1.0": b"POST /echo HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello",
    "of HTTP/1.0, with an expectation": b"POST /echo HTTP/1.0\r\nExpect: 100-continue\r\n"
    b"Content-Length: 5\r\n\r\nhello",
    "with another expectation": of_length(b"hello", POST + b"Expect: wonders\r\n"),
}


@pytest.mark.parametrize("sent", WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("by_bytes", [False, True])
def test_a_body_is_given_as_a_whole(url: str, sent: bytes, by_bytes: bool) -> None:
    pieces = [sent[at : at + 1] for at in range(len(sent))] if by_bytes else [sent]
    (answer,) = exchange(url, *pieces)
    told = json.loads(answer.body)
    assert (answer.status, told["body"]) == (200, "hello")
    assert "x-trailing" not in told["fields"]


@pytest.mark.parametrize("sent", WHOLE.values(), ids=WHOLE)
def test_nothing_behind_a_body_is_a_request(url: str, sent: bytes) -> None:
    (answer,) = exchange(url, sent + GET + sent)
    assert json.loads(answer.body)["body"] == "hello"
    assert answer.fields["connection"] == "close"


@pytest.mark.parametrize("size", [1, MOST - 1, MOST])
def test_a_body_may_be_as_large_as_its_route_says(url: str, size: int) -> None:
    for sent in (of_length(b"x" * size), in_chunks(*[b"x"] * size)):
        (answer,) = exchange(url, sent)
        assert json.loads(answer.body)["body"] == "x" * size


TOO_LARGE = {
    "of a length": of_length(b"x" * (MOST + 1)),
    "of a length, that does not come": POST + b"Content-Length: 101\r\n\r\n",
    "of the largest length": POST + b"Content-Length: 9223372036854775807\r\n\r\n",
    "in a chunk": in_chunks(b"x" * (MOST + 1)),
    "in chunks": in_chunks(*[b"x"] * (MOST + 1)),
    "that is to be asked for": EXPECT + b"Content-Length: 101\r\n\r\n",
}


@pytest.mark.parametrize("sent", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_larger_one_is_a_413_and_the_end(url: str, sent: bytes) -> None:
    (answer,) = exchange(url, sent + GET)
    assert (answer.status, json.loads(answer.body)["code"]) == (413, "request_too_large")
    assert answer.fields["connection"] == "close"


BROKEN = {
    "with a broken size": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "with a size beyond 64 bits": CHUNKED + b"fffffffffffffffff\r\nhello",
    "with bare line feeds": CHUNKED + b"5\nhello\n0\n\n",
    "with a chunk that is longer": CHUNKED + b"4\r\nhello\r\n0\r\n\r\n",
    "with a folded trailer": CHUNKED + b"0\r\nX: a\r\n b\r\n\r\n",
    "with a length as a trailer": CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n",
    "with both framings": POST
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN)
def test_a_body_that_could_be_read_in_two_ways_is_refused(url: str, sent: bytes) -> None:
    (answer,) = exchange(url, sent + GET)
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "malformed_request")


@pytest.mark.parametrize(
    "sent", [POST + b"Content-Length: 5\r\n\r\nhell", CHUNKED, CHUNKED + b"5\r\nhel", EXPECT]
)
def test_who_does_not_finish_a_body_is_hung_up_on(farm: Farm, sent: bytes) -> None:
    with echoing(farm, Limits(receive=1, send=1)) as url:
        assert exchange(url, sent) == []


def test_a_client_that_waits_is_told_to_go_on(url: str) -> None:
    with connect(url) as client:
        client.sendall(EXPECT + b"Content-Length: 5\r\n\r\n")
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hello")
        (answer,) = answers_in(rest_of(client))
    assert json.loads(answer.body)["body"] == "hello"


def test_a_client_that_waits_behind_another_request_is_answered_in_its_turn(url: str) -> None:
    with connect(url) as client:
        client.sendall(GET + EXPECT + b"Content-Length: 5\r\n\r\n")
        client.sendall(b"hello")
        stream = rest_of(client).replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    first, second = answers_in(stream)
    assert (first.status, json.loads(second.body)["body"]) == (200, "hello")


@pytest.mark.parametrize(
    "head",
    [
        b"PUT /echo HTTP/1.1\r\nHost: gw\r\n",
        b"POST /echo/ HTTP/1.1\r\nHost: gw\r\n",
        b"POST /%65cho HTTP/1.1\r\nHost: gw\r\n",
        b"POST /sessions HTTP/1.1\r\nHost: gw\r\n",
        b"GET /echo HTTP/1.1\r\nHost: gw\r\n",
    ],
)
def test_no_other_request_is_given_its_body(url: str, head: bytes) -> None:
    (answer,) = exchange(url, of_length(b"hello", head) + GET)
    assert b"hello" not in answer.body
    assert answer.fields["connection"] == "close"


def test_a_body_of_another_protocol_is_none(url: str) -> None:
    head = POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    (answer,) = exchange(url, of_length(b"hello", head) + GET)
    assert answer.status in (200, 400)


def test_an_empty_body_is_one(url: str) -> None:
    with connect(url) as client:
        client.sendall(of_length(b"") + of_length(b"hello"))
        first, second = answers_in(rest_of(client))
    assert [json.loads(answer.body)["body"] for answer in (first, second)] == ["", "hello"]


def test_a_client_that_vanishes_amid_its_body_leaves_nothing_behind(url: str) -> None:
    for length in range(5):
        client: socket.socket
        with connect(url) as client:
            client.sendall(POST + b"Content-Length: 5\r\n\r\n" + b"hello"[:length])
    (answer,) = exchange(url, of_length(b"hello"))
    assert answer.status == 200


class Note(BaseModel):
    """What a route takes, in these tests."""

    text: str


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_route_takes_a_body_because_it_declares_one(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    router = APIRouter()

    @router.post("/notes")
    async def take(note: Note) -> Note:
        return note

    monkeypatch.setattr(main, "ROUTERS", (*ROUTERS, router))
    gateway = main.create_app(settings_for(farm.url, root_path=prefix))
    with running(serving(gateway)) as url, client_of(url) as http:
        for paths in {"", prefix}:
            answer = http.post(f"{paths}/notes", json={"text": "hello"})
            assert (answer.status_code, answer.json()) == (200, {"text": "hello"})
        whole = http.post("/notes", json={"text": "x" * (main.MAX_BODY - len('{"text":""}'))})
        assert whole.status_code == 200
        for wrong, status in (("{", 422), ('"hello"', 422), ("x" * (main.MAX_BODY + 1), 413)):
            refused = http.post(
                "/notes", content=wrong, headers={"content-type": "application/json"}
            )
            assert (refused.status_code, refused.json()["status"]) == (status, status)
        assert http.patch("/notes", json={"text": "hello"}).status_code == 405
        assert http.post("/sessions", json={"text": "hello"}).status_code == 405
