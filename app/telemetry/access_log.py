"""Counts and logs each request once, when its answer ends.

Knows ASGI scopes and a clock. Must not know how series are named or lines are written.
"""

import re
from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

from app.telemetry import logs
from app.telemetry.hit_counters import HIT, RequestCounters, Tally, add
from app.telemetry.log_writer import LOG_WRITER, LineTemplate
from app.telemetry.request_context import RequestContext, trace_of

NUMBER = re.compile(r"[1-9][0-9]{0,9}")


TEMPLATE_ID = 9876543210
"""What stands for the number of a path in a template."""
MAX_TEMPLATES = 1000
"""Templates that are kept at most; there are some dozens."""


RequestFields = tuple[str, str, str, int, str]
"""Method, operation, last segment of the path, status, and how the cache took part."""


class ExpectedHit(NamedTuple):
    """What is known beforehand of requests that a kept answer serves."""

    tally: Tally
    fields: RequestFields
    template: LineTemplate | None  # their line; None: no lines are written


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
        self._templates: dict[tuple[str, str, int, str], LineTemplate] = {}

    def expect(self, operation: str, last: str, status: int) -> ExpectedHit:
        """What to ``hit`` with when a kept answer serves a path that ends like this."""
        fields = "GET", operation, last, status, HIT
        line = self._line(fields) if self._form else None
        return ExpectedHit(self._requests.hits(operation, status), fields, line)

    def _line(self, fields: RequestFields) -> LineTemplate:
        """The line of these fields: made once, then only the number of the path is filled in."""
        method, operation, last, status, outcome = fields
        what = method, operation, status, outcome
        template = self._templates.get(what)
        if template is None:
            assert self._form is not None  # noqa: S101 - else no lines are written
            if len(self._templates) >= MAX_TEMPLATES:
                self._templates.clear()
            values = _fields(method, operation, str(TEMPLATE_ID), status, outcome)
            template = self._templates[what] = self._form.template("request", values)
        number = last if NUMBER.fullmatch(last) else "null"
        return template._replace(
            upto_ms=template.upto_ms.replace(str(TEMPLATE_ID).encode(), number.encode())
        )

    def hit(
        self, hit: ExpectedHit, request_id: bytes, began: float, traceparent: bytes | None
    ) -> None:
        """The fast path has answered. Every tenth of a microsecond counts here."""
        now = self.clock()
        add(hit.tally, now - began)
        if hit.template is None:
            return
        if traceparent is None or (trace := trace_of(traceparent)) is None:
            LOG_WRITER.add((hit.template, request_id, now, now - began))
        else:
            known: dict[str, Any] = {"request_id": request_id.decode(), "trace_id": trace.id}
            logs.event(
                "request", **known, **_fields(*hit.fields), ms=round((now - began) * 1000, 3)
            )

    def routed(self, request: RequestContext) -> None:
        """An answer has ended, or will never be. A stream's latency is that of its beginning."""
        now = self.clock()
        operation = request.operation
        self._requests.count(operation, request.status, (request.first or now) - request.began)
        if self._form is None:
            return
        last = str(request.scope.get("path_params", {}).get("id", ""))
        fields = request.method, operation, last, request.status, request.outcome
        seconds = now - request.began
        if request.trace is None:
            LOG_WRITER.add((self._line(fields), request.id.encode(), now, seconds))
        else:
            logs.event("request", **_fields(*fields), ms=round(seconds * 1000, 3))


def _fields(method: str, operation: str, last: str, status: int, outcome: str) -> dict[str, Any]:
    """What a line says of a request between its id and its time.

    Of the path only a number is logged, and nothing of the query: they may hold anything.
    """
    return {
        "method": method,
        "operation": operation,
        "id": int(last) if NUMBER.fullmatch(last) else None,
        "status": status or None,
        "cache": outcome or None,
    }
