"""When may the farm be asked: the circuit breaker, and the pauses beside it.

Knows verdicts and time, which is an argument. Must not know HTTP, XML, who asks what, or how.
"""

import random
from collections.abc import Callable
from enum import Enum
from typing import Literal

from app.core.errors import UpstreamUnavailable
from app.upstream.retry import RetryPolicy, Window

ROW = 5
"""So many failures in a row open the breaker."""
MIN_CALLS = 20
"""Of so many calls within the window or more, a half that failed opens it too."""
HOLD = 5.0
"""Seconds that the breaker stays open, +- JITTER."""
MAX_HOLD = 30.0
"""Seconds: an outage that lasts longer than this doubles the hold, up to this.

Until then the hold stays short: after an outage of half a minute the farm is back in six seconds.
"""
JITTER = 0.2
"""So that several workers do not come back in step."""
ODD_SUBJECTS = 3
"""A fault without a meaning counts once so many subjects in a row have met one."""
PROBE_WAIT = 1.0
"""Seconds that a caller is told to wait while the probe is out."""

DEFAULT_PAUSE = 5.0
"""Seconds, when the farm asks for a pause and does not say how long: what clients are told too."""
UNSIGNED_ROW = 3
"""Refused signatures in a row after which the farm is asked once in UNSIGNED_HOLD seconds."""
UNSIGNED_HOLD = 30.0

BreakerState = Literal["closed", "open", "probing"]


class Verdict(Enum):
    """What a call taught about the farm."""

    ANSWER = "it answers, yes or no"
    UNSIGNED = "it answers, and does not take the signature"
    FAILURE = "it gives no usable answer"
    ODD = "a fault that may be the subject's or the farm's"
    UNKNOWN = "nothing"


class Breaker:
    """Closed, open, or open with one probe out. ``changed`` hears of each new state.

    Calls that began before it opened teach it nothing more: only the probe closes it.
    """

    def __init__(
        self,
        changed: Callable[[BreakerState], None] = lambda state: None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.state: BreakerState = "closed"
        self._changed = changed
        self._uniform = uniform
        self._openings = 0
        self._since = self._until = 0.0
        self._hold = HOLD
        self._forget()

    def _forget(self) -> None:
        self._calls, self._failures = Window(), Window()
        self._end_row()

    def _end_row(self) -> None:
        self._row = 0
        self._odd: set[str] = set()
        self._held_back = 0

    def wait(self, now: float) -> float:
        """Seconds until a call may begin; 0: now."""
        if self.state == "closed":
            return 0.0
        return PROBE_WAIT if self.state == "probing" else max(self._until - now, 0.0)

    def begin(self) -> int:
        """A call begins, which ``wait`` allowed: if the breaker is open, it is the probe.

        Comes back as the ticket to ``end`` it with.
        """
        if self.state == "open":
            self._turn("probing")
        return self._openings

    def end(self, ticket: int, verdict: Verdict, now: float, subject: str = "") -> None:
        """A call ended. ``subject`` tells calls apart whose faults have no meaning."""
        if ticket != self._openings:
            return
        if verdict in (Verdict.ANSWER, Verdict.UNSIGNED):
            self._answered(now)
        elif verdict is not Verdict.UNKNOWN:
            self._calls.add(now)
            self._failed(self._failures_in(verdict, subject), now)
        if self.state == "probing":
            self._turn("open")  # a probe that taught nothing: the next call is one again

    def _answered(self, now: float) -> None:
        if self.state == "probing":
            self._forget()
            self._turn("closed")
        self._end_row()
        self._calls.add(now)

    def _failures_in(self, verdict: Verdict, subject: str) -> int:
        """How many failures have become certain: odd faults are held back until they are many."""
        if verdict is Verdict.FAILURE:
            return 1
        self._held_back += 1
        if len(self._odd) < ODD_SUBJECTS:
            self._odd.add(subject)
        if len(self._odd) < ODD_SUBJECTS:
            return 0
        certain, self._held_back = self._held_back, 0
        return certain

    def _failed(self, count: int, now: float) -> None:
        self._row += count
        self._failures.add(now, count)
        calls = self._calls.total(now)
        many = calls >= MIN_CALLS and 2 * self._failures.total(now) >= calls
        if count and (self.state == "probing" or self._row >= ROW or many):
            self._open(now)

    def _open(self, now: float) -> None:
        if self.state == "closed":
            self._since, self._hold = now, HOLD
        elif now - self._since >= MAX_HOLD:
            self._hold = min(2 * self._hold, MAX_HOLD)
        jitter = self._uniform(1 - JITTER, 1 + JITTER)
        self._until = now + min(self._hold * jitter, MAX_HOLD)
        self._openings += 1
        self._turn("open")

    def _turn(self, state: BreakerState) -> None:
        self.state = state
        self._changed(state)


class Guard:
    """Breaker, pauses and retries of one farm. Times are monotonic seconds."""

    def __init__(self, breaker: Breaker, retry: RetryPolicy | None = None) -> None:
        self._breaker = breaker
        self._retry = retry or RetryPolicy()
        self._paused_until = 0.0
        self._unsigned = 0
        self._unsigned_until = 0.0

    def refusal(self, now: float) -> UpstreamUnavailable | None:
        """Why the farm may not be asked now and for how long; None if it may.

        ``cause`` is one of ``paused``, ``signature_refused`` and ``breaker_open``.
        """
        waits = {
            "paused": self._paused_until - now,
            "signature_refused": self._unsigned_until - now,
            "breaker_open": self._breaker.wait(now),
        }
        cause = max(waits, key=waits.__getitem__)
        if waits[cause] <= 0:
            return None
        wait = max(round(waits[cause], 3), 0.001)  # the sums' last bits are no milliseconds
        return UpstreamUnavailable(cause, retry_after=wait, asked=False)

    def begin(self, now: float) -> int:
        """A call begins: the ticket to ``end`` it with. Raises UpstreamUnavailable instead."""
        if refusal := self.refusal(now):
            raise refusal
        if self._unsigned >= UNSIGNED_ROW:
            self._unsigned_until = now + UNSIGNED_HOLD
        self._retry.begin(now)
        return self._breaker.begin()

    def end(self, ticket: int, verdict: Verdict, now: float, subject: str = "") -> None:
        """A call ended, its retry included. ``subject`` is what it was about, as text."""
        if verdict is Verdict.UNSIGNED:
            self._unsigned += 1
            if self._unsigned >= UNSIGNED_ROW:
                self._unsigned_until = now + UNSIGNED_HOLD
        elif verdict is Verdict.ANSWER:
            self._unsigned, self._unsigned_until = 0, 0.0
        self._breaker.end(ticket, verdict, now, subject)

    def pause(self, seconds: float | None, now: float) -> float:
        """The farm asked not to be asked for so long: what is left of the longest such wish."""
        seconds = DEFAULT_PAUSE if seconds is None else seconds
        self._paused_until = max(self._paused_until, now + seconds)
        return round(self._paused_until - now, 3)

    def retry(self, now: float, deadline: float) -> float | None:
        """Seconds to wait before the call is made once more; None: it is not worth it.

        A probe is never tried again: while it is out, the farm may not be asked.
        """
        return None if self.refusal(now) else self._retry.delay(now, deadline)
