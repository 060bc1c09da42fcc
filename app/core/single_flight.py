"""Request coalescing: many requests for one key share one task."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """The questions under way, one per key, each in a task that no asker owns."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[T]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def join(
        self, key: str, ask: Callable[[], Coroutine[Any, Any, T]]
    ) -> tuple[asyncio.Task[T], bool]:
        """The task that answers ``key``, and whether it was under way already.

        Await it through ``asyncio.shield``: an asker that hangs up cancels only itself. A failure
        reaches everyone who waited, and the next asker starts anew.
        """
        task = self._tasks.get(key)
        if task is not None:
            return task, True
        task = asyncio.create_task(ask(), name=f"flight {key}")
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._landed(key, done))
        return task, False

    def _landed(self, key: str, task: asyncio.Task[T]) -> None:
        del self._tasks[key]
        if not task.cancelled():
            task.exception()  # looked at, so that nobody left to hear it is no warning

    async def aclose(self) -> None:
        """Cancel what is under way and wait for its end."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
