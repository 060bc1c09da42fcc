"""Counts and logs what the core and the upstream report."""

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from time import perf_counter
from typing import Any

from app.core.ports import NOTHING, Attempt, Instrumentation
from app.telemetry import logs
from app.telemetry.log_writer import LOG_WRITER
from app.telemetry.metrics import Metrics
from app.telemetry.request_context import request_context


class AttemptLog:
    """Logs attempts. Of most, only an id and the time differ: what else they say is formatted once.

    Without a ``form``, each is an event of ``logging`` like any other.
    """

    def __init__(self, form: logs.LineFormatter | None) -> None:
        self._form = form
        self._template = lru_cache(logs.MAX_TEMPLATES)(self._make_template)

    def add(self, attempt: Attempt) -> None:
        """Log one attempt."""
        method, arguments, seconds = attempt.method, attempt.arguments, attempt.seconds
        told = attempt.number, attempt.outcome, attempt.fault_code, attempt.changes
        request = request_context.get()
        number = next(iter(arguments.values()), None) if len(arguments) == 1 else None
        if self._form is None or request is None or request.trace or type(number) is not int:
            fields = _fields(method, dict(arguments), *told)
            logs.event("upstream_attempt", **fields, ms=round(seconds * 1000, 3))
        elif logs.EVENTS.isEnabledFor(logging.INFO):
            template = self._template(method, *arguments, *told)
            LOG_WRITER.add(
                template.line(request.id.encode(), b"%d" % number, perf_counter(), seconds)
            )

    def _make_template(self, method: str, argument: str, *told: Any) -> logs.LineTemplate:
        assert self._form is not None  # noqa: S101 - else there are no templates
        fields = _fields(method, {argument: logs.TEMPLATE_NUMBER}, *told)
        return self._form.template("upstream_attempt", fields)


def _fields(
    method: str,
    arguments: dict[str, object],
    number: int,
    outcome: str,
    fault_code: int | None,
    changes: bool,
) -> dict[str, Any]:
    """What a line says of an attempt between its request's id and its time."""
    return {
        "method": method,
        "arguments": arguments,
        "changes": changes,
        "attempt": number,
        "outcome": outcome,
        "fault_code": fault_code,
    }


class Telemetry(Instrumentation):
    """Instrumentation by metrics and log lines. ``on_misread`` is told of an answer of no use."""

    def __init__(self, metrics: Metrics, on_misread: Callable[[str], None] | None = None) -> None:
        self._metrics = metrics
        self._on_misread = on_misread
        self._attempt_log = AttemptLog(logs.line_formatter())

    def attempt(self, attempt: Attempt) -> None:
        """Count and log one attempt to call the farm."""
        self._metrics.count_attempt(attempt.outcome, attempt.number, attempt.seconds)
        self._attempt_log.add(attempt)

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
