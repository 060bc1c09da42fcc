"""The store that several processes share in one Redis or Valkey, and the leases to ask the farm.

Knows records, the server's commands and its clock. Must not know freshness rules or who waits.

An answer's age is the same on every machine without trusting their clocks: the moment of writing
is sealed with it, by the server's own clock (TIME), and the age that it had then.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from redis.exceptions import ResponseError

from app.cache.codec import MAX_SIZE, Record, Seal, Unusable, pack, unpack
from app.cluster.leases import (
    LEASE,
    LEASE_SIZE,
    RELEASE,
    RENEW,
    LeaseCodec,
    LeaseResult,
    never_ends,
    new_token,
)
from app.cluster.notices import Notice, NoticeCodec, Unreadable, tag_of
from app.cluster.redis_connection import Command, RedisConnection, RedisReply, Unreachable
from app.cluster.refusals import refusal_of
from app.cluster.server_clock import ServerClock
from app.core.cache_entry import CacheEntry
from app.core.errors import UpstreamError

FORM = "3"
"""The version of names, records and notices. Processes of different versions share nothing."""
YOUNGER = 0.1
"""Seconds by which an answer must be younger to replace another: more than a round trip."""
FORGOTTEN = "forgotten"
"""The tag of no answer: whatever is kept is another."""
SPARE = 1.0
"""Seconds that an answer is kept at least."""
TOLERANCE = 1.0
"""Seconds by which the clock of a server that takes another's place may differ."""


class SharedStoreMetrics(Protocol):
    """Who counts what happens here."""

    def operation(self, name: str, outcome: str, seconds: float) -> None:
        """One round trip: ok, refused (an error answer), late or down."""

    def rejected(self, reason: str) -> None:
        """What was kept under a name of ours was no record of ours."""

    def notice(self, kind: str) -> None:
        """A notice came: answer, failure, nothing, own or unreadable."""


class SharedStore:
    """The group's answers, by key. Every method but ``read`` may raise Unreachable."""

    def __init__(
        self,
        connection: RedisConnection,
        prefix: str,
        channel: str,
        *,
        secret: str,
        clock: Callable[[], float],
        tail: float,
        watch: SharedStoreMetrics,
    ) -> None:
        self._connection, self.prefix, self._channel = connection, prefix, channel
        self._seal = Seal(secret, "record")
        self._leases = LeaseCodec(Seal(secret, "lease"))
        self._clock, self._tail, self._watch = clock, tail, watch
        self._time = ServerClock(clock)
        self._notices = NoticeCodec(Seal(secret, "notice"), self._time.now)

    def _names(self, key: str) -> tuple[str, str]:
        name = f"{self.prefix}:{key}"
        return name, f"{name}:lease"

    async def learn_time(self) -> None:
        """Ask for the server's time, by which ages and old notices are known."""
        began = self._clock()
        (answer,) = await self.do("time", ("TIME",))
        self._time.learn(began, answer)

    async def acquire(self, key: str) -> LeaseResult:
        """What is kept for ``key``, and the lease to ask for it if nobody else has it."""
        if not self._time.is_known:
            await self.learn_time()
        name, lease_name = self._names(key)
        token = new_token()
        lease = self._leases.pack(key, token, self._time.now())
        led, held, lasts, kept, left = await self._timed(
            "meet",
            ("SET", lease_name, lease, "NX", "PX", _ms(LEASE)),
            ("GETRANGE", lease_name, 0, LEASE_SIZE),
            ("PTTL", lease_name),
            *_look(name),
        )
        entry = self._entry(key, kept, left)
        if isinstance(led, ResponseError):
            return LeaseResult(entry, "")
        if led is not None:
            return LeaseResult(entry, token)
        if held == b"" and lasts == -2:  # it ended just now
            return LeaseResult(entry, None)
        if never_ends(lasts):
            await self.do("heal", ("PEXPIRE", lease_name, _ms(LEASE)))
            return LeaseResult(entry, "")
        believed = self._leases.is_believed(key, held, self._time.now())
        return LeaseResult(entry, None if believed else "")

    async def get(self, key: str) -> CacheEntry | None:
        """What is kept for ``key``."""
        kept, left = await self._timed("look", *_look(self._names(key)[0]))
        return self._entry(key, kept, left)

    async def changed(self, kept: Sequence[tuple[str, CacheEntry]]) -> list[tuple[str, CacheEntry]]:
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

    async def renew(self, key: str, token: str) -> None:
        """Hold the lease for another while."""
        lease = self._leases.pack(key, token, self._time.now())
        await self.do("renew", ("EVAL", RENEW, 1, self._names(key)[1], token, lease, _ms(LEASE)))

    async def publish(
        self, key: str, lease: str, entry: CacheEntry | None, failure: UpstreamError | None = None
    ) -> None:
        """Put an answer there, end the lease and let everyone know; or only the last two."""
        record, total = b"", 1.0
        if entry is not None:
            total = self._left(entry)
            record = self._record(key, entry, total)
        notice = Notice(key, tag_of(entry) if entry and record else "", failure)
        where = (lease, record, _ms(total), self._channel, self._notices.pack(notice))
        nothing = self._notices.pack(Notice(key))
        names = self._names(key)
        back: list[Command] = [("DEL", names[1]), ("PUBLISH", self._channel, nothing)]
        await self.do("tell", ("EVAL", RELEASE, 2, *names, *where), otherwise=back if lease else ())

    async def forget(self, key: str) -> None:
        """Keep nothing for ``key``, and let everyone know that nobody is to."""
        notice = self._notices.pack(Notice(key, FORGOTTEN))
        await self.do("forget", ("DEL", self._names(key)[0]), ("PUBLISH", self._channel, notice))

    def _record(self, key: str, entry: CacheEntry, total: float) -> bytes:
        """An answer as it is kept; empty if it is too large."""
        asked_at = min(entry.asked_at - self._clock(), 0.0)
        written = Record(key, entry._replace(asked_at=asked_at), total, self._time.now())
        record = pack(written, self._seal)
        return record if len(record) <= MAX_SIZE else b""

    def read(self, message: bytes) -> Notice | None:
        """A notice of another process; None for our own and for what is none."""
        try:
            notice = self._notices.unpack(message)
        except Unreadable:
            self._watch.notice("unreadable")
            return None
        self._watch.notice(notice.kind if notice else "own")
        return notice

    async def _timed(self, operation: str, *commands: Command) -> list[RedisReply]:
        """One round trip, which tells the server's time besides if that was not asked lately."""
        if not self._time.is_due():
            return await self.do(operation, *commands)
        began = self._clock()
        *replies, answer = await self.do(operation, *commands, ("TIME",))
        self._time.learn(began, answer)
        return replies

    async def do(
        self, operation: str, *commands: Command, otherwise: Sequence[Command] = ()
    ) -> list[RedisReply]:
        """One round trip, observed. If it is refused, ``otherwise`` is asked.

        A refusal that is about the server as a whole ends the connection.
        """
        began, outcome = self._clock(), "ok"
        try:
            replies = await self._connection.ask(*commands)
            refused = [reply for reply in replies if isinstance(reply, ResponseError)]
            if refused:
                outcome = "refused"
                await self._refused(refused, otherwise)
            return replies
        except Unreachable as error:
            outcome = error.outcome
            raise
        finally:
            self._watch.operation(operation, outcome, self._clock() - began)

    async def _refused(self, replies: list[ResponseError], otherwise: Sequence[Command]) -> None:
        if otherwise:
            with suppress(Unreachable):
                await self._connection.ask(*otherwise)
        cause = next(filter(None, map(refusal_of, replies)), "")
        if cause:
            self._connection.give_up(cause)

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
            since = self._time.now() - record.written
            ends = type(left) is int and 0 <= left <= _ms(record.total)
            if not (ends and -TOLERANCE <= since <= record.total + TOLERANCE):
                raise Unusable("age")
        except Unusable as unusable:
            self._watch.rejected(unusable.reason)
            return None
        return record.entry._replace(
            asked_at=self._time.own(record.written) + record.entry.asked_at
        )


def names_of(group: str) -> tuple[str, str]:
    """What a group's names begin with, and its channel."""
    prefix = f"rfgw:{FORM}:{{{group}}}"  # the braces keep a group in one slot of a cluster
    return prefix, f"{prefix}:news"


def _look(name: str) -> tuple[Command, Command]:
    return ("GETRANGE", name, 0, MAX_SIZE), ("PTTL", name)


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)
