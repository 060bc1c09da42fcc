"""How long a client may take: for a whole request, and without taking what is ready for it."""

from typing import Literal, NamedTuple


class Limits(NamedTuple):
    """Seconds that a client may take."""

    receive: float = 10.0
    """For a whole request, counted from the connection's start or the end of the last answer."""
    send: float = 30.0
    """Without taking anything of what is ready for it."""


LIMITS = Limits()


class Deadlines:
    """The deadlines of one connection that began at ``now``, in seconds of the loop's clock.

    Only what is whole counts as progress: a request, or fewer bytes that wait to be sent. So
    nobody gains time by dripping.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._since = now
        self._last = (0, 0)

    def passed(
        self, now: float, *, received: int, unsent: int, answering: bool
    ) -> Literal["receive", "send"] | None:
        """Which deadline has passed.

        ``received`` are the whole requests so far, ``unsent`` the bytes that wait to be sent; an
        answer that is still being made (``answering``) is not the client's delay.
        """
        before_received, before_unsent = self._last
        self._last = (received, unsent)
        progress = unsent < before_unsent or (unsent and not before_unsent)
        if (answering and not unsent) or received != before_received or progress:
            self._since = now
        elif unsent:
            return "send" if now - self._since >= self._limits.send else None
        elif now - self._since >= self._limits.receive:
            return "receive"
        return None
