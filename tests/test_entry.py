"""A kept answer and its age: states, pauses and digests, as tables."""

from typing import Any

import pytest

from app.entry import Entry, State, Windows, digest

WINDOWS = Windows(30.0, 600.0)


def kept(**changes: Any) -> Entry:
    """An entry kept at second 100 for 10 s."""
    return Entry(b"{}", digest(b"{}"), 100.0, 10.0, 10)._replace(**changes)


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (100.0, State.FRESH),
        (109.9, State.FRESH),
        (110.0, State.REVALIDATE),
        (139.9, State.REVALIDATE),
        (140.0, State.ON_ERROR),
        (709.9, State.ON_ERROR),
        (710.0, State.SPENT),
        (1e9, State.SPENT),
    ],
)
def test_an_answer_is_fresh_then_stale_then_spent(now: float, state: State) -> None:
    assert kept().state(now, WINDOWS) is state


@pytest.mark.parametrize(("now", "state"), [(109.9, State.FRESH), (110.0, State.SPENT)])
def test_a_refusal_is_never_used_stale(now: float, state: State) -> None:
    assert kept(refused="SessionNotFound").state(now, WINDOWS) is state


def test_windows_may_be_closed() -> None:
    assert kept().state(110.0, Windows(0.0, 0.0)) is State.SPENT
    assert kept().state(110.0, Windows(0.0, 5.0)) is State.ON_ERROR


@pytest.mark.parametrize(
    ("now", "pause"), [(105.0, 1.0), (110.0, 1.0), (118.0, 2.0), (150.0, 10.0), (700.0, 30.0)]
)
def test_after_a_failed_refresh_the_pause_grows_with_staleness(now: float, pause: float) -> None:
    assert kept().refresh_failed(now).ask_again_at == now + pause


def test_age_and_ttl_add_up_to_the_lifetime() -> None:
    assert kept().age(104.0) == 4.0
    assert kept().ttl(104.0) == 6.0
    assert kept().ttl(115.0) == -5.0


def test_the_digest_is_of_the_bytes_alone_and_fits_an_entity_tag() -> None:
    assert digest(b"a") == "G6PFI-dw8zE8yRqx"
    assert digest(b"a") != digest(b"b")
