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


class ExpectedHit(NamedTuple):
    """What is known beforehand of requests that a kept answer serves."""

    tally: Tally
    fields: dict[str, Any]  # but for the number of the path
    number: int | None
    cut: LineTemplate | None  # all of it as a line; None: no lines are written


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
        self._expected: dict[tuple[str, int], ExpectedHit] = {}  # without numbers

    def expect(self, operation: str, last: str, status: int) -> ExpectedHit:
        """What to ``hit`` with when a kept answer serves a path that ends like this."""
        below = operation, status
        tally, fields, _, cut = self._expected.get(below) or self._expect_any(*below)
        number = _number(last)
        if cut is not None:
            told = b"null" if number is None else b"%d" % number
            cut = cut._replace(upto_ms=cut.upto_ms.replace(b"%d" % CUT_ID, told))
        return ExpectedHit(tally, fields, number, cut)

    def _expect_any(self, operation: str, status: int) -> ExpectedHit:
        fields = _fields("GET", operation, str(CUT_ID), status, HIT)
        cut = self._form.cut("request", fields) if self._form else None
        tally = self._requests.hits(operation, status)
        expected = self._expected[operation, status] = ExpectedHit(tally, fields, CUT_ID, cut)
        return expected

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
            fields = {**known, **hit.fields, "id": hit.number}
            logs.event("request", **fields, ms=round((now - began) * 1000, 3))

    def routed(self, request: RequestContext) -> None:
        """An answer has ended, or will never be. A stream's latency is that of its beginning."""
        now = self.clock()
        operation = request.operation
        self._requests.count(operation, request.status, (request.first or now) - request.began)
        if self._form:
            last = str(request.scope.get("path_params", {}).get("id", ""))
            fields = _fields(request.method, operation, last, request.status, request.outcome)
            fields["ms"] = round((now - request.began) * 1000, 3)
            logs.event("request", **fields)


def _fields(method: str, operation: str, last: str, status: int, outcome: str) -> dict[str, Any]:
    """What a line says of a request between its id and its time.

    Of the path only a number is logged, and nothing of the query: they may hold anything.
    """
    return {
        "method": method,
        "operation": operation,
        "id": _number(last),
        "status": status or None,
        "cache": outcome or None,
    }


def _number(last: str) -> int | None:
    return int(last) if NUMBER.fullmatch(last) else None
