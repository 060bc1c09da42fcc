"""How long answers keep, and what the standard headers tell about it, over real ports.

The gateway's clock is wound by hand. Must not know how the gateway is built inside.
"""

import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import pytest

from app.main import create_app
from tests.conftest import Farm, StartGateway, settings_for
from tests.hostile_farm import http, member, raw_farm, session
from tests.programs import WITHIN
from tests.running import client_of, running, serving
from tests.test_http import EXPOSED, listed, problem_of, raw
from tests.test_upstream import body, wait_for

MISS = "rfgw; fwd=uri-miss; fwd-status=200; stored"
WINDOWS = "stale-while-revalidate=30, stale-if-error=600"
RENDERING = 1006
"""A session that keeps for 5 s."""


class Clock:
    """The gateway's two clocks, wound by hand."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.jumped = 0.0

    def monotonic(self) -> float:
        return 1000.0 + self.passed

    def time(self) -> float:
        return time.time() + self.jumped


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of every gateway that the test starts from now on."""
    clock = Clock()
    monkeypatch.setattr("app.wiring.age_clock", clock.monotonic)
    monkeypatch.setattr(
        "app.wiring.time", SimpleNamespace(monotonic=time.monotonic, time=clock.time)
    )
    return clock


@pytest.fixture
def wound(clock: Clock, start_gateway: StartGateway) -> httpx.Client:
    """A gateway on the clock that the test winds. No farm is slow to it: that clock is real."""
    return start_gateway(stale_if_slow=60, upstream_deadline=60)


@pytest.fixture(scope="module")
def freshness(_farm: Farm) -> Iterator[httpx.Client]:
    """A gateway that keeps session 1008, for the tests that only read it."""
    with (
        running(serving(create_app(settings_for(_farm.url)))) as url,
        client_of(url) as client,
    ):
        assert client.get("/sessions/1008").status_code == 200
        yield client


def told(answer: httpx.Response) -> str:
    """The one Cache-Status line of ``answer``."""
    (line,) = answer.headers.get_list("cache-status")
    return line


def get(gateway: httpx.Client, number: int, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.get(f"/sessions/{number}", headers=sent)


def settle(gateway: httpx.Client, farm: Farm, calls: int) -> None:
    """Waits until ``calls`` calls came in and the last one's answer was taken up."""
    wait_for(lambda: farm.calls() >= calls)
    wait_for(lambda: farm.http.get("/__records").json()["in_flight"] == 0)
    wait_for(lambda: "ttl=-" not in told(get(gateway, RENDERING, cache_control="only-if-cached")))


# --- Lifetimes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "lifetime"),
    [
        (1001, 60), (1002, 60), (1003, 60), (1004, 5), (1006, 5), (1007, 5), (1008, 3600),
        (1009, 3600), (1010, 3600), (1011, 15), (1012, 5), (42, 3600),
    ],
)  # fmt: skip
def test_the_phase_decides_the_lifetime(
    freshness: httpx.Client, number: int, lifetime: int
) -> None:
    answer = get(freshness, number)
    assert answer.headers["cache-control"] == f"public, max-age={lifetime}, {WINDOWS}"


def test_a_miss_is_told_and_then_hits_count_down(
    wound: httpx.Client, clock: Clock, farm: Farm
) -> None:
    first = get(wound, RENDERING)
    assert told(first) == MISS
    assert first.headers["age"] == "0"
    for passed, age, ttl in ((0.0, "0", 5), (2.0, "2", 3), (2.9, "2", 2), (4.5, "4", 0)):
        clock.passed = passed
        answer = get(wound, RENDERING)
        status = told(answer)
        assert re.fullmatch(r"rfgw; hit; ttl=\d+", status)
        assert abs(int(status.rpartition("=")[2]) - ttl) <= 1, status
        assert answer.headers["age"] == age
        assert answer.headers["cache-control"] == f"public, max-age=5, {WINDOWS}"
        assert answer.content == first.content
        assert answer.headers["etag"] == first.headers["etag"]
    assert farm.calls() == 1


def test_a_jump_of_the_wall_clock_changes_nothing(wound: httpx.Client, clock: Clock) -> None:
    get(wound, RENDERING)
    clock.passed = 2
    for jumped in (86_400.0, -86_400.0):
        clock.jumped = jumped
        answer = get(wound, RENDERING)
        assert (told(answer), answer.headers["age"]) == ("rfgw; hit; ttl=3", "2")


def test_jitter_stays_within_its_share(clock: Clock, start_gateway: StartGateway) -> None:
    gateway = start_gateway(ttl_jitter=0.1, fresh_active=1000)
    ttls = []
    for number in (1004, 1006, 1007, 1012):
        get(gateway, number)
        ttls.append(int(told(get(gateway, number)).rpartition("=")[2]))
    assert all(900 <= ttl <= 1100 for ttl in ttls)
    assert len(set(ttls)) > 1, "each entry has its own"


def test_a_lifetime_of_nothing_asks_every_time(start_gateway: StartGateway, farm: Farm) -> None:
    gateway = start_gateway(fresh_active=0, stale_while_revalidate=0, stale_if_error=0)
    for _ in range(3):
        assert get(gateway, RENDERING).status_code == 200
    assert farm.calls() == 3


# --- Stale -----------------------------------------------------------------------------------


def test_a_stale_answer_goes_out_at_once_with_one_refresh_behind_it(
    wound: httpx.Client, clock: Clock, farm: Farm
) -> None:
    first = get(wound, RENDERING)
    clock.passed = 6
    farm.forget()
    farm.next({"do": "late", "seconds": 0.3})
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: get(wound, RENDERING), range(20)))
    for answer in answers:
        assert (answer.status_code, answer.content) == (200, first.content)
    stale = [answer for answer in answers if told(answer) == "rfgw; hit; ttl=-1; detail=swr"]
    assert stale
    assert stale[0].headers["age"] == "6"
    settle(wound, farm, 1)
    after = get(wound, RENDERING)
    assert (told(after), after.headers["age"]) == ("rfgw; hit; ttl=5", "0")
    assert farm.calls() == 1


def test_a_refresh_brings_the_new_answer(wound: httpx.Client, clock: Clock, farm: Farm) -> None:
    state = member("state", "active") + member("render_begin", "<i4>1</i4>")
    farm.next(*[body(session(member("title", t), state, number=RENDERING)) for t in ("a", "b")])
    first = get(wound, RENDERING)
    lifetime = int(re.findall(r"max-age=(\d+)", first.headers["cache-control"])[0])
    clock.passed = lifetime + 1
    assert get(wound, RENDERING).json()["title"] == "a"
    settle(wound, farm, 2)
    second = get(wound, RENDERING)
    assert second.json()["title"] == "b"
    assert second.headers["etag"] != first.headers["etag"]


def test_past_the_refresh_window_the_farm_is_asked(
    wound: httpx.Client, clock: Clock, farm: Farm
) -> None:
    get(wound, RENDERING)
    clock.passed = 36
    answer = get(wound, RENDERING)
    assert told(answer).startswith("rfgw; fwd=stale; fwd-status=200; stored")
    assert answer.headers["age"] == "0"
    assert farm.calls() == 2


@pytest.mark.parametrize(
    ("step", "fwd_status"),
    [({"do": "status", "status": 500}, 502), ({"do": "malformed"}, 502), ({"do": "wrong_id"}, 502),
     ({"do": "fault", "code": 999}, 502), ({"do": "fault", "code": 104}, 502)],
)  # fmt: skip
def test_a_failure_is_covered_by_the_kept_answer_until_the_window_ends(
    wound: httpx.Client, clock: Clock, farm: Farm, step: dict[str, object], fwd_status: int
) -> None:
    first = get(wound, RENDERING)
    clock.passed = 604
    farm.next(step)
    answer = get(wound, RENDERING)
    assert (answer.status_code, answer.content) == (200, first.content)
    assert told(answer) == f"rfgw; fwd=stale; fwd-status={fwd_status}; detail=sie"
    assert answer.headers["age"] == "604"
    assert answer.headers["etag"] == first.headers["etag"]
    clock.passed = 606
    farm.next(step)
    answer = get(wound, RENDERING)
    assert answer.status_code == fwd_status
    assert answer.headers["cache-control"] == "no-store"


def test_a_timeout_is_covered_too(clock: Clock, start_gateway: StartGateway, farm: Farm) -> None:
    gateway = start_gateway(upstream_deadline=3, stale_if_slow=20)
    first = get(gateway, RENDERING)
    clock.passed = 100
    farm.next({"do": "hang"})
    answer = get(gateway, RENDERING)
    assert (answer.status_code, answer.content) == (200, first.content)
    assert told(answer) == "rfgw; fwd=stale; fwd-status=504; detail=sie"


def test_a_slow_farm_is_not_waited_for(
    start_gateway: StartGateway, clock: Clock, farm: Farm
) -> None:
    gateway = start_gateway(stale_if_slow=0.1)
    first = get(gateway, RENDERING)
    clock.passed = 100
    farm.next({"do": "late", "seconds": 1})
    answer = get(gateway, RENDERING)
    assert (answer.status_code, answer.content) == (200, first.content)
    assert told(answer).endswith("detail=slow")
    assert answer.headers["age"] == "100"
    settle(gateway, farm, 2)
    assert told(get(gateway, RENDERING)) == "rfgw; hit; ttl=5"
    assert farm.calls() == 2


def test_a_slow_farm_is_waited_for_where_nothing_is_kept(wound: httpx.Client, farm: Farm) -> None:
    farm.next({"do": "late", "seconds": 0.3})
    assert told(get(wound, RENDERING)) == MISS


# --- Refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status", "code", "kept"),
    [
        (300, 404, "session_not_found", 10),
        (301, 409, "session_not_attached", 5),
        (103, 403, "session_forbidden", 5),
    ],
)
def test_a_refusal_replaces_the_kept_answer_and_is_kept_itself(
    wound: httpx.Client, clock: Clock, farm: Farm, fault: int, status: int, code: str, kept: int
) -> None:
    get(wound, RENDERING)
    clock.passed = 100
    farm.next({"do": "fault", "code": fault})
    first = get(wound, RENDERING)
    problem_of(first, status, code)
    assert first.headers["cache-control"] == f"public, max-age={kept}"
    assert told(first).startswith(f"rfgw; fwd=stale; fwd-status={status}")
    clock.passed = 100 + kept - 1
    second = get(wound, RENDERING)
    problem_of(second, status, code)
    assert (told(second), second.headers["age"]) == ("rfgw; hit; ttl=1", str(kept - 1))
    assert second.json()["requestId"] != first.json()["requestId"]
    assert farm.calls() == 2
    clock.passed = 100 + kept + 1
    assert get(wound, RENDERING).status_code == 200, "it is asked for again"
    assert farm.calls() == 3


def test_a_refused_refresh_replaces_the_kept_answer(
    wound: httpx.Client, clock: Clock, farm: Farm
) -> None:
    get(wound, RENDERING)
    clock.passed = 6
    farm.next({"do": "fault", "code": 300})
    assert get(wound, RENDERING).status_code == 200
    settle(wound, farm, 2)
    problem_of(get(wound, RENDERING), 404, "session_not_found")
    assert farm.calls() == 2


def test_after_a_refusal_the_old_answer_never_comes_back(
    wound: httpx.Client, clock: Clock, farm: Farm
) -> None:
    get(wound, RENDERING)
    clock.passed = 100
    farm.next({"do": "fault", "code": 300}, {"do": "status", "status": 500})
    assert get(wound, RENDERING).status_code == 404
    clock.passed = 111
    problem_of(get(wound, RENDERING), 502, "upstream_unreachable")


@pytest.mark.parametrize("number", [101_001, 100_001, 104_001, 400_001, 999_001, 501_001, 706_001])
def test_other_failures_are_never_kept(
    wound: httpx.Client, clock: Clock, farm: Farm, number: int
) -> None:
    for calls in (1, 2):
        answer = get(wound, number)
        assert answer.status_code in (400, 502)
        assert answer.headers["cache-control"] == "no-store"
        assert "stored" not in answer.headers.get("cache-status", "")
        assert "age" not in answer.headers
        assert farm.calls() == calls
        clock.passed += 1


@pytest.mark.parametrize("number", [999_001, 501_001, 702_001, 703_001, 705_001, 706_001, 707_001])
def test_a_failure_is_remembered_for_its_session_alone(
    wound: httpx.Client, clock: Clock, farm: Farm, number: int
) -> None:
    first = get(wound, number)
    clock.passed += 0.4
    again = get(wound, number)
    assert (first.headers["retry-after"], first.json()["retryAfterMs"]) == ("1", 1000)
    assert (again.headers["retry-after"], again.json()["retryAfterMs"]) == ("1", 600)
    assert told(again) == "rfgw"
    same = ("type", "title", "status", "code", "detail", "instance", "upstream", "retryable")
    assert [again.json()[name] for name in same] == [first.json()[name] for name in same]
    assert farm.calls() == 1
    assert get(wound, 1008).status_code == 200
    metrics = wound.get("/metrics").text
    assert 'rfgw_upstream_not_asked_total{cause="failing"} 1.0' in metrics
    assert "rfgw_cache_failures 1.0" in metrics


def test_the_pause_after_failures_doubles_and_one_success_ends_it(
    wound: httpx.Client, clock: Clock, farm: Farm
) -> None:
    html: list[dict[str, object]] = [{"do": "html"}] * 6
    farm.next(*html)
    waits = []
    for _ in html:
        answer = get(wound, RENDERING)
        waits.append(answer.json()["retryAfterMs"] / 1000)
        clock.passed += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 30]
    assert get(wound, RENDERING).status_code == 200
    assert "rfgw_cache_failures 0.0" in wound.get("/metrics").text
    clock.passed += 5 + 700  # nothing is left that could stand in
    farm.next({"do": "html"})
    assert get(wound, RENDERING).json()["retryAfterMs"] == 1000


def test_while_a_failure_is_remembered_the_kept_answer_stands_in(
    wound: httpx.Client, clock: Clock, farm: Farm
) -> None:
    assert get(wound, RENDERING).status_code == 200
    clock.passed += 100
    forwarded = []
    for tries in range(25):
        farm.next({"do": "html"})
        answer = get(wound, RENDERING)
        assert (answer.status_code, answer.headers["age"]) == (200, str(int(clock.passed)))
        forwarded += [tries / 8] if "fwd=stale" in told(answer) else []
        farm.next()
        assert get(wound, 300_000 + tries).status_code == 404, "the farm answers everybody else"
        clock.passed += 0.125
    assert forwarded == [0, 1, 3]


def test_a_session_that_failed_is_not_tried_twice(
    wound: httpx.Client, clock: Clock, farm: Farm
) -> None:
    bad: dict[str, object] = {"do": "status", "status": 502}
    farm.next(bad, bad, bad)
    get(wound, RENDERING)
    assert farm.calls() == 2
    clock.passed += 1
    get(wound, RENDERING)
    assert farm.calls() == 3


def test_refusals_never_push_real_answers_out(start_gateway: StartGateway, farm: Farm) -> None:
    gateway = start_gateway(cache_max_entries=3)
    for number in (1008, 1009):
        get(gateway, number)
    for number in range(300_001, 300_041):
        assert get(gateway, number).status_code == 404
    farm.forget()
    for number in (1008, 1009):
        assert told(get(gateway, number)).startswith("rfgw; hit")
    assert farm.calls() == 0


def test_the_etag_of_a_kept_session_never_hides_a_refusal(freshness: httpx.Client) -> None:
    for tags in ("*", get(freshness, 1008).headers["etag"]):
        problem_of(get(freshness, 300_002, if_none_match=tags), 404, "session_not_found")


# --- Many at once ----------------------------------------------------------------------------


def test_two_hundred_cold_requests_are_one_call(start_gateway: StartGateway) -> None:
    joined = threading.Event()

    def answer_then(connection: socket.socket) -> None:
        joined.wait(WITHIN)
        connection.sendall(http(session(member("state", "active"), number=RENDERING)))

    with raw_farm(answer_then) as farm, ThreadPoolExecutor(200) as pool:
        gateway = start_gateway(upstream_url=farm.url, upstream_deadline=WITHIN, fresh_active=600)
        coming = pool.map(lambda _: get(gateway, RENDERING), range(200))
        with client_of(gateway.base_url) as other:
            wait_for(lambda: "rfgw_flights_joined_total 0.0" not in other.get("/metrics").text)
        joined.set()
        answers = list(coming)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len({answer.headers["x-request-id"] for answer in answers}) == 200
    said = [told(answer) for answer in answers]
    assert said.count(MISS) == 1
    assert f"{MISS}; collapsed" in said
    assert all(line in (MISS, f"{MISS}; collapsed") or "; hit" in line for line in said)
    assert len(farm.requests) == 1


def test_a_failure_is_shared_by_all_who_waited_and_who_come_next(
    start_gateway: StartGateway, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.freshness.FIRST_WAIT", 60.0)
    gateway = start_gateway(upstream_deadline=2)  # in which thirty threads all come to ask
    farm.next({"do": "hang"})
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda _: get(gateway, RENDERING), range(30)))
    assert {answer.status_code for answer in answers} == {504}
    assert len({answer.json()["requestId"] for answer in answers}) == 30
    problem_of(get(gateway, RENDERING), 504, "upstream_timeout")
    assert farm.calls() == 1


def test_the_first_asker_hanging_up_fails_nobody(start_gateway: StartGateway, farm: Farm) -> None:
    gateway = start_gateway(fresh_active=600)
    farm.next({"do": "late", "seconds": 0.5})
    address = (gateway.base_url.host, gateway.base_url.port or 80)
    with ThreadPoolExecutor(5) as pool, socket.create_connection(address, timeout=5) as first:
        first.sendall(b"GET /sessions/%d HTTP/1.1\r\nHost: gw\r\n\r\n" % RENDERING)
        wait_for(lambda: farm.calls() == 1)
        others = [pool.submit(get, gateway, RENDERING) for _ in range(5)]
        first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        first.close()
        assert [other.result().status_code for other in others] == [200] * 5
    assert farm.calls() == 1


# --- ETag and If-None-Match --------------------------------------------------------------------


def test_the_etag_is_strong_and_of_the_body_alone(start_gateway: StartGateway, farm: Farm) -> None:
    one, other = start_gateway(), start_gateway()
    members = (member("title", "x"), member("startFrame", "<i4>1</i4>"), member("state", "active"))
    farm.next(body(session(*members)), body(session(*reversed(members))))
    first, second = get(one, 1001), get(other, 1001)
    assert re.fullmatch(r'"[!#-~]+"', first.headers["etag"])
    assert first.headers["etag"] == second.headers["etag"]
    assert first.content == second.content
    assert get(one, 1002).headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        ("{tag}", 304),
        ("W/{tag}", 304),
        ("*", 304),
        (" * ", 304),
        ('"x", {tag}', 304),
        ('{tag}, "x"', 304),
        ('"x",{tag},"y"', 304),
        ('"a, b", {tag}', 304),
        ('W/"x" , W/{tag}', 304),
        (", ,{tag}, ,", 304),
        ('"x",' * 63 + "{tag}", 304),
        ('"x",' * 64 + "{tag}", 200),
        ('"{bare}-gzip"', 304),
        ('W/"{bare};gzip"', 304),
        ('"x", "{bare}--gzip"', 304),
        ('W/"{bare}-br"', 304),
        ('"{bare}-zip"', 200),
        ('"{bare}-gzip-gzip"', 200),
        ('"-gzip"', 200),
        ("{bare}-gzip", 200),
        ("{bare}", 200),
        ("W/{bare}", 200),
        ('"{bare}', 200),
        ('{bare}"', 200),
        ('"x"', 200),
        ('""', 200),
        ("", 200),
        ('"*"', 200),
        ("'{bare}'", 200),
        ('"x{bare}"', 200),
        ('"{bare}x"', 200),
        ('"a,{bare},b"', 200),
        ('"x" {bare}', 200),
        ('"' * 5000, 200),
        ("x" * 10_000, 200),
    ],
    ids=range(35),
)
def test_if_none_match_is_compared_weakly_tag_by_tag(
    freshness: httpx.Client, tags: str, status: int
) -> None:
    tag = get(freshness, 1008).headers["etag"]
    sent = tags.replace("{tag}", tag).replace("{bare}", tag.strip('"'))
    answer = raw(freshness, "/sessions/1008", b"If-None-Match: " + sent.encode())
    assert answer.status == status
    assert answer.headers["etag"] == tag
    assert bool(answer.body) == (status == 200)


def test_two_lines_of_if_none_match_are_one_list(freshness: httpx.Client) -> None:
    tag = get(freshness, 1008).headers["etag"].encode()
    lines = (b'If-None-Match: "x"', b"If-None-Match: " + tag)
    assert raw(freshness, "/sessions/1008", *lines).status == 304
    assert raw(freshness, "/sessions/1008", *reversed(lines)).status == 304


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("query", ["", "?x=1"])
def test_304_carries_what_200_would(freshness: httpx.Client, method: str, query: str) -> None:
    full = get(freshness, 1008)
    sent = (b'If-None-Match: "x", W/' + full.headers["etag"].encode(), b"Origin: https://a.example")
    answer = raw(freshness, f"/sessions/1008{query}", *sent, method=method)
    assert (answer.status, answer.body) == (304, b"")
    for name in ("etag", "cache-control"):
        assert answer.headers[name] == full.headers[name]
    assert answer.headers.get("vary") == full.headers.get("vary")
    assert int(answer.headers["age"]) >= 0
    assert answer.headers["cache-status"].startswith("rfgw; hit; ttl=")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-expose-headers"] == EXPOSED
    assert answer.headers["x-request-id"]
    assert "content-type" not in answer.headers
    assert answer.headers.get("content-length") in (None, str(len(full.content)))


def test_a_miss_can_be_304_too(start_gateway: StartGateway, farm: Farm) -> None:
    tag = get(start_gateway(), 1008).headers["etag"]
    answer = get(start_gateway(), 1008, if_none_match=tag)
    assert (answer.status_code, told(answer)) == (304, MISS)
    assert farm.calls() == 2


def test_an_older_tag_gets_the_new_answer(wound: httpx.Client, clock: Clock, farm: Farm) -> None:
    farm.next(*[body(session(member("title", title))) for title in "ab"])
    old = get(wound, 1001).headers["etag"]
    clock.passed = 1000
    answer = get(wound, 1001, if_none_match=old)
    assert (answer.status_code, answer.json()["title"]) == (200, "b")


def test_dates_and_ranges_are_ignored(freshness: httpx.Client) -> None:
    full = get(freshness, 1008)
    for name, value in (
        ("if-modified-since", "Fri, 31 Dec 9999 23:59:59 GMT"),
        ("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("range", "bytes=0-4"),
        ("if-range", full.headers["etag"]),
    ):
        answer = freshness.get("/sessions/1008", headers={name: value})
        assert (answer.status_code, answer.content) == (200, full.content), name
        assert "content-range" not in answer.headers
        assert answer.headers.get("accept-ranges", "none") == "none"


def test_head_mirrors_get_and_fills_the_cache(gateway: httpx.Client, farm: Farm) -> None:
    head = gateway.head("/sessions/1008")
    full = get(gateway, 1008)
    assert (head.status_code, head.content) == (200, b"")
    assert told(head) == MISS
    assert told(full).startswith("rfgw; hit")
    for name in ("etag", "cache-control", "content-length", "content-type"):
        assert head.headers[name] == full.headers[name]
    assert int(full.headers["content-length"]) == len(full.content)
    assert farm.calls() == 1


# --- What the client may ask of the cache ------------------------------------------------------


def test_no_cache_asks_again_at_most_once_a_second(
    wound: httpx.Client, clock: Clock, farm: Farm
) -> None:
    get(wound, 1008)
    get(wound, 1009)
    clock.passed = 2
    farm.forget()
    asked = get(wound, 1008, cache_control="no-cache")
    assert (asked.status_code, asked.headers["age"], farm.calls()) == (200, "0", 1)
    assert "hit" not in told(asked)
    for passed in (2.0, 2.5, 2.9):
        clock.passed = passed
        assert told(get(wound, 1008, cache_control="no-cache")).startswith("rfgw; hit")
    assert farm.calls() == 1
    get(wound, 1009, cache_control="no-cache")
    assert farm.calls() == 2, "the limit is for each session"
    clock.passed = 3.1
    get(wound, 1008, cache_control="no-cache")
    assert farm.calls() == 3


def test_no_cache_of_many_at_once_is_one_call(
    wound: httpx.Client, clock: Clock, farm: Farm
) -> None:
    get(wound, 1008)
    clock.passed = 5
    with ThreadPoolExecutor(20) as pool:
        answers = pool.map(lambda _: get(wound, 1008, cache_control="no-cache"), range(40))
        assert {answer.status_code for answer in answers} == {200}
    assert farm.calls() == 2


@pytest.mark.parametrize(
    ("line", "calls"),
    [
        ("no-cache", 2),
        ("No-Cache", 2),
        ("max-age=0, no-cache", 2),
        ("no-transform , no-cache,x", 2),
        ('x="a", no-cache', 2),
        ('x="no-cache"', 1),
        ('x="a, no-cache, b"', 1),
        ("no-cachex", 1),
        ("xno-cache", 1),
        ("x=no-cache", 1),
        ("public", 1),
        ("", 1),
        (",;=", 1),
    ],
)
def test_no_cache_is_read_as_a_directive(
    wound: httpx.Client, clock: Clock, farm: Farm, line: str, calls: int
) -> None:
    get(wound, 1008)
    clock.passed = 5
    assert get(wound, 1008, cache_control=line).status_code == 200
    assert farm.calls() == calls


def test_no_cache_finds_a_removed_session_gone(
    wound: httpx.Client, clock: Clock, farm: Farm
) -> None:
    get(wound, 1008)
    clock.passed = 5
    farm.next({"do": "fault", "code": 300})
    problem_of(get(wound, 1008, cache_control="no-cache"), 404, "session_not_found")
    problem_of(get(wound, 1008), 404, "session_not_found")
    clock.passed = 7
    assert get(wound, 1008, cache_control="no-cache").status_code == 200, "refusals, too"


def test_no_cache_of_an_unchanged_session_is_304(
    wound: httpx.Client, clock: Clock, farm: Farm
) -> None:
    tag = get(wound, 1008).headers["etag"]
    clock.passed = 5
    answer = get(wound, 1008, cache_control="no-cache", if_none_match=tag)
    assert (answer.status_code, answer.headers["age"]) == (304, "0")
    assert farm.calls() == 2


def test_only_if_cached_never_asks(wound: httpx.Client, clock: Clock, farm: Farm) -> None:
    answer = get(wound, RENDERING, cache_control="only-if-cached")
    problem_of(answer, 504, "not_cached")
    assert answer.headers["cache-control"] == "no-store"
    assert farm.calls() == 0
    full = get(wound, RENDERING)
    kept = get(wound, RENDERING, cache_control="Only-If-Cached")
    assert (kept.status_code, kept.content) == (200, full.content)
    clock.passed = 700
    problem_of(get(wound, RENDERING, cache_control="only-if-cached"), 504, "not_cached")
    assert farm.calls() == 1


def test_only_if_cached_tells_a_kept_refusal(gateway: httpx.Client, farm: Farm) -> None:
    get(gateway, 300_001)
    answer = get(gateway, 300_001, cache_control="only-if-cached")
    problem_of(answer, 404, "session_not_found")
    assert farm.calls() == 1


def test_only_if_cached_with_a_bad_id_is_a_bad_id(gateway: httpx.Client) -> None:
    answer = gateway.get("/sessions/x", headers={"cache-control": "only-if-cached"})
    problem_of(answer, 422, "invalid_request")


# --- One kept answer for all -------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"accept": "text/html, */*;q=0.1"},
        {"accept-encoding": "gzip, br"},
        {"accept-language": "fi"},
        {"authorization": "Bearer x"},
        {"cookie": "a=1"},
        {"origin": "https://a.example"},
        {"user-agent": "x"},
        {"x-forwarded-for": "10.0.0.1"},
        {"range": "bytes=0-1"},
    ],
    ids=str,
)
def test_request_headers_never_split_the_cache(
    freshness: httpx.Client, farm: Farm, headers: dict[str, str]
) -> None:
    answer = freshness.get("/sessions/1008", headers=headers)
    assert told(answer).startswith("rfgw; hit; ttl=")
    assert farm.calls() == 0


def test_the_same_session_under_another_spelling_is_the_same_entry(
    freshness: httpx.Client, farm: Farm
) -> None:
    answer = raw(freshness, "/sessions/%31008")
    assert answer.headers["cache-status"].startswith("rfgw; hit; ttl=")
    assert farm.calls() == 0


def test_what_is_no_session_says_nothing_of_the_cache(freshness: httpx.Client) -> None:
    for path in ("/sessions/x", "/nope", "/health/live"):
        answer = freshness.get(path)
        assert "age" not in answer.headers, path
        assert "hit" not in answer.headers.get("cache-status", ""), path


def test_a_list_of_origins_varies_kept_answers_and_304(start_gateway: StartGateway) -> None:
    gateway = start_gateway(cors_origins="https://a.example")
    for origin, given in (("https://a.example", True), ("https://b.example", False), ("", False)):
        for headers, status in (({}, 200), ({"if-none-match": "*"}, 304)):
            answer = gateway.get("/sessions/1008", headers={**headers, "origin": origin})
            assert answer.status_code == status
            assert "origin" in listed(answer.headers["vary"])
            assert ("access-control-allow-origin" in answer.headers) == given


@pytest.mark.parametrize("passes", [0.0, 1.5])
def test_an_answer_that_is_asked_for_again_and_again_outlives_those_that_are_not(
    clock: Clock, farm: Farm, start_gateway: StartGateway, passes: float
) -> None:
    gateway = start_gateway(cache_max_entries=2)
    get(gateway, 1010)
    clock.passed += 0.3  # amid a second
    for other in (1002, 1003, 1008, 1009):
        get(gateway, 1010)
        clock.passed += passes
        assert "; hit" in told(get(gateway, 1010))
        assert told(get(gateway, other)) == MISS
    assert farm.calls() == 5
