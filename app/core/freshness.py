"""How long answers are kept: the lifetimes by pace, and the entry that an answer becomes.

Knows paces and refusals. Must not know clocks, stores or where answers come from.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.core import errors
from app.core.cache_entry import CacheEntry, StaleWindows, digest
from app.core.call import Pace

Uniform = Callable[[float, float], float]
"""Draws a number between two: ``random.uniform``, or a test's own."""


@dataclass(frozen=True, slots=True)
class FreshnessPolicy:
    """How long answers are kept, in seconds."""

    lifetimes: Mapping[str, float]  # by pace, see Call.pace
    refusals: Mapping[type[errors.Refused], float]  # what is not named is not kept
    windows: StaleWindows
    if_slow: float  # how long a kept copy waits for the upstream
    jitter: float  # +- share of each lifetime, so that equal answers do not expire at once

    def answer(self, asked_at: float, body: bytes, pace: Pace, uniform: Uniform) -> CacheEntry:
        """The entry of a rendered answer."""
        seconds = self.lifetimes[pace]
        return CacheEntry(
            body=body,
            digest=digest(body),
            asked_at=asked_at,
            lifetime=self._spread(seconds, uniform),
            nominal=int(seconds),
            final=pace == "terminal",
        )

    def refusal(self, asked_at: float, refused: errors.Refused, uniform: Uniform) -> CacheEntry:
        """The entry of a no; its lifetime is 0 if it is not to be kept."""
        seconds = self.refusals.get(type(refused), 0.0)
        return CacheEntry(
            body=b"",
            digest="",
            asked_at=asked_at,
            lifetime=self._spread(seconds, uniform),
            nominal=int(seconds),
            refused=type(refused).__name__,
            fault_code=refused.fault_code or 0,
        )

    def _spread(self, seconds: float, uniform: Uniform) -> float:
        return seconds * uniform(1 - self.jitter, 1 + self.jitter)
