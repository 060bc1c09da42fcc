"""perform(call): one question of one asker to the farm, neither kept nor joined with another.

For calls that change something, and for the steps of a login. Must not know the HTTP client, the
web framework or status codes.
"""

import asyncio
from functools import partial

from pydantic import BaseModel

from app.core import errors
from app.core.call import Call, read_answer
from app.core.ports import Instrumentation, Upstream


class Performer:
    """Asks in tasks that no client can cancel: what has begun at the farm is read to its end."""

    def __init__(self, upstream: Upstream, instrumentation: Instrumentation) -> None:
        self._upstream = upstream
        self._instrumentation = instrumentation
        self._under_way: set[asyncio.Task[BaseModel]] = set()

    async def perform(self, call: Call) -> BaseModel:
        """The answer. Raises errors.Refused or errors.UpstreamError."""
        task = asyncio.create_task(self._perform(call), name=f"perform {call.method}")
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def _perform(self, call: Call) -> BaseModel:
        try:
            return await self._upstream.call(call, read=partial(self._read, call))
        except errors.GatewayError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug fails one call, and is logged
            self._instrumentation.crash(error)
            raise errors.Crashed("bug") from None

    async def _read(self, call: Call, value: object) -> BaseModel:
        told = self._instrumentation
        return read_answer(call, value, told.drift, told.misread)

    def _ended(self, task: asyncio.Task[BaseModel]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that nobody left to hear it is no warning

    async def aclose(self) -> None:
        """Let what is under way come to its end, which its deadline bounds."""
        await asyncio.gather(*self._under_way, return_exceptions=True)
