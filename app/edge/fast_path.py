"""Answers what is kept and fresh before ASGI: no scope, no task, no router, no model, no XML.

Knows paths, entries and a clock. Must not know resources. Whatever it does not fully understand it
leaves to the route, which gives the same bytes: both take them from ``Replies.prepared``.
"""

import random
import time
from collections.abc import Callable, Iterable, Mapping
from email.utils import formatdate
from typing import Any, NamedTuple

from app.api.replies import HIT_WORDS, Header, Replies, matches, takes_json, wish_of
from app.core.cache_entry import CacheEntry
from app.core.call import Call
from app.core.fetch_result import NO_DIRECTIVES
from app.core.gateway import Gateway
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
    counted. Holds no body: the entry may be gone from the store by then.
    """

    key: str
    digest: str
    asked_at: float
    until: float
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
        self._forms: dict[int, tuple[bytes, bytes]] = {}  # by nominal lifetime: there are few
        self._starts = STATUS_LINES
        self._starts_until = float("-inf")

    def answer(self, path: bytes, given: Mapping[bytes, bytes]) -> PreparedAnswer | None:
        """The answer, or None: the route shall give it.

        ``path`` is the request's target below any prefix: one with a query finds nothing. ``given``
        are its header fields, none of them doubled.
        """
        ready = self._ready.get(path)
        key = ready.key if ready is not None else self._key_of(path)
        entry = self._store.get(key)
        if entry is None or entry.refused or not takes_json(given.get(b"accept")):
            return None
        control = given.get(b"cache-control")
        if control is not None and wish_of(control) != NO_DIRECTIVES:
            return None
        now = self._clock()
        if (
            ready is None
            or now >= ready.until
            or ready.asked_at != entry.asked_at
            or ready.digest != entry.digest
        ):
            if entry.ttl(now) <= 0:
                return None
            ready = self._make_ready(path, key, entry, now)
        if now >= self._starts_until:
            self._read_date(now)
        tags = given.get(b"if-none-match")
        if tags is not None and matches(tags, entry.digest):
            if b"prefer" in given:
                return None  # it may want to wait for a change
            return self._starts[1], ready.not_modified, ready.not_modified_hit, b""
        return self._starts[0], ready.ok, ready.ok_hit, entry.body

    def _key_of(self, path: bytes) -> str:
        """The call's key; of a path that is none of ours, a key of nothing."""
        head, _, tail = path.rpartition(b"/")
        below = self._served.get(head)
        return "" if below is None else f"{below.call.key_head()}{tail.decode('latin-1')})"

    def _make_ready(self, path: bytes, key: str, entry: CacheEntry, now: float) -> PreparedHeads:
        before = self._ready.get(path)
        if before is not None:
            hits = before.ok_hit, before.not_modified_hit
        else:
            hits = self._hits_of(path)
            if len(self._ready) >= MAX_READY:
                self._ready.clear()
        age, ttl = entry.age(now), entry.ttl(now)
        values = {
            b"length": len(entry.body),
            b"age": int(age),
            b"digest": entry.digest.encode(),
            b"ttl": int(ttl // 1),
        }
        ok, not_modified = self._forms.get(entry.nominal) or self._make_forms(entry, now)
        until = now + min(1 - age % 1, ttl % 1)
        ready = self._ready[path] = PreparedHeads(
            key,
            entry.digest,
            entry.asked_at,
            until,
            ok % values,
            hits[0],
            not_modified % values,
            hits[1],
        )
        return ready

    def _hits_of(self, path: bytes) -> tuple[ExpectedHit, ExpectedHit]:
        head, _, tail = path.rpartition(b"/")
        below = self._served[head].operation, tail.decode()
        return self._expect(*below, 200), self._expect(*below, 304)

    def _make_forms(self, entry: CacheEntry, now: float) -> tuple[bytes, bytes]:
        """The heads of entries with this one's lifetime, with places for what is their own."""

        def form(*, not_modified: bool) -> bytes:
            _, fields, _ = self._replies.prepared(entry, now, b"", not_modified=not_modified)
            return field_lines((name, PLACES.get(name, value)) for name, value in fields)

        forms = self._forms[entry.nominal] = form(not_modified=False), form(not_modified=True)
        return forms

    def _read_date(self, now: float) -> None:
        """Write the date into what answers begin with, for as long as it is the same second."""
        wall = time.time()
        date = formatdate(wall, usegmt=True).encode()
        self._starts = STATUS_LINES[0] % date, STATUS_LINES[1] % date
        self._starts_until = now + 1 - wall % 1


def field_lines(fields: Iterable[Header]) -> bytes:
    """Header fields as they are sent."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


class SampledFastPath(FastPath):
    """Leaves a ``share`` of its answers to the route, whose requests are traced."""

    def __init__(self, share: float, *parts: Any) -> None:
        super().__init__(*parts)
        self._share = share

    def answer(self, path: bytes, given: Mapping[bytes, bytes]) -> PreparedAnswer | None:
        """The answer, or None."""
        return None if random.random() < self._share else super().answer(path, given)  # noqa: S311
