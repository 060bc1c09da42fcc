"""The breaker: tables of what opens and closes it, and a model that foretells every state."""

from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.upstream.circuit_breaker import (
    HOLD,
    MAX_HOLD,
    MOST_SUBJECTS,
    PROBE_WAIT,
    Breaker,
    RecentOutcomes,
    Verdict,
)
from app.upstream.retry import SPAN, Window

ANSWER, FAILURE, UNREACHABLE = Verdict.ANSWER, Verdict.FAILURE, Verdict.UNREACHABLE
UNSIGNED, UNKNOWN = Verdict.UNSIGNED, Verdict.UNKNOWN


def even(low: float, high: float) -> float:
    """No jitter."""
    return (low + high) / 2


def teach(breaker: Breaker, verdict: Verdict, now: float, subject: str = "") -> None:
    breaker.end(breaker.begin(), verdict, now, subject)


def opened(now: float = 100.0) -> Breaker:
    breaker = Breaker(uniform=even)
    for _ in range(5):
        teach(breaker, UNREACHABLE, now)
    assert breaker.state == "open"
    return breaker


# --- What opens it ---------------------------------------------------------------------------

A, F, U, N = ("a", ANSWER), ("f", UNREACHABLE), ("u", UNSIGNED), ("n", UNKNOWN)
X, Y, Z = ("x", FAILURE), ("y", FAILURE), ("z", FAILURE)


def different(verdict: Verdict, count: int) -> list[tuple[str, Verdict]]:
    """So many calls that ended like this, each about something else."""
    return [(f"{verdict.name} {number}", verdict) for number in range(count)]


def between(failures: list[tuple[str, Verdict]]) -> list[tuple[str, Verdict]]:
    """The failures, with a good answer before each."""
    return [taught for failure in failures for taught in (A, failure)]


@pytest.mark.parametrize(
    ("taught", "state"),
    [
        ([F] * 4, "closed"),
        ([F] * 5, "open"),
        ([F] * 4 + [A] + [F] * 4, "closed"),
        ([F] * 4 + [U] + [F] * 4, "closed"),
        ([F] * 4 + [N] + [F], "open"),
        ([N] * 50, "closed"),
        ([U] * 50, "closed"),
        ([X] * 50, "closed"),
        ([X, Y] * 50, "closed"),
        ([X, Y, X, Y, Z], "open"),
        ([X, Y, Z, X], "closed"),
        ([X, Y, Z, X, X], "open"),
        ([X, Y, A, Z, X, Y], "closed"),
        ([X] * 50 + [F] * 4, "closed"),
        ([X] * 50 + [F] * 5, "open"),
        ([X, Y, F, F, Z], "open"),
        (different(FAILURE, 4), "closed"),
        (different(FAILURE, 5), "open"),
        ([A, F] * 50, "closed"),
        ([A, X] * 50, "closed"),
        ([A, X, A, Y, A, Z] * 50, "closed"),
        (different(ANSWER, 5) + between(different(FAILURE, 4)), "closed"),
        (different(ANSWER, 4) + between(different(FAILURE, 5)), "open"),
        (different(ANSWER, 5) + between(different(FAILURE, 5)), "closed"),
        (different(ANSWER, 5) + between(different(FAILURE, 6)), "open"),
        (different(ANSWER, 4) + between(different(UNREACHABLE, 5)), "open"),
        (different(ANSWER, 4) + between(different(FAILURE, 4) * 50), "closed"),
    ],
)
def test_what_is_taught_decides_whether_it_opens(
    taught: list[tuple[str, Verdict]], state: str
) -> None:
    breaker = Breaker(uniform=even)
    for subject, verdict in taught:
        if breaker.state == "closed":
            teach(breaker, verdict, 100.0, subject)
    assert breaker.state == state


@pytest.mark.parametrize(("seconds", "state"), [(0.4, "open"), (1.3, "closed")])
def test_a_half_that_failed_opens_it_only_within_ten_seconds(seconds: float, state: str) -> None:
    breaker = Breaker(uniform=even)
    for number in range(20):
        if breaker.state == "closed":
            verdict = FAILURE if number % 2 else ANSWER
            teach(breaker, verdict, 100.0 + number * seconds, str(number))
    assert breaker.state == state


def test_what_answers_again_has_failed_no_longer() -> None:
    recent = RecentOutcomes()
    for number in range(10):
        recent.add(str(number), number < 5, 100.0)
    assert recent.half_failed()
    recent.add("0", failed=False, now=100.0)
    assert not recent.half_failed()


def test_few_outcomes_are_remembered_and_none_for_long() -> None:
    recent = RecentOutcomes()
    for number in range(5 * MOST_SUBJECTS):
        recent.add(str(number), failed=True, now=100.0)
    assert len(recent) == MOST_SUBJECTS
    recent.add("other", failed=False, now=100.0 + SPAN)
    assert (len(recent), recent.half_failed()) == (1, False)


# --- How it comes back -----------------------------------------------------------------------


def test_it_stays_open_for_its_time_and_then_lets_one_call_pass() -> None:
    breaker = opened(100.0)
    assert breaker.wait(100.0) == HOLD
    assert breaker.wait(104.9) == pytest.approx(0.1)
    assert breaker.wait(105.0) == 0
    breaker.begin()
    assert breaker.wait(105.0) == breaker.wait(999.0) == PROBE_WAIT


@pytest.mark.parametrize("verdict", [ANSWER, UNSIGNED])
def test_a_probe_with_an_answer_closes_it_and_the_past_is_forgotten(verdict: Verdict) -> None:
    breaker = opened(100.0)
    teach(breaker, verdict, 105.0)
    assert (breaker.state, breaker.wait(105.0)) == ("closed", 0)
    for _ in range(4):
        teach(breaker, UNREACHABLE, 105.0)
    assert breaker.state == "closed"


@pytest.mark.parametrize(("verdict", "wait"), [(UNREACHABLE, HOLD), (FAILURE, 0), (UNKNOWN, 0)])
def test_a_probe_that_failed_holds_and_one_that_taught_nothing_makes_room_for_the_next(
    verdict: Verdict, wait: float
) -> None:
    breaker = opened(100.0)
    teach(breaker, verdict, 105.0)
    assert (breaker.state, breaker.wait(105.0)) == ("open", wait)


@pytest.mark.parametrize("opening", [[F] * 5, different(FAILURE, 5)])
def test_failures_of_three_subjects_make_a_failed_probe(opening: list[tuple[str, Verdict]]) -> None:
    breaker = Breaker(uniform=even)
    for subject, verdict in opening:
        teach(breaker, verdict, 100.0, subject)
    for subject in "xyyz":
        assert breaker.wait(105.0) == 0
        teach(breaker, FAILURE, 105.0, subject)
    assert breaker.wait(105.0) == HOLD


def test_one_bad_subject_does_not_keep_it_open() -> None:
    breaker = opened(100.0)
    for _ in range(50):
        teach(breaker, FAILURE, 105.0, "bad")
    teach(breaker, ANSWER, 105.0, "good")
    assert breaker.state == "closed"


def test_calls_from_before_it_opened_neither_close_nor_prolong_it() -> None:
    breaker = Breaker(uniform=even)
    old = [breaker.begin() for _ in range(9)]
    for ticket in old[:5]:
        breaker.end(ticket, UNREACHABLE, 100.0, "")
    breaker.end(old[5], ANSWER, 104.0, "")
    breaker.end(old[6], FAILURE, 104.0, "")
    assert (breaker.state, breaker.wait(104.0)) == ("open", 1.0)
    probe = breaker.begin()
    breaker.end(old[7], ANSWER, 105.0, "")
    breaker.end(old[8], UNKNOWN, 105.0, "")
    assert breaker.wait(105.0) == PROBE_WAIT
    breaker.end(probe, ANSWER, 105.0, "")
    assert breaker.wait(105.0) == 0


def holds(breaker: Breaker, now: float, count: int) -> list[float]:
    """How long each of ``count`` openings lasts while every probe fails at once."""
    lasted = []
    for _ in range(count):
        lasted.append(breaker.wait(now))
        now += lasted[-1]
        teach(breaker, UNREACHABLE, now)
    return lasted


def test_the_hold_doubles_once_the_outage_is_long() -> None:
    assert holds(opened(), 100.0, 11) == [5, 5, 5, 5, 5, 5, 10, 20, 30, 30, 30]


def test_the_hold_begins_anew_with_the_next_outage() -> None:
    breaker = opened()
    holds(breaker, 100.0, 11)
    teach(breaker, ANSWER, 900.0)
    for _ in range(5):
        teach(breaker, UNREACHABLE, 1000.0)
    assert breaker.wait(1000.0) == HOLD


def test_no_hold_passes_its_bound_by_the_jitter() -> None:
    breaker = Breaker(uniform=max)
    for _ in range(5):
        teach(breaker, UNREACHABLE, 100.0)
    assert max(holds(breaker, 100.0, 11)) == MAX_HOLD


@pytest.mark.parametrize("edge", [min, max])
def test_after_half_a_minute_the_farm_is_asked_within_six_seconds(edge: Any) -> None:
    breaker, now = Breaker(uniform=edge), 100.0
    for _ in range(5):
        teach(breaker, UNREACHABLE, now)
    while now < 130.0:
        wait = breaker.wait(now)
        assert 4.0 <= wait <= 6.0
        now += wait
        if now < 130.0:
            teach(breaker, UNREACHABLE, now)
    assert now <= 136.0


def test_every_new_state_is_told_once() -> None:
    told: list[str] = []
    breaker = Breaker(told.append, even)
    for _ in range(5):
        teach(breaker, UNREACHABLE, 100.0)
    teach(breaker, UNREACHABLE, 105.0)
    teach(breaker, UNKNOWN, 110.0)
    teach(breaker, ANSWER, 110.0)
    teach(breaker, ANSWER, 110.0)
    assert told == ["open", "probing", "open", "probing", "open", "probing", "closed"]


def test_a_window_looks_back_ten_seconds_and_keeps_no_more() -> None:
    window = Window()
    for second in range(1000):
        window.add(second + 0.5, 2)
        assert window.total(second + 0.5) == 2 * min(second + 1, SPAN)
        assert len(window._slots) <= SPAN
    assert window.total(2000.0) == 0


# --- A model of it ---------------------------------------------------------------------------


class Event(NamedTuple):
    at: float
    subject: str
    verdict: Verdict


class Model(RuleBasedStateMachine):
    """Calls begin and end in any order; an own reading of the rules foretells the state."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.breaker = Breaker(uniform=even)
        self.out: list[tuple[int, str]] = []  # tickets, and the epoch in which they were taken
        self.epoch = 0
        self.state = "closed"
        self.until = self.opened_at = 0.0
        self.hold = HOLD
        self.clear()

    def clear(self) -> None:
        self.events: list[Event] = []
        self.row: list[Event] = []

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.9, 5.0, 10.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.may_begin())
    @rule()
    def a_call_begins(self) -> None:
        if self.state == "open":
            self.state = "probing"
        self.out.append((self.breaker.begin(), str(self.epoch)))

    def may_begin(self) -> bool:
        return self.state == "closed" or (self.state == "open" and self.now >= self.until)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), verdict=st.sampled_from(Verdict), subject=st.sampled_from("abcdefghijkl"))
    def a_call_ends(self, data: Any, verdict: Verdict, subject: str) -> None:
        which = data.draw(st.integers(0, len(self.out) - 1))
        ticket, epoch = self.out.pop(which)
        self.breaker.end(ticket, verdict, self.now, subject)
        if epoch == str(self.epoch):
            self.learn(verdict, subject)

    def learn(self, verdict: Verdict, subject: str) -> None:
        event = Event(self.now, subject, verdict)
        if verdict in (ANSWER, UNSIGNED):
            if self.state == "probing":
                self.clear()
                self.state = "closed"
            self.row = []
            self.events.append(event)
            return
        if verdict is not UNKNOWN:
            self.row.append(event)
            self.events.append(event)
            if self.failed():
                self.open()
                return
        if self.state == "probing":
            self.state = "open"

    def failed(self) -> bool:
        unreachable = sum(event.verdict is UNREACHABLE for event in self.row)
        subjects = {event.subject for event in self.row}
        if self.state == "probing":
            return bool(unreachable) or len(subjects) >= 3
        last = {e.subject: e.verdict for e in self.events if e.at > self.now - 10}
        bad = sum(verdict in (FAILURE, UNREACHABLE) for verdict in last.values())
        half = len(last) >= 10 and 2 * bad >= len(last)
        return unreachable >= 5 or (len(self.row) >= 5 and len(subjects) >= 3) or half

    def open(self) -> None:
        if self.state == "closed":
            self.opened_at, self.hold = self.now, HOLD
        elif self.now - self.opened_at >= MAX_HOLD:
            self.hold = min(self.hold * 2, MAX_HOLD)
        self.state, self.until = "open", self.now + self.hold
        self.epoch += 1
        self.clear()

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        assert self.breaker.state == self.state
        assert (self.breaker.wait(self.now) == 0) == self.may_begin()


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
