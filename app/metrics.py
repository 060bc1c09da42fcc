"""Every series that the gateway counts, declared and named once.

Knows prometheus-client. Must not know who counts or why.
"""

from prometheus_client import CollectorRegistry, Counter, Enum, generate_latest


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
            "Attempts to call the farm, by outcome: ok, fault, or the cause of the failure.",
            ["outcome"],
            registry=self.registry,
        )
        self.retries = Counter(
            "rfgw_upstream_retries",
            "Attempts that repeated a call whose first attempt failed.",
            registry=self.registry,
        )
        self.not_asked = Counter(
            "rfgw_upstream_not_asked",
            "Calls that were not made, by cause: queue_full, queue_wait, paused, "
            "signature_refused, breaker_open.",
            ["cause"],
            registry=self.registry,
        )
        self.breaker = Enum(
            "rfgw_upstream_breaker",
            "1 for the state that the breaker is in.",
            states=["closed", "open", "probing"],
            registry=self.registry,
        )

    def count_drift(self, field: str) -> None:
        """One answer field was not as documented."""
        self.drift.labels(field).inc()

    def count_attempt(self, outcome: str, number: int) -> None:
        """One attempt to call the farm ended: a call's first, or its retry."""
        self.attempts.labels(outcome).inc()
        if number > 1:
            self.retries.inc()

    def count_not_asked(self, cause: str) -> None:
        """One call was not made."""
        self.not_asked.labels(cause).inc()

    def exposition(self) -> bytes:
        """All series in the Prometheus text format 0.0.4."""
        return generate_latest(self.registry)
