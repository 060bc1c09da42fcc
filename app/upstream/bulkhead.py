"""The bulkhead: places for calls under way, and a short queue for them.

Waits by the event loop's own clock.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.core.errors import Overloaded
from app.telemetry.request_context import TimedStep

LOGIN_CALLS = 4
"""Places for steps of logins, and as many wait: who needs no key takes none from sessions."""


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
        with TimedStep("queue"):
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
