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


CUT_ID = 9876543210
"""What stands for the number of a path where a line is cut."""
MAX_CUTS = 1000
"""Kinds of lines that are kept cut; there are some dozens."""


Told = tuple[str, str, str, int, str]
"""Method, operation, last segment of the path, status, and how the cache took part."""


class ExpectedHit(NamedTuple):
    """What is known beforehand of requests that a kept answer serves."""

    tally: Tally
    told: Told
    cut: LineTemplate | None  # the same as a line; None: no lines are written


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
        self._cuts: dict[tuple[str, str, int, str], LineTemplate] = {}

    def expect(self, operation: str, last: str, status: int) -> ExpectedHit:
        """What to ``hit`` with when a kept answer serves a path that ends like this."""
        told = "GET", operation, last, status, HIT
        line = self._line(told) if self._form else None
        return ExpectedHit(self._requests.hits(operation, status), told, line)

    def _line(self, told: Told) -> LineTemplate:
        """A line that tells this: cut once, then only the number of the path is filled in."""
        method, operation, last, status, outcome = told
        what = method, operation, status, outcome
        cut = self._cuts.get(what)
        if cut is None:
            assert self._form is not None  # noqa: S101 - else no lines are written
            if len(self._cuts) >= MAX_CUTS:
                self._cuts.clear()
            fields = _fields(method, operation, str(CUT_ID), status, outcome)
            cut = self._cuts[what] = self._form.cut("request", fields)
        number = last if NUMBER.fullmatch(last) else "null"
        return cut._replace(upto_ms=cut.upto_ms.replace(str(CUT_ID).encode(), number.encode()))

    def hit(
        self, hit: ExpectedHit, request_id: bytes, began: float, traceparent: bytes | None
    ) -> None:
        """The fast path has answered. Every tenth of a microsecond counts here."""
        now = self.clock()
        add(hit.tally, now - began)
        if hit.cut is None:
            return
        if traceparent is None or (trace := trace_of(traceparent)) is None:
            LOG_WRITER.add((hit.cut, request_id, now, now - began))
        else:
            known: dict[str, Any] = {"request_id": request_id.decode(), "trace_id": trace.id}
            logs.event("request", **known, **_fields(*hit.told), ms=round((now - began) * 1000, 3))

    def routed(self, request: RequestContext) -> None:
        """An answer has ended, or will never be. A stream's latency is that of its beginning."""
        now = self.clock()
        operation = request.operation
        self._requests.count(operation, request.status, (request.first or now) - request.began)
        if self._form is None:
            return
        last = str(request.scope.get("path_params", {}).get("id", ""))
        told = request.method, operation, last, request.status, request.outcome
        seconds = now - request.began
        if request.trace is None:
            LOG_WRITER.add((self._line(told), request.id.encode(), now, seconds))
        else:
            logs.event("request", **_fields(*told), ms=round(seconds * 1000, 3))


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
