"""How long answers, refusals and failures are kept: by pace, by kind, and by how often they failed.

Time is an argument. Must not know where answers come from.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from app.core import errors
from app.core.cache_entry import CacheEntry, StaleWindows, digest
from app.core.call import Pace

Uniform = Callable[[float, float], float]
"""Draws a number between two: ``random.uniform``, or a test's own."""

FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
"""Seconds in which a call that failed is not made again: doubled while it goes on failing."""
MOST_FAILURES = 10_000
"""Calls whose failure is remembered: the newest."""

NOT_OF_THE_CALL = (errors.UpstreamUnreachable, errors.UpstreamUnavailable, errors.Overloaded)
"""Failures of the farm, or of the way to it: they tell nothing of what was asked."""


class Failure(NamedTuple):
    """How a call failed last, and until when it is not made again."""

    kind: type[errors.UpstreamError]
    cause: str
    fault_code: int | None
    wait: float
    until: float


class FailureCache:
    """Calls that failed by themselves, by key (compare RFC 9520). One success ends it."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, Failure] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failures)

    def __contains__(self, key: str) -> bool:
        return key in self._failures

    def remember(self, key: str, error: errors.UpstreamError, now: float) -> None:
        """A call failed. ``error.retry_after`` is the wait, of the process that asked if told."""
        if not error.asked or isinstance(error, NOT_OF_THE_CALL):
            return
        last = self._failures.pop(key, None)
        lasts = last is not None and not self._is_over(last, now)
        doubled = min(2 * last.wait, LONGEST_WAIT) if last and lasts else FIRST_WAIT
        wait = error.retry_after = error.retry_after or doubled
        self._failures[key] = Failure(type(error), error.cause, error.fault_code, wait, now + wait)
        while len(self) > MOST_FAILURES or self._is_over(next(iter(self._failures.values())), now):
            self._failures.popitem(last=False)

    def _is_over(self, failure: Failure, now: float) -> bool:
        """Whether it is so long ago that another one would be the first."""
        return now >= failure.until + LONGEST_WAIT

    def recall(self, key: str, now: float) -> errors.UpstreamError | None:
        """The failure anew, if the call is not to be made yet: nobody is asked."""
        failure = self._failures.get(key)
        if failure is None or now >= failure.until:
            return None
        kind, cause, fault_code, _, until = failure
        wait = round(until - now, 3)
        return kind(cause, fault_code=fault_code, retry_after=wait, asked=False)

    def forget(self, key: str) -> None:
        """The call was answered."""
        self._failures.pop(key, None)


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
