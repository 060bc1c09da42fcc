"""One of several processes that share a cache, without a gateway around it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from app.cache.memory import MemoryStore
from app.cluster.coordinator import open_coordinator
from app.core.cache_entry import CacheEntry, digest
from app.core.ports import SharedResult
from app.telemetry.cluster_metrics import SharedCacheMetrics
from tests.programs import WITHIN

BODY = b'{"id":42}\n'


class Member:
    """A process of the group, what it has been told, and what it asked the farm."""

    def __init__(self, url: str, *, deadline: float = WITHIN) -> None:
        self.states: list[tuple[str, str]] = []
        self.asked: list[str] = []
        self.hows: list[str] = []
        self.clock: Callable[[], float] = time.monotonic  # a test may put another in its place
        self.registry = CollectorRegistry()
        self.store = MemoryStore(max_entries=100, max_bytes=10_000_000)
        self.coordinator = open_coordinator(
            url,
            name="test",
            secret="s",
            store=self.store,
            clock=lambda: self.clock(),
            deadline=deadline,
            tail=60.0,
            watch=SharedCacheMetrics(self.registry),
            observe=self.hows.append,
            changed=self._changed,
        )

    def _changed(self, state: str, cause: str) -> None:
        """As the log and the gauge have it: what does not change is no line."""
        if (state, cause) not in self.states[-1:]:
            self.states.append((state, cause))

    async def fetch(
        self, key: str, until: asyncio.Event | None = None, body: bytes = BODY
    ) -> SharedResult:
        """The group's answer for ``key``; who has to ask waits ``until`` the farm is done."""

        async def ask() -> CacheEntry:
            self.asked.append(key)
            if until is not None:
                await until.wait()
            return CacheEntry(body, digest(body), time.monotonic(), 60.0, 60)

        result = await self.coordinator.fetch(key, lambda entry: True, ask)
        if result.how == "asked":
            self.store.put(key, result.entry)
        return result

    def counted(self, series: str, **labels: str) -> float:
        """What a series of the shared cache stands at."""
        return self.registry.get_sample_value(f"rfgw_shared_cache_{series}", labels) or 0.0


@asynccontextmanager
async def members(*urls: str, deadline: float = WITHIN) -> AsyncIterator[list[Member]]:
    """So many processes, each at its address; afterwards nothing of them is left."""
    before = asyncio.all_tasks()
    group = [Member(url, deadline=deadline) for url in urls]
    for member in group:
        await member.coordinator.start()
    try:
        yield group
    finally:
        for member in group:
            await member.coordinator.aclose()
        assert asyncio.all_tasks() == before


async def until(condition: Callable[[], object]) -> None:
    """Wait for what is sure to come soon."""
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
