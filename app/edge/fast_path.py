"""Answers what is kept and fresh before ASGI: no scope, no task, no router, no model, no XML.

Knows paths, entries and a clock. Must not know resources. Whatever it does not fully understand it
leaves to the route, which gives the same bytes: both take them from ``Replies.prepared``.
"""

import random
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import lru_cache
from math import inf
from typing import Any, NamedTuple

from app.api.conditional_request import is_known
from app.api.content_coding import SUFFIX
from app.api.replies import HIT_WORDS, Replies
from app.core.cache_entry import CacheEntry
from app.core.call import Call
from app.core.gateway import Gateway
from app.core.ports import Store
from app.edge.common_fields import field_lines
from app.edge.hit_request import HitRequest
from app.edge.representation import of_not_modified
from app.telemetry.access_log import ExpectedHit, number_in

MAX_READY = 16_384
"""How many entries have their heads ready at most, about 1 kB each; beyond, all are made anew."""

PreparedAnswer = tuple[bytes, bytes, bytes, ExpectedHit, bytes, bytes]
"""Status line and date; the entry's head; the lines of this second; how the answer is counted; the
number that is logged; and the body."""

STATUS_LINES = b"HTTP/1.1 200 OK\r\ndate: %b\r\n", b"HTTP/1.1 304 Not Modified\r\ndate: %b\r\n"
"""How the server begins its answers."""

PLACES = {b"content-length": b"%(length)d", b"etag": b'"%(digest)b"'}
"""What differs between the heads of entries with the same lifetime."""
MOMENT = (b"age", b"cache-status")
"""What changes from second to second, and ends the head of each kept answer."""


class FastRoute(NamedTuple):
    """What is served below the head of a path: an operationId, and a call of one argument."""

    operation: str
    call: type[Call]


class PreparedHeads:
    """The heads of both answers that an entry can give.

    They are good as long as the entry, but for the lines of the ``moment``: these are good until
    ``until``, when the entry's age or its ttl reach another whole second. Holds no body: the entry
    may be gone from the store by then.
    """

    __slots__ = (
        "asked_at",
        "coded",
        "generation",
        "key",
        "moment",
        "not_modified",
        "not_modified_hit",
        "number",
        "ok",
        "ok_hit",
        "until",
    )

    def __init__(
        self,
        key: str,
        entry: CacheEntry,
        coded: bool,
        number: bytes,
        ok: bytes,
        ok_hit: ExpectedHit,
        not_modified: bytes,
        not_modified_hit: ExpectedHit,
    ) -> None:
        self.key = key
        self.asked_at = entry.asked_at  # the entry's own object: what replaces it brings another
        self.coded = coded  # the answer has the entry's body in gzip
        self.number = number  # that is logged
        self.ok = ok
        self.ok_hit = ok_hit
        self.not_modified = not_modified
        self.not_modified_hit = not_modified_hit
        self.moment, self.until = b"", -inf
        self.generation = -1  # the store's when the entry's use was counted last

    def renew(self, entry: CacheEntry, now: float) -> bool:
        """Write the lines of this moment; not if the entry is no longer fresh."""
        age, ttl = entry.age(now), entry.ttl(now)
        if ttl <= 0:
            return False
        whole_age, whole_ttl = int(age), int(ttl)
        self.until = now + min(whole_age + 1 - age, ttl - whole_ttl)
        self.moment = moment_lines(whole_age, whole_ttl)
        return True

    def count_use(self, store: Store) -> None:
        """Count as use of the entry: once a generation is all that the store wants to know."""
        store.get(self.key)
        self.generation = store.generation


class FastPath:
    """``served`` tells what is below the head of a path.

    ``{"/sessions": FastRoute("getSession", GetSession)}`` finds the entry of ``/sessions/42`` under
    ``community.getSession(42)``. The path is taken as it was sent: one that is not strictly
    written, or escaped somewhere, finds nothing.
    """

    def __init__(
        self,
        gateway: Gateway,
        replies: Replies,
        served: Mapping[str, FastRoute],
        expect: Callable[[str, int], ExpectedHit],
    ) -> None:
        self._store = gateway.store
        self._clock = gateway.clock
        self._replies = replies
        self._served = {
            head.encode(): (below, expect(below.operation, 200), expect(below.operation, 304))
            for head, below in served.items()
        }
        self._ready: dict[bytes, PreparedHeads] = {}
        self._ready_gzip: dict[bytes, PreparedHeads] = {}  # for those who take gzip
        self._forms: dict[tuple[int, bool], tuple[bytes, bytes]] = {}
        self._starts = STATUS_LINES
        self._starts_until = float("-inf")

    def answer(self, path: bytes, asked: HitRequest) -> PreparedAnswer | None:
        """The answer, or None: the route shall give it.

        ``path`` is the request's target below any prefix: one with a query finds nothing.
        """
        ready_heads = self._ready if asked.least == inf else self._ready_gzip
        ready = ready_heads.get(path)
        key = self._key_of(path) if ready is None else ready.key
        store = self._store
        entry = store.peek(key)
        if entry is None:
            return None
        now = self._clock()
        if (
            ready is None
            or ready.asked_at is not entry.asked_at  # of the answer before
            or (ready.coded and not entry.gzip)
        ):
            coded = len(entry.body) >= asked.least
            if coded and not entry.gzip:
                return None  # the route compresses it, and keeps that
            ready = self._prepare(path, key, entry, now, coded=coded)
            if path not in ready_heads and len(ready_heads) >= MAX_READY:
                ready_heads.clear()
            ready_heads[path] = ready
        if now >= ready.until and not ready.renew(entry, now):
            return None  # the route asks the farm
        if ready.generation != store.generation:
            ready.count_use(store)
        if now >= self._starts_until:
            self._read_date(now)
        start, moment, number = self._starts, ready.moment, ready.number
        if asked.known and is_known(entry.digest, asked.known):
            if asked.may_wait:
                return None
            return start[1], ready.not_modified, moment, ready.not_modified_hit, number, b""
        body = entry.gzip if ready.coded else entry.body
        return start[0], ready.ok, moment, ready.ok_hit, number, body

    def _key_of(self, path: bytes) -> str:
        """The call's key; of a path that is none of ours, a key of nothing."""
        head, _, tail = path.rpartition(b"/")
        served = self._served.get(head)
        return "" if served is None else f"{served[0].call.key_head()}{tail.decode('latin-1')})"

    def _prepare(
        self, path: bytes, key: str, entry: CacheEntry, now: float, *, coded: bool
    ) -> PreparedHeads:
        head, _, tail = path.rpartition(b"/")
        _, ok_hit, not_modified_hit = self._served[head]
        values = {
            b"length": len(entry.gzip if coded else entry.body),
            b"digest": f"{entry.digest}{SUFFIX if coded else ''}".encode(),
        }
        form = entry.nominal, coded
        ok, not_modified = self._forms.get(form) or self._make_forms(entry, now, coded=coded)
        number = number_in(tail.decode())
        heads = ok % values, ok_hit, not_modified % values, not_modified_hit
        return PreparedHeads(key, entry, coded, number, *heads)

    def _make_forms(self, entry: CacheEntry, now: float, *, coded: bool) -> tuple[bytes, bytes]:
        """The heads of entries with this one's lifetime, with places for what is their own."""
        told, _ = self._replies.prepared(entry, now, b"", coded=coded)
        fields = [(name, PLACES.get(name, value)) for name, value in told if name not in MOMENT]
        forms = field_lines(fields), field_lines(of_not_modified(fields))
        self._forms[entry.nominal, coded] = forms
        return forms

    def _read_date(self, now: float) -> None:
        """Write the date into what answers begin with, for as long as it is the same second."""
        wall = time.time()
        date = formatdate(wall, usegmt=True).encode()
        self._starts = STATUS_LINES[0] % date, STATUS_LINES[1] % date
        self._starts_until = now + 1 - wall % 1


@lru_cache(1024)  # thousands of entries share few
def moment_lines(age: int, ttl: int) -> bytes:
    """The last lines of a kept answer's head, in whole seconds."""
    values = b"%d" % age, b"rfgw; " + HIT_WORDS.encode() % ttl
    return field_lines(zip(MOMENT, values, strict=True))


class SampledFastPath(FastPath):
    """Leaves a ``share`` of its answers to the route, whose requests are traced."""

    def __init__(self, share: float, *parts: Any) -> None:
        super().__init__(*parts)
        self._share = share

    def answer(self, path: bytes, asked: HitRequest) -> PreparedAnswer | None:
        """The answer, or None."""
        return None if random.random() < self._share else super().answer(path, asked)  # noqa: S311
