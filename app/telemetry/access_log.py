"""Counts and logs each request once, when its answer ends.

Knows ASGI scopes and a clock. Must not know how series are named or lines are written.
"""

import json
import re
from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

from app.telemetry import logs
from app.telemetry.hit_counters import HIT, RequestCounters, Tally, add
from app.telemetry.log_writer import LOG_WRITER
from app.telemetry.request_context import RequestContext, trace_of

NUMBER = re.compile(r"[1-9][0-9]{0,9}")


class ExpectedHit(NamedTuple):
    """What is known beforehand of requests that kept answers of one kind serve."""

    tally: Tally
    operation: str
    status: int
    template: logs.LineTemplate | None  # their line; None: no lines are written


class AccessLog:
    """Counts every request, and logs it unless ``form`` is None.

    ``clock`` is ``perf_counter``, or a test's.
    """

    def __init__(
        self,
        requests: RequestCounters,
        form: logs.LineFormatter | None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.clock = clock
        self._requests = requests
        self._form = form
        self._templates: dict[tuple[str, str, int, str], logs.LineTemplate] = {}

    def expect(self, operation: str, status: int) -> ExpectedHit:
        """What to ``hit`` with when a kept answer serves the path of an ``operation``."""
        template = self._template("GET", operation, status, HIT) if self._form else None
        return ExpectedHit(self._requests.hits(operation, status), operation, status, template)

    def _template(
        self, method: str, operation: str, status: int, outcome: str
    ) -> logs.LineTemplate:
        """The line of such requests: made once, then only the number of the path is filled in."""
        what = method, operation, status, outcome
        template = self._templates.get(what)
        if template is None:
            assert self._form is not None  # noqa: S101 - else no lines are written
            if len(self._templates) >= logs.MAX_TEMPLATES:
                self._templates.clear()
            values = _fields(method, operation, logs.TEMPLATE_NUMBER, status, outcome)
            template = self._templates[what] = self._form.template("request", values)
        return template

    def hit(
        self,
        hit: ExpectedHit,
        number: bytes,
        request_id: bytes,
        began: float,
        traceparent: bytes | None,
    ) -> None:
        """The fast path has answered. ``number`` is what ``number_in`` gives for the path.

        Every tenth of a microsecond counts here.
        """
        now = self.clock()
        add(hit.tally, now - began)
        if hit.template is None:
            return
        if traceparent is None or (trace := trace_of(traceparent)) is None:
            LOG_WRITER.add(hit.template.line(request_id, number, now, now - began))
        else:
            known: dict[str, Any] = {"request_id": request_id.decode(), "trace_id": trace.id}
            fields = _fields("GET", hit.operation, json.loads(number), hit.status, HIT)
            logs.event("request", **known, **fields, ms=round((now - began) * 1000, 3))

    def routed(self, request: RequestContext) -> None:
        """An answer has ended, or will never be. A stream's latency is that of its beginning."""
        now = self.clock()
        operation = request.operation
        self._requests.count(operation, request.status, (request.first or now) - request.began)
        if self._form is None:
            return
        number = number_in(str(request.scope.get("path_params", {}).get("id", "")))
        status, outcome, seconds = request.status, request.outcome, now - request.began
        if request.trace is None:
            template = self._template(request.method, operation, status, outcome)
            LOG_WRITER.add(template.line(request.id.encode(), number, now, seconds))
        else:
            fields = _fields(request.method, operation, json.loads(number), status, outcome)
            logs.event("request", **fields, ms=round(seconds * 1000, 3))


def number_in(last: str) -> bytes:
    """What is logged of a path, as JSON: its last segment if that is a number.

    Nothing else of it, and nothing of the query: they may hold anything.
    """
    return last.encode() if NUMBER.fullmatch(last) else b"null"


def _fields(
    method: str, operation: str, number: int | None, status: int, outcome: str
) -> dict[str, Any]:
    """What a line says of a request between its id and its time."""
    return {
        "method": method,
        "operation": operation,
        "id": number,
        "status": status or None,
        "cache": outcome or None,
    }
