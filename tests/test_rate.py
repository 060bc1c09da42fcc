"""A client's share of requests, on a clock that is wound by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.edge.rate_limit import LIMIT, LOOKS, RateLimit, SharedRateLimit, limit_fields


def spend(rate: RateLimit, client: str, now: float) -> int:
    """How many requests are taken of a client at one moment."""
    taken = 0
    while not rate.take(client, now).wait:
        taken += 1
    return taken


@pytest.mark.parametrize(
    ("quota", "window"), [(1, 1), (3, 10), (600, 60), (7, 3600), (99_999, 9999)]
)
@pytest.mark.parametrize("now", [0.0, 0.1, 123_456.789, 3e7])
def test_a_saved_share_is_taken_at_once_and_not_one_more(
    quota: int, window: int, now: float
) -> None:
    rate = RateLimit(quota, window)
    assert spend(rate, "a", now) == quota
    assert spend(rate, "b", now) == quota, "each has a share of its own"


def test_what_is_left_counts_down_to_nothing() -> None:
    rate = RateLimit(600, 60)
    assert [rate.take("a", 5.0).left for _ in range(600)] == list(range(599, -1, -1))


def test_a_used_up_share_comes_back_evenly() -> None:
    rate = RateLimit(6, 60)
    spend(rate, "a", 100.0)
    refused = rate.take("a", 100.0)
    assert refused.wait == pytest.approx(10)
    assert refused.whole_in == pytest.approx(60)
    assert refused.left == 0
    assert spend(rate, "a", 109.0 - 4.1) == 0
    assert spend(rate, "a", 110.0) == 1
    assert spend(rate, "a", 130.0) == 2
    assert spend(rate, "a", 500.0) == 6, "never more than the share is saved up"


def test_a_refused_request_costs_nothing() -> None:
    rate = RateLimit(2, 20)
    spend(rate, "a", 0.0)
    for _ in range(100):
        assert rate.take("a", 1.0).wait
    assert spend(rate, "a", 10.0) == 1


@given(st.lists(st.floats(0, 30), max_size=60))
def test_no_window_ever_sees_more_than_two_shares(steps: list[float]) -> None:
    rate, now, taken = RateLimit(5, 10), 1000.0, []
    for step in steps:
        now += step / 10
        if not rate.take("a", now).wait:
            taken.append(now)
    for begin in taken:
        assert sum(begin <= moment < begin + 10 for moment in taken) <= 10


def test_after_its_wait_a_request_is_taken() -> None:
    rate = RateLimit(7, 13)
    now = 3.3
    for _ in range(50):
        wait = rate.take("a", now).wait
        if wait:
            now += wait + 1e-6
            assert not rate.take("a", now).wait


def test_a_flood_of_clients_grows_nothing_and_frees_nobody_who_asked_much() -> None:
    rate = RateLimit(10, 60, max_clients=100)
    heavy = [f"heavy-{number}" for number in range(5)]
    for client in heavy:
        spend(rate, client, 0.0)
    for number in range(10_000):
        assert not rate.take(f"flood-{number}", 1.0 + number / 1_000_000).wait
        assert len(rate._whole_at) <= 100
    for client in heavy:
        assert rate.take(client, 1.1).wait, f"{client} was forgotten"


def test_when_all_have_asked_much_one_is_forgotten_all_the_same() -> None:
    rate = RateLimit(10, 60, max_clients=LOOKS)
    for number in range(3 * LOOKS):
        spend(rate, str(number), 0.0)
        assert len(rate._whole_at) <= LOOKS


def test_clients_whose_share_is_whole_leave_the_table_first() -> None:
    rate = RateLimit(10, 60, max_clients=LOOKS)
    for number in range(LOOKS):
        rate.take(str(number), 0.0)
    rate.take("new", 100.0)
    assert list(rate._whole_at) == ["new"]


def test_the_field_is_a_structured_one_in_whole_numbers() -> None:
    rate = RateLimit(600, 60)
    assert rate.policy == b'"default";q=600;w=60'
    first = limit_fields(rate.policy, LIMIT % rate.take("a", 0.0).values())
    assert first == [(b"ratelimit-policy", rate.policy), (b"ratelimit", b'"default";r=599;t=1')]
    for _ in range(149):
        last = rate.take("a", 0.0)
    assert LIMIT % last.values() == b'"default";r=450;t=15'


def test_what_is_published_of_a_costly_request_is_what_was_counted() -> None:
    shared = SharedRateLimit(RateLimit(10, 60))
    assert shared.take("a", 0.0, cost=50).wait == 0
    assert shared.take("b", 0.0, cost=3).wait == 0
    assert shared.unpublished(500) == {"a": 10, "b": 3}


def test_what_is_taken_while_others_are_asked_is_counted_besides() -> None:
    shared = SharedRateLimit(RateLimit(10, 10))
    for _ in range(3):
        shared.take("a", 0.0)
    assert shared.unpublished(500) == {"a": 3}
    for _ in range(2):
        shared.take("a", 0.0)
    shared.learn("a", 6.0, 0.0)  # the three, and three of others
    assert shared.take("a", 0.0).left == 10 - 6 - 2 - 1
