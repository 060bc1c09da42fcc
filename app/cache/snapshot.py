"""A snapshot: what a process kept, in a file, for itself when it begins again.

Knows records and files. Must not know freshness rules or who wants a snapshot.

    rfgw-snapshot1 <seal> {"group": ..., "written": <Unix seconds>}
    <length of a record>
    <record>...

Between two lives of a process there is only the wall clock to tell how old answers have become. A
file from the future is not believed, nor one that is broken anywhere: it is as if there were none.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from app.cache.codec import MAX_SIZE, Record, Seal, Unusable, pack, unpack
from app.core.cache_entry import CacheEntry
from app.core.ports import Store

MAGIC = b"rfgw-snapshot1 "
MAX_HEAD = 1024
"""Bytes of the longest first line."""


class Snapshot:
    """The file at ``path`` for a ``group`` with one farm, consumer and version.

    ``clock`` gives monotonic seconds, ``now`` Unix seconds. Answers are kept for ``tail`` seconds
    past their freshness.
    """

    def __init__(
        self,
        path: Path,
        group: str,
        *,
        seal: Seal,
        clock: Callable[[], float],
        now: Callable[[], float],
        tail: float,
    ) -> None:
        self._path, self._group, self._seal = path, group, seal
        self._clock, self._now, self._tail = clock, now, tail

    def write(self, store: Store) -> int:
        """Write what is kept, all or nothing; gives how many. Raises OSError."""
        kept = store.items()
        with tempfile.NamedTemporaryFile(
            dir=self._path.parent, prefix=self._path.name, delete=False
        ) as file:
            try:
                self._write(file, kept)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(self._path)
            except BaseException:
                Path(file.name).unlink()
                raise
        return len(kept)

    def _write(self, file: IO[bytes], kept: list[tuple[str, CacheEntry]]) -> None:
        now = self._now()
        head = {"group": self._group, "written": now}
        file.write(MAGIC + self._seal.close(json.dumps(head).encode()) + b"\n")
        at = self._clock()
        for key, entry in kept:
            written = entry._replace(asked_at=min(entry.asked_at - at, 0.0))
            total = max(entry.lifetime + self._tail, 0.0)
            record = pack(Record(key, written, total, now), self._seal)
            file.write(b"%d\n" % len(record) + record)

    def read(self, store: Store) -> int:
        """Keep what was written and is of use still; gives how much that is.

        Raises OSError, and Unusable for a file that is no snapshot of this group: its ``reason``
        is one of those of records, or group, or future.
        """
        with self._path.open("rb") as file:
            records = list(self._records(file))
        at, now = self._clock(), self._now()
        kept = 0
        for record in records:
            asked_at = record.entry.asked_at - max(now - record.written, 0.0)
            if -asked_at < record.total:
                store.put(record.key, record.entry._replace(asked_at=at + asked_at))
                kept += 1
        return kept

    def _records(self, file: IO[bytes]) -> Iterator[Record]:
        if self._now() < self._head(file.readline(MAX_HEAD)):
            raise Unusable("future")
        while line := file.readline(16):
            try:
                length = int(line)
            except ValueError:
                raise Unusable("length") from None
            if not 0 < length <= MAX_SIZE:
                raise Unusable("length")
            data = file.read(length)
            record = unpack(data, self._seal)
            if len(data) != length:
                raise Unusable("length")
            yield record

    def _head(self, line: bytes) -> float:
        """When it was written."""
        if not line.startswith(MAGIC):
            raise Unusable("foreign")
        opened = self._seal.open(line[len(MAGIC) :].removesuffix(b"\n"))
        if opened is None:
            raise Unusable("seal")
        try:
            head = json.loads(opened)
            group, written = head["group"], float(head["written"])
        except (ValueError, KeyError, TypeError):
            raise Unusable("header") from None
        if group != self._group:
            raise Unusable("group")
        return written
