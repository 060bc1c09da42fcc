"""Every series that the gateway counts, declared and named once.

Knows prometheus-client. Must not know who counts or why.
"""

from prometheus_client import CollectorRegistry, Counter, generate_latest


class Metrics:
    """The series of one gateway, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.drift = Counter(
            "rfgw_upstream_drift",
            "Answer fields that were not as documented, by public field name; 'unknown_member' "
            "for members that no field reads, 'duplicate_member' for repeated ones.",
            ["field"],
            registry=self.registry,
        )
        self.attempts = Counter(
            "rfgw_upstream_attempts",
            "Calls sent to the farm, by outcome: ok, fault, or the cause of the failure.",
            ["outcome"],
            registry=self.registry,
        )

    def count_drift(self, field: str) -> None:
        """One answer field was not as documented."""
        self.drift.labels(field).inc()

    def count_attempt(self, outcome: str) -> None:
        """One attempt to call the farm ended."""
        self.attempts.labels(outcome).inc()

    def exposition(self) -> bytes:
        """All series in the Prometheus text format 0.0.4."""
        return generate_latest(self.registry)
