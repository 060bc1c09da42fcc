"""What passes between this process's answers and the group's while nobody waits for it.

Knows both levels and which answer is the younger one. Must not know who asks or who waits.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from app.cluster.notices import tag_of
from app.cluster.redis_connection import Unreachable
from app.cluster.shared_store import FORGOTTEN, YOUNGER, SharedStore
from app.core.cache_entry import CacheEntry
from app.core.errors import UpstreamError
from app.core.ports import OnUpdate, Store

AT_ONCE = 100
"""Tasks at the same time beyond which a changed answer is dropped and not fetched; and of how
many kept answers one question is made."""
MAX_UNPUBLISHED = 1000
"""Answers that could not be published are published later: this many at most."""


class Invalidation:
    """Replaces what is kept in the ``store`` when another process has a newer answer."""

    def __init__(self, shared_store: SharedStore, store: Store) -> None:
        self._shared_store, self._store = shared_store, store
        self._listeners: list[OnUpdate] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._unpublished: set[str] = set()
        self._forgotten: set[str] = set()

    def subscribe(self, on_update: OnUpdate) -> None:
        """Call ``on_update`` with each answer of another process that replaces a kept one."""
        self._listeners.append(on_update)

    def _keep(self, key: str, entry: CacheEntry) -> None:
        for on_update in self._listeners:
            on_update(key, entry)

    async def aclose(self) -> None:
        """As ``settle``."""
        await self.settle()

    async def settle(self) -> None:
        """Let what is under way come to its end, which is near."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def publish(
        self,
        key: str,
        lease: str,
        entry: CacheEntry | None = None,
        failure: UpstreamError | None = None,
    ) -> None:
        """Publish what came of a question: an answer, a failure, or nothing."""
        self._later(self._publish(key, lease, entry, failure))

    def changed(self, key: str, tag: str) -> None:
        """Another process has an answer of this ``tag``: if it is not ours, fetch it."""
        if tag == FORGOTTEN:
            self._store.drop(key)
            if len(self._forgotten) < MAX_UNPUBLISHED:
                self._forgotten.add(key)
            return
        kept = self._store.get(key)
        if kept is None and key in self._forgotten:
            self._forgotten.discard(key)
            self._later(self._fetch_anew(key))
        if kept is None or tag_of(kept) == tag:
            return  # an equal one is looked up once ours is too old
        if len(self._tasks) < AT_ONCE:
            self._later(self._replace(key, kept))
        else:
            self._store.drop(key)

    def catch_up(self) -> None:
        """Notices may have been lost, ours and those of others."""
        self._later(self._catch_up())

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        async def quietly() -> None:
            with suppress(Unreachable):
                await work

        task = asyncio.create_task(quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish(
        self, key: str, lease: str, entry: CacheEntry | None, failure: UpstreamError | None
    ) -> None:
        try:
            await self._shared_store.publish(key, lease, entry, failure)
        except Unreachable:
            if entry is not None and len(self._unpublished) < MAX_UNPUBLISHED:
                self._unpublished.add(key)

    async def _replace(self, key: str, kept: CacheEntry) -> None:
        """What is kept is wrong for sure, whatever else can be learned."""
        with suppress(Unreachable):
            if await self._fetch(key, kept):
                return
        self._store.drop(key)

    async def _fetch_anew(self, key: str) -> None:
        """What was kept is gone, and somebody may watch what has come in its place."""
        await self._fetch(key, None)

    async def _fetch(self, key: str, kept: CacheEntry | None) -> bool:
        """Take over the group's answer if it is younger; whether there is one."""
        entry = await self._shared_store.get(key)
        if entry is not None and is_younger(entry, kept):
            self._keep(key, entry)
        return entry is not None

    async def _catch_up(self) -> None:
        """Publish what could not be published, and take over what the group has answered anew.

        What the group does not have stands: a server that begins empty knows nothing better.
        """
        await self._shared_store.learn_time()
        unpublished, self._unpublished = self._unpublished, set()
        for key in unpublished:
            mine = self._store.get(key)
            theirs = await self._shared_store.get(key) if mine else None
            if mine and (theirs is None or is_younger(mine, theirs)):
                await self._publish(key, "", mine, None)
        kept = self._store.items()
        for start in range(0, len(kept), AT_ONCE):
            for key, mine in await self._shared_store.changed(kept[start : start + AT_ONCE]):
                await self._fetch(key, mine)


def is_younger(one: CacheEntry, other: CacheEntry | None) -> bool:
    """Whether one answer was asked for after another, for sure."""
    return other is None or one.asked_at > other.asked_at + YOUNGER
