"""The outermost ASGI application: request id, CORS, security headers, the last-resort problem.

Knows ASGI and the Fetch standard's CORS protocol. Must not know routes or what is answered.
"""

import itertools
import re
import secrets
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.catalogue import Code
from app.api.problems import Problems

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

ALLOWED_HEADERS = (
    "Accept, Authorization, Cache-Control, If-None-Match, Last-Event-ID, Prefer, "
    "traceparent, X-API-Key, X-Request-ID"
)
EXPOSED_HEADERS = (
    "Age, Cache-Control, Cache-Status, ETag, RateLimit, RateLimit-Policy, Retry-After, "
    "Server-Timing, X-Request-ID"
)

Headers = list[tuple[bytes, bytes]]

EVERYWHERE: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"access-control-expose-headers", EXPOSED_HEADERS.encode()),
]
JSON_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")

Crash = Callable[[str, BaseException], None]
"""Told of an exception that nobody handled, with the request's id."""


class Edge:
    """Wraps the whole application, so that crashes leave with CORS and a request id too."""

    def __init__(
        self, app: ASGIApp, problems: Problems, origins: frozenset[str], on_crash: Crash
    ) -> None:
        self.app = app
        self._problems = problems
        self._origins = frozenset(origin.encode("latin-1") for origin in origins)
        self._on_crash = on_crash
        self._boot = secrets.token_hex(8)
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; lifespan goes straight through, WebSockets are refused."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope["headers"])
        request_id = self._request_id(given.get(b"x-request-id"))
        own = [
            (b"x-request-id", request_id.encode()),
            *EVERYWHERE,
            *self._cors(given.get(b"origin")),
        ]
        begun = ended = False

        async def dressed(message: Message) -> None:
            nonlocal begun, ended
            if message["type"] == "http.response.start":
                begun = True
                message = {**message, "headers": _dress(message["headers"], own)}
            elif message["type"] == "http.response.body":
                ended = not message.get("more_body", False)
            await send(message)

        # A HEAD is answered like its GET; the server leaves the body out.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        scope = {**scope, "method": method, "rfgw.request_id": request_id}
        try:
            if method == "OPTIONS" and b"access-control-request-method" in given:
                await _preflight(dressed)
            else:
                await self.app(scope, receive, dressed)
        except Exception as error:  # the last resort: whatever it is, it ends here
            self._on_crash(request_id, error)
            if not begun:
                await self._problems.response(Code.INTERNAL_ERROR, scope)(scope, receive, dressed)
            elif not ended:
                raise  # the answer cannot be completed: let the server cut the connection

    def _request_id(self, given: bytes | None) -> str:
        if given is not None and REQUEST_ID.fullmatch(given):
            return given.decode()
        return f"{self._boot}-{next(self._numbers):x}"

    def _cors(self, origin: bytes | None) -> Headers:
        """What lets a page of another origin read the answer."""
        if b"*" in self._origins:
            return [(b"access-control-allow-origin", b"*")]
        headers = [(b"vary", b"Origin")]
        if origin in self._origins:
            headers.append((b"access-control-allow-origin", origin))
        return headers


def _dress(headers: Headers, own: Headers) -> Headers:
    """The answer's headers with ours; a page that brings a policy of its own keeps it."""
    vary = b", ".join(value for name, value in [*headers, *own] if name == b"vary")
    dressed = [pair for pair in [*headers, *own] if pair[0] != b"vary"]
    if vary:
        dressed.append((b"vary", vary))
    if not any(name == b"content-security-policy" for name, _ in headers):
        dressed.append(JSON_POLICY)
    return dressed


async def _preflight(send: Send) -> None:
    """The same answer for every path: what may be asked at all (Fetch standard, CORS protocol).

    A foreign origin is told no origin that is allowed, and the browser does the refusing.
    """
    headers = [
        (b"access-control-allow-methods", b"GET, HEAD"),
        (b"access-control-allow-headers", ALLOWED_HEADERS.encode()),
        (b"access-control-max-age", b"7200"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
