"""A kept answer and its age: states, pauses and digests, as tables."""

import os
import subprocess
import sys
from typing import Any

import pytest

from app.core.cache_entry import CacheEntry, EntryState, StaleWindows, digest

WINDOWS = StaleWindows(30.0, 600.0)


def kept(**changes: Any) -> CacheEntry:
    """An entry kept at second 100 for 10 s."""
    return CacheEntry(b"{}", digest(b"{}"), 100.0, 10.0, 10)._replace(**changes)


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (100.0, EntryState.FRESH),
        (109.9, EntryState.FRESH),
        (110.0, EntryState.REVALIDATE),
        (139.9, EntryState.REVALIDATE),
        (140.0, EntryState.ON_ERROR),
        (709.9, EntryState.ON_ERROR),
        (710.0, EntryState.SPENT),
        (1e9, EntryState.SPENT),
    ],
)
def test_an_answer_is_fresh_then_stale_then_spent(now: float, state: EntryState) -> None:
    assert kept().state(now, WINDOWS) is state


@pytest.mark.parametrize(("now", "state"), [(109.9, EntryState.FRESH), (110.0, EntryState.SPENT)])
def test_a_refusal_is_never_used_stale(now: float, state: EntryState) -> None:
    assert kept(refused="SessionNotFound").state(now, WINDOWS) is state


def test_windows_may_be_closed() -> None:
    assert kept().state(110.0, StaleWindows(0.0, 0.0)) is EntryState.SPENT
    assert kept().state(110.0, StaleWindows(0.0, 5.0)) is EntryState.ON_ERROR


@pytest.mark.parametrize(
    ("failed_at", "pause"), [(105.0, 1.0), (110.0, 1.0), (118.0, 2.0), (150.0, 10.0), (700.0, 30.0)]
)
def test_after_a_failure_the_pause_grows_with_staleness(failed_at: float, pause: float) -> None:
    entry = kept(failed_at=failed_at)
    assert not entry.may_ask(failed_at + pause - 0.01, healthy_at=50.0)
    assert entry.may_ask(failed_at + pause, healthy_at=50.0)


def test_the_pause_ends_early_once_the_farm_has_answered_anyone() -> None:
    entry = kept(failed_at=700.0)
    assert not entry.may_ask(700.9, healthy_at=700.5)
    assert entry.may_ask(701.0, healthy_at=700.5)


def test_without_a_failure_there_is_no_pause() -> None:
    assert kept().may_ask(100.0, healthy_at=0.0)


def test_age_and_ttl_add_up_to_the_lifetime() -> None:
    assert kept().age(104.0) == 4.0
    assert kept().ttl(104.0) == 6.0
    assert kept().ttl(115.0) == -5.0


def test_the_digest_is_of_the_bytes_alone_and_fits_an_entity_tag() -> None:
    assert digest(b"a") == "G6PFI-dw8zE8yRqx"
    assert digest(b"a") != digest(b"b")


def test_every_process_makes_the_same_entity_tag() -> None:
    program = (
        "from app.core.cache_entry import digest\n"
        "from app.resources.sessions import GetSession\n"
        "value = {'id': 1, 'thumbnails': {str(n): 'http://x.invalid/' for n in range(20)}}\n"
        "print(digest(GetSession(id=1).read(value, print).model_dump_json().encode()))"
    )
    tags = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(tags) == 1
    assert len(tags.pop().strip()) == 16
