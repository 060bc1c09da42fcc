"""Where answers rest. Knows entries; must not know freshness rules, calls or the upstream."""

from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple, Protocol

from app.core.cache_entry import CacheEntry


class Store(Protocol):
    """Entries by key. A store may forget anything at any time; it never fails."""

    def get(self, key: str) -> CacheEntry | None:
        """The entry kept for ``key``, fresh or not."""

    def put(self, key: str, entry: CacheEntry) -> None:
        """Keep ``entry``, in place of what was kept for ``key``."""

    def drop(self, key: str) -> None:
        """Keep nothing for ``key``."""

    def items(self) -> list[tuple[str, CacheEntry]]:
        """All that is kept, in no order. Looking does not count as use."""

    def __len__(self) -> int:
        """How many entries are kept."""


ResultSource = Literal["asked", "shared", "collapsed"]
"""Whose question an answer came from: this process asked, another had asked, or was asking."""


class SharedResult(NamedTuple):
    """An answer, and whose question it came from."""

    entry: CacheEntry
    how: ResultSource


class Coordinator(Protocol):
    """Where several processes meet, so that one of them asks and all have the answer."""

    async def answer(
        self, key: str, good: Callable[[CacheEntry], bool], ask: Callable[[], Awaitable[CacheEntry]]
    ) -> SharedResult:
        """A ``good`` answer that another process has or brings, else the one that ``ask`` gives.

        Raises what ``ask`` raises: errors.UpstreamError, in this process or in another.
        """
