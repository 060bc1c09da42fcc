"""What is known of the request that is being answered: id, trace, timings, outcome.

One context variable carries it. A task inherits it: the request that starts a call to the farm
gets the call's timings, and requests that join the call get none.
"""

import re
import secrets
from collections.abc import MutableMapping
from contextvars import ContextVar
from time import perf_counter
from typing import Any, NamedTuple

from app.telemetry.hit_counters import HIT

Scope = MutableMapping[str, Any]
"""An ASGI connection scope."""

SERVER_TIMING = b"server-timing"
HIT_TIMING = (SERVER_TIMING, b"cache;desc=hit")
"""A kept answer takes less time than a duration would take to write."""

OTHER = "other"
"""The operation of a request whose route has no operationId, or that has no route."""

TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class Trace(NamedTuple):
    """The trace that a request is a part of (W3C Trace Context)."""

    id: str
    sampled: bool

    def onward(self) -> str:
        """The traceparent field for a request to the farm: the same trace, a new span."""
        return f"00-{self.id}-{secrets.token_hex(8)}-{int(self.sampled):02x}"


def trace_of(traceparent: bytes | None) -> Trace | None:
    """The trace that the field names; None if the field is missing or not valid.

    Of the flags, only ``sampled`` is read and passed on.
    """
    match = TRACEPARENT.fullmatch(traceparent or b"")
    if match is None or not match[1].strip(b"0") or not match[2].strip(b"0"):
        return None
    return Trace(match[1].decode(), bool(int(match[3], 16) & 1))


class RequestContext:
    """One request that a route answers. Times are seconds of ``perf_counter``."""

    __slots__ = ("began", "first", "id", "method", "outcome", "scope", "status", "timings", "trace")

    def __init__(
        self, request_id: str, method: str = "GET", began: float = 0.0, trace: Trace | None = None
    ) -> None:
        self.id = request_id
        self.method = method
        self.began = began
        self.trace = trace
        self.first = 0.0  # when its answer began
        self.status = 0  # of its answer, 0 before that
        self.outcome = ""  # how the cache took part, see FetchResult.outcome
        self.timings: dict[str, float] = {}  # seconds by step; a repeated step is summed up
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


request_context: ContextVar[RequestContext | None] = ContextVar("request_context", default=None)


def current_request() -> RequestContext:
    """The request that is being answered; outside any request, one whose id is ``-``."""
    return request_context.get() or RequestContext("-")


class TimedStep:
    """Times a block as a step of the request, whether it succeeds or not.

    ``with TimedStep("sign"):`` begins when it is made.
    """

    __slots__ = ("_began", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._began = perf_counter()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        context = request_context.get()
        if context is not None:
            timings = context.timings
            timings[self._name] = timings.get(self._name, 0.0) + perf_counter() - self._began
