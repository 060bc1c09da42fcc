"""What is known of a request while it is answered, and who is told when it has been.

Knows ASGI scopes and a clock. Must not know how series are named or lines are written.
"""

from collections.abc import Callable, Mapping
from time import perf_counter

from starlette.types import Scope

from app.metrics import Requests

SEEN = "rfgw.seen"
"""Where a scope holds its request's ``Seen``."""

OTHER = "other"
"""The operation of a request whose route has no operationId, or that has no route."""


class Seen:
    """One request that the front did not answer. Times are the observer's, in seconds."""

    __slots__ = ("began", "first", "outcome", "scope", "status")

    def __init__(self, began: float) -> None:
        self.began = began
        self.first = 0.0  # when its answer began
        self.status = 0  # of its answer, 0 before that
        self.outcome = ""  # how the cache took part, see Answer.outcome
        self.scope: Scope = {}  # as the route left it

    def begin(self, status: int, now: float) -> None:
        """Its answer begins."""
        self.status, self.first = status, now

    @property
    def operation(self) -> str:
        """The operationId."""
        return getattr(self.scope.get("route"), "operation_id", None) or OTHER


def seen_of(scope: Scope) -> Seen:
    """What is known of the request of ``scope``; of one that came past no edge, nothing."""
    seen: Seen = scope.setdefault(SEEN, Seen(0.0))
    return seen


class Observer:
    """Hears of every request once. ``operations`` has the operationId behind a path's head."""

    def __init__(
        self,
        requests: Requests,
        operations: Mapping[str, str],
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.clock = clock
        self._requests = requests
        self._operations = operations

    def hit(self, path: str, status: int, began: float) -> None:
        """The front has answered. Every tenth of a microsecond counts here."""
        operation = self._operations[path[: path.rfind("/")]]
        self._requests.count_hit(operation, status, self.clock() - began)

    def routed(self, seen: Seen) -> None:
        """An answer has ended, or will never be."""
        latency = (seen.first or self.clock()) - seen.began
        self._requests.count(seen.operation, seen.status, latency)
