"""The outermost ASGI application: request id, CORS, security headers, the last-resort problem.

Knows ASGI and the Fetch standard's CORS protocol. Must not know routes or what is answered.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import count

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import errors, logs
from app.api.admission import Crowd, Gate, Verdict
from app.api.catalogue import Code
from app.api.front import Front, Kept
from app.api.problems import CODES, Problems
from app.api.replies import Header
from app.api.seen import HIT_TIMING, SEEN, Observer, Seen
from app.drain import Drain
from app.timings import timings
from app.trace import trace, trace_of

START, BODY = "http.response.start", "http.response.body"

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

ALLOWED_HEADERS = (
    "Accept, Authorization, Cache-Control, If-None-Match, Last-Event-ID, Prefer, "
    "traceparent, X-API-Key, X-Request-ID"
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
CLOSE = {"connection": "close"}
JSON_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")

Crash = Callable[[str, BaseException], None]
"""Told of an exception that nobody handled, with the request's id."""


class Edge:
    """Wraps the whole application, so that crashes leave with CORS and a request id too."""

    def __init__(
        self,
        app: ASGIApp,
        front: Front,
        problems: Problems,
        origins: frozenset[str],
        on_crash: Crash,
        observer: Observer,
        gate: Gate | None,
        crowd: Crowd,
        drain: Drain,
    ) -> None:
        self.app = app
        self.drain = drain  # for whoever runs this application: to be begun before its end
        self._front = front
        self._problems = problems
        self._origins = frozenset(origin.encode("latin-1") for origin in origins)
        self._any_origin = "*" in origins
        self._everywhere = [*EVERYWHERE, *([ANY_ORIGIN] if self._any_origin else [])]
        self._at_a_hit = [*self._everywhere, HIT_TIMING, JSON_POLICY]
        self._on_crash = on_crash
        self._observer = observer
        self._gate = gate
        self._crowd = crowd
        self._boot = secrets.token_hex(8).encode() + b"-"
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; lifespan goes straight through, WebSockets are refused."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = self._observer.clock()
        fields = scope["headers"]
        given = dict(fields)
        request_id, own = self._own(fields, given)
        refusal = None
        if self._gate is not None:
            refusal, told = self._admit(self._gate, scope, given, request_id)
            own += told
        plain = scope["method"] == "GET" and len(given) == len(fields) and refusal is None
        if plain and not _brings_body(given):
            kept = self._kept(scope, given, request_id)
            if kept is not None:
                status, headers, hit, body = kept
                headers = [*headers, *own, *self._at_a_hit]
                await send({"type": START, "status": status, "headers": headers})
                await send({"type": BODY, "body": body})
                self._observer.hit(hit, request_id, began, given.get(b"traceparent"))
                return
        choose = partial(self._application, given, refusal)
        await self._route(scope, receive, send, choose, request_id.decode(), own, began)

    def refusal(self, status: int) -> ASGIApp:
        """What answers a request that the server could not read: 400, or 431 (RFC 6585).

        What the rest of such a request is, is anyone's guess: nothing more is to be read from it.
        """
        code = Code.REQUEST_TOO_LARGE if status == 431 else Code.MALFORMED_REQUEST

        def problem(scope: Scope) -> ASGIApp:
            return self._problems.response(code, scope, status=status, headers=CLOSE)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            fields = scope["headers"]
            request_id, own = self._own(fields, dict(fields))
            began = self._observer.clock()
            await self._route(scope, receive, send, problem, request_id.decode(), own, began)

        return answer

    def _own(
        self, fields: Sequence[Header], given: Mapping[bytes, bytes]
    ) -> tuple[bytes, list[Header]]:
        """The request's id, and the header fields that all its answers would have."""
        request_id = self._request_id(given.get(b"x-request-id"))
        own = [(b"x-request-id", request_id)]
        if not self._any_origin:
            own += self._cors(fields, given.get(b"origin"))
        return request_id, own

    def _admit(
        self, gate: Gate, scope: Scope, given: Mapping[bytes, bytes], request_id: bytes
    ) -> Verdict:
        try:
            return gate.admit(scope, given)
        except Exception as error:  # noqa: BLE001 - who cannot be judged is not let in
            self._on_crash(request_id.decode(), error)
            return errors.Crashed("gate"), []

    def _kept(self, scope: Scope, given: Mapping[bytes, bytes], request_id: bytes) -> Kept | None:
        try:
            return self._front.answer(scope, given)
        except Exception as error:  # noqa: BLE001 - the route answers as well, only slower
            self._on_crash(request_id.decode(), error)
            return None

    async def _route(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        choose: Callable[[Scope], ASGIApp],
        request_id: str,
        own: list[Header],
        began: float,
    ) -> None:
        seen, ended = Seen(began, scope["method"]), False

        async def dressed(message: Message) -> None:
            nonlocal ended
            if message["type"] == START:
                seen.begin(message["status"], self._observer.clock())
                every = [*own, *self._everywhere, seen.server_timing()]
                headers = _dress(message["headers"], every)
                message = {**message, "headers": headers}
            elif message["type"] == BODY:
                ended = not message.get("more_body", False)
            await send(message)

        # A HEAD is answered like its GET; the server leaves the body out.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        own_words = {
            "rfgw.request_id": request_id,
            "rfgw.head": scope["method"] == "HEAD",
            SEEN: seen,
        }
        scope = {**scope, "method": method, **own_words}
        seen.scope = scope
        logs.request_id.set(request_id)
        timings.set(seen.timings)
        parents = [value for name, value in scope["headers"] if name == b"traceparent"]
        trace.set(trace_of(parents[0]) if len(parents) == 1 else None)
        try:
            await choose(scope)(scope, receive, dressed)
        except Exception as error:  # the last resort: whatever it is, it ends here
            self._on_crash(request_id, error)
            if not seen.status:
                await self._problems.response(Code.INTERNAL_ERROR, scope)(scope, receive, dressed)
            elif not ended:
                raise  # the answer cannot be completed: let the server cut the connection
        finally:
            self._observer.routed(seen)

    def _application(
        self, given: Mapping[bytes, bytes], refusal: errors.GatewayError | None, scope: Scope
    ) -> ASGIApp:
        """What answers a request that the front did not."""
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in given:
            return _preflight
        if refusal is not None:
            return self._problems.response(CODES[type(refusal)], scope, error=refusal)
        if scope["method"] == "GET" and _brings_body(given):
            return self._problems.response(Code.REQUEST_TOO_LARGE, scope, headers=CLOSE)
        # An encoded slash is data, and no path here has a place for it.
        if b"%2f" in (scope.get("raw_path") or b"").lower():
            return self._problems.response(Code.ROUTE_NOT_FOUND, scope)
        return self._crowd.around(self.app)

    def _request_id(self, given: bytes | None) -> bytes:
        if given is not None and REQUEST_ID.fullmatch(given):
            return given
        return self._boot + b"%x" % next(self._numbers)

    def _cors(self, fields: Sequence[Header], origin: bytes | None) -> list[Header]:
        """What lets a page of another origin read the answer."""
        headers = [(b"vary", b"Origin")]
        if origin in self._origins and sum(name == b"origin" for name, _ in fields) == 1:
            headers.append((b"access-control-allow-origin", origin))
        return headers


def _dress(headers: Iterable[Header], own: list[Header]) -> list[Header]:
    """The answer's headers with ours; a page that brings a policy of its own keeps it."""
    dressed = [*headers, *own]
    if not any(name == JSON_POLICY[0] for name, _ in dressed):
        dressed.append(JSON_POLICY)
    return dressed


def _brings_body(given: Mapping[bytes, bytes]) -> bool:
    return given.get(b"content-length", b"").strip(b"0") != b"" or b"transfer-encoding" in given


async def _preflight(scope: Scope, receive: Receive, send: Send) -> None:
    """The same answer for every path: what may be asked at all (Fetch standard, CORS protocol).

    A foreign origin is told no origin that is allowed, and the browser does the refusing.
    """
    headers = [
        (b"access-control-allow-methods", b"GET, HEAD"),
        (b"access-control-allow-headers", ALLOWED_HEADERS.encode()),
        (b"access-control-max-age", b"7200"),
    ]
    await send({"type": START, "status": 204, "headers": headers})
    await send({"type": BODY, "body": b""})
