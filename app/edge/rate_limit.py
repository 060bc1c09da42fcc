"""How often a client may ask: the generic cell rate algorithm, with the clock as argument. Pure.

Must not know who a client is, HTTP fields, or the clock. It keeps one number for each client, when
its share will be whole again; a client whose share is whole need not be known at all.
"""

from collections import OrderedDict
from heapq import nlargest
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

    def values(self) -> tuple[int, int]:
        """What a RateLimit field tells of it: requests, and seconds."""
        return self.left, ceil(self.whole_in)


class RateLimiter(Protocol):
    """Who counts: this process alone, or something that several processes share."""

    policy: bytes

    def take(self, client: str, now: float, cost: int = 1) -> Allowance:
        """Count a request that is worth ``cost`` ones, unless the client's share is used up."""
        ...


class RateLimit:
    """``quota`` requests in ``window`` seconds: all at once if they were saved up, else evenly."""

    def __init__(self, quota: int, window: int, max_clients: int = MAX_CLIENTS) -> None:
        self.policy = b'"default";q=%d;w=%d' % (quota, window)
        self.window = float(window)  # seconds
        self.each = window / quota
        self.quota = quota
        self._max_clients = max_clients
        self._whole_at: OrderedDict[str, float] = OrderedDict()

    def take(self, client: str, now: float, cost: int = 1) -> Allowance:
        """Count a request that is worth ``cost`` ones, unless the client's share is used up."""
        whole_at = self._whole_at.get(client, now)
        if whole_at < now:
            whole_at = now
        # More than a whole share can never be had.
        spent = self.each if cost == 1 else min(cost, self.quota) * self.each
        spare = self.window - (whole_at - now) - spent
        # Half a request of tolerance: sums of fractions must not cost anyone a whole one.
        if spare < -self.each / 2:
            return Allowance(int((spare + spent) / self.each + 0.5), whole_at - now, -spare)
        if len(self._whole_at) >= self._max_clients and client not in self._whole_at:
            self._forget(now)
        whole_at += spent
        self._whole_at[client] = whole_at
        return Allowance(int(spare / self.each + 0.5), whole_at - now, 0.0)

    def owe(self, client: str, whole_at: float) -> None:
        """More was taken of a client's share than was counted here."""
        if self._whole_at.get(client, whole_at) < whole_at:
            self._whole_at[client] = whole_at

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


class SharedRateLimit:
    """A ``RateLimit`` of several processes. Each regularly tells the others what it has granted.

    What a process has not been told yet, it does not count.
    """

    def __init__(self, rate: RateLimit) -> None:
        self.policy, self.each, self.window = rate.policy, rate.each, rate.window
        self._rate = rate
        self._unpublished: dict[str, int] = {}

    def take(self, client: str, now: float, cost: int = 1) -> Allowance:
        """Count a request that is worth ``cost`` ones, unless the client's share is used up."""
        allowance = self._rate.take(client, now, cost)
        if allowance.wait == 0:
            counted = min(cost, self._rate.quota)
            self._unpublished[client] = self._unpublished.get(client, 0) + counted
        return allowance

    def unpublished(self, most: int) -> dict[str, int]:
        """How many requests of which clients were counted since this was last asked.

        Of more than ``most`` clients, those with the most requests: a flood of clients with one
        request each displaces itself.
        """
        counts, self._unpublished = self._unpublished, {}
        if len(counts) <= most:
            return counts
        return dict(nlargest(most, counts.items(), key=lambda item: item[1]))

    def learn(self, client: str, whole_in: float, now: float) -> None:
        """By what all have told, a client's share is whole in so many seconds.

        What was counted here meanwhile comes on top.
        """
        self._rate.owe(client, now + whole_in + self._unpublished.get(client, 0) * self.each)


LIMIT = b'"default";r=%d;t=%d'
"""A RateLimit field, with places for an allowance's values."""


def limit_fields(policy: bytes, limit: bytes) -> list[tuple[bytes, bytes]]:
    """RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-10, sections 3, 4)."""
    return [(b"ratelimit-policy", policy), (b"ratelimit", limit)]
