"""Where the time went, and whose trace it is: told with each answer, and to the farm."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import httpx
import pytest

from app.telemetry.request_context import (
    RequestContext,
    TimedStep,
    Trace,
    request_context,
    trace_of,
)
from tests.conftest import Farm, StartGateway

ID, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{ID}-{SPAN}-01"
CALLED = ["queue", "sign", "upstream", "decode", "total"]


def timed(answer: httpx.Response) -> tuple[str, dict[str, float]]:
    """How the cache took part, and milliseconds by step, of the Server-Timing field."""
    (field,) = answer.headers.get_list("server-timing")
    desc, steps = "", {}
    for member in field.split(", "):
        matched = re.fullmatch(r"cache;desc=(\w+)|(\w+);dur=(\d+\.\d)", member)
        assert matched is not None, member
        if matched[1]:
            desc = matched[1]
        else:
            steps[matched[2]] = float(matched[3])
    return desc, steps


def test_an_answer_of_the_farm_tells_where_its_time_went(gateway: httpx.Client, farm: Farm) -> None:
    farm.next({"do": "late", "seconds": 0.2})
    desc, steps = timed(gateway.get("/sessions/1008"))
    assert desc == "miss"
    assert list(steps) == CALLED
    assert 200 <= steps["upstream"] <= steps["total"]
    assert steps["sign"] + steps["decode"] + steps["upstream"] <= steps["total"] + 0.5


def test_a_step_that_is_repeated_is_told_as_a_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([1.0, 1.5, 3.0, 3.25])
    monkeypatch.setattr("app.telemetry.request_context.perf_counter", lambda: next(moments))
    context = RequestContext("r-1")
    token = request_context.set(context)
    for _ in range(2):  # as a retry does
        with TimedStep("upstream"):
            pass
    request_context.reset(token)
    assert context.timings == {"upstream": 0.75}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/sessions/1008", {}),
        ("/sessions/1008?by=route", {}),
        ("/sessions/1008", {"If-None-Match": "*"}),
        ("/sessions/1008?by=route", {"If-None-Match": "*"}),
    ],
)
def test_a_kept_answer_says_only_that_it_is_one(
    gateway: httpx.Client, path: str, fields: dict[str, str]
) -> None:
    gateway.get("/sessions/1008")
    assert timed(gateway.get(path, headers=fields)) == ("hit", {})


@pytest.mark.parametrize(
    ("method", "path", "fields", "desc", "steps"),
    [
        ("GET", "/sessions/300001", {}, "miss", CALLED),
        ("GET", "/sessions/707001", {}, "failed", CALLED),
        ("GET", "/sessions/502001", {}, "failed", ["queue", "sign", "upstream", "total"]),
        ("GET", "/sessions/1", {"Cache-Control": "only-if-cached"}, "not_cached", ["total"]),
        ("GET", "/sessions/007", {}, "", ["total"]),
        ("HEAD", "/health/live", {}, "", ["total"]),
        ("POST", "/health/live", {}, "", ["total"]),
        ("GET", "/nowhere", {}, "", ["total"]),
        ("GET", "/docs", {}, "", ["total"]),
        ("GET", "/health/live", {"Transfer-Encoding": "chunked"}, "", ["total"]),
        ("OPTIONS", "/", {"Access-Control-Request-Method": "GET"}, "", ["total"]),
    ],
)
def test_every_other_answer_tells_what_is_known(
    gateway: httpx.Client,
    farm: Farm,
    method: str,
    path: str,
    fields: dict[str, str],
    desc: str,
    steps: list[str],
) -> None:
    if "502001" in path:
        farm.next({"do": "status", "status": 500})
    told = timed(gateway.request(method, path, headers=fields))
    assert (told[0], list(told[1])) == (desc, steps)


@pytest.mark.parametrize(
    ("field", "trace"),
    [
        (PARENT.encode(), Trace(ID, sampled=True)),
        (f"00-{ID}-{SPAN}-00".encode(), Trace(ID, sampled=False)),
        (f"00-{ID}-{SPAN}-02".encode(), Trace(ID, sampled=False)),
        (f"00-{ID}-{SPAN}-ff".encode(), Trace(ID, sampled=True)),
        (None, None),
        (b"", None),
        (f"00-{'0' * 32}-{SPAN}-01".encode(), None),
        (f"00-{ID}-{'0' * 16}-01".encode(), None),
        (f"01-{ID}-{SPAN}-01".encode(), None),
        (f"ff-{ID}-{SPAN}-01".encode(), None),
        (PARENT.upper().encode(), None),
        (f"{PARENT}-more".encode(), None),
        (f" {PARENT}".encode(), None),
        (f"{PARENT}\n".encode(), None),
        (PARENT[:-1].encode(), None),
        (PARENT.replace("a", "g").encode(), None),
    ],
)
def test_a_trace_is_read_strictly(field: bytes | None, trace: Trace | None) -> None:
    assert trace_of(field) == trace


def test_each_request_of_ours_is_a_span_of_its_own() -> None:
    trace = Trace(ID, sampled=True)
    first, second = trace.onward(), trace.onward()
    assert trace_of(first.encode()) == trace_of(second.encode()) == trace
    assert len({first, second, PARENT}) == 3


class Broken(BaseHTTPRequestHandler):
    """Answers 502 to everybody, and remembers their traces."""

    parents: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.parents.append(self.headers.get("traceparent"))
        assert "tracestate" not in self.headers
        self.send_response(502)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def broken_farm() -> Iterator[str]:
    Broken.parents.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_client_s_trace_goes_on_to_the_farm(
    start_gateway: StartGateway, broken_farm: str
) -> None:
    gateway = start_gateway(upstream_url=broken_farm)
    gateway.get("/sessions/1", headers={"traceparent": PARENT, "tracestate": "a=b"})
    spans = [re.fullmatch(rf"00-{ID}-([0-9a-f]{{16}})-01", str(p)) for p in Broken.parents]
    assert all(spans)
    assert len({span[1] for span in spans if span} | {SPAN}) == 3, "one for each attempt"


@pytest.mark.parametrize(
    "fields", [[], [("traceparent", PARENT.upper())], [("traceparent", PARENT)] * 2], ids=len
)
def test_without_a_valid_trace_none_is_begun(
    start_gateway: StartGateway, broken_farm: str, fields: list[tuple[str, str]]
) -> None:
    start_gateway(upstream_url=broken_farm).get("/sessions/1", headers=fields)
    assert Broken.parents == [None, None]
