"""How long a client may take: for a whole request, between two, and to take its answer."""

from typing import Literal, NamedTuple


class Limits(NamedTuple):
    """Seconds that a client may take."""

    receive: float = 10.0
    """For a whole request, counted from the connection's start or the request's first byte."""
    send: float = 30.0
    """Without taking anything of what is ready for it."""
    keep_alive: float = 75.0
    """From the end of an answer to the first byte of the next request."""


LIMITS = Limits()


class Deadlines:
    """The deadlines of one connection that began at ``now``, in seconds of the loop's clock.

    Only what is whole counts as progress: a request, or fewer bytes that wait to be sent. So
    nobody gains time by dripping.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self.since = now
        self._last = (0, False, 0)

    def passed(
        self, now: float, *, received: int, begun: bool, unsent: int, answering: bool
    ) -> Literal["receive", "send", "keep_alive"] | None:
        """Which deadline has passed.

        ``received`` are the whole requests so far, and a further one may have ``begun``; ``unsent``
        are the bytes that wait to be sent. An answer that is still being made (``answering``) is
        not the client's delay.
        """
        before_received, before_begun, before_unsent = self._last
        self._last = (received, begun, unsent)
        progress = unsent < before_unsent or (unsent and not before_unsent)
        # The first request of a connection has no more time for having begun late.
        begins = begun and not before_begun and received > 0
        if (answering and not unsent) or received != before_received or progress or begins:
            self.since = now
            return None
        if unsent:
            return "send" if now - self.since >= self._limits.send else None
        is_idle = received > 0 and not begun
        limit = self._limits.keep_alive if is_idle else self._limits.receive
        if now - self.since < limit:
            return None
        return "keep_alive" if is_idle else "receive"
