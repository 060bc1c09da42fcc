"""One session's failure is its own, whatever its kind; an outage is everybody's, as soon as ever.

The memory of failures is tried by an injected clock, and all together over real ports.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from app.core import errors
from app.core.freshness import FIRST_WAIT, LONGEST_WAIT, MOST_FAILURES, FailureCache
from tests.conftest import StartGateway
from tests.hostile_farm import (
    CHUNKED,
    Behaviour,
    RawFarm,
    Scene,
    closed_port,
    endless,
    fault,
    greeted,
    http,
    member,
    raw_farm,
    reset,
    server_tls,
    session,
    silent_after,
)
from tests.running import client_of
from tests.test_caching import Clock, clock
from tests.test_gateway import CALL, FRESH, SWR, build, settle

__all__ = ["clock"]  # a fixture

BAD = 2001
HEALTHY = range(3001, 3041)
KINDS: dict[str, bytes | Behaviour] = {
    "html": http("<!doctype html><p>Maintenance"),
    "control character": http(session(member("title", "a\x01b"))),
    "too large": endless(b"<!--" + b"x" * 65536, b"HTTP/1.1 200 OK\r\n\r\n"),
    "status 500": http("", status="500 Oops"),
    "status 502": http("", status="502 Oops"),
    "status 403": http("", status="403 Oops"),
    "hang-up": b"",
    "reset": reset,
    "cut": CHUNKED + b"ff\r\n<methodResponse>",
    "another session": http(session(number=1999)),
    "no session": http("<methodResponse><params><param><value>x</value></param></params>"
        "</methodResponse>"),
    **{f"fault {code}": http(fault(member("faultCode", f"<i4>{code}</i4>")))
       for code in (100, 104, 400, 999)},
}  # fmt: skip


# --- The memory ------------------------------------------------------------------------------


def failed(cache: FailureCache, now: float, key: str = "a") -> float:
    """A call fails: for how long it is left alone."""
    error = errors.UpstreamUnreadable("not_xml")
    cache.remember(key, error, now)
    assert error.retry_after is not None
    return error.retry_after


def test_the_wait_doubles_while_it_fails_and_a_success_ends_it() -> None:
    cache, now, waits = FailureCache(), 100.0, []
    for _ in range(8):
        waits.append(failed(cache, now))
        now += waits[-1]
        assert cache.recall("a", now) is None
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    cache.forget("a")
    assert (len(cache), failed(cache, now)) == (0, FIRST_WAIT)


def test_a_failure_that_nobody_met_again_for_long_is_the_first() -> None:
    cache = FailureCache()
    assert failed(cache, 100.0) == 1
    assert failed(cache, 101.0 + LONGEST_WAIT - 0.1) == 2
    assert failed(cache, 131.0 + 2.0 + LONGEST_WAIT) == 1


def test_the_failure_comes_back_as_it_was_and_nobody_is_asked() -> None:
    cache = FailureCache()
    cache.remember("a", errors.UpstreamFault("fault", fault_code=999), 100.0)
    one, other = cache.recall("a", 100.25), cache.recall("a", 100.25)
    assert one is not other
    assert isinstance(one, errors.UpstreamFault)
    assert (one.cause, one.fault_code, one.retry_after, one.asked) == ("fault", 999, 0.75, False)
    assert cache.recall("b", 100.25) is None
    assert cache.recall("a", 101.0) is None


def test_the_process_that_asked_tells_the_others_how_long() -> None:
    cache = FailureCache()
    told = errors.UpstreamTimeout("deadline", retry_after=8.0)
    cache.remember("a", told, 100.0)
    assert failed(cache, 108.0) == 16


@pytest.mark.parametrize(
    "error",
    [
        errors.UpstreamUnreachable("refused"),
        errors.UpstreamUnavailable("http_status", retry_after=7.0),
        errors.UpstreamUnavailable("breaker_open", asked=False),
        errors.Overloaded("queue_full", asked=False),
        errors.Overloaded("local_shortage"),
        errors.UpstreamUnreadable("not_xml", asked=False),
    ],
    ids=repr,
)
def test_what_tells_nothing_of_the_call_is_not_remembered(error: errors.UpstreamError) -> None:
    cache = FailureCache()
    cache.remember("a", error, 100.0)
    assert len(cache) == 0


def test_few_failures_are_remembered_and_none_for_ever() -> None:
    cache = FailureCache()
    for number in range(2 * MOST_FAILURES):
        failed(cache, 100.0, str(number))
    assert len(cache) == MOST_FAILURES
    assert "0" not in cache
    failed(cache, 101.0 + LONGEST_WAIT, "last")
    assert len(cache) == 1


@pytest.mark.parametrize("kept", [False, True])
async def test_fifty_pages_ask_for_a_bad_session_ten_times_a_minute_at_most(kept: bool) -> None:
    gateway, farm, clock = build()
    if kept:
        await gateway.fetch(CALL)
        clock.now += FRESH + SWR
    farm.calls, farm.mood = 0, "strange"
    for _ in range(240):
        for _ in range(50):
            answer = await gateway.fetch(CALL)
            assert isinstance(answer.error, errors.UpstreamMismatch) != kept
        gateway._healthy_at = clock.now  # other sessions are well
        clock.now += 0.25
    await settle()
    assert 3 <= farm.calls <= 10


# --- Over real ports -------------------------------------------------------------------------


@contextmanager
def polled(gateway: httpx.Client, number: int) -> Iterator[list[int]]:
    """Two clients ask for the session all the time; the statuses that they got."""
    statuses: list[int] = []
    over, begun = threading.Event(), threading.Barrier(3)

    def poll() -> None:
        with client_of(gateway.base_url) as client:
            statuses.append(client.get(f"/sessions/{number}", timeout=60).status_code)
            begun.wait(60)
            while not over.wait(0.01):
                statuses.append(client.get(f"/sessions/{number}", timeout=60).status_code)

    with ThreadPoolExecutor(2) as pool:
        pollers = [pool.submit(poll) for _ in range(2)]
        try:
            begun.wait(60)
            yield statuses
        finally:
            over.set()
        for poller in pollers:
            poller.result()


@pytest.mark.parametrize("kind", [*KINDS, "silence"])
def test_a_bad_session_costs_little_and_takes_nothing_from_others(
    start_gateway: StartGateway, kind: str
) -> None:
    does, deadline = (KINDS[kind], 5) if kind in KINDS else (silent_after(b""), 1.5)
    with raw_farm(http(session())) as farm:
        farm.scripts[BAD] = [does] * 1000
        gateway = start_gateway(upstream_url=farm.url, upstream_deadline=deadline)
        with polled(gateway, BAD) as statuses:
            healthy = []
            for number in HEALTHY:
                healthy.append(gateway.get(f"/sessions/{number}").status_code)
                threading.Event().wait(0.025)
        assert healthy.count(200) >= 39
        assert set(statuses) <= {502, 504}
        assert 1 <= farm.asked.count(BAD) <= 8


@pytest.mark.parametrize("kind", ["html", "status 500", "hang-up", "another session", "fault 999"])
def test_an_outage_of_garbage_is_noticed_and_ends(
    start_gateway: StartGateway, clock: Clock, kind: str
) -> None:
    with raw_farm(KINDS[kind]) as farm:
        gateway = start_gateway(upstream_url=farm.url)
        codes = [gateway.get(f"/sessions/{number}").json()["code"] for number in HEALTHY[:8]]
        assert codes[-1] == "upstream_unavailable"
        assert len({*farm.asked}) <= 8
        farm.scripts[BAD] = [KINDS[kind]] * 100
        farm.script = [http(session())]
        clock.passed += 3.9
        assert gateway.get(f"/sessions/{HEALTHY[9]}").status_code == 503
        clock.passed += 3.1
        gateway.get(f"/sessions/{BAD}")  # its poller comes first, and is bad for its own reasons
        assert gateway.get(f"/sessions/{HEALTHY[9]}").status_code == 200


def hung_up_in_the_handshake(connection: object) -> None:
    """A greeting that is none."""


@pytest.mark.parametrize(
    ("scene", "tls"), [(closed_port, False), (greeted(hung_up_in_the_handshake), True)]
)
@pytest.mark.parametrize("sessions", [1, 5])
def test_a_farm_that_cannot_be_reached_is_left_alone_after_five_calls(
    start_gateway: StartGateway, clock: Clock, scene: Scene, tls: bool, sessions: int
) -> None:
    with raw_farm(http(session()), tls=server_tls("proper") if tls else None) as farm:
        gateway = start_gateway(upstream_url=farm.url)
        with scene(farm):
            codes = [problem(gateway, HEALTHY[turn % sessions]) for turn in range(6)]
        assert codes == ["upstream_unreachable"] * 5 + ["upstream_unavailable"]


def problem(gateway: httpx.Client, number: int) -> str:
    return str(gateway.get(f"/sessions/{number}").json()["code"])


def test_the_outage_is_told_apart_by_connections(start_gateway: StartGateway) -> None:
    with raw_farm(http(session())) as farm:
        gateway = start_gateway(upstream_url=farm.url)
        with closed_port(farm):
            assert problem(gateway, BAD) == "upstream_unreachable"
        assert gateway.get(f"/sessions/{BAD}").status_code == 200, "nothing is remembered"
        assert isinstance(farm, RawFarm)
