"""CPU time of small pieces of work in this process, in microseconds. Knows the CPU clock only."""

import statistics
import time
from collections.abc import Callable, Mapping


def cpu_us(work: Callable[[], object], times: int) -> float:
    """CPU microseconds that one call of `work` takes on average."""
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times * 1e6


def interleaved(
    works: Mapping[str, Callable[[], object]], *, rounds: int, times: int
) -> dict[str, list[float]]:
    """`cpu_us` of each piece of work, once a round, after one round that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            used = cpu_us(work, times)
            if turn:
                taken[name].append(used)
    return taken


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """The median of the ratios within each round."""
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
