"""The series of the shared cache and the snapshot, declared and named once.

Knows prometheus-client. Must not know who counts or why.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class SharedCacheMetrics:
    """The series of the cache that several processes share."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.is_up = Gauge(
            "rfgw_shared_cache_up",
            "1 while the shared cache can be asked.",
            registry=registry,
        )
        self.snapshot = Gauge(
            "rfgw_snapshot_entries",
            "Answers that the snapshot brought when the process began.",
            registry=registry,
        )
        self.operations = Counter(
            "rfgw_shared_cache",
            "Round trips to the shared cache, by outcome: ok, refused, late, down.",
            ["operation", "outcome"],
            registry=registry,
        )
        self.seconds = Histogram(
            "rfgw_shared_cache_seconds",
            "What round trips to the shared cache took.",
            ["operation"],
            buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
            registry=registry,
        )
        self.questions = Counter(
            "rfgw_shared_cache_questions",
            "Questions that were not answered from this process's memory: shared, collapsed, led, "
            "alone.",
            ["how"],
            registry=registry,
        )
        self.rejections = Counter(
            "rfgw_shared_cache_rejected",
            "Values that were no records of ours, by reason: foreign, version, length, seal, "
            "header, key, age.",
            ["reason"],
            registry=registry,
        )
        self.notices = Counter(
            "rfgw_shared_cache_notices",
            "Notices that came in: answer, failure, nothing, own, unreadable.",
            ["kind"],
            registry=registry,
        )

    def operation(self, name: str, outcome: str, seconds: float) -> None:
        """One round trip ended."""
        self.operations.labels(name, outcome).inc()
        if outcome != "down":
            self.seconds.labels(name).observe(seconds)

    def rejected(self, reason: str) -> None:
        """One value was passed over."""
        self.rejections.labels(reason).inc()

    def notice(self, kind: str) -> None:
        """One notice came in."""
        self.notices.labels(kind).inc()

    def question(self, how: str) -> None:
        """One question ended."""
        self.questions.labels(how).inc()
