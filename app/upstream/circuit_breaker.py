"""When may the farm be asked: the circuit breaker, and the pauses beside it.

Knows verdicts and time, which is an argument. Must not know HTTP, XML, who asks what, or how.
"""

import random
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from typing import Literal

from app.core.errors import UpstreamUnavailable
from app.upstream.retry import SPAN, RetryPolicy

ROW = 5
"""So many failures in a row open the breaker."""
DIFFERENT = 3
"""Subjects that must have met a failure in a row before it is taken for the farm's own."""
MIN_SUBJECTS = 10
"""Of so many different subjects within SPAN or more, a half that failed opens it too."""
MOST_SUBJECTS = 1000
"""Subjects whose last outcome is remembered: the newest."""
HOLD = 5.0
"""Seconds that the breaker stays open, +- JITTER."""
MAX_HOLD = 30.0
"""Seconds: an outage that lasts longer than this doubles the hold, up to this.

Until then the hold stays short: after an outage of half a minute the farm is back in six seconds.
"""
JITTER = 0.2
"""So that several workers do not come back in step."""
PROBE_WAIT = 1.0
"""Seconds that a caller is told to wait while the probe is out."""

DEFAULT_PAUSE = 5.0
"""Seconds, when the farm asks for a pause and does not say how long: what clients are told too."""
UNSIGNED_HOLD = 30.0
"""Seconds in which the farm is asked once, after it refused signatures of DIFFERENT subjects in a
row."""

BreakerState = Literal["closed", "open", "probing"]


class Verdict(Enum):
    """What a call taught about the farm."""

    ANSWER = "it answers, yes or no"
    UNSIGNED = "it answers, and does not take the signature"
    UNREACHABLE = "no connection to it can be made: the farm's own failure"
    FAILURE = "no usable answer: the subject's failure, until different ones have met it"
    UNKNOWN = "nothing"


class RecentOutcomes:
    """How each subject of the last SPAN seconds fared last: one that is asked often is one."""

    def __init__(self) -> None:
        self._latest: OrderedDict[str, tuple[float, bool]] = OrderedDict()
        self._failures = 0

    def __len__(self) -> int:
        return len(self._latest)

    def add(self, subject: str, failed: bool, now: float) -> None:
        """A call about ``subject`` ended."""
        if subject in self._latest:
            self._drop(subject)
        self._latest[subject] = (now, failed)
        self._failures += failed
        while len(self) > MOST_SUBJECTS or now - self._oldest()[1] >= SPAN:
            self._drop(self._oldest()[0])

    def half_failed(self) -> bool:
        """Whether a half of them failed, if they are many enough to tell."""
        return len(self) >= MIN_SUBJECTS and 2 * self._failures >= len(self)

    def _oldest(self) -> tuple[str, float]:
        subject = next(iter(self._latest))
        return subject, self._latest[subject][0]

    def _drop(self, subject: str) -> None:
        self._failures -= self._latest.pop(subject)[1]


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
        self._recent = RecentOutcomes()
        self._end_row()

    def _end_row(self) -> None:
        self._row = self._unreachable = 0
        self._subjects: set[str] = set()

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

    def end(self, ticket: int, verdict: Verdict, now: float, subject: str) -> None:
        """A call ended. ``subject`` is what it was about, as text."""
        if ticket != self._openings:
            return
        if verdict in (Verdict.ANSWER, Verdict.UNSIGNED):
            self._answered(now, subject)
        elif verdict is not Verdict.UNKNOWN:
            self._failed(verdict, now, subject)
        if self.state == "probing":
            self._turn("open")  # a probe that taught nothing: the next call is one again

    def _answered(self, now: float, subject: str) -> None:
        if self.state == "probing":
            self._forget()
            self._turn("closed")
        self._end_row()
        self._recent.add(subject, False, now)

    def _failed(self, verdict: Verdict, now: float, subject: str) -> None:
        self._row += 1
        self._unreachable += verdict is Verdict.UNREACHABLE
        if len(self._subjects) < DIFFERENT:
            self._subjects.add(subject)
        self._recent.add(subject, True, now)
        if self._is_outage():
            self._open(now)

    def _is_outage(self) -> bool:
        """Whether what failed proves something of the farm, and not of one subject alone."""
        different = len(self._subjects) >= DIFFERENT
        if self.state == "probing":
            return different or self._unreachable > 0
        in_a_row = self._unreachable >= ROW or (different and self._row >= ROW)
        return in_a_row or self._recent.half_failed()

    def _open(self, now: float) -> None:
        if self.state == "closed":
            self._since, self._hold = now, HOLD
        elif now - self._since >= MAX_HOLD:
            self._hold = min(2 * self._hold, MAX_HOLD)
        jitter = self._uniform(1 - JITTER, 1 + JITTER)
        self._until = now + min(self._hold * jitter, MAX_HOLD)
        self._openings += 1
        self._forget()
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
        self._unsigned: set[str] = set()
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
        if len(self._unsigned) >= DIFFERENT:
            self._unsigned_until = now + UNSIGNED_HOLD
        self._retry.begin(now)
        return self._breaker.begin()

    def end(self, ticket: int, verdict: Verdict, now: float, subject: str) -> None:
        """A call ended, its retry included. ``subject`` is what it was about, as text."""
        if verdict is Verdict.UNSIGNED:
            if len(self._unsigned) < DIFFERENT:
                self._unsigned.add(subject)
            if len(self._unsigned) >= DIFFERENT:
                self._unsigned_until = now + UNSIGNED_HOLD
        elif verdict is Verdict.ANSWER:
            self._unsigned.clear()
            self._unsigned_until = 0.0
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
