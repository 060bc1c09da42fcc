"""When the farm may be asked, and asked again: tables, rates and a model.

The clock is wound by hand. The bulkhead waits in earnest, for no time at all.
"""

import asyncio
import random
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.core.errors import Overloaded, UpstreamUnavailable
from app.upstream.bulkhead import Bulkhead
from app.upstream.circuit_breaker import (
    DEFAULT_PAUSE,
    HOLD,
    UNSIGNED_HOLD,
    Breaker,
    Guard,
    Verdict,
)
from app.upstream.retry import RETRY_BACKOFF, RETRY_NEEDS, SPAN, RetryBudget, RetryPolicy, Window
from app.upstream.verdicts import verdict_of

NOW = 100.0


def even(low: float, high: float) -> float:
    """The middle: no chance in it."""
    return (low + high) / 2


def new_guard() -> Guard:
    return Guard(Breaker(uniform=even), RetryPolicy(even))


def teach(guard: Guard, verdict: Verdict, now: float, subject: str = "") -> None:
    guard.end(guard.begin(now), verdict, now, subject)


def why(guard: Guard, now: float) -> tuple[str, Any] | None:
    """Cause and seconds of a refusal."""
    refusal = guard.refusal(now)
    if refusal is None:
        return None
    assert refusal.asked is False
    assert refusal.retry_after is not None
    return refusal.cause, pytest.approx(refusal.retry_after)


# --- Breaker and pauses ----------------------------------------------------------------------


def test_nothing_is_refused_at_first() -> None:
    guard = new_guard()
    assert why(guard, NOW) is None
    assert guard.refusal(NOW) is None


def test_an_open_breaker_refuses_at_once_and_says_how_long() -> None:
    guard = new_guard()
    for _ in range(5):
        teach(guard, Verdict.UNREACHABLE, NOW)
    assert why(guard, NOW + 1) == ("breaker_open", HOLD - 1)
    with pytest.raises(UpstreamUnavailable):
        guard.begin(NOW + 1)
    guard.begin(NOW + HOLD)
    assert why(guard, NOW + HOLD) == ("breaker_open", 1.0), "one probe at a time"


@pytest.mark.parametrize(("asked", "lasts"), [(7.0, 7.0), (300.0, 300.0), (None, DEFAULT_PAUSE)])
def test_a_pause_lasts_as_long_as_the_farm_asked(asked: float | None, lasts: float) -> None:
    guard = new_guard()
    assert guard.pause(asked, NOW) == lasts
    assert why(guard, NOW + lasts - 0.5) == ("paused", 0.5)
    assert why(guard, NOW + lasts) is None


def test_a_wait_is_told_in_whole_milliseconds() -> None:
    guard, now = new_guard(), 781.0814763099492  # now + 300 - now is a little more than 300
    assert guard.pause(300.0, now) == 300.0
    refusal = guard.refusal(now)
    assert refusal is not None
    assert refusal.retry_after == 300.0
    almost_over = guard.refusal(now + 299.99999)
    assert almost_over is not None
    assert almost_over.retry_after == 0.001


def test_a_later_wish_never_shortens_a_pause() -> None:
    guard = new_guard()
    guard.pause(60.0, NOW)
    assert guard.pause(1.0, NOW + 1) == 59.0
    assert why(guard, NOW + 59) == ("paused", 1.0)


def test_an_answer_ends_no_pause() -> None:
    guard = new_guard()
    ticket = guard.begin(NOW)
    guard.pause(60.0, NOW)
    guard.end(ticket, Verdict.ANSWER, NOW, "")
    assert why(guard, NOW) == ("paused", 60.0)


def test_of_several_reasons_the_longest_is_told() -> None:
    guard = new_guard()
    tickets = [guard.begin(NOW) for _ in range(5)]
    guard.pause(2.0, NOW)
    for ticket in tickets:
        guard.end(ticket, Verdict.UNREACHABLE, NOW, "")
    assert why(guard, NOW) == ("breaker_open", HOLD)
    guard.pause(60.0, NOW)
    assert why(guard, NOW) == ("paused", 60.0)


def test_after_three_refused_signatures_one_call_in_half_a_minute_is_made() -> None:
    guard, made = new_guard(), []
    for tenth in range(10 * 100):
        now = NOW + tenth / 10
        if guard.refusal(now) is None:
            made.append(tenth / 10)
            teach(guard, Verdict.UNSIGNED, now, str(tenth))
    assert made == [0.0, 0.1, 0.2, 30.2, 60.2, 90.2]


def test_only_one_of_many_callers_tries_the_signature_again() -> None:
    guard = new_guard()
    for subject in "xyz":
        teach(guard, Verdict.UNSIGNED, NOW, subject)
    guard.begin(NOW + UNSIGNED_HOLD)
    assert why(guard, NOW + UNSIGNED_HOLD) == ("signature_refused", UNSIGNED_HOLD)


def test_an_accepted_signature_ends_the_row_and_the_hold() -> None:
    guard = new_guard()
    for subject, verdict in zip("xyaz", [Verdict.UNSIGNED] * 4, strict=True):
        teach(guard, Verdict.ANSWER if subject == "a" else verdict, NOW, subject)
    assert why(guard, NOW) is None
    teach(guard, Verdict.UNSIGNED, NOW, "x")
    teach(guard, Verdict.UNSIGNED, NOW, "y")
    teach(guard, Verdict.ANSWER, NOW + UNSIGNED_HOLD, "x")
    assert why(guard, NOW + UNSIGNED_HOLD) is None


def test_one_session_whose_signature_is_refused_holds_nobody_else() -> None:
    guard = new_guard()
    for subject in "xy" * 50:
        teach(guard, Verdict.UNSIGNED, NOW, subject)
    assert why(guard, NOW) is None
    teach(guard, Verdict.UNSIGNED, NOW, "z")
    assert why(guard, NOW) == ("signature_refused", UNSIGNED_HOLD)


# --- Retries ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("remaining", "retried"), [(5.0, True), (RETRY_NEEDS, True), (0.25, False), (-1.0, False)]
)
def test_a_retry_needs_time(remaining: float, retried: bool) -> None:
    guard, now = new_guard(), 0.0
    guard.begin(now)
    assert (guard.retry(now, now + remaining) is not None) is retried


def test_the_wait_before_a_retry_is_random_from_nothing_to_its_whole() -> None:
    guard = Guard(Breaker(), RetryPolicy(random.Random(1).uniform))
    waits = [guard.retry(NOW + second, NOW + second + 5) for second in range(200)]
    known = [wait for wait in waits if wait is not None]
    assert len(known) == 200
    assert all(0 <= wait <= RETRY_BACKOFF for wait in known)
    assert min(known) < RETRY_BACKOFF / 10
    assert max(known) > RETRY_BACKOFF * 9 / 10


def test_a_farm_that_may_not_be_asked_is_not_asked_again() -> None:
    guard = new_guard()
    guard.begin(NOW)
    guard.pause(1.0, NOW)
    assert guard.retry(NOW, NOW + 5) is None
    assert guard.retry(NOW + 1, NOW + 6) is not None


def test_a_probe_is_not_tried_again() -> None:
    guard = new_guard()
    for _ in range(5):
        teach(guard, Verdict.UNREACHABLE, NOW)
    guard.begin(NOW + HOLD)
    assert guard.retry(NOW + HOLD, NOW + 2 * HOLD) is None


@pytest.mark.parametrize(("rate", "most"), [(100, 1.11), (250, 1.11), (1000, 1.11), (10, 1.2)])
def test_when_everything_fails_attempts_stay_close_to_calls(rate: int, most: float) -> None:
    budget, seconds = RetryBudget(), 60
    calls = retries = 0
    for number in range(rate * seconds):
        budget.earn(NOW + number / rate)
        calls += 1
        retries += budget.spend(NOW + number / rate)
    assert retries > 0
    assert (calls + retries) / calls <= most


def test_a_quiet_gateway_affords_a_retry_a_second() -> None:
    budget = RetryBudget()
    assert [budget.spend(NOW + at) for at in (0.0, 0.1, 0.9, 1.0, 1.5, 2.0)] == [
        True, False, False, True, False, True,
    ]  # fmt: skip


def test_a_burst_of_failures_after_good_times_is_retried() -> None:
    budget = RetryBudget()
    for number in range(500):
        budget.earn(NOW + number / 100)
    spent = [budget.spend(NOW + 5) for _ in range(100)]
    assert sum(spent) == 51
    assert not budget.spend(NOW + 5.5)


class Model(RuleBasedStateMachine):
    """Whatever calls do, in any order: no call during a pause, no more retries than are paid."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.started = 100.0
        self.guard = Guard(Breaker())
        self.out: list[int] = []
        self.calls = self.retries = 0
        self.paused_until = 0.0
        self.unsigned: set[str] = set()
        self.held_since: float | None = None

    @rule(seconds=st.floats(0.01, 40.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(count=st.integers(1, 40))
    def calls_begin(self, count: int) -> None:
        for _ in range(count):
            if self.guard.refusal(self.now):
                with pytest.raises(UpstreamUnavailable):
                    self.guard.begin(self.now)
                return
            assert self.now >= self.paused_until
            if len(self.unsigned) >= 3:
                assert self.held_since is None or self.now >= self.held_since + UNSIGNED_HOLD
                self.held_since = self.now
            self.out.append(self.guard.begin(self.now))
            self.calls += 1

    @rule(verdict=st.sampled_from(Verdict), count=st.integers(1, 40), subject=st.text(max_size=1))
    def calls_end(self, verdict: Verdict, count: int, subject: str) -> None:
        for _ in range(min(count, len(self.out))):
            self.guard.end(self.out.pop(), verdict, self.now, subject)
            if verdict is Verdict.UNSIGNED:
                self.unsigned.add(subject)
            elif verdict is Verdict.ANSWER:
                self.unsigned, self.held_since = set(), None

    @rule(count=st.integers(1, 40))
    def calls_fail_at_first(self, count: int) -> None:
        for _ in range(count):
            self.retries += self.guard.retry(self.now, self.now + 5) is not None

    @rule(seconds=st.none() | st.floats(1, 300))
    def the_farm_asks_for_a_pause(self, seconds: float | None) -> None:
        self.guard.pause(seconds, self.now)
        self.paused_until = max(self.paused_until, self.now + (seconds or DEFAULT_PAUSE))

    @invariant()
    def retries_are_paid(self) -> None:
        assert self.retries <= self.calls / 10 + (self.now - self.started) + 1.001

    @invariant()
    def a_refusal_ends(self) -> None:
        refusal = self.guard.refusal(self.now)
        assert refusal is None or 0 < (refusal.retry_after or 0) <= 300


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# --- The bulkhead ----------------------------------------------------------------------------


async def test_no_more_calls_than_places_are_ever_under_way() -> None:
    bulkhead = Bulkhead(calls=3, queue=100, wait=60)
    under_way, most = 0, 0

    async def call() -> None:
        nonlocal under_way, most
        async with bulkhead.place():
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1

    await asyncio.gather(*(call() for _ in range(50)))
    assert (under_way, most) == (0, 3)


async def test_who_finds_the_queue_full_is_refused_at_once() -> None:
    bulkhead = Bulkhead(calls=1, queue=1, wait=60)
    async with bulkhead.place():
        waiting = asyncio.create_task(enter(bulkhead))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="queue_full") as refused:
            await enter(bulkhead)
        assert refused.value.asked is False
    await waiting


async def test_who_waits_too_long_is_refused_and_leaves_the_queue() -> None:
    bulkhead = Bulkhead(calls=1, queue=1, wait=0)
    async with bulkhead.place():
        for _ in range(3):
            with pytest.raises(Overloaded, match="queue_wait") as refused:
                await enter(bulkhead)
            assert refused.value.asked is False
    await enter(bulkhead)


async def test_places_come_back_whatever_happens_in_them() -> None:
    bulkhead = Bulkhead(calls=2, queue=0, wait=0)
    for _ in range(5):
        with suppress(KeyError):
            async with bulkhead.place():
                raise KeyError
    tasks = [asyncio.create_task(hold(bulkhead)) for _ in range(2)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(bulkhead.place())


async def enter(bulkhead: Bulkhead) -> None:
    async with bulkhead.place():
        pass


async def hold(bulkhead: Bulkhead) -> Any:
    async with bulkhead.place():
        await asyncio.get_running_loop().create_future()


def test_a_window_keeps_no_more_slots_than_it_looks_back() -> None:
    window = Window()
    for second in range(1000):
        window.add(float(second))
    assert len(window._slots) <= SPAN
    assert window.total(999.0) == SPAN


def test_our_own_shortage_teaches_nothing_about_the_farm() -> None:
    assert verdict_of(Overloaded("local_shortage")) is Verdict.UNKNOWN
