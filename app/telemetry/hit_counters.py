"""Series kept in plain numbers: what is counted for every kept answer.

Knows the collectors of prometheus-client. Must not know who counts or why.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

BOUNDS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: the buckets of every histogram."""

Tally = list[float]
"""Seconds in all, then how many requests fell into each bucket; the last one has no bound."""

HIT = "hit"


def add(tally: Tally, seconds: float) -> None:
    """One request that took ``seconds``. Called for every kept answer: most are very fast."""
    tally[0] += seconds
    tally[1 if seconds <= BOUNDS[0] else bisect_left(BOUNDS, seconds) + 1] += 1


class RequestCounters:
    """Requests and looks into the cache, in plain numbers: a kept answer is worth no more.

    prometheus-client's own counters take about 1 us a step, these a tenth of it. A registry
    collects them like any other. For the event loop's thread alone.
    """

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, int], Tally] = {}
        self._hits: dict[tuple[str, int], Tally] = {}
        self._answers: defaultdict[str, int] = defaultdict(int)

    def count(self, operation: str, status: int, seconds: float) -> None:
        """A request was answered; ``seconds`` passed until its answer began.

        Status 0 stands for one that ended without any.
        """
        tally = self._tallies.setdefault((operation, status), [0.0] * (len(BOUNDS) + 2))
        add(tally, seconds)

    def hits(self, operation: str, status: int) -> Tally:
        """Where to ``add`` requests whose answers were kept and fresh."""
        return self._hits.setdefault((operation, status), [0.0] * (len(BOUNDS) + 2))

    def count_answer(self, outcome: str) -> None:
        """A call was answered from the cache, or past it."""
        self._answers[outcome] += 1

    def describe(
        self,
    ) -> tuple[CounterMetricFamily, HistogramMetricFamily, CounterMetricFamily]:
        """The families, empty: the registry asks for their names."""
        return (
            CounterMetricFamily(
                "rfgw_requests",
                "Requests, by operationId ('other' for what has none) and status ('none' for"
                " those that ended without an answer).",
                labels=["operation", "status"],
            ),
            HistogramMetricFamily(
                "rfgw_request_seconds",
                "Seconds until an answer began, by operationId.",
                labels=["operation"],
            ),
            CounterMetricFamily(
                "rfgw_cache_answers",
                "Answers to calls, by how the cache took part.",
                labels=["outcome"],
            ),
        )

    def collect(self) -> Iterator[Metric]:
        """The families with their samples."""
        requests, latency, answers = self.describe()
        by_operation: dict[str, Tally] = {}
        by_status: defaultdict[tuple[str, int], float] = defaultdict(float)
        for (operation, status), tally in [*self._tallies.items(), *self._hits.items()]:
            by_status[operation, status] += sum(tally[1:])
            before = by_operation.get(operation, [0.0] * len(tally))
            by_operation[operation] = [*map(sum, zip(before, tally, strict=True))]
        for (operation, status), number in by_status.items():
            requests.add_metric([operation, str(status or "none")], number)
        for operation, (seconds, *counts) in by_operation.items():
            buckets = zip([*map(str, BOUNDS), "+Inf"], accumulate(counts), strict=True)
            latency.add_metric([operation], [*buckets], seconds)
        kept = sum(sum(tally[1:]) for tally in self._hits.values())
        for outcome, times in {HIT: 0, **self._answers}.items():
            answers.add_metric([outcome], times + kept if outcome == HIT else times)
        yield from (requests, latency, answers)


class LabelCounter:
    """A counter with one label, in plain numbers like ``RequestCounters``: add to ``numbers``."""

    def __init__(self, name: str, words: str, label: str) -> None:
        self.numbers: defaultdict[str, int] = defaultdict(int)
        self._name, self._words, self._label = name, words, label

    def describe(self) -> list[Metric]:
        """The family, empty."""
        return [CounterMetricFamily(self._name, self._words, labels=[self._label])]

    def collect(self) -> list[Metric]:
        """The family with its samples."""
        family = CounterMetricFamily(self._name, self._words, labels=[self._label])
        for name, number in self.numbers.items():
            family.add_metric([name], number)
        return [family]


class CallbackCounter:
    """A counter whose number somebody else keeps: ``read`` returns it at each scrape."""

    def __init__(self, name: str, words: str, read: Callable[[], float]) -> None:
        self._name, self._words, self._read = name, words, read

    def describe(self) -> list[Metric]:
        """The family, empty."""
        return [CounterMetricFamily(self._name, self._words)]

    def collect(self) -> list[Metric]:
        """The family with its sample."""
        return [CounterMetricFamily(self._name, self._words, value=self._read())]
