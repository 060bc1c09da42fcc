"""The header fields that every answer has: the request's id, CORS, and what browsers may not do.

Knows the Fetch standard's CORS protocol. Must not know what is answered, nor by whom.
"""

import re
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import count

from starlette.responses import Response
from starlette.types import Scope

from app.api.field_lists import Header
from app.api.route_path import first_segment, route_path

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

ALLOWED_HEADERS = (
    "Accept, Authorization, baggage, Cache-Control, Content-Type, If-Modified-Since, "
    "If-None-Match, Last-Event-ID, Pragma, Prefer, sentry-trace, traceparent, tracestate, "
    "X-API-Key, X-Request-ID, X-Requested-With"
)
EXPOSED_HEADERS = (
    "Age, Cache-Control, Cache-Status, ETag, Preference-Applied, RateLimit, RateLimit-Policy, "
    "Retry-After, Server-Timing, X-Request-ID"
)

EVERYWHERE: list[Header] = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"access-control-expose-headers", EXPOSED_HEADERS.encode()),
]
ANY_ORIGIN = (b"access-control-allow-origin", b"*")
JSON_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")

PREFLIGHT = Response(
    status_code=204,
    headers={
        "access-control-allow-methods": "GET, HEAD",
        "access-control-allow-headers": ALLOWED_HEADERS,
        "access-control-max-age": "7200",
    },
)
"""The answer for every path: what may be asked at all.

A foreign origin is told no origin that is allowed, and the browser does the refusing.
"""


class CommonFields:
    """``origins`` are those whose pages may read answers; ``*`` among them stands for all."""

    def __init__(self, origins: frozenset[str]) -> None:
        self._origins = frozenset(origin.encode("latin-1") for origin in origins)
        self._any_origin = "*" in origins
        self.everywhere = [*EVERYWHERE, *([ANY_ORIGIN] if self._any_origin else [])]
        self._boot = secrets.token_hex(8).encode() + b"-"
        self._numbers = count(1)

    def own(
        self, fields: Sequence[Header], given: Mapping[bytes, bytes]
    ) -> tuple[bytes, list[Header]]:
        """A request's id, and the fields that its answer has for its sake, whatever it is.

        ``given`` are its ``fields`` by name.
        """
        request_id = self.given_id(given) or self.new_id()
        return request_id, [(b"x-request-id", request_id), *self.cors(fields, given)]

    def dressed(self, headers: Iterable[Header], own: list[Header], timing: Header) -> list[Header]:
        """An answer's fields with ours; a page that brings a policy of its own keeps it."""
        dressed = [*headers, *own, *self.everywhere, timing]
        if not any(name == JSON_POLICY[0] for name, _ in dressed):
            dressed.append(JSON_POLICY)
        return dressed

    def given_id(self, given: Mapping[bytes, bytes]) -> bytes | None:
        """The id that a request brings, if it is one."""
        request_id = given.get(b"x-request-id", b"")
        return request_id if REQUEST_ID.fullmatch(request_id) else None

    def new_id(self) -> bytes:
        """An id for a request that brings none."""
        return self._boot + b"%x" % next(self._numbers)

    def cors(self, fields: Sequence[Header], given: Mapping[bytes, bytes]) -> list[Header]:
        """What lets a page of another origin read the answer, if not all may."""
        if self._any_origin:
            return []
        headers, origin = [(b"vary", b"Origin")], given.get(b"origin")
        if origin in self._origins and sum(name == b"origin" for name, _ in fields) == 1:
            headers.append((b"access-control-allow-origin", origin))
        return headers


def field_lines(fields: Iterable[Header]) -> bytes:
    """Header fields as they are sent."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


CREDENTIALS = (b"access-control-allow-credentials", b"true")


class VisitorPaths:
    """``on`` and ``off`` are the first segments of what visitors and their sites may ask for: those
    that are switched on, and those that are not there."""

    def __init__(self, on: Collection[str] = (), off: Collection[str] = ()) -> None:
        self._on, self._off = frozenset(on), frozenset(off)
        headers = {**PREFLIGHT.headers, "access-control-allow-methods": "GET, HEAD, POST, PUT"}
        self._preflight = Response(status_code=204, headers=headers)

    def are_off(self, scope: Scope) -> bool:
        """Whether the path is one that is switched off."""
        return first_segment(route_path(scope)) in self._off

    def are_on(self, scope: Scope) -> bool:
        """Whether the path is one for visitors."""
        return bool(self._on) and first_segment(route_path(scope)) in self._on

    def fields(self, scope: Scope, own: Iterable[Header]) -> list[Header]:
        """What lets a page read the answer that it got with a cookie, if its origin is listed."""
        if not self.are_on(scope):
            return []
        return [CREDENTIALS] if any(name == ANY_ORIGIN[0] for name, _ in own) else []

    def preflight(self, scope: Scope) -> Response:
        """The answer to whether a page may ask for the path."""
        return self._preflight if self.are_on(scope) else PREFLIGHT
