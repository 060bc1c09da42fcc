"""The fast path and the route are one source of truth: the same request, the same bytes."""

import gzip
import random
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from app.core.cache_entry import CacheEntry, digest
from app.edge.application import EdgeApplication
from app.main import create_app
from app.server.deadlines import Limits
from app.telemetry.log_writer import LOG_WRITER
from tests.conftest import settings_for
from tests.programs import WITHIN
from tests.running import Wrapped, running, serving

pytestmark = pytest.mark.slow

BODY = b'{"id":42,"title":"%b"}' % (b"a title " * 200)
TAG = f'"{digest(BODY)}"'
KEY, OTHER_KEY = "rfgw_first", "rfgw_second"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

REQUESTS = 1500
"""How many combinations of request fields each gateway is asked."""

METHODS = ["GET", "HEAD", "OPTIONS", "POST"]
PATHS = [
    "/sessions/42", "/sessions/43", "/sessions/007", "/sessions/42/", "/sessions/300",
    "/sessions/%34%32", "/sessions%2F42", "/sessions//42", "/sessions?ids=42,43",
    "/sessions/42?cache=buster", "/sessions/42?", "/health/live", "/nothing",
]  # fmt: skip
"""Session 42 is kept; 300 is kept as a refusal; nothing may ask the farm."""
CHOICES: dict[str, list[str | None]] = {
    "Accept": [
        None, "*/*", "application/json", "text/html", "application/json;q=0",
        "text/*, */*;q=0.1", "text/html\nAccept: application/json",
    ],
    "If-None-Match": [
        None, TAG, f"W/{TAG}", "*", '"other"', f'"other", {TAG}', TAG.strip('"'),
        f'{TAG[:-1]}-gzip"',
        f'"other"\nIf-None-Match: {TAG}',
    ],
    "Accept-Encoding": [
        None, "gzip", "gzip, deflate, br, zstd", "identity", "gzip;q=0", "*", "identity;q=0",
        "br\nAccept-Encoding: gzip",
    ],
    "Origin": [
        None, "https://site.example", "https://evil.example", "null",
        "https://site.example\nOrigin: https://site.example",
    ],
    "Cache-Control": [None, "max-age=0", 'x="no-cache"', "only-if-cached", "", "no-transform"],
    "X-Request-ID": [None, "r-1", "r-2 \t", "not an id!", "x" * 65, "a\nX-Request-ID: b"],
    "traceparent": [None, TRACE, TRACE[:-2] + "00", "00-0-0-00", f"{TRACE}\nTraceparent: x"],
    "Prefer": [None, "respond-async"],
    "X-API-Key": [KEY, OTHER_KEY, None, "wrong", f"{KEY}\nX-API-Key: {KEY}"],
    "Authorization": [None, f"Bearer {KEY}", "bearer  wrong", "Basic eDp5"],
    "X-Forwarded-For": [None, "203.0.113.9", "198.51.100.1, 203.0.113.9", "nobody"],
    "Access-Control-Request-Method": [None, None, "GET"],
    "Content-Length": [None, None, None, None, "0", "3"],
    "Connection": [None, None, "keep-alive", "close", "Upgrade\nUpgrade: h2c"],
}  # fmt: skip
"""The first of each is what most requests bring."""
LIST = "https://site.example,https://other.example"
LIMIT: dict[str, object] = {"rate_limit": "150/60", "forwarded_allow_ips": "127.0.0.1"}
GATEWAYS: dict[str, dict[str, object]] = {
    "open": {},
    "a list of origins": {"cors_origins": LIST},
    "keys": {"api_keys_file": "keys"},
    "a limit": LIMIT,
    "keys, a limit and a list of origins": {"api_keys_file": "keys", "cors_origins": LIST, **LIMIT},
    "a prefix": {"root_path": "/farm"},
    "all of it": {"root_path": "/farm", "api_keys_file": "keys", "cors_origins": LIST, **LIMIT},
}
STATUSES = {200, 204, 304, 404, 405, 406, 413, 422, 504}
"""What has to be among any gateway's answers."""

VARYING = [
    (re.compile(rb"(?m)^date: [^\r]+"), b"date: now"),
    (re.compile(rb"dur=[0-9.]+"), b"dur=0"),
    (re.compile(rb"[0-9a-f]{16}-(?=[0-9a-f])"), b"boot-"),
    (re.compile(rb'"time": "[^"]+"'), b'"time": "now"'),
    (re.compile(rb'"ms": [0-9.]+'), b'"ms": 0'),
]
"""What differs between two gateways that do the same."""


def same(told: bytes) -> bytes:
    """An answer or a log line without what differs between two gateways."""
    head, end, body = told.partition(b"\r\n\r\n")
    tells_id = re.search(rb"problem\+json|etag: W/|HTTP/1.1 [45]", head)
    if tells_id and b"\r\ncontent-encoding: gzip" in head:  # as long as the id makes it
        told = re.sub(rb"content-length: [0-9]+", b"", head) + end
        told += gzip.decompress(body) if body else b""
    for pattern, instead in VARYING:
        told = pattern.sub(instead, told)
    return told


def frozen_edge(origins: str, **settings: object) -> EdgeApplication:
    """A gateway that keeps session 42 and a refusal, at a clock that stands still."""
    edge = create_app(settings_for("http://127.0.0.1:1", **{"cors_origins": origins, **settings}))
    gateway = edge.app.state.services.gateway  # type: ignore[attr-defined]
    gateway.clock = edge._fast_path._clock = lambda: 1003.7
    if edge._admission is not None:
        edge._admission._clock = gateway.clock
    gateway.store.put("community.getSession(42)", CacheEntry(BODY, digest(BODY), 1000.0, 5.25, 5))
    refusal = CacheEntry(b"", "", 1000.0, 10.0, 10, refused="SessionNotFound", fault_code=300)
    gateway.store.put("community.getSession(300)", refusal)
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


# --- Requests ---------------------------------------------------------------------------------


class Sent(NamedTuple):
    """A request as it goes over the wire."""

    data: bytes
    method: str
    last: bool  # its answer ends the connection

    def is_kept(self, answer: bytes) -> bool:
        """Whether the fast path may have given this answer."""
        return self.method == "GET" and not self.last and b"\r\ncache-status: rfgw; hit" in answer


def request(chance: random.Random, prefix: str) -> Sent:
    """One of the combinations."""

    def one_of(texts: list[Any]) -> Any:
        return texts[0] if chance.random() < 0.7 else chance.choice(texts)

    method, path = one_of(METHODS), one_of(PATHS)
    version = one_of(["1.1", "1.1", "1.1", "1.0"])
    chosen = {name: one_of(texts) for name, texts in CHOICES.items()}
    if path != "/sessions/42":
        chosen["Cache-Control"] = "only-if-cached"  # the farm is not to be asked
    elif chance.random() < 0.03:
        chosen["Prefer"], chosen["Cache-Control"] = "respond-async", "max-age=0, x"
    target = chance.choice([prefix, prefix, ""]) + path
    if chance.random() < 0.05:
        target = f"http://gw{target}"
    lines = [f"{method} {target} HTTP/{version}", "Host: gw"]
    for name, text in chance.sample([*chosen.items()], len(chosen)):
        if text is not None:
            written = chance.choice([name, name.lower(), name.upper()])
            lines += f"{written}: {text}".split("\n")
    told = chosen["Connection"] or ""
    last = version == "1.0" or told not in ("", "keep-alive") or chosen["Content-Length"] == "3"
    return Sent("\r\n".join([*lines, "", ""]).encode(), method, last)


def requests(name: str, prefix: str) -> list[Sent]:
    """The combinations that a gateway is asked: always the same."""
    chance = random.Random(name)
    return [request(chance, prefix) for _ in range(REQUESTS)]


# --- Gateways ---------------------------------------------------------------------------------


class Stream:
    """One client's connection, read answer by answer."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=WITHIN)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = self.socket.makefile("rb")

    def answer(self, method: str, *, last: bool = False) -> bytes:
        """The bytes of the next answer: of the ``last`` one, all until the connection ends."""
        if last:
            return self._read.read()
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self._read.readline()
            assert line, head
            head += line
        length = re.search(rb"(?m)^content-length: ([0-9]+)", head)
        has_body = length is not None and method != "HEAD"
        return head + (self._read.read(int(length[1])) if length and has_body else b"")

    def close(self) -> None:
        """End it."""
        self._read.close()
        self.socket.close()


class Gateway:
    """One of the two, with the seconds that its rate limit goes by."""

    def __init__(self, url: str, edge: EdgeApplication) -> None:
        self.url = url
        self.fast = 0  # answers of the fast path
        self.now = 1000.0
        if edge._admission is not None:
            edge._admission._clock = lambda: self.now
        self._look = Stream(url)

    def look(self, path: str = "/health/live") -> bytes:
        """Ask for another page: then all that was sent before has been read."""
        fields = "Host: gw\r\nX-Request-ID: look"
        self._look.socket.sendall(f"GET {path} HTTP/1.1\r\n{fields}\r\n\r\n".encode())
        return self._look.answer("GET")

    def close(self) -> None:
        """Hang up."""
        self._look.close()


@contextmanager
def gateway(settings: dict[str, object], keys: Path, *, fast: bool) -> Iterator[Gateway]:
    """A gateway on a port, with the fast path or without."""
    given = {"cors_origins": "*", **settings}
    if "api_keys_file" in given:
        digests = {name: sha256(key.encode()).hexdigest() for name, key in KEYS.items()}
        keys.write_text("".join(f"{name} sha256:{told}\n" for name, told in digests.items()))
        given["api_keys_file"] = keys
    edge: Any = frozen_edge(str(given.pop("cors_origins")), **given)
    app, answer_now = edge if fast else Wrapped(edge, edge), edge.answer_now
    with running(serving(app, limits=Limits(receive=WITHIN, send=WITHIN))) as url:
        one = Gateway(url, edge)

        def counted(*asked: Any) -> bytes | None:
            answer: bytes | None = answer_now(*asked)
            one.fast += answer is not None
            return answer

        edge.answer_now = counted
        yield one
        one.close()


KEYS = {"first": KEY, "second": OTHER_KEY}


def one_by_one(gateway: Gateway, asked: Sequence[Sent]) -> list[bytes]:
    """Each request waits for the answer before it."""
    return [answer for sent in asked for answer in pipelined(gateway, [sent])]


def pipelined(gateway: Gateway, asked: Sequence[Sent]) -> list[bytes]:
    """All in one write, but for those whose answer ends the connection: with them, it ends."""
    answers: list[bytes] = []
    stream, since = Stream(gateway.url), 0
    for end, sent in enumerate(asked, 1):
        if sent.last or end - since == 40 or end == len(asked):
            part = asked[since:end]
            gateway.now += len(part) * 0.2
            stream.socket.sendall(b"".join(one.data for one in part))
            answers += [stream.answer(one.method, last=one.last) for one in part]
            since = end
            if sent.last:
                stream.close()
                stream = Stream(gateway.url)
    stream.close()
    return answers


def repeated(gateway: Gateway, asked: Sequence[Sent]) -> list[bytes]:
    """Each request three times on one connection, one after the other: its head is read once."""
    answers, stream = [], Stream(gateway.url)
    for sent in asked:
        for _ in range(3):
            gateway.now += 0.2
            stream.socket.sendall(sent.data)
            answers.append(stream.answer(sent.method))
    stream.close()
    return answers


def byte_by_byte(gateway: Gateway, asked: Sequence[Sent]) -> list[bytes]:
    """Each byte is read by itself."""
    answers = []
    for sent in asked:
        stream = Stream(gateway.url)
        for index in range(len(sent.data)):
            stream.socket.sendall(sent.data[index : index + 1])
            gateway.look()
        answers.append(stream.answer(sent.method, last=sent.last))
        stream.close()
    return answers


def cut_anywhere(gateway: Gateway, asked: Sequence[Sent]) -> list[bytes]:
    """Some pipelined requests in two pieces, cut at each byte."""
    data, stream = b"".join(sent.data for sent in asked), Stream(gateway.url)
    answers = []
    for cut in range(1, len(data)):
        gateway.now += 0.7
        stream.socket.sendall(data[:cut])
        gateway.look()
        stream.socket.sendall(data[cut:])
        answers += [stream.answer(sent.method) for sent in asked]
    stream.close()
    return answers


def counted(gateway: Gateway) -> list[str]:
    """The samples of /metrics that tell of requests, answers and refusals."""
    lines = gateway.look("/metrics").decode().splitlines()
    told = r"rfgw_\w*(requests|seconds_count|answers|refused|crashes|key)(_total)?[ {]"
    return sorted(line for line in lines if re.match(told, line))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", GATEWAYS)
def test_the_fast_path_and_the_route_send_the_same_bytes_and_count_and_log_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = GATEWAYS[name]
    asked = requests(name, str(settings.get("root_path", "")))
    going_on = [sent for sent in asked if not sent.last]
    kept, told = list[Sent](), []
    for fast in (True, False):
        lines: list[bytes] = []
        LOG_WRITER.flush(WITHIN)
        with (
            monkeypatch.context() as patched,
            gateway(settings, tmp_path / "keys", fast=fast) as one,
        ):
            patched.setattr(LOG_WRITER, "_write", lines.append)
            answers = one_by_one(one, asked)
            statuses = {int(answer[9:12]) for answer in answers}
            both = zip(asked, answers, strict=True)
            kept = kept or [sent for sent, answer in both if sent.is_kept(answer)]
            answers += pipelined(one, asked)
            answers += repeated(one, going_on[:300])
            answers += byte_by_byte(one, [*kept[:6], *asked[:4]])
            answers += cut_anywhere(one, [*kept[:2], going_on[0]])
            samples = counted(one)
            LOG_WRITER.flush(WITHIN)
        written = [
            line
            for line in same(b"".join(lines)).splitlines()
            if b'"request"' in line and b'"look"' not in line
        ]
        told.append(([*map(same, answers)], samples, written))
        assert one.fast > REQUESTS / 5 if fast else one.fast == 0
    for number, (fast_one, full_one) in enumerate(zip(told[0][0], told[1][0], strict=True)):
        assert fast_one == full_one, asked[number % REQUESTS]
    assert told[0][1] == told[1][1]
    assert told[0][2] == told[1][2]
    assert len(told[0][2]) > 2 * REQUESTS
    assert statuses >= STATUSES
    assert "api_keys_file" not in settings or 401 in statuses
    assert "rate_limit" not in settings or 429 in statuses


# --- The fast path alone ----------------------------------------------------------------------


def answer_of(edge: EdgeApplication, *fields: tuple[bytes, bytes]) -> tuple[dict[str, str], bytes]:
    """Header fields and body of the kept session 42, by the fast path."""
    asked = edge.read_fields([(b"host", b"gw"), *fields], ("127.0.0.1", 1))
    assert asked is not None
    answer = edge.answer_now(b"/sessions/42", asked)
    assert answer is not None
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first == "HTTP/1.1 200 OK"
    return dict(line.split(": ", 1) for line in lines), body


@pytest.mark.parametrize("control", [None, b"max-age=0"])
def test_the_fast_path_answers_without_the_framework(control: bytes | None) -> None:
    edge = frozen_edge("*")
    fields, body = answer_of(edge, *([(b"cache-control", control)] if control else []))
    assert body == BODY
    assert fields["age"] == "3"
    assert fields["cache-status"] == "rfgw; hit; ttl=1"
    assert fields["etag"] == TAG
    assert fields["content-length"] == str(len(BODY))


def test_ready_headers_follow_the_clock_and_the_entry() -> None:
    edge = frozen_edge("*")
    gateway = edge.app.state.services.gateway  # type: ignore[attr-defined]
    seen = []
    for now in (1000.0, 1000.2, 1000.3, 1001.0, 1004.24, 1004.26):
        edge._fast_path._clock = partial(float, now)
        fields, _ = answer_of(edge)
        seen.append((fields["age"], fields["cache-status"].rpartition("=")[2]))
    assert seen == [("0", "5"), ("0", "5"), ("0", "4"), ("1", "4"), ("4", "1"), ("4", "0")]
    edge._fast_path._clock = partial(float, 1005.25)  # no longer fresh
    asked = edge.read_fields([(b"host", b"gw")], None)
    assert asked is not None
    assert edge.answer_now(b"/sessions/42", asked) is None
    gateway.store.put("community.getSession(42)", CacheEntry(b"{}", digest(b"{}"), 1004.0, 5.0, 5))
    fields, body = answer_of(edge)
    assert (body, fields["content-length"], fields["age"]) == (b"{}", "2", "1")
    assert fields["etag"] == f'"{digest(b"{}")}"'


def test_ready_headers_follow_the_date(monkeypatch: pytest.MonkeyPatch) -> None:
    edge = frozen_edge("*")
    seen = []
    for after in (0.5, 0.7, 0.99, 1.01):
        monkeypatch.setattr("time.time", partial(float, 1_000_000_000 + after))
        edge._fast_path._clock = partial(float, 1000.0 + after)
        seen.append(answer_of(edge)[0]["date"][-6:-4])
    assert seen == ["40", "40", "40", "41"]


def test_ready_header_fields_hold_no_body() -> None:
    edge = frozen_edge("*")
    answer_of(edge)
    (heads,) = edge._fast_path._ready.values()
    assert BODY not in repr([getattr(heads, name) for name in heads.__slots__]).encode()


def test_a_bug_in_the_fast_path_costs_time_and_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    edge: Any = frozen_edge("*")
    with running(serving(edge)) as url:
        monkeypatch.setattr(edge._fast_path, "_store", None)
        stream = Stream(url)
        stream.socket.sendall(b"GET /sessions/42 HTTP/1.1\r\nHost: gw\r\n\r\n")
        assert stream.answer("GET").endswith(BODY)
        stream.close()
        assert edge.app.state.services.metrics.crashes._value.get() == 1


@pytest.mark.parametrize("part", ["_clients", "_counter", "_keys"])
def test_who_cannot_be_judged_is_one_crash(part: str) -> None:
    edge: Any = frozen_edge("*", rate_limit="100/60")
    setattr(edge._admission, part, object())
    with running(serving(edge)) as url:
        for times in (1, 2):
            stream = Stream(url)
            stream.socket.sendall(b"GET /sessions/42 HTTP/1.1\r\nHost: gw\r\nX-API-Key: k\r\n\r\n")
            assert stream.answer("GET").startswith(b"HTTP/1.1 500 ")
            stream.close()
            assert edge.app.state.services.metrics.crashes._value.get() == times


AT_ONCE = 8
"""Requests in a row that one client is answered before the others have their turn."""


def test_who_pipelines_when_the_drain_begins_is_told_that_the_connection_ends() -> None:
    edge: Any = frozen_edge("*")
    server = serving(edge)
    answer_now, left = edge.answer_now, AT_ONCE

    def draining(*asked: Any) -> bytes | None:
        nonlocal left
        left -= 1
        if not left:
            (connection,) = server.server_state.connections
            connection.loop.call_soon(server._drain, 0.0)
        answer: bytes | None = answer_now(*asked)
        return answer

    edge.answer_now = draining
    with running(server) as url:
        stream = Stream(url)
        stream.socket.sendall(b"GET /sessions/42 HTTP/1.1\r\nHost: gw\r\n\r\n" * 20)
        answers = stream.answer("GET", last=True)
        stream.close()
    assert answers.count(b"HTTP/1.1 200 OK") == AT_ONCE + 1
    assert answers.count(b"connection: close") == 1
    assert answers.rindex(b"connection: close") > answers.rindex(b"HTTP/1.1 200 OK")


async def test_a_get_that_announces_a_chunked_body_is_refused_behind_any_server() -> None:
    fields = [(b"host", b"gw"), (b"transfer-encoding", b"chunked")]
    start, _ = await exchange(frozen_edge("*"), "GET", "/sessions/42", "", fields)
    assert start["status"] == 413
    assert (b"connection", b"close") in start["headers"]


def test_the_table_of_prepared_heads_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.edge.fast_path.MAX_READY", 3)
    edge: Any = frozen_edge("*")
    asked = edge.read_fields([(b"host", b"gw")], None)
    entry = CacheEntry(BODY, digest(BODY), 1000.0, 5.25, 5)
    for number in range(1, 11):
        edge.app.state.services.gateway.store.put(f"community.getSession({number})", entry)
        assert edge.answer_now(b"/sessions/%d" % number, asked).endswith(BODY)
        assert 0 < len(edge._fast_path._ready) <= 3
