"""Entries in this process, bounded by their number and their bytes, least recently used out first.

Knows entries. Must not know when one is too old: what is stale may still be wanted.
"""

from cachetools import Cache, LRUCache

from app.core.cache_entry import CacheEntry

OVERHEAD = 500
"""Bytes that an entry costs besides its body: the tuple, its key, numbers and table slots."""

GENERATION = 0.25
"""The share of all that may be kept that is put before the next generation begins."""

REFUSALS = 1000
"""How many refusals are kept at most, apart, so that they never push a real answer out."""


class MemoryStore:
    """A Store of two rooms: answers, and refusals in a small one of their own."""

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._answers: LRUCache[str, CacheEntry] = LRUCache(max_bytes, getsizeof=_size_of)
        self._refusals: LRUCache[str, CacheEntry] = LRUCache(min(REFUSALS, max_entries))
        self.generation = 0
        self._put = 0.0  # in this generation, as a share of all that may be kept

    def get(self, key: str) -> CacheEntry | None:
        """The entry kept for ``key``, fresh or not."""
        entry = self._answers.get(key)
        return self._refusals.get(key) if entry is None else entry

    def peek(self, key: str) -> CacheEntry | None:
        """The answer kept for ``key``. Looking does not count as use.

        Among ten thousand entries this takes a tenth of the time that counting takes.
        """
        try:
            return Cache.__getitem__(self._answers, key)
        except KeyError:
            return None

    def put(self, key: str, entry: CacheEntry) -> None:
        """Keep ``entry``, in place of what was kept for ``key`` in either room."""
        last = self._answers.get(key)
        if last is not None and last.gzip and last.digest == entry.digest:
            entry = entry._replace(gzip=last.gzip)  # the farm has said the same again
        self.drop(key)
        size = _size_of(entry)
        if entry.refused:
            self._refusals[key] = entry
        elif size <= self._answers.maxsize:  # else larger than all we may
            while len(self._answers) >= self._max_entries:
                self._answers.popitem()
            self._answers[key] = entry
            self._count(size)

    def put_gzip(self, key: str, digest: str, body: bytes) -> None:
        """Keep the compressed ``body`` with the entry for ``key``, if that has this ``digest``.

        Not if both together are larger than all that may be kept.
        """
        entry = self._answers.get(key)
        if entry is not None and entry.digest == digest:
            whole = entry._replace(gzip=body)
            if _size_of(whole) <= self._answers.maxsize:
                self._answers[key] = whole
                self._count(len(body))

    def _count(self, size: int) -> None:
        self._put += max(size / self._answers.maxsize, 1 / self._max_entries)
        if self._put >= GENERATION:
            self.generation, self._put = self.generation + 1, 0.0

    def drop(self, key: str) -> None:
        """Keep nothing for ``key``."""
        self._answers.pop(key, None)
        self._refusals.pop(key, None)

    @property
    def nbytes(self) -> int:
        """What is kept takes about so much."""
        return int(self._answers.currsize) + OVERHEAD * len(self._refusals)

    def items(self) -> list[tuple[str, CacheEntry]]:
        """All that is kept, in no order. Looking does not count as use."""
        rooms = (self._answers, self._refusals)
        return [(key, Cache.__getitem__(room, key)) for room in rooms for key in room]

    def __len__(self) -> int:
        return len(self._answers) + len(self._refusals)


def _size_of(entry: CacheEntry) -> int:
    return len(entry.body) + len(entry.gzip) + OVERHEAD
