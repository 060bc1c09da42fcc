"""Answers what is kept and fresh before the framework wakes: no router, no model, no XML.

Knows paths, entries and a clock. Must not know resources. Whatever it does not fully understand it
leaves to the route, which gives the same bytes: both take them from ``Replies.prepared``.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from starlette.types import Scope

from app.api.replies import Header, Replies, hit_words, matches, takes_json, wish_of
from app.api.route_path import raw_route_path
from app.core.cache_entry import CacheEntry
from app.core.call import Call
from app.core.fetch_result import NO_DIRECTIVES
from app.core.gateway import Gateway
from app.telemetry.access_log import ExpectedHit

MAX_READY = 4096
"""How many entries have their header fields ready at most; beyond, all are made anew."""


PreparedAnswer = tuple[int, list[Header], ExpectedHit, bytes]
"""Status, header fields, who counts it, and body."""


class FastRoute(NamedTuple):
    """What is served below the head of a path: an operationId, and a call of one argument."""

    operation: str
    call: type[Call]


class PreparedHeads(NamedTuple):
    """The header fields of both answers that an entry can give, good until ``until``.

    That is when the entry's age or its ttl reach another whole second. With each goes how it is
    counted. Holds no body: the entry may be gone from the store by then.
    """

    key: str
    digest: str
    asked_at: float
    until: float
    ok: list[Header]
    ok_hit: ExpectedHit
    not_modified: list[Header]
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

    def answer(self, scope: Scope, given: Mapping[bytes, bytes]) -> PreparedAnswer | None:
        """The answer, or None: the route shall give it.

        ``given`` are the request's header fields, none of them doubled.
        """
        path = raw_route_path(scope) if scope.get("root_path") else scope.get("raw_path") or b""
        if scope["query_string"]:
            return None
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
            return 304, ready.not_modified, ready.not_modified_hit, b""
        return 200, ready.ok, ready.ok_hit, entry.body

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
        ready = self._ready[path] = PreparedHeads(
            key,
            entry.digest,
            entry.asked_at,
            now + min(1 - math.modf(age)[0], math.modf(ttl)[0]),
            self._replies.prepared(entry, now, status)[1],
            self._expect(*below, 200),
            self._replies.prepared(entry, now, status, not_modified=True)[1],
            self._expect(*below, 304),
        )
        return ready
