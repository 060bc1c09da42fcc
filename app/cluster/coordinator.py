"""Request coalescing between processes: one of them asks the farm, and all have the answer.

Knows who leads, who waits and for how long. Must not know when an answer is good, what is asked,
or the server's commands. A server that cannot be reached fails nobody: each process
asks for itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from app.cluster.invalidation import Invalidation, is_younger
from app.cluster.leases import LEASE, LeaseResult
from app.cluster.notices import Notice
from app.cluster.probe import probe_of
from app.cluster.rate_limit_sync import RateLimitShares, RateLimitSync
from app.cluster.redis_connection import RedisConnection, Unreachable
from app.cluster.shared_store import SharedStore, SharedStoreMetrics, names_of
from app.core.cache_entry import CacheEntry
from app.core.errors import UpstreamError, UpstreamTimeout
from app.core.ports import OnFailure, OnUpdate, ResultSource, SharedResult, Store

RECHECK = 0.25
"""Seconds after which a waiting request looks into the store again: a notice may have been lost."""
Work = Callable[[], Coroutine[Any, Any, None]]
"""Runs until it is cancelled."""
Observe = Callable[[str], None]
"""Called with how a question ended: shared, collapsed, led or alone."""
Changed = Callable[[str, str], None]
"""Called with "up" or "down", and with why it is down."""


class RedisCoordinator:
    """One process of the group; ``deadline`` is a call's, in seconds."""

    def __init__(
        self,
        connection: RedisConnection,
        shared_store: SharedStore,
        invalidation: Invalidation,
        *,
        clock: Callable[[], float],
        deadline: float,
        observe: Observe,
        changed: Changed,
        works: Sequence[Work] = (),
    ) -> None:
        self.shared_store, self._invalidation = shared_store, invalidation
        self._clock, self._deadline = clock, deadline
        self._observe, self._changed = observe, changed
        self._on_failure: list[OnFailure] = []
        self._waiting: dict[str, asyncio.Future[Notice | None]] = {}
        self._works: list[Work] = [partial(connection.run, self), *works]
        self._running: list[asyncio.Task[None]] = []
        self._tried = asyncio.Event()

    async def start(self) -> None:
        """Connect, and stay connected until ``aclose``. The first try is waited for, so that a
        process that begins knows what the others know."""
        self._running = [asyncio.create_task(work()) for work in self._works]
        await self._tried.wait()

    def subscribe(self, on_update: OnUpdate, on_failure: OnFailure) -> None:
        """See ports.Coordinator."""
        self._invalidation.subscribe(on_update)
        self._on_failure.append(on_failure)

    async def aclose(self) -> None:
        """Let what is being published go out, and disconnect."""
        await self._invalidation.aclose()
        for running in self._running:
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def fetch(
        self, key: str, good: Callable[[CacheEntry], bool], ask: Callable[[], Awaitable[CacheEntry]]
    ) -> SharedResult:
        """See ports.Coordinator. It takes at most one round trip longer than ``ask``."""
        try:
            return await self._fetch(key, good, ask)
        finally:
            self._waiting.pop(key, None)

    async def forget(self, key: str) -> None:
        """See ports.Coordinator."""
        with suppress(Unreachable):
            await self.shared_store.forget(key)

    async def settle(self) -> None:
        """See ports.Coordinator."""
        await self._invalidation.settle()

    async def _fetch(
        self, key: str, good: Callable[[CacheEntry], bool], ask: Callable[[], Awaitable[CacheEntry]]
    ) -> SharedResult:
        until = self._clock() + self._deadline
        notice = self._await_notice(key)
        entry, lease = await self._acquire(key)
        before, waited = entry, False
        while True:
            if entry and (good(entry) or (waited and is_younger(entry, before))):
                return self._found(key, entry, lease, "collapsed" if waited else "shared")
            if lease is not None:
                return SharedResult(await self._lead(key, lease, ask, until, waited), "asked")
            waited = True
            await asyncio.wait({notice}, timeout=min(RECHECK, until - self._clock()))
            received = notice.result() if notice.done() else None
            if received is not None and received.failure is not None:
                self._observe("collapsed")
                raise received.failure
            if self._clock() >= until:
                raise UpstreamTimeout("deadline")
            notice = self._await_notice(key)
            entry, lease = await self._acquire(key)

    def _await_notice(self, key: str) -> asyncio.Future[Notice | None]:
        # Before looking: a notice that comes in between must not be lost.
        notice = self._waiting[key] = asyncio.get_running_loop().create_future()
        return notice

    async def _acquire(self, key: str) -> LeaseResult:
        try:
            return await self.shared_store.acquire(key)
        except Unreachable:
            return LeaseResult(None, "")

    def _found(
        self, key: str, entry: CacheEntry, lease: str | None, how: ResultSource
    ) -> SharedResult:
        if lease:
            self._invalidation.publish(key, lease)
        self._observe(how)
        return SharedResult(entry, how)

    async def _lead(
        self,
        key: str,
        lease: str,
        ask: Callable[[], Awaitable[CacheEntry]],
        until: float,
        waited: bool,
    ) -> CacheEntry:
        """Ask, and publish what came of it. Without a lease, ask for ourselves."""
        self._observe("led" if lease else "alone")
        renewing = asyncio.create_task(self._renew(key, lease)) if lease else None
        entry: CacheEntry | None = None
        failure: UpstreamError | None = None
        try:
            # Who did not wait has the whole deadline, and whoever is asked keeps to it.
            async with asyncio.timeout(until - self._clock() if waited else None):
                entry = await ask()
            return entry
        except TimeoutError:
            failure = UpstreamTimeout("deadline")
            raise failure from None
        except UpstreamError as error:
            failure = error if error.asked else None  # else another process may fare better
            raise
        finally:
            if renewing is not None:
                renewing.cancel()
            if lease or entry is not None:
                self._invalidation.publish(key, lease, entry, failure)

    async def _renew(self, key: str, lease: str) -> None:
        while True:
            await asyncio.sleep(LEASE / 3)
            with suppress(Unreachable):  # once late is no end: the next one may be in time
                await self.shared_store.renew(key, lease)

    def on_message(self, message: bytes) -> None:
        """A notice came in: for who waits, of a failure, or about an answer that is kept here."""
        notice = self.shared_store.read(message)
        if notice is None:
            return
        waiting = self._waiting.get(notice.key)
        if waiting is not None:
            if not waiting.done():
                waiting.set_result(notice)
        elif notice.failure is not None:
            for on_failure in self._on_failure:
                on_failure(notice.key, notice.failure)
        elif notice.tag:
            self._invalidation.changed(notice.key, notice.tag)

    def on_connected(self) -> None:
        """Notices come in again. Some may have been missed: compare what is kept."""
        self._tried.set()
        self._changed("up", "")
        self._invalidation.catch_up()

    def on_disconnected(self, cause: str) -> None:
        """No notice will come: each request that waits looks for itself."""
        self._tried.set()
        self._changed("down", cause)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(None)


def open_coordinator(
    url: str,
    *,
    name: str,
    secret: str,
    store: Store,
    clock: Callable[[], float],
    deadline: float,
    tail: float,
    watch: SharedStoreMetrics,
    observe: Observe,
    changed: Changed,
    rate_limit: RateLimitShares | None = None,
) -> RedisCoordinator:
    """The group at ``url`` of those with the same ``name``, who share a ``secret``.

    ``tail`` is for how many seconds past freshness answers are of use. What clients take of their
    ``rate_limit`` is exchanged, too.
    """
    prefix, channel = names_of(name)
    connection = RedisConnection(url, channel, probe_of(prefix, channel))
    shared_store = SharedStore(
        connection,
        prefix,
        channel,
        secret=secret,
        clock=clock,
        tail=tail,
        watch=watch,
    )
    invalidation = Invalidation(shared_store, store)
    works: list[Work] = []
    if rate_limit is not None:
        works.append(RateLimitSync(shared_store, rate_limit, secret=secret, clock=clock).run)
    return RedisCoordinator(
        connection,
        shared_store,
        invalidation,
        clock=clock,
        deadline=deadline,
        observe=observe,
        changed=changed,
        works=works,
    )
