"""Traces, as a collector gets them: OTLP in protobuf, over HTTP, from a real process."""

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.types import ASGIApp, Receive, Scope, Send

from app.config.environment import SettingsError
from app.config.otel import traces_wanted
from app.sandbox.server import create_farm, farm_server
from app.server.supervisor import ENDED_WITHIN
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import TIDY_WITHIN, TracedTelemetry
from tests.conftest import Farm
from tests.programs import DEMO, RFGW, WITHIN, await_ready, finish, free_port, run, started
from tests.running import client_of, running
from tests.test_canary import KEY, SECRET, TOKEN, TOKEN_SECRET, leaks, settings_over
from tests.test_upstream import Held, held, wait_for

__all__ = ["held"]  # a fixture

SERVER, CLIENT = 2, 3
ERROR = 2
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Collector:
    """Takes spans, and remembers them and the bytes in which they came."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bodies: list[bytes] = []
        self.spans: list[Any] = []
        self.service = ""
        self.lock = threading.Lock()

    def take(self, body: bytes) -> None:
        """Read one request."""
        read = ExportTraceServiceRequest.FromString(body)
        with self.lock:
            self.bodies.append(body)
            for resource in read.resource_spans:
                self.service = told(resource.resource)["service.name"]
                for scope in resource.scope_spans:
                    self.spans += scope.spans

    def await_spans(self, kind: int, number: int) -> list[Any]:
        """The spans of a kind, oldest first, once there are so many."""
        deadline = time.monotonic() + WITHIN
        while True:
            with self.lock:
                found = [span for span in self.spans if span.kind == kind]
            found = [span for span in found if not re.search("health|metrics", span.name)]
            if len(found) >= number:
                return sorted(found, key=lambda span: span.start_time_unix_nano)
            assert time.monotonic() < deadline, [span.name for span in self.spans]
            time.sleep(0.02)


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a port of its own."""
    made: list[Collector] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            assert self.headers["content-type"] == "application/x-protobuf"
            made[0].take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.append(Collector(f"http://127.0.0.1:{server.server_address[1]}"))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield made[0]
        server.shutdown()
        thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@contextmanager
def traced(
    directory: Path, endpoint: str, farm_url: str, **settings: str
) -> Iterator[httpx.Client]:
    """A client of a gateway whose spans go to ``endpoint``; it is told to leave at the end."""
    port = free_port()
    given = {
        **DEMO,
        "RFGW_UPSTREAM_URL": farm_url,
        "RFGW_PORT": str(port),
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        **settings,
    }
    with (
        (directory / "log").open("w") as log,
        started(directory, *RFGW, "serve", settings=given, log=log) as program,
    ):
        await_ready(port)
        with client_of(f"http://127.0.0.1:{port}") as client:
            yield client
        program.terminate()
        assert finish(program).returncode == 0


def told(holder: Any) -> dict[str, Any]:
    """The attributes of a span or a resource."""
    return {
        one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in holder.attributes
    }


def test_a_miss_is_a_server_span_with_an_attempt_below_it(
    collector: Collector, farm: Farm, tmp_path: Path
) -> None:
    with traced(tmp_path, collector.url, farm.url) as client:
        assert client.get("/sessions/1008?fields=id").status_code == 200
        (server,) = collector.await_spans(SERVER, 1)
        (attempt,) = collector.await_spans(CLIENT, 1)
    assert (server.name, attempt.name) == ("GET /sessions/{id}", "community.getSession")
    assert server.parent_span_id == b""
    assert attempt.parent_span_id == server.span_id
    assert attempt.trace_id == server.trace_id
    assert told(server) == {
        "http.request.method": "GET",
        "http.route": "/sessions/{id}",
        "http.response.status_code": 200,
        "rfgw.operation": "getSession",
        "rfgw.cache": "miss",
        "rfgw.request_id": told(server)["rfgw.request_id"],
    }
    assert told(attempt) == {
        "rpc.system": "xmlrpc",
        "rpc.method": "community.getSession",
        "rfgw.attempt": 1,
        "rfgw.id": 1008,
        "rfgw.outcome": "ok",
    }
    assert collector.service == "rfgw"
    assert server.trace_id.hex() in (tmp_path / "log").read_text()


def test_a_retry_and_a_fault_tell_how_they_ended(
    collector: Collector, farm: Farm, tmp_path: Path
) -> None:
    with traced(tmp_path, collector.url, farm.url, OTEL_SERVICE_NAME="ours") as client:
        farm.next({"do": "reset"})
        client.get("/sessions/1008")
        first, second = collector.await_spans(CLIENT, 2)
        client.get("/sessions/300001")
        fault = collector.await_spans(CLIENT, 3)[2]
        client.get("/sessions/501001")
        failed = collector.await_spans(CLIENT, 4)[3]
        servers = collector.await_spans(SERVER, 3)
    assert [told(span)["rfgw.attempt"] for span in (first, second)] == [1, 2]
    assert first.parent_span_id == second.parent_span_id == servers[0].span_id
    assert (first.status.code, told(first)["error.type"]) == (ERROR, told(first)["rfgw.outcome"])
    assert (second.status.code, told(second)["rfgw.outcome"]) == (0, "ok")
    assert (fault.status.code, told(fault)["rpc.xmlrpc.fault_code"]) == (0, 300)
    assert (failed.status.code, told(failed)["rfgw.outcome"]) == (ERROR, "http_status")
    assert [span.status.code for span in servers] == [0, 0, ERROR]
    assert told(servers[2])["error.type"] == "502"
    assert collector.service == "ours"


class Heard:
    """Notes the traceparent fields that pass to ``app``."""

    def __init__(self, app: ASGIApp, noted: list[str]) -> None:
        self.app, self.noted = app, noted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As the application does."""
        given = dict(scope["headers"])
        self.noted.append(given.get(b"traceparent", b"").decode())
        await self.app(scope, receive, send)


def test_a_client_s_trace_goes_on_to_the_farm(collector: Collector, tmp_path: Path) -> None:
    noted: list[str] = []
    app = create_farm()
    app.add_middleware(Heard, noted=noted)
    with (
        running(farm_server(app)) as farm_url,
        traced(tmp_path, collector.url, farm_url) as client,
    ):
        client.get("/sessions/1008", headers={"traceparent": PARENT})
        (server,) = collector.await_spans(SERVER, 1)
        (attempt,) = collector.await_spans(CLIENT, 1)
    assert server.trace_id.hex() == attempt.trace_id.hex() == PARENT.split("-")[1]
    assert server.parent_span_id.hex() == PARENT.split("-")[2]
    assert noted == [f"00-{attempt.trace_id.hex()}-{attempt.span_id.hex()}-01"]


def test_who_joins_a_question_has_a_link_to_who_asked_it(
    collector: Collector, held: Held, tmp_path: Path
) -> None:
    with traced(tmp_path, collector.url, held.url, RFGW_UPSTREAM_DEADLINE="60") as client:
        with ThreadPoolExecutor(5) as pool:
            answers = pool.map(client.get, [f"/sessions/{held.number}"] * 5)
            wait_for(lambda: "rfgw_flights_joined_total 4.0" in client.get("/metrics").text)
            held.release()
            list(answers)
        servers = collector.await_spans(SERVER, 5)
        (attempt,) = collector.await_spans(CLIENT, 1)
    (asker,) = (span for span in servers if not span.links)
    assert attempt.parent_span_id == asker.span_id
    others = [span for span in servers if span is not asker]
    assert [[link.span_id for link in span.links] for span in others] == [[asker.span_id]] * 4
    assert {told(span)["rfgw.cache"] for span in others} == {"collapsed"}


@pytest.mark.parametrize(("share", "traces"), [("0", 1), ("1", 4)])
def test_kept_answers_have_spans_by_their_share_alone(
    share: str, traces: int, collector: Collector, farm: Farm, tmp_path: Path
) -> None:
    with traced(tmp_path, collector.url, farm.url, RFGW_TRACE_HITS=share) as client:
        for _ in range(4):
            assert client.get("/sessions/1008").status_code == 200
        client.get("/sessions/300001")
        servers = collector.await_spans(SERVER, traces + 1)
    assert [told(span)["rfgw.cache"] for span in servers] == [
        "miss",
        *["hit"] * (traces - 1),
        "miss",
    ]


def test_no_span_holds_a_secret_or_what_the_farm_said(collector: Collector, tmp_path: Path) -> None:
    farm = create_farm(
        consumer_key=KEY, consumer_secret=SECRET, token=TOKEN, token_secret=TOKEN_SECRET
    )
    with running(farm_server(farm)) as farm_url:
        settings = {**settings_over(farm_url), "OTEL_EXPORTER_OTLP_HEADERS": f"x-token={TOKEN}"}
        with traced(tmp_path, collector.url, farm_url, **settings) as client:
            asked = ["1008", "300001", "301001", "706001", "707001", "501001"]
            for path in (*(f"/sessions/{number}" for number in asked), f"/no/{KEY}?a={SECRET}"):
                client.get(path, headers={"X-API-Key": KEY})
            collector.await_spans(SERVER, len(asked) + 1)
    assert not any(span.events for span in collector.spans), "an exception's words are one"
    shown = b"\n".join(collector.bodies).decode("latin-1")
    assert "community.getSession" in shown  # what is searched is there
    assert not leaks(shown, KEY, SECRET, TOKEN, TOKEN_SECRET, "c4nary", "canary")
    for word in ("Sandbox session", "No such session", "127.0.0.1", "faultString"):
        assert word not in shown


def test_the_last_spans_are_sent_at_the_end(
    collector: Collector, farm: Farm, tmp_path: Path
) -> None:
    with traced(tmp_path, collector.url, farm.url, OTEL_BSP_SCHEDULE_DELAY="600000") as client:
        assert client.get("/sessions/1008").status_code == 200
    collector.await_spans(SERVER, 1)


def test_a_collector_that_is_away_costs_spans_and_nothing_else(farm: Farm, tmp_path: Path) -> None:
    settings = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    away = f"http://127.0.0.1:{free_port()}"
    with traced(tmp_path, away, farm.url, **settings) as client:
        assert client.get("/sessions/1008").status_code == 200
        deadline = time.monotonic() + WITHIN
        while "traces_not_exported" not in (tmp_path / "log").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert client.get("/sessions/1009").status_code == 200
    assert '"logger": "opentelemetry' not in (tmp_path / "log").read_text()


async def test_a_collector_that_does_not_answer_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.telemetry.tracing.TIDY_WITHIN", 0.01)
    answered = threading.Event()
    telemetry = TracedTelemetry(Metrics())
    shutdown = telemetry._provider.shutdown
    monkeypatch.setattr(telemetry._provider, "shutdown", partial(answered.wait, WITHIN))
    ending = asyncio.create_task(telemetry.aclose())
    await asyncio.wait([ending], timeout=WITHIN / 2)
    assert ending.done()
    answered.set()
    shutdown()


def test_no_worker_is_killed_while_it_sends_its_last_spans() -> None:
    assert 0 < TIDY_WITHIN < ENDED_WITHIN / 2


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "TRUE"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c"},
    ],
    ids=str,
)
def test_the_standard_variables_leave_it_off(environ: dict[str, str]) -> None:
    assert not traces_wanted(environ)


def test_traces_are_wanted_by_either_endpoint_and_need_what_we_speak(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert traces_wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"})
    wanted = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}
    assert traces_wanted(wanted | {"OTEL_TRACES_EXPORTER": "otlp"})
    settings = {**DEMO, **wanted, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    done = run(tmp_path, "serve", settings=settings | {"RFGW_PORT": str(free_port())})
    assert done.returncode == 2
    assert "OTEL_EXPORTER_OTLP_PROTOCOL: must be http/protobuf\n" in done.stderr
    monkeypatch.setattr("app.config.otel.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"needs OpenTelemetry's SDK: pip install .*\[otel\]"):
        traces_wanted(wanted)
