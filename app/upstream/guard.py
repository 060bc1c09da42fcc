"""When may the farm be asked. Knows outcomes and time. Must not know HTTP, XML or what is asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.errors import Overloaded


class Bulkhead:
    """At most ``calls`` under way at once, ``queue`` more waiting, each for ``wait`` seconds.

    Smaller than the connection pool, so that nobody ever waits inside the HTTP client: a wait
    that is cancelled there can break its pool.
    """

    def __init__(self, *, calls: int, queue: int, wait: float) -> None:
        self._places = asyncio.Semaphore(calls)
        self._queue = queue
        self._wait = wait
        self._waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold one place. Raises Overloaded if none is to be had soon."""
        await self._enter()
        try:
            yield
        finally:
            self._places.release()

    async def _enter(self) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        if self._waiting >= self._queue:
            raise Overloaded("queue_full")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait):
                await self._places.acquire()
        except TimeoutError:
            raise Overloaded("queue_wait") from None
        finally:
            self._waiting -= 1
