"""What is known of a request while it is answered, and who is told when it has been.

Knows ASGI scopes and a clock. Must not know how series are named or lines are written.
"""

import re
from collections.abc import Callable, MutableMapping
from time import perf_counter
from typing import Any, NamedTuple

from app.telemetry import logs
from app.telemetry.hit_counters import HIT, RequestCounters, Tally, add
from app.telemetry.log_writer import LOG_WRITER, LineTemplate
from app.telemetry.timings import Timings
from app.telemetry.trace import trace_of

Scope = MutableMapping[str, Any]
"""An ASGI connection scope."""

ROUTED = "rfgw.seen"
"""Where a scope holds its request's ``RoutedRequest``."""

SERVER_TIMING = b"server-timing"
HIT_TIMING = (SERVER_TIMING, b"cache;desc=hit")
"""Of a kept answer there is nothing to be timed that takes longer than the telling."""

NUMBER = re.compile(r"[1-9][0-9]{0,9}")

OTHER = "other"
"""The operation of a request whose route has no operationId, or that has no route."""


class RoutedRequest:
    """One request that the fast path did not answer. Times are in seconds, by the log's clock."""

    __slots__ = ("began", "first", "method", "outcome", "scope", "status", "timings")

    def __init__(self, began: float, method: str) -> None:
        self.began = began
        self.method = method
        self.first = 0.0  # when its answer began
        self.status = 0  # of its answer, 0 before that
        self.outcome = ""  # how the cache took part, see Answer.outcome
        self.timings: Timings = {}  # of what it asked the farm itself
        self.scope: Scope = {}  # as the route left it

    def begin(self, status: int, now: float) -> None:
        """Its answer begins."""
        self.status, self.first = status, now

    def server_timing(self) -> tuple[bytes, bytes]:
        """The Server-Timing field (W3C Server Timing): milliseconds until the answer begins."""
        if self.outcome == HIT:
            return HIT_TIMING
        words = [f"cache;desc={self.outcome}"] if self.outcome else []
        steps = {**self.timings, "total": self.first - self.began}
        words += [f"{name};dur={seconds * 1000:.1f}" for name, seconds in steps.items()]
        return SERVER_TIMING, ", ".join(words).encode()

    @property
    def operation(self) -> str:
        """The operationId."""
        return getattr(self.scope.get("route"), "operation_id", None) or OTHER


def routed_request(scope: Scope) -> RoutedRequest:
    """What is known of the request of ``scope``; of one that came past no edge, nothing."""
    seen: RoutedRequest = scope.setdefault(ROUTED, RoutedRequest(0.0, ""))
    return seen


class ExpectedHit(NamedTuple):
    """What is known beforehand of requests that a kept answer serves."""

    tally: Tally
    fields: dict[str, Any]
    cut: LineTemplate | None  # the same as a line; None: no lines are written


class AccessLog:
    """Hears of every request once: counts it, and logs it unless ``form`` is None.

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

    def expect(self, operation: str, last: str, status: int) -> ExpectedHit:
        """What to ``hit`` with when a kept answer serves a path that ends like this."""
        fields = _fields("GET", operation, last, status, HIT)
        cut = self._form.cut("request", fields) if self._form else None
        return ExpectedHit(self._requests.hits(operation, status), fields, cut)

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
            logs.event("request", **known, **hit.fields, ms=round((now - began) * 1000, 3))

    def routed(self, seen: RoutedRequest) -> None:
        """An answer has ended, or will never be. A stream's latency is that of its beginning."""
        now = self.clock()
        operation = seen.operation
        self._requests.count(operation, seen.status, (seen.first or now) - seen.began)
        if self._form:
            last = str(seen.scope.get("path_params", {}).get("id", ""))
            fields = _fields(seen.method, operation, last, seen.status, seen.outcome)
            fields["ms"] = round((now - seen.began) * 1000, 3)
            logs.event("request", **fields)


def _fields(method: str, operation: str, last: str, status: int, outcome: str) -> dict[str, Any]:
    """What a line says of a request between its id and its time.

    Of the path nothing but a number is told, and of the query nothing: who knows what is in them.
    """
    number = int(last) if NUMBER.fullmatch(last) else None
    return {
        "method": method,
        "operation": operation,
        "id": number,
        "status": status or None,
        "cache": outcome or None,
    }
