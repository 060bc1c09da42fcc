"""What clients have taken of their shares, exchanged between processes through one server.

Knows the server's commands and its clock. Must not know who a client is, or how counting is done.

Nobody waits for it: ten times a second each process publishes what was taken there since, and
learns what all have taken. What is kept is one number for each client, when its share will be whole
again, as in one process (the generic cell rate algorithm); it goes away when that time has come.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from typing import Protocol

from app.cluster.redis_connection import Unreachable
from app.cluster.shared_store import SharedStore

EVERY = 0.1
"""Seconds between two exchanges. A process learns this late what another has granted."""
MOST = 500
"""Clients in one exchange."""
DEBT = 2
"""Windows after which a share is whole again, at most, however much was taken too soon."""

# Microseconds. What is no finite number counts as none, and is overwritten: arithmetic with nan
# would fail for ever. No value is believed beyond the bound.
TAKE = """
local time = redis.call('TIME')
local now, most, told = time[1] * 1000000 + time[2], tonumber(ARGV[#ARGV]), {}
for i, key in ipairs(KEYS) do
  local whole_at = tonumber(redis.call('GET', key) or '') or now
  if whole_at ~= whole_at or math.abs(whole_at) == math.huge then whole_at = now end
  told[i] = math.min(math.max(whole_at - now, 0) + ARGV[i], most)
  redis.call('SET', key, string.format('%.0f', now + told[i]), 'PX', math.ceil(told[i] / 1000))
end
return told
"""


class RateLimitShares(Protocol):
    """Who counts in this process. ``each`` is the worth of one request, in seconds."""

    each: float
    window: float

    def unpublished(self, most: int) -> dict[str, int]:
        """What each client has taken since this was last asked, of those who took the most."""

    def learn(self, client: str, whole_in: float, now: float) -> None:
        """By what all have published, the client's share is whole in so many seconds."""


class RateLimitSync:
    """Between the ``shares`` of this process and those of all others on the ``shared_store``.

    Clients' names stay here: what stands for one is made with the group's ``secret``.
    """

    def __init__(
        self,
        shared_store: SharedStore,
        shares: RateLimitShares,
        *,
        secret: str,
        clock: Callable[[], float],
    ) -> None:
        self._shared_store, self._shares, self._clock = shared_store, shares, clock
        self._prefix = f"{shared_store.prefix}:share:{shares.window:g}:{shares.each:g}"
        self._secret = blake2b(secret.encode(), person=b"rfgw share").digest()

    async def run(self) -> None:
        """Exchange until cancelled. While the server is out of reach, each process is alone."""
        while True:
            await asyncio.sleep(EVERY)
            taken = self._shares.unpublished(MOST)
            if taken:
                with suppress(Unreachable):
                    await self._exchange(taken)

    async def _exchange(self, taken: dict[str, int]) -> None:
        names = [self._name(client) for client in taken]
        worth = [max(1, round(count * self._shares.each * 1e6)) for count in taken.values()]
        most = round(DEBT * self._shares.window * 1e6)
        (lefts,) = await self._shared_store.do(
            "share", ("EVAL", TAKE, len(names), *names, *worth, most)
        )
        now = self._clock()
        for client, left in zip(taken, lefts if isinstance(lefts, list) else (), strict=False):
            if type(left) is int and left <= most:
                self._shares.learn(client, left / 1e6, now)

    def _name(self, client: str) -> str:
        digest = blake2b(client.encode(), digest_size=12, key=self._secret).hexdigest()
        return f"{self._prefix}:{digest}"
