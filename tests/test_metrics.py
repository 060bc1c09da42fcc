"""Each event moves its series by one, and no others."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from app.core import errors
from app.core.cache_entry import CacheEntry
from app.core.fetch_result import OUTCOMES, FetchResult
from app.main import create_app
from app.telemetry.access_log import AccessLog
from app.telemetry.cluster_metrics import SharedCacheMetrics
from app.telemetry.hit_counters import BOUNDS, RequestCounters
from app.telemetry.logs import MAX_TEMPLATES, JsonLines
from app.telemetry.metrics import Metrics
from app.telemetry.request_context import RequestContext
from tests.conftest import Farm, StartGateway, settings_for
from tests.programs import WITHIN
from tests.running import client_of, running, serving
from tests.test_upstream import Held, held, wait_for

__all__ = ["held"]  # a fixture

Series = dict[str, float]

TIMES = re.compile(r"_created|_seconds|_bytes")
"""Series that hold times and sizes: their values are not the same in each run."""

SCRAPE = 'rfgw_requests_total{operation="other",status="200"}'


def series(gateway: httpx.Client) -> Series:
    """All series and their values, but for times and sizes."""
    lines = gateway.get("/metrics").text.splitlines()
    split = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in split if not TIMES.search(name)}


def moved(before: Series, after: Series) -> Series:
    """By how much which series moved, but for the scrape between them."""
    after = {**after, SCRAPE: after[SCRAPE] - 1}
    steps = {name: value - before.get(name, 0.0) for name, value in after.items()}
    return {name: step for name, step in steps.items() if step}


def requests(status: int, operation: str = "getSession") -> str:
    return f'rfgw_requests_total{{operation="{operation}",status="{status}"}}'


def cache(outcome: str) -> str:
    return f'rfgw_cache_answers_total{{outcome="{outcome}"}}'


def attempts(outcome: str) -> str:
    return f'rfgw_upstream_attempts_total{{outcome="{outcome}"}}'


def bare(path: str, method: str = "GET", **fields: str) -> tuple[str, str, dict[str, str]]:
    return method, path, {name.replace("_", "-"): text for name, text in fields.items()}


MISS = {cache("miss"), attempts("ok"), "rfgw_cache_entries"}
FAILURE = "rfgw_cache_failures"
EVENTS: list[tuple[str, tuple[str, str, dict[str, str]], dict[str, object] | None, set[str]]] = [
    ("a miss", bare("/sessions/1008"), None, {requests(200), *MISS}),
    ("a hit", bare("/sessions/1008"), None, {requests(200), cache("hit")}),
    ("a hit by HEAD", bare("/sessions/1008", "HEAD"), None, {requests(200), cache("hit")}),
    ("a hit by the route", bare("/sessions/1008?x=1"), None, {requests(200), cache("hit")}),
    ("unchanged", bare("/sessions/1008", If_None_Match="*"), None, {requests(304), cache("hit")}),
    (
        "not kept, and the farm not to be asked",
        bare("/sessions/1007", Cache_Control="only-if-cached"), None,
        {requests(504), cache("not_cached")},
    ),
    (
        "a refusal", bare("/sessions/300001"), None,
        {requests(404), cache("miss"), attempts("fault"), "rfgw_cache_entries"},
    ),
    ("a kept refusal", bare("/sessions/300001"), None, {requests(404), cache("negative")}),
    (
        "a failure", bare("/sessions/1006"), {"do": "malformed"},
        {requests(502), cache("failed"), attempts("not_xml"), FAILURE},
    ),
    (
        "a retry", bare("/sessions/1009"), {"do": "status", "status": 502},
        {requests(200), *MISS, attempts("http_502"), "rfgw_upstream_retries_total"},
    ),
    (
        "the gateway's own key refused", bare("/sessions/1004"), {"do": "fault", "code": 400},
        {
            requests(502), cache("failed"), attempts("fault"), FAILURE,
            'rfgw_upstream_credentials_refused_total{fault_code="400"}',
        },
    ),
    (
        "another session's answer", bare("/sessions/1005"), {"do": "wrong_id"},
        {
            requests(502), cache("failed"), attempts("ok"), FAILURE,
            'rfgw_upstream_misread_total{cause="other_id"}',
        },
    ),
    ("a wrong id", bare("/sessions/007"), None, {requests(422)}),
    ("a wrong method", bare("/sessions/1008", "DELETE"), None, {requests(405)}),
    ("not acceptable", bare("/sessions/1008", Accept="image/png"), None, {requests(406)}),
    ("no such path", bare("/sessionz/1008"), None, {requests(404, "other")}),
    ("no such path, odder", bare("/%00%0a\"}"), None, {requests(404, "other")}),
    ("a problem's page", bare("/problems/overloaded"), None, {requests(200, "getProblem")}),
    ("a page", bare("/docs"), None, {requests(200, "other")}),
    (
        "a preflight",
        bare("/sessions/1", "OPTIONS", Origin="https://a", Access_Control_Request_Method="GET"),
        None, {requests(204, "other")},
    ),
    ("too large", bare("/sessions/1", X_Long="x" * 17_000), None, {requests(431, "other")}),
]  # fmt: skip


def test_each_event_moves_its_series_by_one_and_no_other(gateway: httpx.Client, farm: Farm) -> None:
    for name, (method, path, fields), step, expected in EVENTS:
        if step:
            farm.next(step)
        before = series(gateway)
        gateway.request(method, path, headers=fields)
        assert moved(before, series(gateway)) == dict.fromkeys(expected, 1.0), name


def test_a_crash_is_one_crash_and_one_500(farm: Farm) -> None:
    async def bug(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError

    edge = create_app(settings_for(farm.url))
    with running(serving(edge)) as url, client_of(url) as gateway:
        before = series(gateway)
        app, edge.app = edge.app, bug
        assert gateway.get("/sessions/1008").status_code == 500
        edge.app = app
        after = series(gateway)
    assert moved(before, after) == {requests(500, "other"): 1.0, "rfgw_crashes_total": 1.0}


def test_stale_answers_are_told_by_their_reason_and_summed_by_their_age(
    start_gateway: StartGateway, farm: Farm
) -> None:
    stale = start_gateway(fresh_terminal=0.05, stale_while_revalidate=0, stale_if_slow=0.2)

    def outcome(name: str) -> None:
        before = series(stale)
        until = time.monotonic() + WITHIN
        while moved(before, series(stale)).get(cache(name), 0.0) < 1.0:
            assert time.monotonic() < until, name
            stale.get("/sessions/1008")

    outcome("miss")
    late: list[dict[str, object]] = [{"do": "late", "seconds": 0.5}] * 99
    farm.next(*late)
    outcome("slow")
    farm.forget()
    malformed: list[dict[str, object]] = [{"do": "malformed"}] * 99
    farm.next(*malformed)  # one that is slow, too, is told as such
    outcome("sie")
    seconds = re.search(
        r"^rfgw_cache_stale_seconds_total (.+)", stale.get("/metrics").text, re.MULTILINE
    )
    assert seconds is not None
    assert float(seconds[1]) > 0


def test_a_stale_answer_while_it_is_asked_for_anew(start_gateway: StartGateway) -> None:
    gateway = start_gateway(fresh_terminal=0)
    gateway.get("/sessions/1008")
    assert series(gateway)["rfgw_cache_entries"] == 0, "nothing is kept"
    gateway = start_gateway(fresh_terminal=0.01, stale_while_revalidate=60)
    until = time.monotonic() + WITHIN
    while cache("swr") not in series(gateway):
        assert time.monotonic() < until
        gateway.get("/sessions/1008")


def test_a_crowd_is_one_miss_and_the_rest_collapsed(
    start_gateway: StartGateway, held: Held
) -> None:
    gateway = start_gateway(upstream_url=held.url, upstream_deadline=WITHIN)
    before = series(gateway)
    with ThreadPoolExecutor(5) as pool:
        path = f"/sessions/{held.number}"
        answers = [pool.submit(gateway.get, path, timeout=WITHIN) for _ in range(5)]
        until = time.monotonic() + WITHIN
        while (during := series(gateway)).get("rfgw_flights_joined_total", 0.0) < 4:
            assert time.monotonic() < until
        held.release()
        assert all(answer.result().status_code == 200 for answer in answers)
    assert during["rfgw_flights"] == 1
    assert during["rfgw_upstream_calls"] == 1
    after = series(gateway)
    assert after["rfgw_flights"] == after["rfgw_upstream_calls"] == 0
    steps = {name: after[name] - before.get(name, 0) for name in after.keys() - {SCRAPE}}
    assert {name: step for name, step in steps.items() if step} == {
        requests(200): 5, cache("miss"): 1, cache("collapsed"): 4, attempts("ok"): 1,
        "rfgw_flights_joined_total": 4, "rfgw_cache_entries": 1,
    }  # fmt: skip


def test_a_call_that_waits_for_a_place_is_queued(
    start_gateway: StartGateway, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.wiring.QUEUE_WAIT", WITHIN)
    gateway = start_gateway(upstream_url=held.url, upstream_concurrency=1, upstream_deadline=WITHIN)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(gateway.get, f"/sessions/{held.number}", timeout=WITHIN)
        wait_for(lambda: held.asked == 1)
        second = pool.submit(gateway.get, "/sessions/1002", timeout=WITHIN)
        until = time.monotonic() + WITHIN
        while not series(gateway)["rfgw_upstream_queued"]:
            assert time.monotonic() < until
        held.release()
        assert first.result().status_code == second.result().status_code == 200
    assert series(gateway)["rfgw_upstream_queued"] == 0


def test_every_request_is_in_one_bucket_and_in_all_larger_ones() -> None:
    metrics = Metrics()
    times = [0.0, *BOUNDS, 99.0]
    for status, seconds in zip([200, 304] * 6, times, strict=True):
        metrics.requests.count("getSession", status, seconds)
    text = metrics.exposition().decode()
    buckets = re.findall(r'request_seconds_bucket\{le="(.+)",operation="getSession"\} (.+)', text)
    assert [float(bound) for bound, _ in buckets] == [*BOUNDS, float("inf")]
    assert [float(number) for _, number in buckets] == [*range(2, len(BOUNDS) + 2), len(times)]
    assert f'rfgw_request_seconds_sum{{operation="getSession"}} {sum(times)}' in text
    assert f'rfgw_request_seconds_count{{operation="getSession"}} {len(times)}' in text


def test_a_request_without_an_answer_has_no_status() -> None:
    metrics = Metrics()
    metrics.requests.count("other", 0, 1.0)
    assert 'rfgw_requests_total{operation="other",status="none"} 1.0' in (
        metrics.exposition().decode()
    )


REFUSED, FAILED = errors.SessionNotFound(), errors.UpstreamTimeout("deadline")
ENTRY = CacheEntry(b"{}", "tag", 0.0, 5.0, 5)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (FetchResult(ENTRY, hit=True), "hit"),
        (FetchResult(ENTRY, REFUSED, hit=True), "negative"),
        (FetchResult(ENTRY, hit=True, detail="swr"), "swr"),
        (FetchResult(ENTRY, hit=True, detail="slow"), "slow"),
        (FetchResult(ENTRY, forward="stale", failure=FAILED, detail="sie"), "sie"),
        (FetchResult(ENTRY, forward="uri-miss"), "miss"),
        (FetchResult(ENTRY, REFUSED, forward="uri-miss"), "miss"),
        (FetchResult(ENTRY, forward="stale"), "refreshed"),
        (FetchResult(ENTRY, forward="request"), "refreshed"),
        (FetchResult(ENTRY, forward="uri-miss", collapsed=True), "collapsed"),
        (FetchResult(error=FAILED, forward="uri-miss", collapsed=True), "failed"),
        (FetchResult(error=errors.Overloaded(asked=False)), "failed"),
        (FetchResult(error=errors.NotCached()), "not_cached"),
    ],
)
def test_how_the_cache_took_part_is_one_word(answer: FetchResult, outcome: str) -> None:
    assert answer.outcome == outcome
    assert outcome in OUTCOMES


def test_a_stream_is_one_request_and_counts_once_it_has_ended(gateway: httpx.Client) -> None:
    name = requests(200, "streamSessionEvents")
    with gateway.stream("GET", "/sessions/1005/events") as answer:
        lines = answer.iter_lines()
        assert next(lines)
        assert name not in series(gateway)
    until = time.monotonic() + WITHIN
    while name not in series(gateway):
        assert time.monotonic() < until
    assert series(gateway)[name] == 1


def test_the_latency_of_a_stream_is_that_of_its_beginning() -> None:
    counters = RequestCounters()
    request = RequestContext("id", began=1.0)
    request.begin(200, 1.5)
    AccessLog(counters, None, lambda: 100.0).routed(request)
    samples = [sample for family in counters.collect() for sample in family.samples]
    assert [one.value for one in samples if one.name == "rfgw_request_seconds_sum"] == [0.5]


def test_the_templates_of_lines_have_a_bound() -> None:
    log = AccessLog(RequestCounters(), JsonLines())
    for status in range(MAX_TEMPLATES + 10):
        log.expect("getSession", status)
    assert len(log._templates) <= MAX_TEMPLATES


def test_what_was_never_sent_to_the_shared_cache_has_no_duration() -> None:
    registry = CollectorRegistry()
    metrics = SharedCacheMetrics(registry)
    for outcome, seconds in (("down", 0.0), ("late", 0.02), ("ok", 0.001)):
        metrics.operation("get", outcome, seconds)
    for outcome in ("down", "late", "ok"):
        counted = {"operation": "get", "outcome": outcome}
        assert registry.get_sample_value("rfgw_shared_cache_total", counted) == 1
    assert registry.get_sample_value("rfgw_shared_cache_seconds_count", {"operation": "get"}) == 2
