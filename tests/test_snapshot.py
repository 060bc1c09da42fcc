"""Snapshots: what was kept is kept again, as old as it is, or nothing is."""

import re
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.cache.codec import Seal, Unusable
from app.cache.memory import MemoryStore
from app.cache.snapshot import MAGIC, Snapshot
from app.core.cache_entry import CacheEntry, digest

TAIL = 600.0
WRITTEN_AT = 1_790_000_000.0
ANSWER = CacheEntry(b"{}", digest(b"{}"), 990.0, 3600.0, 3600, final=True)
REFUSAL = CacheEntry(b"", "", 995.0, 10.0, 10, 0.0, "SessionNotFound", 300)


class Life:
    """One life of a process, with its own two clocks, wound by hand."""

    def __init__(self, path: Path, *, clock: float, now: float, secret: str = "s") -> None:
        self.clock, self.now = clock, now
        self.store = MemoryStore(max_entries=100, max_bytes=1_000_000)
        self.snapshot = Snapshot(
            path,
            "group",
            seal=Seal(secret, "snapshot"),
            clock=lambda: self.clock,
            now=lambda: self.now,
            tail=TAIL,
        )

    def read(self) -> int:
        return self.snapshot.read(self.store)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A snapshot of two entries, written at 1000 by the monotonic clock."""
    life = Life(tmp_path / "snapshot", clock=1000.0, now=WRITTEN_AT)
    life.store.put("answer", ANSWER)
    life.store.put("refusal", REFUSAL)
    assert life.snapshot.write(life.store) == 2
    return tmp_path / "snapshot"


def reason(life: Life) -> str:
    with pytest.raises(Unusable) as caught:
        life.read()
    assert len(life.store) == 0
    return caught.value.reason


def test_answers_are_kept_again_and_have_aged(path: Path) -> None:
    life = Life(path, clock=50.0, now=WRITTEN_AT + 100)
    assert life.read() == 2
    answer = life.store.get("answer")
    assert answer is not None
    assert answer.age(life.clock) == pytest.approx(110)
    assert answer._replace(asked_at=0) == ANSWER._replace(asked_at=0)
    refusal = life.store.get("refusal")
    assert refusal is not None
    assert refusal.ttl(life.clock) == pytest.approx(-95)


def test_what_is_of_no_use_any_more_is_left_out(path: Path) -> None:
    life = Life(path, clock=50.0, now=WRITTEN_AT + TAIL + 10)
    assert life.read() == 1
    assert life.store.get("refusal") is None
    assert Life(path, clock=50.0, now=WRITTEN_AT + 10 * 3600).read() == 0


def test_a_file_from_the_future_is_not_believed(path: Path) -> None:
    assert reason(Life(path, clock=50.0, now=WRITTEN_AT - 1)) == "future"


def test_a_file_of_another_secret_or_group_is_not_believed(path: Path) -> None:
    assert reason(Life(path, clock=50.0, now=WRITTEN_AT, secret="other")) == "seal"
    other = Life(path, clock=50.0, now=WRITTEN_AT)
    other.snapshot = Snapshot(
        path,
        "another group",
        seal=Seal("s", "snapshot"),
        clock=lambda: 50.0,
        now=lambda: WRITTEN_AT,
        tail=TAIL,
    )
    assert reason(other) == "group"


def test_only_its_owner_may_read_it_and_nothing_else_is_left(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [*path.parent.iterdir()] == [path]


def test_a_snapshot_that_cannot_be_written_leaves_the_one_before(path: Path) -> None:
    before = path.read_bytes()
    life = Life(path, clock=50.0, now=WRITTEN_AT)
    life.store.put("broken", ANSWER._replace(nominal=b"no JSON"))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        life.snapshot.write(life.store)
    assert path.read_bytes() == before
    assert [*path.parent.iterdir()] == [path]


def test_a_last_record_that_is_shorter_than_it_says_is_not_believed(path: Path) -> None:
    before, mark, record = path.read_bytes().rpartition(b"\nrfgw1 ")
    length = re.search(rb"[0-9]+$", before)
    assert length is not None
    longer = before[: length.start()] + b"%d" % (int(length[0]) + 1)
    path.write_bytes(longer + mark + record)
    assert reason(Life(path, clock=50.0, now=WRITTEN_AT)) == "length"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0), flip=st.integers(1, 255))
def test_one_other_byte_anywhere_and_nothing_is_believed(path: Path, at: int, flip: int) -> None:
    whole = path.read_bytes()
    data = bytearray(whole)
    data[at % len(data)] ^= flip
    path.write_bytes(data)
    try:
        assert reason(Life(path, clock=50.0, now=WRITTEN_AT))
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("data", "why"), [(b"", "foreign"), (b"\x00" * 5000, "foreign"), (b"rfgw-snapshot1 ", "seal")]
)
def test_what_is_no_snapshot_is_an_empty_one(path: Path, data: bytes, why: str) -> None:
    path.write_bytes(data)
    assert reason(Life(path, clock=50.0, now=WRITTEN_AT)) == why


@pytest.mark.parametrize("head", [b"", b"[]", b"{}", b'{"group": "g", "written": "never"}'])
def test_a_head_that_is_sealed_but_odd_is_not_believed(path: Path, head: bytes) -> None:
    path.write_bytes(MAGIC + Seal("s", "snapshot").close(head) + b"\n")
    assert reason(Life(path, clock=50.0, now=WRITTEN_AT)) == "header"


@pytest.mark.parametrize("cut", [1, 100])
def test_a_file_that_was_cut_is_not_believed(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:-cut])
    assert reason(Life(path, clock=50.0, now=WRITTEN_AT)) == "seal"
