"""Every series that the gateway counts, declared and named once.

Knows prometheus-client. Must not know who counts or why.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric

from app.telemetry.cluster_metrics import SharedCacheMetrics
from app.telemetry.hit_counters import BOUNDS, CallbackCounter, LabelCounter, RequestCounters
from app.telemetry.log_writer import LOG_WRITER
from app.telemetry.multiprocess import MultiprocessMetrics


class Metrics:
    """The series of one gateway, in a registry of their own.

    If there is a ``multiprocess``, what is told is the sum over all processes that use it.
    """

    def __init__(self, multiprocess: MultiprocessMetrics | None = None) -> None:
        self._multiprocess = multiprocess
        self.registry = CollectorRegistry()
        self.requests = RequestCounters()
        self.registry.register(self.requests)
        self.stale_seconds = self._counter(
            "rfgw_cache_stale_seconds", "How long past freshness stale answers were, summed up."
        )
        self.cache_entries = self._gauge("rfgw_cache_entries", "Answers that are kept.")
        self.cache_bytes = self._gauge("rfgw_cache_bytes", "Bytes that kept answers take.")
        self.cache_failures = self._gauge(
            "rfgw_cache_failures", "Calls whose last failure is remembered."
        )
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
        self.credentials_refused = self._counter(
            "rfgw_upstream_credentials_refused",
            "Attempts that the farm refused for the gateway's own key or signature, by fault "
            "code, or by the word of an oauth_problem.",
            "fault_code",
        )
        self.not_asked = self._counter(
            "rfgw_upstream_not_asked",
            "Calls that were not made, by cause: queue_full, queue_wait, paused, "
            "signature_refused, breaker_open, failing.",
            "cause",
        )
        self.misread = self._counter(
            "rfgw_upstream_misread",
            "Answers that were no use, by cause: shape, unreadable_id, other_id; of logins, form, "
            "callback_unconfirmed.",
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
        self.keys = LabelCounter(
            "rfgw_key_requests", "Requests with a valid key, by its name.", "key"
        )
        self.registry.register(self.keys)
        self.refused = self._counter(
            "rfgw_refused",
            "Requests that were refused before anything was answered, by cause: no_key, "
            "wrong_key, rate, crowd.",
            "cause",
        )
        self.logins = self._counter(
            "rfgw_logins",
            "What became of visitors' logins: begun, done, denied, failed, ended.",
            "outcome",
        )
        self.lines_dropped = CallbackCounter(
            "rfgw_log_lines_dropped",
            "Log lines that were not written.",
            lambda: LOG_WRITER.dropped,
        )
        self.registry.register(self.lines_dropped)
        self.streams = Gauge("rfgw_streams", "Event streams under way.", registry=self.registry)
        self.stream_events = Counter(
            "rfgw_stream_events",
            "Events sent to streams, by their name.",
            ["event"],
            registry=self.registry,
        )
        self._stream_event = cache(self.stream_events.labels)  # looked up once, not by each event
        self.workers = self._gauge("rfgw_workers", "Processes whose numbers are in here.")
        self.workers.set(1)
        self.crashes = self._counter("rfgw_crashes", "Exceptions that nobody handled: bugs.")

        self.shared = SharedCacheMetrics(self.registry)

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(name, words, labels, registry=self.registry)

    def _gauge(self, name: str, words: str) -> Gauge:
        return Gauge(name, words, registry=self.registry)

    def read_gauges(self, **gauges: Callable[[], float]) -> None:
        """Read these gauges, named as the attributes here, whenever they are scraped."""
        for name, read in gauges.items():
            getattr(self, name).set_function(read)

    def count_refused(self, cause: str) -> None:
        """One request was refused before anything was answered."""
        self.refused.labels(cause).inc()

    def count_login(self, outcome: str) -> None:
        """A visitor's login has begun, or ended in one of its ways."""
        self.logins.labels(outcome).inc()

    def count_stream_event(self, event: str) -> None:
        """One event was sent to one reader."""
        self._stream_event(event).inc()

    def count_drift(self, field: str) -> None:
        """One answer field was not as documented."""
        self.drift.labels(field).inc()

    def count_attempt(self, outcome: str, number: int, seconds: float) -> None:
        """One attempt to call the farm ended: a call's first, or its retry."""
        self.attempts.labels(outcome).inc()
        self.attempt_seconds.observe(seconds)
        if number > 1:
            self.retries.inc()

    def count_credentials_refused(self, fault_code: int | str) -> None:
        """The farm refused our own key or signature, with a fault of a table of ours."""
        self.credentials_refused.labels(str(fault_code)).inc()

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

    def families(self) -> Iterable[Metric]:
        """All series, those of other processes added. Raises OSError."""
        if self._multiprocess is None:
            return self.registry.collect()
        return self._multiprocess.families(self.registry)

    def exposition(self) -> bytes:
        """All series in the Prometheus text format 0.0.4."""
        if self._multiprocess is None:
            return generate_latest(self.registry)
        return self._multiprocess.exposition(self.registry)

    def shown(self) -> AbstractAsyncContextManager[None]:
        """While the block runs the other processes see these series; its end is seen, too."""
        return (
            nullcontext() if self._multiprocess is None else self._multiprocess.shown(self.registry)
        )
