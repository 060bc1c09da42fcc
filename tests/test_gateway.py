"""fetch(call): every state of a kept answer against every mood of the farm.

The clock is wound by hand, and the farm is a stand-in for the one method that the gateway knows.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pydantic import BaseModel

from app.api.replies import cache_status
from app.cache.memory import MemoryStore
from app.core import errors
from app.core.cache_entry import StaleWindows
from app.core.call import Call, Drift
from app.core.fetch_result import CacheDirectives, FetchResult
from app.core.freshness import FreshnessPolicy
from app.core.gateway import Gateway
from app.core.performer import Performer
from app.core.ports import Instrumentation
from app.resources.sessions import GetSession

T = TypeVar("T")
CALL = GetSession(id=42)
FRESH, SWR, SIE = 5.0, 30.0, 600.0


class Clock:
    """Monotonic seconds, wound by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Farm:
    """Answers, refuses or fails at once, or holds every call until it is let go."""

    def __init__(self) -> None:
        self.mood = "healthy"
        self.calls = 0
        self.background = False
        self.title = "one"
        self.ended = False
        self.more: dict[str, object] = {}
        self.held: list[asyncio.Future[None]] = []
        self.crashes: list[BaseException] = []

    async def call(
        self, call: Call, *, read: Callable[[object], Awaitable[T]], background: bool = False
    ) -> T:
        assert (call.method, [*call.arguments]) == ("community.getSession", ["sessionId"])
        number = call.arguments["sessionId"]
        self.calls += 1
        self.background = background
        if self.mood == "slow":
            gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.held.append(gate)
            await gate
        if self.mood == "failing":
            raise errors.UpstreamUnreachable("refused")
        if self.mood == "silent":
            raise errors.UpstreamUnavailable("breaker_open", retry_after=4.0, asked=False)
        if self.mood == "refusing":
            raise errors.SessionNotFound(fault_code=300)
        if self.mood == "buggy":
            raise LookupError("a bug of ours")
        if self.mood == "rejecting":
            raise errors.UpstreamRejectedParameters(fault_code=101)
        if self.mood == "strange":
            return await read({"id": 43})
        state = "completed" if self.ended else "active"
        return await read({"id": number, "state": state, "title": self.title, **self.more})


class Crashes(Instrumentation):
    """Remembers bugs."""

    def __init__(self, crashes: list[BaseException]) -> None:
        self.crashes = crashes

    def crash(self, error: BaseException, request_id: str = "-") -> None:
        self.crashes.append(error)


def build(**changes: Any) -> tuple[Gateway, Farm, Clock]:
    """A gateway over a farm of the test's own; jitter is off."""
    farm, clock = Farm(), Clock()
    freshness: dict[str, Any] = {
        "lifetimes": {"active": FRESH, "queued": FRESH, "waiting": 60.0, "terminal": 3600.0},
        "refusals": {errors.SessionNotFound: 10.0},
        "windows": StaleWindows(SWR, SIE),
        "if_slow": 0.01,
        "jitter": 0.0,
    }
    gateway = Gateway(
        upstream=farm,
        store=MemoryStore(max_entries=100, max_bytes=1_000_000),
        freshness=FreshnessPolicy(**{**freshness, **changes}),
        clock=clock,
        instrumentation=Crashes(farm.crashes),
    )
    return gateway, farm, clock


class Watched(GetSession):
    """Remembers in which thread its answer was read."""

    _read_in: int = 0

    def read(self, value: object, drift: Drift) -> BaseModel:
        self._read_in = threading.get_ident()
        return super().read(value, drift)


@pytest.mark.parametrize(("thumbnails", "beside"), [(500, False), (501, True)])
async def test_a_large_answer_is_read_beside_the_loop(thumbnails: int, beside: bool) -> None:
    gateway, farm, _ = build()
    farm.more = {"thumbnails": {str(i): f"http://a/{i}" for i in range(thumbnails)}}
    call = Watched(id=42)
    answer = await gateway.fetch(call)
    assert answer.entry is not None
    assert answer.entry.body.count(b"http://a/") == thumbnails
    assert (call._read_in != threading.get_ident()) is beside


def said(answer: FetchResult) -> tuple[str, str, str]:
    """How an answer came about, in three words."""
    how = "hit" if answer.hit else f"fwd={answer.forward}"
    return how, answer.detail, type(answer.error).__name__ if answer.error else ""


async def settle() -> None:
    """Let whatever can run, run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_miss_asks_once_and_then_hits_until_the_lifetime_ends() -> None:
    gateway, farm, clock = build()
    assert said(await gateway.fetch(CALL)) == ("fwd=uri-miss", "", "")
    clock.now += FRESH - 0.01
    assert said(await gateway.fetch(CALL)) == ("hit", "", "")
    assert farm.calls == 1


async def test_a_thousand_cold_askers_are_one_call_and_one_digest() -> None:
    gateway, farm, _ = build()
    farm.mood = "slow"
    askers = [asyncio.create_task(gateway.fetch(CALL)) for _ in range(1000)]
    await settle()
    farm.mood = "healthy"
    farm.held[0].set_result(None)
    answers = await asyncio.gather(*askers)
    assert farm.calls == 1
    assert len({answer.entry.digest for answer in answers if answer.entry}) == 1
    assert sum(answer.collapsed for answer in answers) == 999


async def test_an_asker_that_leaves_ends_its_own_waiting_alone() -> None:
    gateway, farm, _ = build()
    farm.mood = "slow"
    leaves, stays = (asyncio.create_task(gateway.fetch(CALL)) for _ in range(2))
    await settle()
    leaves.cancel()
    await settle()
    farm.held[0].set_result(None)
    assert said(await stays) == ("fwd=uri-miss", "", "")
    assert said(await gateway.fetch(CALL)) == ("hit", "", "")
    assert farm.calls == 1


async def test_a_failure_is_shared_and_not_kept() -> None:
    gateway, farm, _ = build()
    farm.mood = "failing"
    first, second = await asyncio.gather(gateway.fetch(CALL), gateway.fetch(CALL))
    assert said(first) == said(second) == ("fwd=uri-miss", "", "UpstreamUnreachable")
    assert farm.calls == 1
    farm.mood = "healthy"
    assert said(await gateway.fetch(CALL)) == ("fwd=uri-miss", "", "")


@pytest.mark.parametrize("mood", ["failing", "buggy"])
async def test_a_failure_tells_which_call_it_was(mood: str) -> None:
    """Who raises it may not know: a bug does not, nor another process."""
    gateway, farm, _ = build()
    farm.mood = mood
    error = (await gateway.fetch(CALL)).error
    assert error is not None
    assert (error.method, error.arguments) == ("community.getSession", {"sessionId": 42})


async def test_an_answer_for_another_id_is_not_kept() -> None:
    gateway, farm, clock = build()
    farm.mood = "strange"
    assert said(await gateway.fetch(CALL)) == ("fwd=uri-miss", "", "UpstreamMismatch")
    farm.mood = "healthy"
    clock.now += 1.0
    assert said(await gateway.fetch(CALL)) == ("fwd=uri-miss", "", "")


async def test_stale_answers_go_out_at_once_with_one_refresh_behind_them() -> None:
    gateway, farm, clock = build()
    await gateway.fetch(CALL)
    clock.now += FRESH
    farm.mood = "slow"
    for _ in range(5):
        assert said(await gateway.fetch(CALL)) == ("hit", "swr", "")
    await settle()
    assert farm.calls == 2
    farm.mood, farm.title = "healthy", "two"
    farm.held[0].set_result(None)
    await settle()
    answer = await gateway.fetch(CALL)
    assert said(answer) == ("hit", "", "")
    assert answer.entry is not None
    assert b'"two"' in answer.entry.body


async def test_a_failed_refresh_is_not_repeated_by_every_request() -> None:
    gateway, farm, clock = build()
    await gateway.fetch(CALL)
    clock.now += FRESH
    farm.mood = "failing"
    for _ in range(50):
        assert said(await gateway.fetch(CALL)) == ("hit", "swr", "")
        await settle()
    assert farm.calls == 2
    clock.now += 1.0
    await gateway.fetch(CALL)
    await settle()
    assert farm.calls == 3


async def test_only_a_refresh_is_a_call_in_the_background() -> None:
    gateway, farm, clock = build()
    seen = []
    for seconds in (0.0, FRESH, FRESH + SWR):
        clock.now += seconds
        await gateway.fetch(CALL)
        await settle()
        seen.append(farm.background)
    clock.now += 1.0
    await gateway.fetch(CALL, CacheDirectives(no_cache=True))
    seen.append(farm.background)
    assert seen == [False, True, False, False]


async def test_a_kept_answer_for_which_nobody_was_asked_is_a_hit() -> None:
    gateway, farm, clock = build()
    await gateway.fetch(CALL)
    clock.now += FRESH + 40.0
    farm.mood = "silent"
    answer = await gateway.fetch(CALL)
    assert cache_status(answer, clock.now) == "rfgw; hit; ttl=-40; detail=sie"
    assert answer.error is None
    clock.now += SIE
    answer = await gateway.fetch(CALL)
    assert cache_status(answer, clock.now) == "rfgw"
    assert isinstance(answer.error, errors.UpstreamUnavailable)
    assert answer.error.retry_after == 4.0


async def test_past_that_the_farm_is_asked_and_the_kept_answer_stands_in_for_a_failure() -> None:
    gateway, farm, clock = build()
    await gateway.fetch(CALL)
    clock.now += FRESH + SWR
    farm.mood = "failing"
    answer = await gateway.fetch(CALL)
    assert said(answer) == ("fwd=stale", "sie", "")
    assert isinstance(answer.failure, errors.UpstreamUnreachable)
    assert said(await gateway.fetch(CALL)) == ("hit", "sie", "")
    assert farm.calls == 2
    clock.now += SIE
    assert said(await gateway.fetch(CALL)) == ("fwd=uri-miss", "", "UpstreamUnreachable")


async def test_a_slow_farm_is_not_waited_for_while_an_answer_is_kept() -> None:
    gateway, farm, clock = build()
    await gateway.fetch(CALL)
    clock.now += FRESH + SWR
    farm.mood = "slow"
    assert said(await gateway.fetch(CALL)) == ("hit", "slow", "")
    farm.mood = "healthy"
    farm.held[0].set_result(None)
    await settle()
    assert said(await gateway.fetch(CALL)) == ("hit", "", "")
    assert farm.calls == 2


async def test_a_refusal_replaces_the_answer_and_is_kept_for_its_own_time() -> None:
    gateway, farm, clock = build()
    await gateway.fetch(CALL)
    clock.now += FRESH
    farm.mood = "refusing"
    await gateway.fetch(CALL)
    await settle()
    assert said(await gateway.fetch(CALL)) == ("hit", "", "SessionNotFound")
    clock.now += 10.0
    farm.mood = "failing"
    assert said(await gateway.fetch(CALL)) == ("fwd=uri-miss", "", "UpstreamUnreachable")


async def test_a_kept_refusal_too_is_asked_for_again_at_most_once_a_second() -> None:
    gateway, farm, clock = build()
    farm.mood = "refusing"
    await gateway.fetch(CALL)
    clock.now += 2.0
    farm.mood = "failing"
    for _ in range(50):
        await gateway.fetch(CALL, CacheDirectives(no_cache=True))
    assert farm.calls == 2


@pytest.mark.parametrize("mood", ["refusing", "rejecting"])
async def test_an_answer_that_is_not_to_be_kept_still_ends_the_kept_one(mood: str) -> None:
    gateway, farm, clock = build(refusals={})
    await gateway.fetch(CALL)
    clock.now += FRESH
    farm.mood = mood
    assert said(await gateway.fetch(CALL)) == ("hit", "swr", "")
    await settle()
    farm.mood = "failing"
    answer = await gateway.fetch(CALL)
    assert said(answer) == ("fwd=uri-miss", "", "UpstreamUnreachable"), "the old one is gone"


async def test_a_lifetime_of_nothing_keeps_nothing() -> None:
    gateway, _, clock = build()
    await gateway.fetch(CALL)
    clock.now += FRESH
    gateway.freshness = replace(gateway.freshness, lifetimes={"queued": 0.0})
    await gateway.fetch(CALL)
    await settle()
    assert len(gateway.store) == 0


async def test_less_than_a_second_is_kept_and_told_as_nothing() -> None:
    gateway, _, clock = build(lifetimes={"queued": 0.4})
    answer = await gateway.fetch(CALL)
    assert answer.stored
    assert answer.entry is not None
    assert answer.entry.nominal == 0
    clock.now += 0.3
    assert said(await gateway.fetch(CALL)) == ("hit", "", "")


async def test_what_the_store_did_not_take_is_not_called_stored() -> None:
    gateway, _, _ = build()
    gateway.store = MemoryStore(max_entries=10, max_bytes=100)
    assert not (await gateway.fetch(CALL)).stored


async def test_a_bug_is_told_and_a_kept_answer_stands_in() -> None:
    gateway, farm, clock = build()
    farm.mood = "buggy"
    assert said(await gateway.fetch(CALL)) == ("fwd=uri-miss", "", "Crashed")
    farm.mood = "healthy"
    clock.now += 1.0
    await gateway.fetch(CALL)
    clock.now += FRESH + SWR
    farm.mood = "buggy"
    for _ in range(10):
        assert (await gateway.fetch(CALL)).detail == "sie"
    assert farm.calls == 3
    assert [type(crash) for crash in farm.crashes] == [LookupError] * 2


async def test_after_an_outage_the_first_answer_ends_everyones_pause() -> None:
    gateway, farm, clock = build()
    farm.mood = "healthy"
    await gateway.fetch(CALL)
    clock.now += 300.0
    farm.mood = "failing"
    await gateway.fetch(CALL)
    clock.now += 1.5
    farm.mood = "healthy"
    assert said(await gateway.fetch(CALL)) == ("hit", "sie", "")
    await gateway.fetch(GetSession(id=7))  # the farm answers somebody
    assert said(await gateway.fetch(CALL)) == ("fwd=stale", "", "")


async def test_an_outage_over_many_kept_answers_is_bridged_and_told_truthfully() -> None:
    gateway, farm, clock = build()
    calls = [CALL] * 40
    await gateway.fetch(CALL)
    kept_since = clock.now
    farm.mood = "failing"
    for _ in range(120):
        clock.now += 1.0
        for call in calls:
            answer = await gateway.fetch(call)
            assert answer.error is None
            assert answer.entry is not None
            assert answer.entry.age(clock.now) == clock.now - kept_since
        await settle()
    assert farm.calls < 40, "fewer than one attempt in three seconds"
    farm.mood = "healthy"
    clock.now += 30.0
    assert said(await gateway.fetch(CALL)) == ("fwd=stale", "", "")


async def test_an_answers_age_counts_from_the_moment_of_asking() -> None:
    gateway, farm, clock = build()
    farm.mood = "slow"
    asker = asyncio.create_task(gateway.fetch(CALL))
    await settle()
    clock.now += 2.0
    farm.mood = "healthy"
    farm.held[0].set_result(None)
    answer = await asker
    assert answer.entry is not None
    assert answer.entry.age(clock.now) == 2.0
    clock.now += FRESH - 2.0
    assert said(await gateway.fetch(CALL)) == ("hit", "swr", "")


async def test_two_askers_never_share_one_exception() -> None:
    gateway, farm, _ = build()
    farm.mood = "refusing"
    first, second = await asyncio.gather(gateway.fetch(CALL), gateway.fetch(CALL))
    assert first.error is not second.error
    assert first.error is not None
    assert first.error.fault_code == 300
    assert first.error.arguments == {"sessionId": 42}


async def test_no_cache_revalidates_at_most_once_a_second() -> None:
    gateway, farm, clock = build()
    await gateway.fetch(CALL)
    wish = CacheDirectives(no_cache=True)
    assert said(await gateway.fetch(CALL, wish)) == ("hit", "", "")
    clock.now += 1.0
    assert said(await gateway.fetch(CALL, wish)) == ("fwd=request", "", "")
    assert farm.calls == 2
    clock.now += 1.0
    farm.mood = "failing"
    for _ in range(10):
        assert (await gateway.fetch(CALL, wish)).error is None
    assert farm.calls == 3


async def test_only_if_cached_never_asks() -> None:
    gateway, farm, clock = build()
    wish = CacheDirectives(only_if_cached=True)
    assert said(await gateway.fetch(CALL, wish)) == ("fwd=", "", "NotCached")
    assert farm.calls == 0
    await gateway.fetch(CALL)
    assert said(await gateway.fetch(CALL, wish)) == ("hit", "", "")
    clock.now += FRESH + SWR
    assert said(await gateway.fetch(CALL, wish)) == ("hit", "sie", "")
    assert farm.calls == 1


async def test_jitter_spreads_lifetimes_and_tells_clients_the_nominal_one() -> None:
    gateway, _, _ = build(jitter=0.1)
    gateway.uniform = lambda low, high: low
    answer = await gateway.fetch(CALL)
    assert answer.entry is not None
    assert answer.entry.lifetime == pytest.approx(4.5)
    assert answer.entry.nominal == 5


async def test_a_refusal_that_is_not_to_be_kept_is_asked_for_again() -> None:
    gateway, farm, _ = build(refusals={})
    farm.mood = "refusing"
    for calls in (1, 2):
        answer = await gateway.fetch(CALL)
        assert said(answer) == ("fwd=uri-miss", "", "SessionNotFound")
        assert not answer.stored
        assert farm.calls == calls


class KeptAnswer(RuleBasedStateMachine):
    """The state table: an own model of what is kept foretells every answer and every call."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.gateway, self.farm, self.clock = build()
        self.asked_at: float | None = None
        self.refused = False
        self.slow_since = 0.0
        self.paused_until = 0.0
        self.waiting: list[asyncio.Task[FetchResult]] = []
        self.expected_calls = 0

    def teardown(self) -> None:
        async def end() -> None:
            for task in self.waiting:
                task.cancel()
            await self.gateway.aclose()

        self.loop.run_until_complete(end())
        self.loop.close()

    @property
    def in_flight(self) -> bool:
        return any(not admission.done() for admission in self.farm.held)

    def state(self) -> str:
        if self.asked_at is None:
            return "spent"
        age = self.clock.now - self.asked_at
        if self.refused:
            return "fresh" if age < 10.0 else "spent"
        if age < FRESH:
            return "fresh"
        if age < FRESH + SWR:
            return "swr"
        return "sie" if age < FRESH + SIE else "spent"

    def answered(self, mood: str, asked_at: float) -> None:
        """What the model keeps after the farm ended a call in this mood."""
        if mood == "failing":
            if self.asked_at is not None and not self.refused:
                stale = self.clock.now - self.asked_at - FRESH
                self.paused_until = self.clock.now + min(max(stale / 4, 1.0), 30.0)
        else:
            self.asked_at, self.refused = asked_at, mood == "refusing"
            self.paused_until = 0.0

    # Sums of these are exact: at the very end of a lifetime, rounding would decide.
    @rule(seconds=st.sampled_from([0.25, 1.0, 4.875, 5.0, 10.0, 30.0, 60.0, 600.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(mood=st.sampled_from(["healthy", "failing", "refusing", "slow"]))
    def the_farm_changes(self, mood: str) -> None:
        self.farm.mood = mood

    @precondition(lambda self: self.in_flight)
    @rule(mood=st.sampled_from(["healthy", "failing", "refusing"]))
    def the_slow_call_ends(self, mood: str) -> None:
        async def end() -> None:
            before, self.farm.mood = self.farm.mood, mood
            self.farm.held.pop().set_result(None)
            await settle()
            self.farm.mood = before

        self.answered(mood, self.slow_since)
        self.loop.run_until_complete(end())
        for task in self.waiting:
            answer = task.result()
            assert (answer.error is None) == (mood == "healthy")
        self.waiting.clear()

    @rule()
    def somebody_asks(self) -> None:
        state, flying, mood = self.state(), self.in_flight, self.farm.mood
        paused = self.clock.now < self.paused_until
        refused_before = self.refused
        asks = state != "fresh" and not (paused and state in ("swr", "sie"))
        ends = asks and not flying and mood != "slow"
        if asks and not flying:
            self.expected_calls += 1
            self.slow_since = self.clock.now

        async def ask() -> asyncio.Task[FetchResult]:
            task = asyncio.create_task(self.gateway.fetch(CALL))
            await settle()
            if not task.done() and state != "spent":
                await task
            return task

        task = self.loop.run_until_complete(ask())
        if ends:
            self.answered(mood, self.clock.now)
        if state == "spent" and not ends:
            assert not task.done()
            self.waiting.append(task)
            return
        self.check(said(task.result()), state, mood, ends, asks, refused_before)

    def check(
        self,
        found: tuple[str, str, str],
        state: str,
        mood: str,
        ends: bool,
        asks: bool,
        refused_before: bool,
    ) -> None:
        refusal = {"refusing": "SessionNotFound", "failing": "", "healthy": ""}.get(mood, "")
        if state == "fresh":
            assert found == ("hit", "", "SessionNotFound" if refused_before else "")
        elif state == "swr":
            assert found == ("hit", "swr", "")
        elif state == "sie" and not asks:
            assert found == ("hit", "sie", "")
        elif state == "sie" and not ends:
            assert found == ("hit", "slow", "")
        elif state == "sie":
            assert found == ("fwd=stale", "sie" if mood == "failing" else "", refusal)
        else:
            failed = "UpstreamUnreachable" if mood == "failing" else refusal
            assert found == ("fwd=uri-miss", "", failed)

    @invariant()
    def no_call_is_made_that_the_model_did_not_foretell(self) -> None:
        assert self.farm.calls == self.expected_calls


TestKeptAnswer = KeptAnswer.TestCase
TestKeptAnswer.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


async def test_every_new_answer_is_told_and_nothing_else_is() -> None:
    gateway, farm, clock = build()
    heard: list[tuple[str, str, bool]] = []
    gateway.subscribe(lambda key, entry: heard.append((key, entry.refused, entry.final)))
    await gateway.fetch(CALL)
    await gateway.fetch(CALL)  # kept
    clock.now += FRESH
    farm.mood = "failing"
    await gateway.latest(CALL)
    farm.mood = "refusing"
    await gateway.latest(CALL)
    assert heard == [(CALL.key, "", False), (CALL.key, "SessionNotFound", False)]


async def test_an_answer_that_will_not_change_any_more_is_final() -> None:
    gateway, farm, _ = build()
    farm.ended = True
    answer = await gateway.fetch(CALL)
    assert answer.entry is not None
    assert answer.entry.final


async def test_who_watches_gets_a_fresh_answer_or_what_the_farm_says_now() -> None:
    gateway, farm, clock = build()
    first = await gateway.latest(CALL)
    assert first.forward == "uri-miss"
    assert (await gateway.latest(CALL)).hit
    clock.now += FRESH
    farm.title = "two"
    second = await gateway.latest(CALL)
    assert first.entry is not None
    assert second.entry is not None
    assert second.entry.digest != first.entry.digest
    clock.now += FRESH
    farm.mood = "failing"
    assert isinstance((await gateway.latest(CALL)).error, errors.UpstreamUnreachable)
    assert farm.calls == 3


async def test_a_call_that_failed_is_tried_once_until_it_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway, farm, clock = build()
    causes: list[str] = []
    monkeypatch.setattr(gateway.instrumentation, "not_asked", causes.append)
    farm.mood = "strange"
    await gateway.fetch(CALL)
    assert (farm.background, causes) == (False, [])
    await gateway.fetch(CALL)
    assert causes == ["failing"]
    clock.now += 1.5
    await gateway.fetch(CALL)
    assert (farm.background, len(gateway.failures)) == (True, 1)
    farm.mood = "healthy"
    clock.now += 3.0
    await gateway.fetch(CALL)
    assert (farm.calls, len(gateway.failures)) == (3, 0)


async def test_what_a_performer_has_begun_comes_to_its_end_and_leaves_nothing() -> None:
    farm = Farm()
    farm.mood = "slow"
    performer = Performer(farm, Instrumentation())
    before = asyncio.all_tasks()
    asking = asyncio.create_task(performer.perform(CALL))
    await settle()
    asking.cancel()
    closing = asyncio.create_task(performer.aclose())
    await settle()
    assert not closing.done()
    farm.held[0].set_result(None)
    await closing
    await settle()
    assert asyncio.all_tasks() == before
    assert not performer._under_way
