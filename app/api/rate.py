"""How often a client may ask: the generic cell rate algorithm, with the clock as argument. Pure.

Must not know who a client is, HTTP fields, or the clock. It keeps one number for each client, when
its share will be whole again; a client whose share is whole need not be known at all.
"""

from collections import OrderedDict
from math import ceil
from typing import NamedTuple, Protocol

MAX_CLIENTS = 32_768
LOOKS = 8
"""Of a full table, so many clients are looked at to find one that can be forgotten."""


class Allowance(NamedTuple):
    """What is left to a client after a request, which is refused if ``wait`` is above 0."""

    left: int  # requests
    whole_in: float  # seconds until the whole share is back
    wait: float  # seconds until the next request is taken


class Counter(Protocol):
    """Who counts: this process alone, or something that several processes share."""

    policy: bytes

    def take(self, client: str, now: float) -> Allowance:
        """Count one request of a client, unless its share is used up."""
        ...


class Rate:
    """``quota`` requests in ``window`` seconds: all at once if they were saved up, else evenly."""

    def __init__(self, quota: int, window: int, max_clients: int = MAX_CLIENTS) -> None:
        self.policy = b'"default";q=%d;w=%d' % (quota, window)
        self._window = float(window)
        self._each = window / quota
        self._max_clients = max_clients
        self._whole_at: OrderedDict[str, float] = OrderedDict()

    def take(self, client: str, now: float) -> Allowance:
        """Count one request of a client, unless its share is used up."""
        whole_at = self._whole_at.get(client, now)
        if whole_at < now:
            whole_at = now
        spare = self._window - (whole_at - now) - self._each
        # Half a request of tolerance: sums of fractions must not cost anyone a whole one.
        if spare < -self._each / 2:
            return Allowance(0, whole_at - now, -spare)
        if len(self._whole_at) >= self._max_clients and client not in self._whole_at:
            self._forget(now)
        whole_at += self._each
        self._whole_at[client] = whole_at
        return Allowance(int(spare / self._each + 0.5), whole_at - now, 0.0)

    def _forget(self, now: float) -> None:
        """Make room: of those known longest, forget who has its whole share, and one in any case.

        The others go to the end of the line. So a flood of new clients, each with one request,
        displaces itself and not those who asked much: their shares are whole again last.
        """
        looked = sorted(
            (self._whole_at.popitem(last=False) for _ in range(min(LOOKS, len(self._whole_at)))),
            key=lambda item: item[1],
        )
        self._whole_at.update(item for item in looked[1:] if item[1] > now)


def limit_field(left: int, whole_in: float) -> bytes:
    """The RateLimit field (draft-ietf-httpapi-ratelimit-headers-10, section 4)."""
    return b'"default";r=%d;t=%d' % (left, ceil(whole_in))
