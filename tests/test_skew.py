"""The farm's clock is believed once a refusal proves ours wrong, and no sooner."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.upstream.oauth import FarmClock

NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("ahead", "proven"),
    [(0, False), (60, False), (-60, False), (61, True), (-61, True), (3600, True), (-86400, True)],
)
def test_a_minute_between_the_clocks_proves_it(ahead: float, proven: bool) -> None:
    clock = FarmClock()
    clock.hear(NOW + ahead, NOW)
    assert clock.timestamp(NOW) == NOW, "a difference alone changes nothing"
    assert clock.explains(clock.timestamp(NOW), NOW) is proven
    assert clock.timestamp(NOW + 5) == NOW + 5 + (ahead if proven else 0)


def test_a_farm_that_tells_no_date_proves_nothing() -> None:
    clock = FarmClock()
    assert not clock.explains(clock.timestamp(NOW), NOW)


def test_the_corrected_time_refused_again_proves_nothing_more() -> None:
    clock = FarmClock()
    clock.hear(NOW + 3600, NOW)
    assert clock.explains(clock.timestamp(NOW), NOW)
    assert not clock.explains(clock.timestamp(NOW), NOW)


def test_every_call_that_was_signed_with_the_wrong_time_is_explained() -> None:
    clock = FarmClock()
    stamps = [clock.timestamp(NOW) for _ in range(3)]
    clock.hear(NOW + 3600, NOW)
    assert all(clock.explains(stamp, NOW) for stamp in stamps)


def test_a_clock_that_was_set_right_is_believed_again() -> None:
    clock = FarmClock()
    clock.hear(NOW, NOW - 3600)
    assert clock.explains(clock.timestamp(NOW - 3600), NOW - 3600)
    clock.hear(NOW + 10, NOW + 10)  # now ours was set right
    assert clock.explains(clock.timestamp(NOW + 10), NOW + 10)
    assert clock.timestamp(NOW + 11) == NOW + 11


@given(date=st.floats(-1e11, 1e12), now=st.floats(0, 1e11))
def test_a_timestamp_is_a_positive_number_whatever_was_heard(date: float, now: float) -> None:
    clock = FarmClock()
    clock.hear(date, now)
    clock.explains(clock.timestamp(now), now)
    assert clock.timestamp(now) >= 1
