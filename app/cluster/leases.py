"""Leases: who asks the farm for all, for how long at most, and the scripts that keep to it.

Knows the form of a lease and the server's commands. Must not know who waits for its end.

A lease is the token of its holder, and sealed behind it until when it holds. The holder seals it
anew when it renews it, so a lease that somebody else keeps alive is soon believed no more.
"""

import json
from typing import NamedTuple
from uuid import uuid4

from app.cache.codec import Seal
from app.cluster.redis_connection import RedisReply
from app.core.cache_entry import CacheEntry

LEASE = 1.0
"""Seconds that a lease holds unless it is renewed: a dead holder is noticed this soon."""
OUTLIVED = 2 * LEASE
"""Seconds after its last renewal by its holder from which on a lease is not believed."""
LEASE_SIZE = 1024
"""Bytes of the longest lease that is read."""
TOKEN_SIZE = 32

# Only the holder may publish; who asked without a lease, only while nobody holds one. So the
# answer of one who was asleep for too long never replaces a younger one.
RELEASE = f"""
if string.sub(redis.call('GET', KEYS[2]) or '', 1, {TOKEN_SIZE}) ~= ARGV[1] then return 0 end
local put = true
if ARGV[2] ~= '' then put = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
redis.call('DEL', KEYS[2])
redis.call('PUBLISH', ARGV[4], ARGV[5])
if type(put) == 'table' and put.err then return put end
return 1
"""
RENEW = f"""
if string.sub(redis.call('GET', KEYS[1]) or '', 1, {TOKEN_SIZE}) ~= ARGV[1] then return 0 end
return redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
"""


class LeaseResult(NamedTuple):
    """What is kept, and who may ask: a ``lease`` if we may, "" if no lease is to be had."""

    entry: CacheEntry | None
    lease: str | None


class LeaseCodec:
    """Writes and reads leases; moments are Unix seconds of the server."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    def pack(self, key: str, token: str, now: float) -> bytes:
        """The lease of the holder with this ``token``, made or renewed ``now``."""
        payload = json.dumps([key, token, now + OUTLIVED])
        return token.encode() + self._seal.close(payload.encode())

    def is_believed(self, key: str, lease: RedisReply, now: float) -> bool:
        """Whether a holder of the group has made or renewed it not long ago."""
        opened = self._seal.open(lease[TOKEN_SIZE:]) if isinstance(lease, bytes) else None
        if opened is None:
            return False
        of_key, token, until = json.loads(opened)  # sealed, so written by a gateway of this form
        return bool(of_key == key and lease.startswith(token.encode()) and now <= until)


def new_token() -> str:
    """What distinguishes one holder from all others."""
    return uuid4().hex


def never_ends(lasts: RedisReply) -> bool:
    """Whether a lease has no expiry, or one longer than any process gives it (PTTL)."""
    return type(lasts) is int and (lasts == -1 or lasts > LEASE * 1000)
