"""The front and the route are one source of truth: the same request, the same bytes."""

import itertools
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.core.cache_entry import CacheEntry, digest
from app.edge.api_keys import new_key
from app.edge.application import EdgeApplication
from app.edge.fast_path import FastPath, FastRoute
from app.main import create_app
from app.resources import FAST_ROUTES
from tests.conftest import settings_for

BODY = b'{"id":42}'
TAG = f'"{digest(BODY)}"'

METHODS = ["GET", "HEAD"]
PATHS = ["/sessions/42", "/sessions/43", "/sessions/007", "/sessions/42/", "/sessions/300"]
QUERIES = ["", "cache=buster"]
pytestmark = pytest.mark.slow

ACCEPTS = [
    None, "*/*", "application/json", "text/html", "application/json;q=0", "text/*, */*;q=0.1",
]  # fmt: skip
TAGS = [None, TAG, f"W/{TAG}", "*", '"other"', f'"other", {TAG}', TAG.strip('"')]
ORIGINS = [None, "https://site.example"]
CONTROLS = [None, "max-age=0", "no-cache", 'x="no-cache"', "only-if-cached"]


def frozen_edge(origins: str, **settings: object) -> EdgeApplication:
    """A gateway that keeps session 42 and a refusal, at a clock that stands still."""
    edge = create_app(settings_for("http://127.0.0.1:1", **{"cors_origins": origins, **settings}))
    gateway = edge.app.state.services.gateway  # type: ignore[attr-defined]
    gateway.clock = lambda: 1003.7
    if edge._admission is not None:
        edge._admission._clock = gateway.clock
    gateway.store.put("community.getSession(42)", CacheEntry(BODY, digest(BODY), 1000.0, 5.25, 5))
    refusal = CacheEntry(b"", "", 1000.0, 10.0, 10, refused="SessionNotFound", fault_code=300)
    gateway.store.put("community.getSession(300)", refusal)
    return edge


def with_front(edge: EdgeApplication, served: Mapping[str, FastRoute]) -> EdgeApplication:
    services = edge.app.state.services  # type: ignore[attr-defined]
    edge._fast_path = FastPath(
        services.gateway, services.responders.replies, served, edge._access_log.expect
    )
    return edge


async def exchange(
    edge: EdgeApplication, method: str, path: str, query: str, fields: list[tuple[bytes, bytes]]
) -> list[dict[str, Any]]:
    """What the application sends for one request."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(dict(message))

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http",
        "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "root_path": "", "headers": fields, "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000), "state": {},
    }  # fmt: skip
    await edge(scope, receive, send)
    return sent


def untimed(sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same without the durations in its header fields."""
    start, *body = sent
    fields = [(name, re.sub(rb"dur=[0-9.]+", b"", value)) for name, value in start["headers"]]
    return [{**start, "headers": fields}, *body]


@pytest.mark.parametrize("origins", ["*", "https://site.example,https://other.example"])
@pytest.mark.parametrize("gated", [False, True])
async def test_the_front_and_the_route_send_the_same_bytes(
    origins: str, gated: bool, tmp_path: Path
) -> None:
    key, line = new_key("site-a")
    (tmp_path / "keys").write_text(line)
    admission = {"api_keys_file": tmp_path / "keys", "rate_limit": "99999/60"} if gated else {}
    fast_path = with_front(frozen_edge(origins, **admission), FAST_ROUTES)
    route = with_front(frozen_edge(origins, **admission), {})
    combinations = itertools.product(METHODS, PATHS, QUERIES, ACCEPTS, TAGS, ORIGINS, CONTROLS)
    statuses: set[int] = set()
    for method, path, query, accept, tag, origin, control in combinations:
        if path == "/sessions/43":
            control = "only-if-cached"  # nothing is kept there, and no farm is to be asked
        if control == "no-cache" and path in PATHS[:2]:
            continue  # the farm would be asked
        given = {
            "accept": accept, "if-none-match": tag, "origin": origin, "cache-control": control,
            "x-request-id": "r-1", "x-api-key": key,
        }  # fmt: skip
        fields = [(name.encode(), text.encode()) for name, text in given.items() if text]
        answers = [await exchange(edge, method, path, query, fields) for edge in (fast_path, route)]
        answers = [untimed(answer) for answer in answers]
        assert answers[0] == answers[1], (method, path, query, given)
        statuses.add(answers[0][0]["status"])
    assert statuses == {200, 304, 404, 406, 422, 504}


@pytest.mark.parametrize("control", [None, b"max-age=0"])
async def test_the_front_answers_without_the_framework(control: bytes | None) -> None:
    edge = with_front(frozen_edge("*"), FAST_ROUTES)

    async def framework(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the framework was asked")

    edge.app = framework
    fields = [(b"cache-control", control)] if control else []
    start, body = await exchange(edge, "GET", "/sessions/42", "", fields)
    headers = dict(start["headers"])
    assert start["status"] == 200
    assert body["body"] == BODY
    assert headers[b"age"] == b"3"
    assert headers[b"cache-status"] == b"rfgw; hit; ttl=1"
    assert headers[b"etag"] == TAG.encode()
    assert headers[b"content-length"] == b"9"


async def test_ready_headers_follow_the_clock_and_the_entry() -> None:
    edge = with_front(frozen_edge("*"), FAST_ROUTES)
    gateway = edge.app.state.services.gateway  # type: ignore[attr-defined]
    seen = []
    for now in (1000.0, 1000.2, 1000.3, 1001.0, 1004.24, 1004.26):
        edge._fast_path._clock = partial(float, now)
        start, _ = await exchange(edge, "GET", "/sessions/42", "", [])
        headers = dict(start["headers"])
        seen.append((headers[b"age"], headers[b"cache-status"].rpartition(b"=")[2]))
    assert seen == [
        (b"0", b"5"), (b"0", b"5"), (b"0", b"4"), (b"1", b"4"), (b"4", b"1"), (b"4", b"0"),
    ]  # fmt: skip
    gateway.store.put("community.getSession(42)", CacheEntry(b"{}", digest(b"{}"), 1004.0, 5.0, 5))
    _, body = await exchange(edge, "GET", "/sessions/42", "", [])
    assert body["body"] == b"{}"


async def test_ready_header_fields_hold_no_body() -> None:
    edge = with_front(frozen_edge("*"), FAST_ROUTES)
    await exchange(edge, "GET", "/sessions/42", "", [])
    assert edge._fast_path._ready
    assert BODY not in repr(edge._fast_path._ready).encode()
