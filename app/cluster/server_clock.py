"""The clock of the shared server, as this process knows it from round trips.

Knows the reply to TIME. Must not know what is timed.
"""

import math
from collections.abc import Callable

from app.cluster.redis_connection import RedisReply

EVERY = 1.0
"""Seconds after which what was learnt of the server's clock is looked at again."""


class ServerClock:
    """Between ``clock``, this process's own that never jumps, and the server's Unix seconds.

    The server read its clock between a question and its reply, so each round trip bounds the
    difference. What is within the bounds stays: a slow round trip teaches nothing wrong.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ahead = 0.0
        self._learnt = -math.inf
        self.is_known = False

    def is_due(self) -> bool:
        """Whether it is time to ask again."""
        return self._clock() - self._learnt >= EVERY

    def learn(self, began: float, answer: RedisReply) -> None:
        """The reply to a TIME that was asked at ``began``, by our clock, and came in just now."""
        try:
            seconds, micros = answer
            at = int(seconds) + int(micros) / 1e6
        except (ValueError, TypeError, OverflowError):
            return
        least, most = at - self._clock(), at - began
        ahead = self._ahead if self.is_known else (least + most) / 2
        self._ahead, self.is_known = min(max(ahead, least), most), True
        self._learnt = self._clock()

    def now(self) -> float:
        """Unix seconds of the server."""
        return self._clock() + self._ahead

    def own(self, at: float) -> float:
        """The moment ``at`` of the server, by our clock. It is never to come."""
        return min(at - self._ahead, self._clock())
