"""Answers what is kept and fresh before ASGI: no scope, no task, no router, no model, no XML.

Knows paths, entries and a clock. Must not know resources. Whatever it does not fully understand it
leaves to the route, which gives the same bytes: both take them from ``Replies.prepared``.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from email.utils import formatdate
from functools import partial
from typing import NamedTuple

from app.api.replies import Header, Replies, hit_words, matches, takes_json, wish_of
from app.core.cache_entry import CacheEntry
from app.core.call import Call
from app.core.fetch_result import NO_DIRECTIVES
from app.core.gateway import Gateway
from app.telemetry.access_log import ExpectedHit

MAX_READY = 4096
"""How many entries have their header fields ready at most; beyond, all are made anew."""


PreparedAnswer = tuple[bytes, ExpectedHit, bytes]
"""The head as far as it is the same for every request, who counts it, and the body."""

STATUS_LINES = {200: b"HTTP/1.1 200 OK\r\n", 304: b"HTTP/1.1 304 Not Modified\r\n"}
"""As the server writes them."""


class FastRoute(NamedTuple):
    """What is served below the head of a path: an operationId, and a call of one argument."""

    operation: str
    call: type[Call]


class PreparedHeads(NamedTuple):
    """The heads of both answers that an entry can give, good until ``until``.

    That is when the date, the entry's age or its ttl reach another whole second. With each goes how
    it is counted. Holds no body: the entry may be gone from the store by then.
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
        tags = given.get(b"if-none-match")
        if tags is not None and matches(tags, entry.digest):
            if b"prefer" in given:
                return None  # it may want to wait for a change
            return ready.not_modified, ready.not_modified_hit, b""
        return ready.ok, ready.ok_hit, entry.body

    def _key_of(self, path: bytes) -> str:
        """The call's key; of a path that is none of ours, a key of nothing."""
        head, _, tail = path.rpartition(b"/")
        below = self._served.get(head)
        return "" if below is None else f"{below.call.key_head()}{tail.decode('latin-1')})"

    def _make_ready(self, path: bytes, key: str, entry: CacheEntry, now: float) -> PreparedHeads:
        if len(self._ready) >= MAX_READY:
            self._ready.clear()
        status = b"rfgw; " + hit_words(entry, now).encode()
        age, ttl = entry.age(now), entry.ttl(now)
        head, _, tail = path.rpartition(b"/")
        below = self._served[head].operation, tail.decode()
        wall = time.time()
        date = (b"date", formatdate(wall, usegmt=True).encode())
        prepared = partial(self._replies.prepared, entry, now, status)
        ready = self._ready[path] = PreparedHeads(
            key,
            entry.digest,
            entry.asked_at,
            now + min(1 - math.modf(age)[0], math.modf(ttl)[0], 1 - math.modf(wall)[0]),
            STATUS_LINES[200] + field_lines([date, *prepared()[1]]),
            self._expect(*below, 200),
            STATUS_LINES[304] + field_lines([date, *prepared(not_modified=True)[1]]),
            self._expect(*below, 304),
        )
        return ready


def field_lines(fields: Iterable[Header]) -> bytes:
    """Header fields as they are sent."""
    return b"".join(b"%b: %b\r\n" % field for field in fields)
