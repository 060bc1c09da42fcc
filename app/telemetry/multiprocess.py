"""Adds up the metrics of several processes: each saves its own in a file of one directory.

Knows files, and prometheus-client's families. Must not know what is counted or who counts.

A process reports nothing that it has not saved. So the sums that different processes report one
after the other never fall, not even if one of them is killed in between.
"""

import asyncio
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

EVERY = 1.0
"""Seconds between two writings: what a process counted since the last is lost if it is killed."""
MEMORY = Path("/dev/shm")  # noqa: S108 - only looked at; what is made there is private
ENDED = "ended"
"""The file of the processes that have ended: their counters stay, their gauges do not."""
LASTING = {"counter", "histogram"}

Key = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and its labels."""


class NowhereWritable(Exception):
    """No directory of our own can be made; the message says what to do."""


class MultiprocessMetrics:
    """The counts of several processes in one ``directory``, a file each, named by its pid."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._owner = os.getpid()

    @asynccontextmanager
    async def shown(self, registry: CollectorRegistry) -> AsyncIterator[None]:
        """Save this process's counts while the block runs, and once more at its end."""
        freshness = asyncio.create_task(self._keep(registry))
        try:
            yield
        finally:
            freshness.cancel()
            if self._orphaned():
                shutil.rmtree(self._directory, ignore_errors=True)
            else:
                self._try(registry)

    async def _keep(self, registry: CollectorRegistry) -> None:
        while True:
            self._try(registry)
            await asyncio.sleep(EVERY)

    def _try(self, registry: CollectorRegistry) -> None:
        with suppress(OSError):  # not even for want of memory; a scrape fails then, and is seen to
            self.save(registry)

    def _orphaned(self) -> bool:
        """Whether the process that made the directory was killed before it could remove it."""
        return os.getpid() != self._owner != os.getppid()

    def save(self, registry: CollectorRegistry) -> None:
        """Save this process's counts."""
        self._write(str(os.getpid()), registry.collect())

    def exposition(self, registry: CollectorRegistry) -> bytes:
        """All series of all processes, those of this one in ``registry`` as they are now."""
        return generate_latest(SummedCollector(self.families(registry)))

    def families(self, registry: CollectorRegistry) -> list[Metric]:
        """The same, not yet written."""
        self.save(registry)
        with self._lock(fcntl.LOCK_SH):
            mine = self._directory / f"{os.getpid()}.json"
            others = sorted(set(self.files()) - {mine})
            return _read([mine, *others])

    def fold(self, running: Collection[int | None]) -> None:
        """Add the counts of the processes that are no longer ``running`` to those of the ended."""
        names = {ENDED, *map(str, running)}
        gone = [path for path in self.files() if path.stem not in names]
        if not gone:
            return
        with self._lock(fcntl.LOCK_EX):
            families = _read([self._directory / f"{ENDED}.json", *gone])
            self._write(ENDED, (family for family in families if family.type in LASTING))
            for path in gone:
                path.unlink()
                path.with_suffix(".new").unlink(missing_ok=True)

    def files(self) -> list[Path]:
        """The files of all processes, that of the ended ones among them."""
        return [*self._directory.glob("*.json")]

    def _write(self, name: str, families: Iterable[Metric]) -> None:
        saved = [
            (
                *(family.name, family.documentation, family.type),
                [(sample.name, sample.labels, sample.value) for sample in family.samples],
            )
            for family in families
        ]
        path = self._directory / f"{name}.new"
        path.write_text(json.dumps(saved), encoding="utf-8")
        path.replace(path.with_suffix(".json"))

    @contextmanager
    def _lock(self, how: int) -> Iterator[None]:
        """While counts are folded nobody adds up: they would be seen twice, or not at all."""
        with (self._directory / "lock").open("a") as file:
            fcntl.flock(file, how)
            yield


class SummedCollector(Collector):
    """Families as a registry gives them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """The families."""
        return self._families


def _read(paths: Iterable[Path]) -> list[Metric]:
    """The families of all these files, added up."""
    families: dict[str, Metric] = {}
    sums: dict[str, dict[Key, float]] = {}
    for path in paths:
        if not path.exists():
            continue
        for name, words, kind, samples in json.loads(path.read_text(encoding="utf-8")):
            if name not in families:
                families[name], sums[name] = Metric(name, words, kind), {}
            _add(sums[name], samples)
    for name, family in families.items():
        for (sample, labels), value in sums[name].items():
            family.add_sample(sample, dict(labels), value)
    return [*families.values()]


def _add(sums: dict[Key, float], samples: list[tuple[str, dict[str, str], float]]) -> None:
    for name, labels, value in samples:
        key = name, tuple(labels.items())
        if name.endswith("_created"):
            sums[key] = min(value, sums.get(key, value))  # when the first of them began to count
        else:
            sums[key] = sums.get(key, 0.0) + value


@contextmanager
def multiprocess_for(processes: int) -> Iterator[MultiprocessMetrics | None]:
    """A directory if there are several processes, in memory if possible; removed with the block.

    Raises NowhereWritable.
    """
    if processes == 1:
        yield None
        return
    with _own_directory() as directory:
        yield MultiprocessMetrics(Path(directory))


def _own_directory() -> tempfile.TemporaryDirectory[str]:
    for where in (MEMORY, None):
        with suppress(OSError):
            return tempfile.TemporaryDirectory(prefix="rfgw-", dir=where)
    raise NowhereWritable(
        f"several workers need a place for their counts, and neither {MEMORY} nor a temporary "
        "directory can be written: name one with TMPDIR, or set RFGW_WORKERS=1"
    )
