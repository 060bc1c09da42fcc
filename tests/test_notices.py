"""Notices: what one process tells, another reads, and nothing that is old fails anybody."""

import pytest

from app.cache.codec import Seal
from app.cluster.notices import FRESH, NOTICE_SIZE, Notice, NoticeCodec, Unreadable
from app.core.errors import UpstreamTimeout

SEAL = Seal("a secret", "notice")
FAILED = Notice("call(42)", failure=UpstreamTimeout("deadline", retry_after=2.0))


class Clock:
    """Moved by the test."""

    now = 1.7e9

    def __call__(self) -> float:
        return self.now


def pair(clock: Clock) -> tuple[NoticeCodec, NoticeCodec]:
    return NoticeCodec(SEAL, clock), NoticeCodec(SEAL, clock)


@pytest.mark.parametrize("notice", [Notice("call(42)", "tag"), Notice("call(42)")])
def test_what_one_tells_the_other_reads_and_nobody_hears_itself(notice: Notice) -> None:
    one, other = pair(Clock())
    assert other.unpack(one.pack(notice)) == notice
    assert one.unpack(one.pack(notice)) is None


@pytest.mark.parametrize("since", [-FRESH - 0.1, -1.0, 0.0, 1.0, FRESH + 0.1, 1e6])
def test_an_old_failure_that_is_told_again_is_none(since: float) -> None:
    clock = Clock()
    one, other = pair(clock)
    message = one.pack(FAILED)
    clock.now += since
    read = other.unpack(message)
    assert read is not None
    assert read.key == FAILED.key
    assert (read.failure is not None) == (abs(since) <= FRESH)
    assert read.kind == ("failure" if abs(since) <= FRESH else "nothing")
    if read.failure is not None:
        assert type(read.failure) is UpstreamTimeout
        assert (read.failure.cause, read.failure.retry_after) == ("deadline", 2.0)


@pytest.mark.parametrize(
    "message", [b"", b"{}", Seal("a secret", "record").close(b"{}"), b"x" * (NOTICE_SIZE + 1)]
)
def test_what_is_no_notice_of_the_group_is_unreadable(message: bytes) -> None:
    with pytest.raises(Unreadable):
        pair(Clock())[0].unpack(message)


def test_a_notice_beyond_the_bound_is_unreadable_whoever_sealed_it() -> None:
    one, other = pair(Clock())
    with pytest.raises(Unreadable):
        other.unpack(one.pack(Notice("x" * NOTICE_SIZE)))
