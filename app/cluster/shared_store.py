"""The store that several processes share in one Redis or Valkey, and the leases to ask the farm.

Knows records, the server's commands and its clock. Must not know freshness rules or who waits.

An answer's age is the same on every machine without trusting their clocks: it is the age that it
had when it was put there, and the time since, which the server's own clock tells (PTTL).
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol
from uuid import uuid4

from redis.exceptions import ResponseError

from app.cache.codec import MAX_SIZE, Record, Seal, Unusable, pack, unpack
from app.cluster.redis_connection import Command, RedisConnection, RedisReply, Unreachable
from app.core.cache_entry import CacheEntry
from app.core.errors import UpstreamError

FORM = "2"
"""The version of names, records and notices. Processes of different versions share nothing."""
YOUNGER = 0.1
"""Seconds by which an answer must be younger to replace another: more than a round trip."""
SPARE = 1.0
"""Seconds that an answer is kept at least."""
LEASE = 1.0
"""Seconds that a lease holds unless it is renewed: a dead holder is noticed this soon."""
NOTICE_SIZE = 1024
"""Bytes of the longest notice that is read."""
FAILURES = {kind.__name__: kind for kind in UpstreamError.__subclasses__()}

# Only who leads may tell; who asked without a lease, only while nobody holds one. So the
# answer of one who was asleep for too long never replaces a younger one.
TELL = """
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] then return 0 end
local put = true
if ARGV[2] ~= '' then put = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
redis.call('DEL', KEYS[2])
redis.call('PUBLISH', ARGV[4], ARGV[5])
if type(put) == 'table' and put.err then return put end
return 1
"""
RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""


class SharedStoreMetrics(Protocol):
    """Who counts what happens here."""

    def operation(self, name: str, outcome: str, seconds: float) -> None:
        """One round trip: ok, refused (an error answer), late or down."""

    def rejected(self, reason: str) -> None:
        """What was kept under a name of ours was no record of ours."""

    def notice(self, kind: str) -> None:
        """A notice came: answer, failure, nothing, own or unreadable."""


class LeaseResult(NamedTuple):
    """What is kept, and who may ask: a ``lease`` if we may, "" if no lease is to be had."""

    entry: CacheEntry | None
    lease: str | None


class Notice(NamedTuple):
    """Somebody's question has ended: with an answer of this ``tag``, with a ``failure``, or not."""

    key: str
    tag: str = ""
    failure: UpstreamError | None = None


def tag_of(entry: CacheEntry) -> str:
    """Tells answers apart by what they say."""
    return entry.refused or entry.digest


class SharedStore:
    """The group's answers, by key. Every method but ``read`` may raise Unreachable."""

    def __init__(
        self,
        connection: RedisConnection,
        prefix: str,
        channel: str,
        *,
        seal: Seal,
        notice_seal: Seal,
        clock: Callable[[], float],
        tail: float,
        watch: SharedStoreMetrics,
    ) -> None:
        self._connection, self.prefix, self._channel = connection, prefix, channel
        self._seal, self._notice_seal = seal, notice_seal
        self._clock, self._tail, self._watch = clock, tail, watch
        self._me = uuid4().hex

    def _names(self, key: str) -> tuple[str, str]:
        name = f"{self.prefix}:{key}"
        return name, f"{name}:lease"

    async def meet(self, key: str) -> LeaseResult:
        """What is kept for ``key``, and the lease to ask for it if nobody else has it."""
        name, lease_name = self._names(key)
        lease = uuid4().hex
        led, lasts, kept, left = await self.do(
            "meet",
            ("SET", lease_name, lease, "NX", "PX", _ms(LEASE)),
            ("PTTL", lease_name),
            *_look(name),
        )
        entry = self._entry(key, kept, left)
        if isinstance(led, ResponseError):
            return LeaseResult(entry, "")
        if led is None and _never_ends(lasts):
            await self.do("heal", ("PEXPIRE", lease_name, _ms(LEASE)))
            return LeaseResult(entry, "")
        return LeaseResult(entry, lease if led is not None else None)

    async def look(self, key: str) -> CacheEntry | None:
        """What is kept for ``key``."""
        kept, left = await self.do("look", *_look(self._names(key)[0]))
        return self._entry(key, kept, left)

    async def others(self, kept: Sequence[tuple[str, CacheEntry]]) -> list[tuple[str, CacheEntry]]:
        """Of these answers, those for which another one is kept here: by when it is to go."""
        lefts = await self.do("compare", *(("PTTL", self._names(key)[0]) for key, _ in kept))
        same = [
            type(left) is not int or left < 0 or abs(left / 1000 - self._left(mine)) < YOUNGER
            for left, (_, mine) in zip(lefts, kept, strict=True)
        ]
        return [pair for pair, is_same in zip(kept, same, strict=True) if not is_same]

    def _left(self, entry: CacheEntry) -> float:
        """Seconds for which an answer is kept from now on: past freshness it may stand in for a
        failure, and a refusal tells those who missed its notice."""
        return max(entry.ttl(self._clock()), 0.0) + self._tail + SPARE

    async def renew(self, key: str, lease: str) -> None:
        """Hold the lease for another while."""
        lease_name = self._names(key)[1]
        await self.do("renew", ("EVAL", RENEW, 1, lease_name, lease, _ms(LEASE)))

    async def tell(
        self, key: str, lease: str, entry: CacheEntry | None, failure: UpstreamError | None = None
    ) -> None:
        """Put an answer there, end the lease and let everyone know; or only the last two."""
        record, total = b"", 1.0
        if entry is not None:
            total = self._left(entry)
            asked_at = min(entry.asked_at - self._clock(), 0.0)
            record = pack(Record(key, entry._replace(asked_at=asked_at), total), self._seal)
            if len(record) > MAX_SIZE:
                record = b""
        notice = {
            "from": self._me,
            "key": key,
            "tag": tag_of(entry) if entry and record else "",
            "failure": _told(failure) if failure else None,
        }
        sealed = self._notice_seal.close(json.dumps(notice).encode())
        names = self._names(key)
        where = (lease, record, _ms(total), self._channel, sealed)
        await self.do("tell", ("EVAL", TELL, 2, *names, *where))

    def read(self, message: bytes) -> Notice | None:
        """A notice of another process; None for our own and for what is none."""
        if self._me.encode() in message:  # for a forged one it is as well
            self._watch.notice("own")
            return None
        opened = self._notice_seal.open(message) if len(message) <= NOTICE_SIZE else None
        if opened is None:
            self._watch.notice("unreadable")
            return None
        # Sealed, so written by a gateway of the same form: its fields need no second look.
        told = json.loads(opened)
        failure = _failure(told["failure"]) if told["failure"] else None
        self._watch.notice("failure" if failure else "answer" if told["tag"] else "nothing")
        return Notice(told["key"], told["tag"], failure)

    async def do(self, operation: str, *commands: Command) -> list[RedisReply]:
        """One round trip, observed."""
        began, outcome = self._clock(), "ok"
        try:
            replies = await self._connection.ask(*commands)
            if any(isinstance(reply, ResponseError) for reply in replies):
                outcome = "refused"
            return replies
        except Unreachable as error:
            outcome = error.outcome
            raise
        finally:
            self._watch.operation(operation, outcome, self._clock() - began)

    def _entry(self, key: str, kept: RedisReply, left: RedisReply) -> CacheEntry | None:
        """The entry in this process's own time; None if nothing usable is kept."""
        if not kept or isinstance(kept, ResponseError):
            return None
        try:
            if not isinstance(kept, bytes):
                raise Unusable("foreign")
            record = unpack(kept, self._seal)
            if record.key != key:
                raise Unusable("key")
            if type(left) is not int or not 0 <= left <= _ms(record.total):
                raise Unusable("age")
        except Unusable as unusable:
            self._watch.rejected(unusable.reason)
            return None
        written_at = self._clock() - (record.total - left / 1000)
        return record.entry._replace(asked_at=written_at + record.entry.asked_at)


def _never_ends(lasts: RedisReply) -> bool:
    """Whether a lease has no expiry, or one longer than any process gives it: nobody renews it."""
    return type(lasts) is int and (lasts == -1 or lasts > _ms(LEASE))


def _look(name: str) -> tuple[Command, Command]:
    return ("GETRANGE", name, 0, MAX_SIZE), ("PTTL", name)


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)


def _told(error: UpstreamError) -> list[str | int | float | None]:
    return [type(error).__name__, error.cause, error.fault_code, error.retry_after]


def _failure(told: list[str | int | float | None]) -> UpstreamError | None:
    kind, cause, fault_code, retry_after = told
    return FAILURES[str(kind)](
        str(cause),
        fault_code=None if fault_code is None else int(fault_code),
        retry_after=None if retry_after is None else float(retry_after),
    )
