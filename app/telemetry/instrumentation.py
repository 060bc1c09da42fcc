"""Counts and logs what the core and the upstream report."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from app.core.ports import NOTHING, Attempt, Instrumentation
from app.telemetry import logs
from app.telemetry.metrics import Metrics


class Telemetry(Instrumentation):
    """Instrumentation by metrics and log lines. ``on_misread`` is told of an answer of no use."""

    def __init__(self, metrics: Metrics, on_misread: Callable[[str], None] | None = None) -> None:
        self._metrics = metrics
        self._on_misread = on_misread

    def attempt(self, attempt: Attempt) -> None:
        """Count and log one attempt to call the farm."""
        self._metrics.count_attempt(attempt.outcome, attempt.number, attempt.seconds)
        logs.event(
            "upstream_attempt",
            method=attempt.method,
            arguments=dict(attempt.arguments),
            changes=attempt.changes,
            attempt=attempt.number,
            outcome=attempt.outcome,
            fault_code=attempt.fault_code,
            ms=round(attempt.seconds * 1000, 1),
        )

    def credentials_refused(self, fault: int | str) -> None:
        """Count an attempt that the farm refused for our key or signature."""
        self._metrics.count_credentials_refused(fault)

    def not_asked(self, cause: str) -> None:
        """Count a call that was not made."""
        self._metrics.count_not_asked(cause)

    def breaker(self, state: str) -> None:
        """Show and log the circuit breaker's new state."""
        self._metrics.breaker.state(state)
        logs.event("upstream_breaker", state=state)

    def drift(self, field: str) -> None:
        """Count a field that was not as documented."""
        self._metrics.count_drift(field)

    def misread(self, cause: str) -> None:
        """Count an answer of no use."""
        self._metrics.count_misread(cause)
        if self._on_misread is not None:
            self._on_misread(cause)

    def answered(self, outcome: str, stale_seconds: float) -> None:
        """Count a fetch."""
        self._metrics.count_answer(outcome, stale_seconds)

    def question(self, task: object, joined: bool) -> None:
        """Count a question that was wanted while it was under way."""
        if joined:
            self._metrics.flights_joined.inc()

    def crash(self, error: BaseException, request_id: str = "-") -> None:
        """Count and log a bug."""
        self._metrics.crashes.inc()
        logs.crash(request_id, error)

    def serving(self, request: Any) -> AbstractContextManager[None]:
        """No span."""
        return NOTHING

    def attempting(
        self, method: str, told: Mapping[str, object], number: int
    ) -> AbstractContextManager[None]:
        """No span."""
        return NOTHING
