"""``GET /sessions/{id}/events`` over real sockets: what is told, when, to whom, and what is left.

What takes turns that no socket can show, a slow reader for one, is tried in process.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from app.api.authorization import client_of
from app.api.event_stream import EventStream
from app.api.problems import Problems
from app.api.sse import EventStreams
from app.cache.memory import MemoryStore
from app.core.subscriptions import Subscriptions
from app.edge.api_keys import new_key
from app.main import create_app
from app.server.drain import Drain
from tests.conftest import Farm, settings_for
from tests.running import NO_TLS, PLAIN, running, serving
from tests.test_connection import connect, rest_of
from tests.test_fields import rendered
from tests.test_gateway import CALL, build
from tests.test_http import problem_of
from tests.test_upstream import status, wait_for

RENDERING, ENDED = 1006, 42
SHORT = 0.1


class Event(NamedTuple):
    name: str
    id: str
    data: Any


class Gateway:
    """A gateway, its insides, and its streams."""

    def __init__(self, edge: Any, url: str, drain: Drain) -> None:
        self.live: EventStreams = edge.app.state.services.responders.streams
        self.store: MemoryStore = edge.app.state.services.gateway.store
        self.url = url
        self.drain = drain
        self.http = httpx.Client(
            base_url=url, headers=PLAIN, verify=NO_TLS, trust_env=False, timeout=20
        )

    @contextmanager
    def events(self, number: int, **headers: str) -> Iterator[Iterator[Event]]:
        """The events of a session's stream as they come; they end when it does."""
        with self.http.stream("GET", f"/sessions/{number}/events", headers=headers) as answer:
            assert answer.status_code == 200
            yield parsed(answer.iter_lines())


def parsed(lines: Iterator[str]) -> Iterator[Event]:
    """Events by the grammar, so far as our streams use it."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, text = line.partition(": ")
        if line:
            fields[name] = text
        elif "data" in fields:
            yield Event(fields["event"], fields.get("id", ""), json.loads(fields["data"]))
            fields = {}
        else:
            fields = {}


StartLive = Callable[..., Gateway]


@pytest.fixture
def start_live(farm: Farm) -> Iterator[StartLive]:
    """Starts gateways; their streams are ended before they are."""
    with ExitStack() as stack:

        def start(**settings: object) -> Gateway:
            drain = Drain()
            edge = create_app(settings_for(farm.url, **settings), drain)
            url = stack.enter_context(running(serving(edge)))
            gateway = Gateway(edge, url, drain)
            stack.callback(gateway.http.close)
            stack.callback(drain.begin)
            return gateway

        yield start


@pytest.fixture
def gateway(start_live: StartLive) -> Gateway:
    return start_live()


# --- What is told ----------------------------------------------------------------------------


def test_a_session_that_has_ended_is_told_once_and_then_the_end(gateway: Gateway) -> None:
    whole = gateway.http.get(f"/sessions/{ENDED}")
    stream = gateway.http.get(f"/sessions/{ENDED}/events", headers={"Origin": "https://a.example"})
    retry, told_events = stream.text.split("\n\n", 1)
    assert 1500 <= int(retry.removeprefix("retry: ")) <= 3000
    assert told_events == (
        f"event: session\nid: {whole.headers['etag']}\ndata: {whole.text}\n\n"
        'event: end\ndata: {"reason":"final"}\n\n'
    )
    told = stream.headers
    assert told["content-type"] == "text/event-stream"
    assert told["cache-control"] == "no-store, no-transform"
    assert told["x-accel-buffering"] == "no"
    assert told["access-control-allow-origin"] == "*"
    assert told["x-request-id"]


def test_readers_are_told_different_times_to_come_again(gateway: Gateway) -> None:
    path = f"/sessions/{ENDED}/events"
    told = [gateway.http.get(path).text.partition("\n")[0] for _ in range(20)]
    assert len(set(told)) > 1, "all at once is a herd"


def test_a_client_of_http_1_0_gets_a_stream_that_ends_with_its_connection(gateway: Gateway) -> None:
    with connect(gateway.url) as client:
        client.sendall(b"GET /sessions/%d/events HTTP/1.0\r\n\r\n" % ENDED)
        head, _, body = rest_of(client).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    told = list(parsed(iter(body.decode().split("\n"))))
    assert [event.name for event in told] == ["session", "end"]
    retry, _, events = body.partition(b"\n\n")
    assert retry.startswith(b"retry: "), "and nothing that frames it"
    assert events.startswith(b"event: session\n")
    assert body.endswith(b"\n\n")


def test_who_has_the_last_event_of_an_ended_session_is_told_not_to_come_again(
    gateway: Gateway,
) -> None:
    tag = gateway.http.get(f"/sessions/{ENDED}").headers["etag"]
    again = gateway.http.get(f"/sessions/{ENDED}/events", headers={"Last-Event-ID": tag})
    assert (again.status_code, again.content) == (204, b"")
    older = gateway.http.get(f"/sessions/{ENDED}/events", headers={"Last-Event-ID": '"older"'})
    assert older.status_code == 200
    assert older.text.count("event: session") == 1


def test_what_the_reader_has_is_not_repeated(gateway: Gateway) -> None:
    tag = gateway.http.get(f"/sessions/{RENDERING}").headers["etag"]
    with gateway.events(RENDERING, **{"Last-Event-ID": tag}) as events:
        gateway.drain.begin()
        assert list(events) == []


def test_every_change_is_told(start_live: StartLive, farm: Farm) -> None:
    gateway = start_live(fresh_active=SHORT)
    farm.next(rendered(7), rendered(7), rendered(8), rendered(8), rendered(9))
    with gateway.events(1005) as events:
        told = list(islice(events, 3))
    assert [event.name for event in told] == ["session"] * 3
    assert [event.data["partsRendered"] for event in told] == [7, 8, 9]
    assert len({event.id for event in told}) == 3


def test_the_end_comes_with_the_last_change(start_live: StartLive, farm: Farm) -> None:
    gateway = start_live(fresh_active=SHORT)
    farm.next(rendered(7), rendered(250, "completed"))
    with gateway.events(1005) as events:
        assert [event.name for event in events] == ["session", "session", "end"]


def test_fields_are_cut_and_a_change_elsewhere_is_no_event(
    start_live: StartLive, farm: Farm
) -> None:
    gateway = start_live(fresh_active=SHORT)
    farm.next(rendered(7), rendered(8), rendered(9), rendered(250, "completed"))
    path = "/sessions/1005/events?fields=state,id"
    with gateway.http.stream("GET", path) as answer:
        told = list(parsed(answer.iter_lines()))
    assert [event.name for event in told] == ["session", "session", "end"]
    assert [event.data for event in told[:2]] == [
        {"id": 1005, "state": "active"},
        {"id": 1005, "state": "completed"},
    ]
    some = gateway.http.get("/sessions/1005?fields=id,state")
    assert (some.json(), some.headers["etag"]) == (told[1].data, told[1].id)
    again = gateway.http.get(path, headers={"Last-Event-ID": told[1].id})
    assert again.status_code == 204


def test_a_stream_ends_with_its_session_even_if_none_of_its_fields_has_changed(
    start_live: StartLive, farm: Farm
) -> None:
    gateway = start_live(fresh_active=SHORT)
    farm.next(rendered(7), rendered(250, "completed"))
    told = gateway.http.get("/sessions/1005/events?fields=id")
    assert [event.name for event in parsed(iter(told.text.split("\n")))] == ["session", "end"]


def test_an_outage_is_one_problem_and_then_the_session_again(
    start_live: StartLive, farm: Farm
) -> None:
    gateway = start_live(fresh_active=SHORT)
    farm.next(rendered(7), status(500), {"do": "html"}, status(500), rendered(7))
    with gateway.events(1005) as events:
        before, problem, after = islice(events, 3)
    assert [before.name, problem.name, after.name] == ["session", "problem", "session"]
    assert problem.data["code"] == "upstream_unreachable"
    assert problem.data["instance"] == "/sessions/1005/events"
    assert problem.id == ""
    assert after == before
    assert farm.calls() >= 5


def test_a_new_reader_in_an_outage_gets_what_is_kept_and_then_the_problem(
    start_live: StartLive, farm: Farm
) -> None:
    gateway = start_live(fresh_active=SHORT)
    farm.next(rendered(7), *[status(500)] * 100)
    with gateway.events(1005) as first:
        assert [event.name for event in islice(first, 2)] == ["session", "problem"]
        with gateway.events(1005) as second:
            assert [event.name for event in islice(second, 2)] == ["session", "problem"]


def test_a_refusal_is_a_problem_and_the_stream_goes_on(start_live: StartLive, farm: Farm) -> None:
    gateway = start_live(fresh_active=SHORT, keep_not_found=SHORT)
    gone = {"do": "fault", "code": 300}
    farm.next(rendered(7), gone, gone, rendered(7))
    with gateway.events(1005) as events:
        told = list(islice(events, 3))
    assert [event.name for event in told] == ["session", "problem", "session"]
    assert told[1].data["code"] == "session_not_found"


def test_silence_is_broken_by_comments(gateway: Gateway) -> None:
    gateway.live.heartbeat_every = 0.01
    with gateway.http.stream("GET", f"/sessions/{RENDERING}/events") as answer:
        lines = (line for line in answer.iter_lines() if line.startswith(":"))
        assert list(islice(lines, 3)) == [":", ":", ":"]


def test_comments_come_as_often_as_proxies_and_clients_are_promised(gateway: Gateway) -> None:
    assert 0 < gateway.live.heartbeat_every < 15


def test_a_silent_stream_ends_with_the_comment_after_its_key_was_taken_back(
    start_live: StartLive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.watched_file.LOOK_EVERY", 0.0)
    (key, line), (_, other) = new_key("site-a"), new_key("site-b")
    (tmp_path / "keys").write_text(line)
    gateway = start_live(api_keys_file=tmp_path / "keys", fresh_active=3600)
    gateway.live.heartbeat_every = 0.01
    with gateway.events(RENDERING, **{"x-api-key": key}) as events:
        assert next(events).name == "session"
        (tmp_path / "keys").write_text(other)
        assert [(event.name, event.data["code"]) for event in events] == [
            ("problem", "unauthorized")
        ]


def test_head_gets_the_header_fields_alone(gateway: Gateway) -> None:
    head = gateway.http.head(f"/sessions/{RENDERING}/events")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == "text/event-stream"
    assert gateway.http.post(f"/sessions/{RENDERING}/events").headers["allow"] == "GET, HEAD"
    wait_for(lambda: len(gateway.live.subscriptions) == 0)


# --- What goes wrong before the stream -------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "accept", "number", "code"),
    [
        ("/sessions/300001/events", "*/*", 404, "session_not_found"),
        ("/sessions/301001/events", "text/event-stream", 409, "session_not_attached"),
        ("/sessions/103001/events", "text/*", 403, "session_forbidden"),
        ("/sessions/706001/events", "*/*", 502, "upstream_mismatch"),
        ("/sessions/007/events", "*/*", 422, "invalid_request"),
        ("/sessions/42/events", "application/problem+json", 406, "not_acceptable"),
        ("/sessions/42/events/", "*/*", 404, "route_not_found"),
    ],
)
def test_what_goes_wrong_before_the_stream_is_a_problem(
    gateway: Gateway, path: str, accept: str, number: int, code: str
) -> None:
    answer = gateway.http.get(path, headers={"Accept": accept})
    problem_of(answer, number, code)
    assert answer.headers["cache-control"] == "no-store"
    wait_for(lambda: len(gateway.live.subscriptions) == 0)


def test_there_is_room_for_so_many_streams(start_live: StartLive) -> None:
    gateway = start_live(events_max_streams=2, events_per_client=1)
    path = f"/sessions/{RENDERING}/events"
    with gateway.events(RENDERING) as events:
        next(events)
        one_more = gateway.http.get(path)
        problem = problem_of(one_more, 429, "too_many_streams")
        assert "streams" in problem["detail"]
        assert one_more.headers["retry-after"] == "5"
        assert "cache-status" not in one_more.headers
    wait_for(lambda: len(gateway.live.subscriptions) == 0)
    none = start_live(events_max_streams=0)
    full = none.http.get(path)
    problem_of(full, 503, "overloaded")
    assert "cache-status" not in full.headers


def test_who_wants_what_is_kept_only_makes_nobody_ask(gateway: Gateway, farm: Farm) -> None:
    path, only = f"/sessions/{ENDED}/events", {"Cache-Control": "only-if-cached"}
    refused = gateway.http.get(path, headers=only)
    problem_of(refused, 504, "not_cached")
    assert refused.headers["cache-status"] == "rfgw"
    assert farm.calls() == 0
    gateway.http.get(f"/sessions/{ENDED}")
    told = gateway.http.get(path, headers=only)
    assert (told.status_code, told.text.count("event: session")) == (200, 1)
    assert farm.calls() == 1
    counted = gateway.http.get("/metrics").text.splitlines()
    assert 'rfgw_cache_answers_total{outcome="hit"} 1.0' in counted, "and is asked once"


def test_a_client_is_whom_the_edge_names_or_else_an_address() -> None:
    address = {"client": ("192.0.2.7", 50000)}
    assert client_of(address) == "192.0.2.7"
    assert client_of({**address, "rfgw.client": "studio"}) == "studio"
    assert client_of({"client": None}) == "-"


# --- How it ends -----------------------------------------------------------------------------


def test_a_process_that_ends_closes_its_streams_and_still_tells_what_it_has(
    gateway: Gateway,
) -> None:
    with gateway.events(RENDERING) as events:
        next(events)
        gateway.drain.begin()
        assert list(events) == []
    with gateway.events(RENDERING) as late:
        assert [event.name for event in late] == ["session"]
    wait_for(lambda: gateway.live.streams == 0)


def test_streams_and_their_events_are_counted(gateway: Gateway) -> None:
    gateway.http.get(f"/sessions/{ENDED}/events")
    with gateway.events(RENDERING) as events:
        next(events)
        text = gateway.http.get("/metrics").text
    for line in (
        "rfgw_streams 1.0",
        'rfgw_stream_events_total{event="session"} 2.0',
        'rfgw_stream_events_total{event="end"} 1.0',
    ):
        assert line in text.splitlines()
    wait_for(lambda: "rfgw_streams 0.0" in gateway.http.get("/metrics").text.splitlines())


CROWD = 500
LIFETIME = 0.5


def test_five_hundred_readers_are_one_and_leave_nothing_behind(
    start_live: StartLive, farm: Farm
) -> None:
    gateway = start_live(
        fresh_active=LIFETIME,
        events_per_client=CROWD,
        max_requests=2 * CROWD,
        upstream_deadline=60,  # a farm that is late is another story
    )
    farm.next(*(rendered(parts) for parts in range(1, 200)))
    gateway.http.get("/sessions/1005")
    threads = threading.active_count()
    began = time.monotonic()
    told = asyncio.run(concurrency_limit(gateway))
    calls, lasted = farm.calls(), time.monotonic() - began
    assert calls <= lasted / LIFETIME + 2
    assert all(len(parts) >= 3 for parts in told), "everyone saw it move"
    assert all(parts == sorted(parts) for parts in told)
    wait_for(lambda: len(gateway.live.subscriptions) == 0)
    wait_for(lambda: gateway.live.streams == 0)
    assert gateway.live.subscriptions._topics == {}
    wait_for(lambda: threading.active_count() <= threads)
    wait_for(lambda: "rfgw_flights 0.0" in gateway.http.get("/metrics").text.splitlines())


async def concurrency_limit(gateway: Gateway) -> list[list[int]]:
    """What each of many readers saw of session 1005, until it had three events."""

    async def read() -> list[int]:
        reader, writer = await asyncio.open_connection(
            gateway.http.base_url.host, gateway.http.base_url.port
        )
        writer.write(b"GET /sessions/1005/events HTTP/1.1\r\nHost: gw.example\r\n\r\n")
        seen: list[int] = []
        async with asyncio.timeout(60):
            while len(seen) < 3:
                line = await reader.readline()
                assert line, seen
                if line.startswith(b"data: "):
                    seen.append(json.loads(line[6:])["partsRendered"])
        writer.close()
        await writer.wait_closed()
        return seen

    return await asyncio.gather(*(read() for _ in range(CROWD)))


# --- In process ------------------------------------------------------------------------------


async def test_a_slow_reader_gets_the_newest_and_a_cut_line_ends_the_stream() -> None:
    core, farm, clock = build()
    subscriptions = Subscriptions(core, most=1, per_client=1)
    counted: list[str] = []
    live = EventStreams(core, subscriptions, Problems(""), counted.append, patience=5)
    sent: list[bytes] = []
    began, may_send, hung_up = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        began.set()
        await may_send.wait()
        if b"four" in sent[-1]:
            hung_up.set()

    async def receive() -> Any:
        await hung_up.wait()
        return {"type": "http.disconnect"}

    scope = {
        "type": "http", "method": "GET", "path": "/sessions/42/events", "headers": [],
        "client": ("192.0.2.7", 1),
    }  # fmt: skip
    stream = asyncio.create_task(EventStream(live, "session", CALL, ())(scope, receive, send))
    async with asyncio.timeout(5):
        await began.wait()
        for title in ("two", "three", "four"):
            clock.now += 5
            farm.title = title
            await core.latest(CALL)
        may_send.set()
        await stream
    assert counted == ["session", "session"]
    assert b'"one"' in b"".join(sent)
    assert b'"four"' in b"".join(sent)
    assert b'"two"' not in b"".join(sent)
    assert b'"three"' not in b"".join(sent)
    assert (len(subscriptions), live.streams) == (0, 0)
