"""When may the farm be asked, and asked again. Knows verdicts and time, which is an argument.

Must not know HTTP, XML or what is asked. The bulkhead alone waits, by the event loop's own clock.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from app.core.errors import Overloaded, UpstreamUnavailable
from app.telemetry.request_context import step
from app.upstream.circuit_breaker import Breaker, Verdict, Window

RETRY_NEEDS = 0.3
"""Seconds of the deadline that must remain for a retry."""
RETRY_BACKOFF = 0.05
"""Seconds: a retry comes after a random part of this ("full jitter")."""
RETRY_SHARE = 10
"""Calls in the last ten seconds that pay for one retry: a tenth of the calls, plus one a second."""
DEFAULT_PAUSE = 5.0
"""Seconds, when the farm asks for a pause and does not say how long: what clients are told too."""
UNSIGNED_ROW = 3
"""Refused signatures in a row after which the farm is asked once in UNSIGNED_HOLD seconds."""
UNSIGNED_HOLD = 30.0


class Budget:
    """How many retries are affordable: a tenth of the calls, and one a second.

    When everything fails, 100 calls a second become 111 attempts and not 200.
    """

    def __init__(self) -> None:
        self._calls, self._retries = Window(), Window()
        self._free_at = 0.0

    def earn(self, now: float) -> None:
        """A call begins."""
        self._calls.add(now)

    def spend(self, now: float) -> bool:
        """Whether a retry is affordable; if so, it is paid."""
        if (self._retries.total(now) + 1) * RETRY_SHARE <= self._calls.total(now):
            self._retries.add(now)
            return True
        if now < self._free_at:
            return False
        self._free_at = now + 1.0
        return True


class Guard:
    """Breaker, pauses and retry budget of one farm. Times are monotonic seconds."""

    def __init__(
        self, breaker: Breaker, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._breaker = breaker
        self._budget = Budget()
        self._uniform = uniform
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
        self._budget.earn(now)
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
        """Seconds to wait before the call is tried once more; None: it is not worth it.

        A probe is never tried again: while it is out, the farm may not be asked.
        """
        if deadline - now < RETRY_NEEDS or self.refusal(now) or not self._budget.spend(now):
            return None
        return self._uniform(0.0, RETRY_BACKOFF)


class Bulkhead:
    """At most ``calls`` under way at once, ``queue`` more waiting, each for ``wait`` seconds.

    Smaller than the connection pool, so that nobody ever waits inside the HTTP client: a wait
    that is cancelled there can break its pool.
    """

    def __init__(self, *, calls: int, queue: int, wait: float) -> None:
        self._places = asyncio.Semaphore(calls)
        self._queue = queue
        self._wait = wait
        self.held = 0
        self.waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold one place. Raises Overloaded if none is to be had soon."""
        with step("queue"):
            await self._enter()
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1
            self._places.release()

    async def _enter(self) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        if self.waiting >= self._queue:
            raise Overloaded("queue_full", asked=False)
        self.waiting += 1
        try:
            async with asyncio.timeout(self._wait):
                await self._places.acquire()
        except TimeoutError:
            raise Overloaded("queue_wait", asked=False) from None
        finally:
            self.waiting -= 1
