"""The server's clock, known from round trips of any length."""

import pytest

from app.cluster.server_clock import ServerClock

HOUR = 3600.0
"""What the server's clock is ahead of ours."""


class Clock:
    """Ours, moved by the test."""

    now = 10.0

    def __call__(self) -> float:
        return self.now


def exchange(time: ServerClock, clock: Clock, there: float, back: float) -> None:
    """A round trip: the server reads its clock after ``there`` seconds."""
    began = clock.now
    seconds, fraction = divmod(began + there + HOUR, 1)
    clock.now += there + back
    time.learn(began, [b"%d" % seconds, b"%d" % (fraction * 1e6)])


def test_a_slow_round_trip_spoils_nothing_that_quick_ones_taught() -> None:
    clock = Clock()
    time = ServerClock(clock)
    exchange(time, clock, 0.001, 0.001)
    for there, back in ((0.0, 5.0), (5.0, 0.0), (2.0, 2.0)):
        exchange(time, clock, there, back)
        assert time.now() - clock.now == pytest.approx(HOUR, abs=0.002)


@pytest.mark.parametrize(("there", "back"), [(0.0, 5.0), (5.0, 0.0)])
def test_a_quick_round_trip_mends_what_a_slow_one_taught(there: float, back: float) -> None:
    clock = Clock()
    time = ServerClock(clock)
    exchange(time, clock, there, back)
    exchange(time, clock, 0.001, 0.001)
    assert time.now() - clock.now == pytest.approx(HOUR, abs=0.002)


def test_a_moment_of_the_server_is_one_of_ours_and_never_to_come() -> None:
    clock = Clock()
    time = ServerClock(clock)
    exchange(time, clock, 0.0, 0.0)
    assert time.own(time.now() - 4) == pytest.approx(clock.now - 4)
    assert time.own(time.now() + 4) == clock.now


def test_the_time_is_asked_for_once_a_second() -> None:
    clock = Clock()
    time = ServerClock(clock)
    assert time.is_due()
    exchange(time, clock, 0.001, 0.001)
    assert not time.is_due()
    clock.now += 1.01
    assert time.is_due()


@pytest.mark.parametrize("told", [None, [], [b"x", b"0"], [b"1"], 7, [b"9" * 400, b"0"]])
def test_a_reply_that_is_no_time_teaches_nothing(told: object) -> None:
    time = ServerClock(Clock())
    time.learn(0.0, told)
    assert not time.is_known
