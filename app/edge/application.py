"""The outermost ASGI application: who answers a request, and what is answered if that fails.

Knows ASGI. Must not know routes, nor what header fields all answers have.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.error_codes import Code
from app.api.field_lists import Header
from app.api.problems import CODES, Problems
from app.api.route_path import at_prefix, target_below
from app.core import errors
from app.core.ports import Instrumentation
from app.edge.admission import Admission, Decision
from app.edge.common_fields import JSON_POLICY, CommonFields, VisitorPaths, field_lines
from app.edge.concurrency_limit import ConcurrencyLimit
from app.edge.fast_path import FastPath
from app.edge.hit_request import HitRequest, HitRequestReader
from app.edge.representation import BODY, START, Representations
from app.server.application import IS_GONE
from app.server.drain import Drain
from app.telemetry.access_log import AccessLog
from app.telemetry.request_context import HIT_TIMING, RequestContext, request_context, trace_of

CLOSE = {"connection": "close"}
NO_BODIES: Mapping[tuple[bytes, bytes], int] = MappingProxyType({})
BODILESS = ("GET", "PUT")
"""Methods of routes, none of which takes a body."""
NO_VISITORS = VisitorPaths()


class EdgeApplication:
    """Wraps the whole application, so that crashes leave with CORS and a request id too."""

    def __init__(
        self,
        app: ASGIApp,
        fast_path: FastPath,
        representations: Representations,
        problems: Problems,
        origins: frozenset[str],
        instrumentation: Instrumentation,
        access_log: AccessLog,
        admission: Admission | None,
        concurrency_limit: ConcurrencyLimit,
        drain: Drain,
        root_path: str = "",
        heads: Collection[str] = (),
        bodies: Mapping[tuple[bytes, bytes], int] = NO_BODIES,
        visitor_paths: VisitorPaths = NO_VISITORS,
    ) -> None:
        self.app = app
        self.drain = drain  # for whoever runs this application: to be begun before its end
        self._fast_path = fast_path
        self._representations = representations
        self._problems = problems
        self._crash = instrumentation.crash
        self._serving = instrumentation.serving
        self._access_log = access_log
        self._admission = admission
        self._concurrency_limit = concurrency_limit
        self._root_path, self._heads, self._bodies = root_path, heads, bodies
        self._visitor_paths = visitor_paths
        self._common = common = CommonFields(origins)
        self._hit_requests = HitRequestReader(representations.coding, common, admission)
        self._end_of_hit = field_lines([*common.everywhere, HIT_TIMING, JSON_POLICY]) + b"\r\n"

    def read_fields(
        self, fields: Sequence[Header], client: tuple[str, int] | None
    ) -> HitRequest | None:
        """What ``answer_now`` has to know of a GET's header fields; None: the route is to answer.

        A field that comes twice and whatever else is not plain is left to the route.
        """
        try:
            return self._hit_requests.read(fields, client)
        except Exception:  # noqa: BLE001 - the route reads them in the same ways, and tells
            return None

    def answer_now(self, target: bytes, asked: HitRequest) -> bytes | None:
        """The bytes of a kept and fresh answer, counted and logged; else None, and nothing is done.

        What it answers, the route answers with the same bytes. A query, a refusal and whatever
        else is not plain is left to the route.
        """
        began = self._access_log.clock()
        if self._root_path:
            target = target_below(target, self._root_path, self._heads)
        limit: bytes | None = b""
        try:
            kept = self._fast_path.answer(target, asked)
        except Exception as error:  # noqa: BLE001 - the route answers as well, only slower
            self._crash(error, (asked.request_id or self._common.new_id()).decode())
            return None
        if kept is None:
            return None
        if asked.asker is not None and self._admission is not None:
            try:
                limit = self._admission.admit_now(asked.asker)
            except Exception:  # noqa: BLE001 - the route asks for the reason, and tells the crash
                return None
        if limit is None:
            return None
        request_id = asked.request_id or self._common.new_id()
        start, head, moment, hit, number, body = kept
        cors, end = asked.cors, self._end_of_hit
        name = b"x-request-id: "
        answer = b"".join((start, head, moment, name, request_id, b"\r\n", cors, limit, end, body))
        self._access_log.hit(hit, number, request_id, began, asked.traceparent)
        return answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; lifespan goes straight through, WebSockets are refused."""
        if scope["type"] == "http":
            if self._root_path and not scope.get("root_path"):
                scope = at_prefix(scope, self._root_path, self._heads)
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = self._access_log.clock()
        fields = scope["headers"]
        given = dict(fields)
        request_id, own = self._common.own(fields, given)
        refusal = None
        if self._admission is not None:
            refusal, told = self._admit(self._admission, scope, given, request_id)
            own += told
        own += self._visitor_paths.fields(scope, own)
        choose = partial(self._application, given, refusal)
        await self._route(scope, receive, send, choose, request_id.decode(), own, began)

    def max_body(self, method: bytes, target: bytes) -> int:
        """How many bytes of a body this request may bring; 0 if its route wants none."""
        path = target.partition(b"?")[0]
        if self._root_path:
            path = target_below(path, self._root_path, self._heads)
        return self._bodies.get((method, path), 0)

    def refusal(self, status: int) -> ASGIApp:
        """What answers a request that the server could not read: 400, 413, or 431 (RFC 6585).

        What the rest of such a request is, is anyone's guess: nothing more is to be read from it.
        """
        code = Code.MALFORMED_REQUEST if status == 400 else Code.REQUEST_TOO_LARGE

        def problem(scope: Scope) -> ASGIApp:
            return self._problems.response(code, scope, status=status, headers=CLOSE)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            fields = scope["headers"]
            request_id, own = self._common.own(fields, dict(fields))
            began = self._access_log.clock()
            await self._route(scope, receive, send, problem, request_id.decode(), own, began)

        return answer

    def _admit(
        self, admission: Admission, scope: Scope, given: Mapping[bytes, bytes], request_id: bytes
    ) -> Decision:
        try:
            return admission.admit(scope, given)
        except Exception as error:  # noqa: BLE001 - who cannot be judged is not let in
            self._crash(error, request_id.decode())
            return errors.Crashed("gate"), []

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
        parents = [value for name, value in scope["headers"] if name == b"traceparent"]
        trace = trace_of(parents[0]) if len(parents) == 1 else None
        is_gone: Callable[[], bool] = scope.get(IS_GONE, bool)
        request, ended = RequestContext(request_id, scope["method"], began, trace), False

        async def dressed(message: Message) -> None:
            nonlocal ended
            if message["type"] == START:
                if is_gone():
                    return  # to nobody: it is counted and logged as without an answer
                request.begin(message["status"], self._access_log.clock())
                headers = self._common.dressed(message["headers"], own, request.server_timing())
                message = {**message, "headers": headers}
            elif message["type"] == BODY:
                ended = not message.get("more_body", False)
            await send(message)

        # A HEAD is answered like its GET; the server leaves the body out.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        scope = request.scope = {**scope, "method": method}
        request_context.set(request)
        selected: Send = dressed
        if method == "GET":
            selected = self._representations.selecting(scope["headers"], dressed)
        try:
            with self._serving(request):
                try:
                    await choose(scope)(scope, receive, selected)
                except Exception as error:  # the last resort: whatever it is, it ends here
                    self._crash(error, request_id)
                    if not request.status:
                        crashed = self._problems.response(Code.INTERNAL_ERROR, scope)
                        await crashed(scope, receive, dressed)
                    elif not ended:
                        raise  # the answer cannot be completed: the server cuts the connection
        finally:
            self._access_log.routed(request)

    def _application(
        self, given: Mapping[bytes, bytes], refusal: errors.GatewayError | None, scope: Scope
    ) -> ASGIApp:
        """What answers a request that the fast path did not."""
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in given:
            return self._visitor_paths.preflight(scope)
        if refusal is not None:
            return self._problems.response(CODES[type(refusal)], scope, error=refusal)
        is_bodiless = scope["method"] in BODILESS or self._visitor_paths.are_on(scope)
        if is_bodiless and _brings_body(given):
            return self._problems.response(Code.REQUEST_TOO_LARGE, scope, headers=CLOSE)
        # An encoded slash is data, and no path here has a place for it.
        is_escaped = b"%2f" in (scope.get("raw_path") or b"").lower()
        if is_escaped or self._visitor_paths.are_off(scope):
            return self._problems.response(Code.ROUTE_NOT_FOUND, scope)
        return self._concurrency_limit.around(self.app)


def _brings_body(given: Mapping[bytes, bytes]) -> bool:
    return given.get(b"content-length", b"").strip(b"0") != b"" or b"transfer-encoding" in given
