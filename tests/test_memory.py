"""The store's bounds hold whatever is put into it, and refusals push no answer out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cache.memory import OVERHEAD, REFUSALS, MemoryStore
from app.core.cache_entry import CacheEntry


def answer(size: int) -> CacheEntry:
    return CacheEntry(b"x" * size, "d", 0.0, 1.0, 1)


REFUSAL = CacheEntry(b"", "", 0.0, 1.0, 1, refused="SessionNotFound", fault_code=300)


def test_the_least_recently_used_answer_goes_first() -> None:
    store = MemoryStore(max_entries=2, max_bytes=1_000_000)
    for key in ("a", "b"):
        store.put(key, answer(1))
    assert store.get("a")
    store.put("c", answer(1))
    assert store.get("a")
    assert store.get("b") is None


def test_looking_at_all_is_no_use_of_any() -> None:
    store = MemoryStore(max_entries=2, max_bytes=1_000_000)
    for key in ("a", "b"):
        store.put(key, answer(1))
    assert store.get("a")
    assert len(store.items()) == 2
    store.put("c", answer(1))
    assert store.get("b") is None


def test_a_peek_shows_answers_and_is_no_use_of_any() -> None:
    store = MemoryStore(max_entries=2, max_bytes=1_000_000)
    for key in ("a", "b"):
        store.put(key, answer(1))
    store.put("refused", REFUSAL)
    assert store.peek("a") is store.get("a")
    assert store.peek("b") == answer(1)
    assert store.peek("refused") is None
    assert store.peek("never") is None
    store.put("c", answer(1))
    assert store.peek("b") is None


@pytest.mark.parametrize(
    ("size", "max_entries", "max_bytes"), [(1, 100, 10**9), (10_000, 10**6, 10**6)]
)
def test_what_is_counted_as_used_once_in_a_generation_stays(
    size: int, max_entries: int, max_bytes: int
) -> None:
    store = MemoryStore(max_entries=max_entries, max_bytes=max_bytes)
    store.put("used", answer(1))
    counted = None
    for number in range(1000):
        assert store.peek("used")
        if counted != store.generation:
            counted = store.generation
            store.get("used")
        store.put(str(number), answer(size))
    assert store.peek("0") is None
    assert 3 <= store.generation <= 1000 / 20


def test_compressed_bodies_begin_generations_too() -> None:
    store = MemoryStore(max_entries=1000, max_bytes=100_000)
    store.put("a", answer(1))
    for size in (10_000, 10_001, 10_002):
        store.put_gzip("a", "d", b"x" * size)
    assert store.generation == 1


def test_what_is_kept_is_weighed_refusals_too() -> None:
    store = MemoryStore(max_entries=10, max_bytes=10_000)
    store.put("a", answer(100))
    store.put("b", REFUSAL)
    assert store.nbytes == 100 + 2 * OVERHEAD


def test_bytes_are_bounded_too() -> None:
    store = MemoryStore(max_entries=100, max_bytes=3 * (OVERHEAD + 1000))
    for number in range(5):
        store.put(str(number), answer(1000))
    assert [bool(store.get(str(number))) for number in range(5)] == [False, False] + [True] * 3


def test_an_answer_larger_than_the_store_is_not_kept_and_replaces_what_was() -> None:
    store = MemoryStore(max_entries=10, max_bytes=10_000)
    store.put("a", answer(1))
    store.put("a", answer(20_000))
    assert store.get("a") is None


def test_a_refusal_replaces_an_answer_and_an_answer_a_refusal() -> None:
    store = MemoryStore(max_entries=10, max_bytes=10_000)
    store.put("a", answer(1))
    store.put("a", REFUSAL)
    assert store.get("a") == REFUSAL
    store.put("a", answer(2))
    assert store.get("a") == answer(2)
    assert len(store) == 1


def test_a_flood_of_refusals_pushes_no_answer_out() -> None:
    store = MemoryStore(max_entries=500, max_bytes=10_000_000)
    for number in range(500):
        store.put(f"real {number}", answer(10))
    for number in range(1_000_000):
        store.put(f"not found {number}", REFUSAL)
    assert all(store.get(f"real {number}") for number in range(500))
    assert len(store) == 500 + min(REFUSALS, 500)


def test_of_refusals_a_thousand_are_kept_however_large_the_store_is() -> None:
    store = MemoryStore(max_entries=100_000, max_bytes=2**30)
    for number in range(1500):
        store.put(f"not found {number}", REFUSAL)
    assert len(store) == 1000


@given(
    st.lists(st.tuples(st.integers(0, 8), st.one_of(st.none(), st.integers(0, 3000))), max_size=60)
)
@settings(deadline=None)
def test_the_bounds_hold_and_the_last_put_is_what_is_kept(
    puts: list[tuple[int, int | None]],
) -> None:
    store = MemoryStore(max_entries=4, max_bytes=6000)
    last: dict[str, CacheEntry] = {}
    for number, size in puts:
        entry = REFUSAL if size is None else answer(size)
        store.put(str(number), entry)
        last[str(number)] = entry
        kept = {key: found for key in last if (found := store.get(key))}
        answers = [entry for entry in kept.values() if not entry.refused]
        assert len(answers) <= 4
        assert sum(len(entry.body) + OVERHEAD for entry in answers) <= 6000
        assert all(last[key] == entry for key, entry in kept.items())
        assert kept.get(str(number)) == entry
