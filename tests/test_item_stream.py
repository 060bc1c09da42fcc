"""``GET /sessions/events?ids=`` over real sockets: one stream for a whole page.

What all streams have in common is in test_sse; what takes turns that no socket can show is tried in
process.
"""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from app.api.batch import AT_ONCE
from app.api.item_stream import ItemStream, is_final, is_lasting, mark_of, read_marks
from app.api.problems import Problems
from app.api.sse import ENOUGH, EventStreams
from app.core import errors
from app.core.cache_entry import CacheEntry
from app.core.call import Call
from app.core.subscriptions import POLLS_AT_ONCE, Subscriptions, Update
from app.edge.api_keys import new_key
from app.resources.sessions import GetSession
from tests.conftest import Farm, StartGateway
from tests.hostile_farm import GOOD, http, raw_farm, session
from tests.programs import WITHIN
from tests.test_fields import rendered
from tests.test_gateway import CALL, build
from tests.test_http import problem_of
from tests.test_lists import fifty, many, queries
from tests.test_sse import (
    ENDED,
    RENDERING,
    SHORT,
    Event,
    Gateway,
    StartLive,
    gateway,
    parsed,
    start_live,
)
from tests.test_upstream import status, wait_for

__all__ = ["fifty", "gateway", "many", "queries", "start_live"]  # fixtures

PATH = "/sessions/events"
GONE = {"do": "fault", "code": 300}
ALL_FINAL = [ENDED, 300001, 103001]
"""Completed, missing, forbidden."""
QUEUED = 1011
"""Kept for 15 s."""


def path_of(*ids: int, fields: str = "") -> str:
    query = ",".join(map(str, ids))
    return f"{PATH}?ids={query}" + (f"&fields={fields}" if fields else "")


@contextmanager
def items(
    gateway: Gateway, *ids: int, last: str = "", fields: str = ""
) -> Iterator[Iterator[Event]]:
    """The events of a stream of several as they come; they end when it does."""
    headers = {"Last-Event-ID": last} if last else {}
    path = path_of(*ids, fields=fields)
    with gateway.http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        yield parsed(answer.iter_lines())


def without_moment(item: dict[str, Any]) -> dict[str, Any]:
    """An item whose problem, if it has one, is of no request and of no moment."""
    timeless = {"requestId": "-", "retryAfterMs": None}
    problem = item["problem"] and {**item["problem"], **timeless}
    return {**item, "problem": problem}


# --- What is told ----------------------------------------------------------------------------


def test_each_id_is_told_at_the_start_exactly_as_the_list_has_it(
    start_live: StartLive, fifty: list[int]
) -> None:
    gateway = start_live(upstream_deadline=60)  # of all fifty together
    listed = gateway.http.get("/sessions", params={"ids": ",".join(map(str, fifty))}).json()
    with items(gateway, *fifty) as events:
        told = list(islice(events, 50))
    assert {event.name for event in told} == {"item"}
    by_id = {event.data["id"]: without_moment(event.data) for event in told}
    assert [by_id[id] for id in fifty] == [without_moment(item) for item in listed["items"]]
    assert all(list(event.data) == ["id", "status", "session", "problem"] for event in told)


def test_a_stream_of_many_begins_like_any_other(gateway: Gateway) -> None:
    answer = gateway.http.get(path_of(ENDED), headers={"Origin": "https://a.example"})
    assert re.match(r"retry: \d{4}\n\nevent: item\n", answer.text)
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-store, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["access-control-allow-origin"] == "*"


def test_every_change_of_an_item_is_told_and_no_other_item_with_it(
    start_live: StartLive, farm: Farm
) -> None:
    gateway = start_live(fresh_active=SHORT)
    gateway.http.get(f"/sessions/{ENDED}")
    farm.next(rendered(7), rendered(7), rendered(8), rendered(8), rendered(9))
    with items(gateway, ENDED, 1005) as events:
        told = list(islice(events, 4))
    assert sorted(event.data["id"] for event in told) == [ENDED, 1005, 1005, 1005]
    parts = [event.data["session"]["partsRendered"] for event in told if event.data["id"] == 1005]
    assert parts == [7, 8, 9]
    assert len({event.id for event in told}) == 4


def test_an_outage_is_one_item_and_its_end_another(start_live: StartLive, farm: Farm) -> None:
    gateway = start_live(fresh_active=SHORT)
    farm.next(rendered(7), status(500), {"do": "html"}, status(500), rendered(7))
    with items(gateway, 1005) as events:
        before, failed, after = islice(events, 3)
    assert [event.data["status"] for event in (before, failed, after)] == [200, 502, 200]
    assert failed.data["session"] is None
    assert failed.data["problem"]["code"] == "upstream_unreachable"
    assert failed.data["problem"]["instance"] == "/sessions/1005"
    assert after.data == before.data
    assert farm.calls() >= 5


def test_a_new_reader_in_an_outage_gets_what_is_kept_and_then_the_failure(
    start_live: StartLive, farm: Farm
) -> None:
    gateway = start_live(fresh_active=SHORT)
    farm.next(rendered(7), *[status(500)] * 100)
    with items(gateway, 1005) as first:
        assert [event.data["status"] for event in islice(first, 2)] == [200, 502]
        with items(gateway, 1005) as second:
            assert [event.data["status"] for event in islice(second, 2)] == [200, 502]


def test_an_item_that_is_refused_is_told_and_told_again_when_it_is_back(
    start_live: StartLive, farm: Farm
) -> None:
    gateway = start_live(fresh_active=SHORT, keep_not_found=SHORT)
    gateway.http.get(f"/sessions/{QUEUED}")
    farm.next(rendered(7), GONE, GONE, rendered(7))
    with items(gateway, 1005, QUEUED) as events:
        told = [event.data for event in islice(events, 4)]
    assert [item["status"] for item in told if item["id"] == 1005] == [200, 404, 200]


def test_fields_are_cut_and_a_change_elsewhere_is_no_news(
    start_live: StartLive, farm: Farm
) -> None:
    gateway = start_live(fresh_active=SHORT)
    farm.next(rendered(7), rendered(8), rendered(9), rendered(250, "completed"))
    with items(gateway, 1005, fields="state,id") as events:
        told = list(events)
    assert [event.name for event in told] == ["item", "item", "end"]
    assert [event.data["session"] for event in told[:2]] == [
        {"id": 1005, "state": "active"},
        {"id": 1005, "state": "completed"},
    ]


# --- How it ends, and what a reader has who comes again ----------------------------------------


def test_the_stream_ends_when_every_item_is_final(gateway: Gateway) -> None:
    with items(gateway, *ALL_FINAL) as events:
        told = list(events)
    assert [event.name for event in told] == ["item", "item", "item", "end"]
    assert {event.data["status"] for event in told[:3]} == {200, 404, 403}
    assert told[3].data == {"reason": "final"}


def test_a_failure_that_may_pass_is_not_final(gateway: Gateway) -> None:
    with items(gateway, ENDED, 301001) as events:
        assert [event.name for event in islice(events, 2)] == ["item", "item"]
        gateway.drain.begin()
        assert list(events) == []


def test_the_end_comes_with_the_last_change(start_live: StartLive, farm: Farm) -> None:
    gateway = start_live(fresh_active=SHORT)
    gateway.http.get(f"/sessions/{ENDED}")
    farm.next(rendered(7), rendered(250, "completed"))
    with items(gateway, ENDED, 1005) as events:
        assert [event.name for event in events] == ["item", "item", "item", "end"]


def test_the_id_of_an_event_tells_all_that_was_seen_in_a_kilobyte_of_visible_characters(
    start_live: StartLive, fifty: list[int]
) -> None:
    gateway = start_live(upstream_deadline=60)
    with items(gateway, *fifty) as events:
        told = list(islice(events, 50))
    assert re.fullmatch(r"[!-~]{1,1000}", told[-1].id)
    assert set(read_marks(told[-1].id)) == set(fifty)
    assert [len(read_marks(event.id)) for event in told] == list(range(1, 51))


def test_who_comes_again_gets_only_what_has_changed_since(
    start_live: StartLive, farm: Farm
) -> None:
    gateway = start_live(fresh_active=60)
    ids = (1005, RENDERING, 301001, ENDED)
    with items(gateway, *ids) as events:
        last = list(islice(events, 4))[-1].id
    gateway.drain.begin()
    with items(gateway, *ids, last=last) as events:
        assert list(events) == [], "nothing has"
    other = start_live(fresh_active=60)  # what a reader has holds in every process
    farm.next(rendered(99))
    changed = other.http.get("/sessions/1005").json()
    with items(other, *ids, last=last) as events:
        told = next(events)
    assert told.data == {"id": 1005, "status": 200, "session": changed, "problem": None}
    assert set(read_marks(told.id)) == set(ids), "the others are still seen"


def test_who_comes_again_with_other_ids_gets_only_those_that_are_new(gateway: Gateway) -> None:
    with items(gateway, ENDED, 1001) as events:
        last = list(islice(events, 2))[-1].id
    with items(gateway, ENDED, 300001, last=last) as events:
        told = list(events)
    assert [event.data.get("id") for event in told] == [300001, None]
    assert set(read_marks(told[0].id)) == {ENDED, 300001}, "and the one that was left is forgotten"


def test_who_comes_again_in_an_outage_that_it_knows_is_told_nothing(
    start_live: StartLive, farm: Farm
) -> None:
    gateway = start_live(fresh_active=SHORT)
    farm.next(rendered(7), *[status(500)] * 100)
    with items(gateway, 1005) as events:
        _, failed = islice(events, 2)
    asked = farm.calls()
    with items(gateway, 1005, last=failed.id) as events:
        wait_for(lambda: farm.calls() > asked)
        gateway.drain.begin()
        assert list(events) == []


@pytest.mark.parametrize(
    "last", ['"etag"', "x" * 15, "A" * 16 * 51, "é" * 16, "AAAAKg==AAAAKg==", "%"]
)
def test_an_id_that_nobody_can_read_is_none(gateway: Gateway, last: str) -> None:
    answer = gateway.http.get(path_of(ENDED), headers=[(b"Last-Event-ID", last.encode())])
    assert [event.name for event in parsed(iter(answer.text.split("\n")))] == ["item", "end"]


def test_more_marks_than_a_stream_has_ids_are_none(gateway: Gateway) -> None:
    with items(gateway, ENDED) as events:
        mark = next(events).id
    statuses = [
        gateway.http.get(path_of(ENDED), headers={"Last-Event-ID": mark * times}).status_code
        for times in (1, 50, 51)
    ]
    assert statuses == [204, 204, 200]


def test_who_has_the_last_item_of_each_is_told_not_to_come_again(
    gateway: Gateway, farm: Farm
) -> None:
    with items(gateway, *ALL_FINAL) as events:
        last = list(events)[-2].id
    again = gateway.http.get(path_of(*ALL_FINAL), headers={"Last-Event-ID": last})
    assert (again.status_code, again.content) == (204, b"")
    assert again.headers["cache-control"] == "no-store, no-transform"
    one_more = gateway.http.get(path_of(*ALL_FINAL, 300002), headers={"Last-Event-ID": last})
    assert one_more.text.count("event: item") == 1
    assert farm.calls() == 4


def test_what_was_final_and_is_not_any_more_is_told(start_live: StartLive, farm: Farm) -> None:
    gateway = start_live(keep_not_found=0)
    farm.next(GONE, GONE, rendered(7))
    with items(gateway, 1005) as events:
        last = next(events).id
    assert all(map(is_final, read_marks(last).values()))
    farm.forget()
    farm.next(rendered(7))
    with items(gateway, 1005, last=last) as events:
        assert next(events).data["status"] == 200


def test_a_process_that_ends_closes_the_stream_and_still_tells_what_it_has(
    gateway: Gateway, farm: Farm
) -> None:
    with items(gateway, ENDED, RENDERING) as events:
        list(islice(events, 2))
        gateway.drain.begin()
        assert list(events) == []
    with items(gateway, ENDED, RENDERING, 1001) as late:
        assert [event.name for event in late] == ["item"] * 3
    wait_for(lambda: gateway.live.streams == 0)


# --- What it costs -----------------------------------------------------------------------------


def test_to_the_farm_it_is_one_call_for_each_id_and_lifetime_whoever_else_asks(
    start_live: StartLive, farm: Farm, many: list[int]
) -> None:
    gateway = start_live(fresh_active=60)
    ids = [*many[:20], 1005, RENDERING]
    with items(gateway, *ids) as first, items(gateway, *ids) as second:
        for events in (first, second):
            assert len(list(islice(events, len(ids)))) == len(ids)
        with gateway.events(1005) as alone:
            next(alone)
        assert (
            gateway.http.get(f"/sessions/{RENDERING}")
            .headers["cache-status"]
            .startswith("rfgw; hit")
        )
    assert farm.calls() == len(ids)


def test_a_cold_stream_never_fills_the_bulkhead(start_live: StartLive, many: list[int]) -> None:
    gateway = start_live(upstream_concurrency=8, upstream_queue=0, upstream_deadline=60)
    with items(gateway, *many) as events:
        assert {event.data["status"] for event in islice(events, 50)} == {200}


def test_the_pollers_of_a_slow_farm_leave_places_to_others(
    start_live: StartLive, farm: Farm, many: list[int]
) -> None:
    gateway = start_live(upstream_deadline=1, upstream_concurrency=16, upstream_queue=0)
    farm.next(*({"do": "late", "seconds": 0.9} for _ in range(200)))

    def held() -> float:
        told = gateway.http.get("/metrics").text
        return float(told.partition("\nrfgw_upstream_calls ")[2].split()[0])

    with items(gateway, *many) as events:
        assert len(list(islice(events, 50))) == 50  # many of them too late, and now polled
        wait_for(lambda: held() > 0)
        for _ in range(40):
            assert held() <= POLLS_AT_ONCE
            time.sleep(0.05)


def test_what_takes_too_long_keeps_no_other_item_back(start_live: StartLive, farm: Farm) -> None:
    gateway = start_live(upstream_deadline=3)
    with items(gateway, 700001, 700002, ENDED) as events:
        assert next(events).data["id"] == ENDED
        late = [event.data for event in islice(events, 2)]
    assert {item["id"] for item in late} == {700001, 700002}
    assert {item["problem"]["code"] for item in late} <= {
        "upstream_timeout",
        "upstream_unavailable",
    }


def test_to_the_caps_it_is_one_stream(start_live: StartLive, many: list[int]) -> None:
    gateway = start_live(events_max_streams=2, events_per_client=1)
    with items(gateway, *many[:10], RENDERING) as events:
        next(events)
        problem_of(gateway.http.get(path_of(*many[:2])), 429, "too_many_streams")
        assert len(gateway.live.subscriptions) == 1
        assert "rfgw_streams 1.0" in gateway.http.get("/metrics").text.splitlines()
    wait_for(lambda: len(gateway.live.subscriptions) == 0)
    problem_of(start_live(events_max_streams=0).http.get(path_of(1, 2)), 503, "overloaded")


def test_to_a_rate_limit_it_costs_what_its_ids_cost_once(start_gateway: StartGateway) -> None:
    gateway = start_gateway(rate_limit="10/60")
    answer = gateway.get(path_of(*ALL_FINAL))
    assert answer.headers["ratelimit"].startswith('"default";r=7;')
    assert gateway.get(path_of(ENDED)).headers["ratelimit"].startswith('"default";r=6;')
    refused = gateway.get(path_of(*range(2001, 2008)))
    problem_of(refused, 429, "rate_limited")


def test_its_events_are_counted(gateway: Gateway) -> None:
    gateway.http.get(path_of(*ALL_FINAL))
    counted = gateway.http.get("/metrics").text.splitlines()
    assert 'rfgw_stream_events_total{event="item"} 3.0' in counted
    assert 'rfgw_stream_events_total{event="end"} 1.0' in counted


def test_a_reader_that_leaves_leaves_nothing_behind(gateway: Gateway, many: list[int]) -> None:
    with items(gateway, *many, last="") as events:
        next(events)
    wait_for(lambda: len(gateway.live.subscriptions) == 0)
    wait_for(lambda: gateway.live.streams == 0)
    wait_for(lambda: gateway.live.subscriptions._topics == {})
    assert not gateway.live.subscriptions._subscribers


def test_for_a_reader_that_has_left_no_further_session_is_asked_for(
    start_gateway: StartGateway, many: list[int]
) -> None:
    let_go = threading.Event()

    def held(number: int) -> Callable[[socket.socket], None]:
        def answer(connection: socket.socket) -> None:
            let_go.wait(WITHIN)
            connection.sendall(http(session(number=number)))

        return answer

    with raw_farm(GOOD) as farm:
        farm.scripts.update({number: [held(number)] for number in many})
        gateway = start_gateway(upstream_url=farm.url, upstream_deadline=60)

        def under_way(name: str) -> float:
            told = gateway.get("/metrics").text
            return float(told.partition(f"\nrfgw_{name} ")[2].split()[0])

        try:
            with gateway.stream("GET", path_of(*many)) as stream:
                wait_for(lambda: len(farm.requests) == AT_ONCE < len(many))
                assert stream.status_code == 200
            wait_for(lambda: under_way("streams") == 0)
        finally:
            let_go.set()
        others = range(900_001, 900_004)  # they wait for their turn behind whatever is asked for
        for number in others:
            assert gateway.get(f"/sessions/{number}").status_code == 502
        wait_for(lambda: under_way("upstream_calls") == 0)
        assert len(farm.requests) == AT_ONCE + len(others)


# --- What goes wrong before the stream ---------------------------------------------------------


def test_a_bad_list_of_ids_is_refused_before_the_stream_as_the_list_refuses_it(
    gateway: Gateway, farm: Farm, queries: dict[str, str]
) -> None:
    for query, message in queries.items():
        problem = problem_of(gateway.http.get(f"{PATH}?{query}"), 422, "invalid_request")
        (part,) = problem["errors"]
        assert (part["parameter"], part["message"]) == ("ids", message)
    problem_of(gateway.http.get(path_of(42, fields="titel")), 422, "invalid_request")
    assert farm.calls() == 0


def test_who_takes_no_events_is_told_so(gateway: Gateway, farm: Farm) -> None:
    answer = gateway.http.get(path_of(ENDED), headers={"Accept": "application/problem+json"})
    problem_of(answer, 406, "not_acceptable")
    assert farm.calls() == 0


def test_who_wants_what_is_kept_only_makes_nobody_ask(gateway: Gateway, farm: Farm) -> None:
    only = {"Cache-Control": "only-if-cached"}
    gateway.http.get(f"/sessions/{ENDED}")
    problem_of(gateway.http.get(path_of(ENDED, 300001), headers=only), 504, "not_cached")
    assert farm.calls() == 1
    gateway.http.get("/sessions/300001")
    told = gateway.http.get(path_of(ENDED, 300001), headers=only)
    assert (told.status_code, told.text.count("event: item")) == (200, 2)
    assert farm.calls() == 2


def test_head_gets_the_header_fields_alone_and_asks_nobody(gateway: Gateway, farm: Farm) -> None:
    head = gateway.http.head(path_of(RENDERING))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == "text/event-stream"
    assert gateway.http.post(path_of(RENDERING)).headers["allow"] == "GET, HEAD"
    assert farm.calls() == 0


def test_a_stream_of_many_ends_when_its_key_is_taken_back(
    tmp_path: Path, start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.watched_file.LOOK_EVERY", 0.0)
    (key, line), (_, other) = new_key("site-a"), new_key("site-b")
    (tmp_path / "keys").write_text(line)
    gateway = start_gateway(api_keys_file=tmp_path / "keys", fresh_active=1)
    problem_of(gateway.get(path_of(1005)), 401, "unauthorized")
    with gateway.stream("GET", path_of(1005), headers={"x-api-key": key}) as stream:
        events = parsed(stream.iter_lines())
        assert next(events).name == "item"
        (tmp_path / "keys").write_text(other)
        *_, last = events
    assert (last.name, last.data["code"]) == ("problem", "unauthorized")


def test_silence_is_broken_by_comments(gateway: Gateway) -> None:
    gateway.live.heartbeat_every = 0.01
    with gateway.http.stream("GET", path_of(RENDERING)) as answer:
        lines = (line for line in answer.iter_lines() if line.startswith(":"))
        assert list(islice(lines, 3)) == [":", ":", ":"]


# --- In process --------------------------------------------------------------------------------

ENTRY = CacheEntry(b"{}", "one", 1000.0, 5.0, 5)
SCOPE = {
    "type": "http", "method": "GET", "path": PATH, "headers": [], "client": ("192.0.2.7", 1),
    "query_string": b"",
}  # fmt: skip


class Titles:
    """A farm whose sessions all have the same title."""

    title = "one"

    async def call(
        self, call: Call, *, read: Callable[[object], Awaitable[Any]], background: bool = False
    ) -> Any:
        number = call.arguments["sessionId"]
        return await read({"id": number, "state": "active", "title": self.title})


async def test_a_slow_reader_gets_the_newest_item_of_each_and_nothing_older() -> None:
    core, _, clock = build()
    core.upstream = farm = Titles()
    other = GetSession(id=43)
    subscriptions = Subscriptions(core, most=1, per_client=1)
    counted: list[str] = []
    live = EventStreams(core, subscriptions, Problems(""), counted.append, patience=5)
    sent: list[bytes] = []
    begun, may_send, hung_up = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        if b"event: item" in sent[-1]:
            begun.set()
            await may_send.wait()
        if b"".join(sent).count(b'"four"') == 2:
            hung_up.set()

    async def receive() -> Any:
        await hung_up.wait()
        return {"type": "http.disconnect"}

    calls = {42: CALL, 43: other}
    stream = asyncio.create_task(ItemStream(live, "session", calls, ())(SCOPE, receive, send))
    async with asyncio.timeout(5):
        await begun.wait()
        for title in ("two", "three", "four"):
            clock.now += 5
            farm.title = title
            for call in calls.values():
                await core.latest(call)
        may_send.set()
        await stream
    frames = b"".join(sent)
    assert counted == ["item"] * 4
    assert [frames.count(word) for word in (b'"one"', b'"two"', b'"three"', b'"four"')] == [
        2, 0, 0, 2,
    ]  # fmt: skip
    assert (len(subscriptions), live.streams, subscriptions._topics) == (0, 0, {})


def test_what_was_final_and_has_come_back_holds_the_end_up() -> None:
    core, _, _ = build()
    subscriptions = Subscriptions(core, most=1, per_client=1)
    live = EventStreams(core, subscriptions, Problems(""), lambda _: None, patience=5)
    first, second = CALL.key, GetSession(id=43).key
    stream = ItemStream(live, "session", {42: CALL, 43: GetSession(id=43)}, ())
    final = ENTRY._replace(final=True, digest="final")
    told = [
        (first, Update(None, errors.SessionNotFound()), False),
        (first, Update(ENTRY), False),
        (second, Update(final), False),
        (first, Update(final), True),
    ]
    for key, update, is_over in told:
        assert b"event: item" in stream.frame(key, update, SCOPE)
        assert stream.is_over is is_over


async def test_updates_that_come_close_together_go_out_in_one_piece() -> None:
    core, _, _ = build()
    core.upstream = Titles()
    subscriptions = Subscriptions(core, most=1, per_client=1)
    live = EventStreams(core, subscriptions, Problems(""), lambda _: None, patience=5)
    calls = {number: GetSession(id=number) for number in (42, 43, 44)}
    sent: list[bytes] = []
    told, hung_up = asyncio.Event(), asyncio.Event()

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        if b"".join(sent).count(b"event: item") in (3, 6):
            told.set()

    async def receive() -> Any:
        await hung_up.wait()
        return {"type": "http.disconnect"}

    stream = asyncio.create_task(ItemStream(live, "session", calls, ())(SCOPE, receive, send))
    async with asyncio.timeout(5):
        await told.wait()
        told.clear()
        for size, call in zip((10, ENOUGH, 10), calls.values(), strict=True):
            body = b'"%b"' % (b"x" * size)
            subscriptions.on_answer(call.key, ENTRY._replace(body=body, digest=call.key))
        await told.wait()
        hung_up.set()
        await stream
    pieces = [piece.count(b"event: item") for piece in sent if b"xxx" in piece]
    assert pieces == [2, 1], "but not more than is enough"


class Broken:
    """A gateway with a bug."""

    async def fetch(self, *_: object) -> None:
        raise RuntimeError("bug")


async def test_a_bug_on_the_way_cuts_the_stream_off() -> None:
    core, _, _ = build()
    subscriptions = Subscriptions(core, most=1, per_client=1)
    live = EventStreams(core, subscriptions, Problems(""), lambda _: None, patience=5)
    live.gateway = Broken()  # type: ignore[assignment]
    forever = asyncio.Event()

    async def send(message: Any) -> None:
        """Take all."""

    async def receive() -> Any:
        await forever.wait()

    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError, match="bug"):
            await ItemStream(live, "session", {42: CALL}, ())(SCOPE, receive, send)
    assert (len(subscriptions), live.streams) == (0, 0)


@pytest.mark.parametrize(
    ("update", "final"),
    [
        (Update(ENTRY), False),
        (Update(ENTRY._replace(final=True)), True),
        (Update(None, errors.SessionNotFound()), True),
        (Update(None, errors.SessionForbidden()), True),
        (Update(None, errors.SessionNotAttached()), False),
        (Update(None, errors.UpstreamRefusedCredentials()), False),
        (Update(None, errors.UpstreamTimeout()), False),
    ],
)
def test_a_mark_tells_id_and_state_and_whether_more_can_come(update: Update, final: bool) -> None:
    assert is_lasting(update) is final
    mark = mark_of(2147483647, update.state, final)
    assert read_marks(mark) == {2147483647: mark}
    assert is_final(mark) is final
    assert mark_of(2147483647, "two", final) != mark
    assert json.dumps(mark) == f'"{mark}"'
