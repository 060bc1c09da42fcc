"""How many clients may be connected at once: who has waited longest without a request makes room.

Knows which connections are idle and since when. Must not know sockets, nor what is answered.
"""

import heapq
import math
from collections.abc import Collection
from typing import Any, NamedTuple

SHARE = 64
"""Of the idle ones, one in so many goes at once: so a flood does not look through all each time."""


class Idleness(NamedTuple):
    """How little is lost with an idle connection: the least of these goes first."""

    has_asked: bool  # it had a whole request answered; others may only hold a place
    since: float  # the last progress, in seconds of the loop's clock


class ConnectionLimit:
    """At most so many connections. Without a limit, as many as come."""

    def __init__(self, most: float = math.inf) -> None:
        self._most = most

    def make_room(self, newest: Any, connections: Collection[Any]) -> None:
        """End idle connections if the ``newest`` is one too many; itself, if none is idle."""
        if len(connections) <= self._most:
            return
        idle = [
            (idleness, index, one)
            for index, one in enumerate(connections)
            if one is not newest and (idleness := one.idleness()) is not None
        ]
        for _, _, one in heapq.nsmallest(max(1, len(idle) // SHARE), idle):
            one.abort()
        if not idle:
            newest.abort()
