"""A kept answer, its age, and what it is good for. Pure; the time is an argument.

Knows bytes, a digest and seconds. Must not know the clock, stores or HTTP headers.
"""

from base64 import urlsafe_b64encode
from enum import Enum
from hashlib import blake2b
from typing import NamedTuple


class StaleWindows(NamedTuple):
    """Seconds past freshness in which a kept answer may still be used (RFC 5861)."""

    while_revalidate: float
    if_error: float


class EntryState(Enum):
    """What a kept answer is good for at this moment."""

    FRESH = "fresh"  # answer with it
    REVALIDATE = "swr"  # answer with it, and ask behind it
    ON_ERROR = "sie"  # ask; answer with it if that fails or is slow
    SPENT = "spent"  # as if it were not there


class CacheEntry(NamedTuple):
    """A kept answer, flat: thousands of these must cost the garbage collector nothing.

    Either a rendered ``body`` or the name of a refusal (``refused``, with its ``fault_code``).
    Seconds are of the clock that the gateway was given, which never jumps.
    """

    body: bytes
    digest: str  # of the body, the same in every process
    asked_at: float  # when the farm was asked: its answer is no newer than that
    lifetime: float  # seconds of freshness, jitter included
    nominal: int  # the same in whole seconds before the jitter: what clients are told
    failed_at: float = 0.0  # when asking for it again failed last; 0: it has not
    refused: str = ""
    fault_code: int = 0
    final: bool = False  # the farm is not expected to change it any more
    gzip: bytes = b""  # the body compressed; empty until somebody asks for that

    def age(self, now: float) -> float:
        """Seconds since the farm was asked."""
        return now - self.asked_at

    def ttl(self, now: float) -> float:
        """Seconds of freshness left; negative once stale."""
        return self.asked_at + self.lifetime - now

    def state(self, now: float, windows: StaleWindows) -> EntryState:
        """A refusal is never used past its freshness: it is not worth being stale about."""
        stale_for = -self.ttl(now)
        if stale_for < 0:
            return EntryState.FRESH
        if self.refused:
            return EntryState.SPENT
        if stale_for < windows.while_revalidate:
            return EntryState.REVALIDATE
        return EntryState.ON_ERROR if stale_for < windows.if_error else EntryState.SPENT

    def may_ask(self, now: float, healthy_at: float) -> bool:
        """Whether the farm may be asked for this again, after what it said last.

        After a failure there is a pause: a quarter of the time that the answer has been stale, 1
        to 30 s, so that an outage is not met by every poller's request in turn. It ends early,
        after 1 s, if the farm has answered anyone since (``healthy_at``).
        """
        if not self.failed_at:
            return True
        stale_for = self.failed_at - self.asked_at - self.lifetime
        longest = 30.0 if healthy_at <= self.failed_at else 1.0
        return now >= self.failed_at + min(max(stale_for / 4, 1.0), longest)


def digest(body: bytes) -> str:
    """96 bits of BLAKE2b over the body, as 16 characters that may stand in an entity tag."""
    return urlsafe_b64encode(blake2b(body, digest_size=12).digest()).decode("ascii")
