"""Where answers rest. Knows entries; must not know freshness rules, calls or the upstream."""

from typing import Protocol

from app.entry import Entry


class Store(Protocol):
    """Entries by key. A store may forget anything at any time; it never fails."""

    def get(self, key: str) -> Entry | None:
        """The entry kept for ``key``, fresh or not."""

    def put(self, key: str, entry: Entry) -> None:
        """Keep ``entry``, in place of what was kept for ``key``."""

    def drop(self, key: str) -> None:
        """Keep nothing for ``key``."""

    def __len__(self) -> int:
        """How many entries are kept."""
