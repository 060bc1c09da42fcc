"""Every series that the gateway counts, declared and named once.

Knows prometheus-client. Must not know who counts or why.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from app.board import Board
from app.shared_metrics import SharedCacheMetrics

BOUNDS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: the buckets of every histogram."""

Tally = list[float]
"""Seconds in all, then how many requests fell into each bucket; the last one has no bound."""

HIT = "hit"


def add(tally: Tally, seconds: float) -> None:
    """One request that took ``seconds``. Called for every kept answer: most are very fast."""
    tally[0] += seconds
    tally[1 if seconds <= BOUNDS[0] else bisect_left(BOUNDS, seconds) + 1] += 1


class Requests:
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


class ByName:
    """A counter with one label, in plain numbers, as ``Requests`` are: add to ``numbers``."""

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


class Elsewhere:
    """A counter whose number somebody else keeps: ``read`` gives it at each scrape."""

    def __init__(self, name: str, words: str) -> None:
        self._name, self._words = name, words
        self.read: Callable[[], float] = lambda: 0

    def describe(self) -> list[Metric]:
        """The family, empty."""
        return [CounterMetricFamily(self._name, self._words)]

    def collect(self) -> list[Metric]:
        """The family with its sample."""
        return [CounterMetricFamily(self._name, self._words, value=self.read())]


class Metrics:
    """The series of one gateway, in a registry of their own.

    If there is a ``board``, what is told is the sum over all processes that use it.
    """

    def __init__(self, board: Board | None = None) -> None:
        self._board = board
        self.registry = CollectorRegistry()
        self.requests = Requests()
        self.registry.register(self.requests)
        self.stale_seconds = self._counter(
            "rfgw_cache_stale_seconds", "How long past freshness stale answers were, summed up."
        )
        self.cache_entries = self._gauge("rfgw_cache_entries", "Answers that are kept.")
        self.cache_bytes = self._gauge("rfgw_cache_bytes", "Bytes that kept answers take.")
        self.flights = self._gauge("rfgw_flights", "Questions to the farm under way.")
        self.flights_joined = self._counter(
            "rfgw_flights_joined", "Times that a question was wanted while it was under way."
        )
        self.drift = self._counter(
            "rfgw_upstream_drift",
            "Answer fields that were not as documented, by public field name; 'unknown_member' "
            "for members that no field reads, 'duplicate_member' for repeated ones.",
            "field",
        )
        self.attempts = self._counter(
            "rfgw_upstream_attempts",
            "Attempts to call the farm, by outcome: ok, fault, or the cause of the failure.",
            "outcome",
        )
        self.attempt_seconds = Histogram(
            "rfgw_upstream_attempt_seconds",
            "Seconds that attempts to call the farm took.",
            buckets=BOUNDS,
            registry=self.registry,
        )
        self.retries = self._counter(
            "rfgw_upstream_retries", "Attempts that repeated a call whose first attempt failed."
        )
        self.not_asked = self._counter(
            "rfgw_upstream_not_asked",
            "Calls that were not made, by cause: queue_full, queue_wait, paused, "
            "signature_refused, breaker_open.",
            "cause",
        )
        self.misread = self._counter(
            "rfgw_upstream_misread",
            "Answers that were XML-RPC but no use, by cause: shape, unreadable_id, other_id.",
            "cause",
        )
        self.calls = self._gauge("rfgw_upstream_calls", "Calls to the farm that hold a place.")
        self.queued = self._gauge("rfgw_upstream_queued", "Calls that wait for a place.")
        self.breaker = Enum(
            "rfgw_upstream_breaker",
            "1 for the state that the breaker is in.",
            states=["closed", "open", "probing"],
            registry=self.registry,
        )
        self.keys = ByName("rfgw_key_requests", "Requests with a valid key, by its name.", "key")
        self.registry.register(self.keys)
        self.refused = self._counter(
            "rfgw_refused",
            "Requests that were refused before anything was answered, by cause: no_key, "
            "wrong_key, rate, crowd.",
            "cause",
        )
        self.lines_dropped = Elsewhere("rfgw_log_lines_dropped", "Log lines that were not written.")
        self.registry.register(self.lines_dropped)
        self.streams = Gauge("rfgw_streams", "Event streams under way.", registry=self.registry)
        self.stream_events = Counter(
            "rfgw_stream_events",
            "Events sent to streams, by their name.",
            ["event"],
            registry=self.registry,
        )
        self.workers = self._gauge("rfgw_workers", "Processes whose numbers are in here.")
        self.workers.set(1)
        self.crashes = self._counter("rfgw_crashes", "Exceptions that nobody handled: bugs.")

        self.shared = SharedCacheMetrics(self.registry)

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(name, words, labels, registry=self.registry)

    def _gauge(self, name: str, words: str) -> Gauge:
        return Gauge(name, words, registry=self.registry)

    def count_refused(self, cause: str) -> None:
        """One request was refused before anything was answered."""
        self.refused.labels(cause).inc()

    def count_stream_event(self, event: str) -> None:
        """One event was sent to one reader."""
        self.stream_events.labels(event).inc()

    def count_drift(self, field: str) -> None:
        """One answer field was not as documented."""
        self.drift.labels(field).inc()

    def count_attempt(self, outcome: str, number: int, seconds: float) -> None:
        """One attempt to call the farm ended: a call's first, or its retry."""
        self.attempts.labels(outcome).inc()
        self.attempt_seconds.observe(seconds)
        if number > 1:
            self.retries.inc()

    def count_not_asked(self, cause: str) -> None:
        """One call was not made."""
        self.not_asked.labels(cause).inc()

    def count_misread(self, cause: str) -> None:
        """One answer was of no use."""
        self.misread.labels(cause).inc()

    def count_answer(self, outcome: str, stale_for: float) -> None:
        """One call was answered, with an answer ``stale_for`` seconds past freshness (or 0)."""
        self.requests.count_answer(outcome)
        if stale_for > 0:
            self.stale_seconds.inc(stale_for)

    def exposition(self) -> bytes:
        """All series in the Prometheus text format 0.0.4."""
        if self._board is None:
            return generate_latest(self.registry)
        return self._board.exposition(self.registry)

    def shown(self) -> AbstractAsyncContextManager[None]:
        """While the block runs the other processes see these series; its end is seen, too."""
        return nullcontext() if self._board is None else self._board.shown(self.registry)
