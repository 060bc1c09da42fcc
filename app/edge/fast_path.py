"""Answers what is kept and fresh before ASGI: no scope, no task, no router, no model, no XML.

Knows paths, entries and a clock. Must not know resources. Whatever it does not fully understand it
leaves to the route, which gives the same bytes: both take them from ``Replies.prepared``.
"""

import random
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from math import inf
from typing import Any, NamedTuple

from app.api.conditional_request import is_known
from app.api.content_coding import SUFFIX
from app.api.replies import HIT_WORDS, Replies
from app.core.cache_entry import CacheEntry
from app.core.call import Call
from app.core.gateway import Gateway
from app.edge.common_fields import field_lines
from app.edge.hit_request import HitRequest
from app.edge.representation import of_not_modified
from app.telemetry.access_log import ExpectedHit

MAX_READY = 16_384
"""How many entries have their heads ready at most, about 1 kB each; beyond, all are made anew."""

PreparedAnswer = tuple[bytes, bytes, ExpectedHit, bytes]
"""Status line and date, the head as far as it is the same for all, who counts it, and the body."""

STATUS_LINES = b"HTTP/1.1 200 OK\r\ndate: %b\r\n", b"HTTP/1.1 304 Not Modified\r\ndate: %b\r\n"
"""How the server begins its answers."""

PLACES = {
    b"content-length": b"%(length)d",
    b"age": b"%(age)d",
    b"etag": b'"%(digest)b"',
    b"cache-status": b"rfgw; " + HIT_WORDS.replace("%d", "%(ttl)d").encode(),
}
"""What differs between the heads of entries with the same lifetime."""


class FastRoute(NamedTuple):
    """What is served below the head of a path: an operationId, and a call of one argument."""

    operation: str
    call: type[Call]


class PreparedHeads(NamedTuple):
    """The heads of both answers that an entry can give, good until ``until``.

    That is when the entry's age or its ttl reach another whole second. With each goes how it is
    counted. Holds no body: the entry may be gone from the store by then. ``coded``: the answer has
    the entry's body in gzip.
    """

    key: str
    digest: str
    asked_at: float
    until: float
    coded: bool
    ok: bytes
    ok_hit: ExpectedHit
    not_modified: bytes
    not_modified_hit: ExpectedHit


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
        expect: Callable[[str, str, int], ExpectedHit],
    ) -> None:
        self._store = gateway.store
        self._clock = gateway.clock
        self._replies = replies
        self._served = {head.encode(): below for head, below in served.items()}
        self._expect = expect
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
        key = ready.key if ready is not None else self._key_of(path)
        entry = self._store.get(key)
        if entry is None or entry.refused:
            return None
        now = self._clock()
        if (
            ready is None
            or now >= ready.until
            or ready.asked_at != entry.asked_at
            or ready.digest != entry.digest
            or (ready.coded and not entry.gzip)
        ):
            if entry.ttl(now) <= 0:
                return None
            coded = len(entry.body) >= asked.least
            if coded and not entry.gzip:
                return None  # the route compresses it, and keeps that
            ready = ready_heads[path] = self._make_ready(path, key, entry, now, coded=coded)
        if now >= self._starts_until:
            self._read_date(now)
        if asked.known and is_known(entry.digest, asked.known):
            if asked.may_wait:
                return None
            return self._starts[1], ready.not_modified, ready.not_modified_hit, b""
        return self._starts[0], ready.ok, ready.ok_hit, entry.gzip if ready.coded else entry.body

    def _key_of(self, path: bytes) -> str:
        """The call's key; of a path that is none of ours, a key of nothing."""
        head, _, tail = path.rpartition(b"/")
        below = self._served.get(head)
        return "" if below is None else f"{below.call.key_head()}{tail.decode('latin-1')})"

    def _make_ready(
        self, path: bytes, key: str, entry: CacheEntry, now: float, *, coded: bool
    ) -> PreparedHeads:
        before = self._ready.get(path) or self._ready_gzip.get(path)
        if before is not None:
            hits = before.ok_hit, before.not_modified_hit
        else:
            hits = self._hits_of(path)
            for ready_heads in (self._ready, self._ready_gzip):
                if len(ready_heads) >= MAX_READY:
                    ready_heads.clear()
        age, ttl = entry.age(now), entry.ttl(now)
        values = {
            b"length": len(entry.gzip if coded else entry.body),
            b"age": int(age),
            b"digest": f"{entry.digest}{SUFFIX if coded else ''}".encode(),
            b"ttl": int(ttl // 1),
        }
        form = entry.nominal, coded
        ok, not_modified = self._forms.get(form) or self._make_forms(entry, now, coded=coded)
        return PreparedHeads(
            key,
            entry.digest,
            entry.asked_at,
            now + min(1 - age % 1, ttl % 1),
            coded,
            ok % values,
            hits[0],
            not_modified % values,
            hits[1],
        )

    def _hits_of(self, path: bytes) -> tuple[ExpectedHit, ExpectedHit]:
        head, _, tail = path.rpartition(b"/")
        below = self._served[head].operation, tail.decode()
        return self._expect(*below, 200), self._expect(*below, 304)

    def _make_forms(self, entry: CacheEntry, now: float, *, coded: bool) -> tuple[bytes, bytes]:
        """The heads of entries with this one's lifetime, with places for what is their own."""
        told, _ = self._replies.prepared(entry, now, b"", coded=coded)
        fields = [(name, PLACES.get(name, value)) for name, value in told]
        forms = field_lines(fields), field_lines(of_not_modified(fields))
        self._forms[entry.nominal, coded] = forms
        return forms

    def _read_date(self, now: float) -> None:
        """Write the date into what answers begin with, for as long as it is the same second."""
        wall = time.time()
        date = formatdate(wall, usegmt=True).encode()
        self._starts = STATUS_LINES[0] % date, STATUS_LINES[1] % date
        self._starts_until = now + 1 - wall % 1


class SampledFastPath(FastPath):
    """Leaves a ``share`` of its answers to the route, whose requests are traced."""

    def __init__(self, share: float, *parts: Any) -> None:
        super().__init__(*parts)
        self._share = share

    def answer(self, path: bytes, asked: HitRequest) -> PreparedAnswer | None:
        """The answer, or None."""
        return None if random.random() < self._share else super().answer(path, asked)  # noqa: S311
