"""The farm's calls: verify, decode, answer, encode, record. Must not know the gateway."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.utils import formatdate

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from app.sandbox.authorization import ENDPOINTS, Authorization
from app.sandbox.bodies import read_body
from app.sandbox.data import METHODS
from app.sandbox.faults import broken, refusal
from app.sandbox.outcomes import FORM, Outcome, ReportedProblem, form
from app.sandbox.records import CallRecord, Records
from app.sandbox.replay import Replay
from app.sandbox.request_verifier import SignedRequest
from app.sandbox.script import MAGIC, AnyStep, ScriptAnswer
from app.sandbox.users import ACCOUNT_CALLS, USER_CALLS, Users
from app.sandbox.verifier import Verifier
from app.sandbox.wire import WireReply, perform
from app.upstream.xmlrpc.codec import Fault, UpstreamUnreadable, Value, load_call

MAX_CALL = 16 * 1024
PATHS = {
    path
    for method in (*METHODS, *USER_CALLS, *ACCOUNT_CALLS)
    for path in (method, method.rpartition(".")[0])
}
HONEST = ScriptAnswer()
XML_TYPE, FORM_TYPE = "text/xml", FORM["content-type"]


class SandboxFarm:
    """The ASGI application behind ``POST /<method>``, and what tests ask of it."""

    def __init__(
        self,
        verifier: Verifier,
        authorization: Authorization,
        users: Users,
        clock: Callable[[], float],
        public_url: str,
        speed: float,
        replay: Replay,
    ) -> None:
        self.verifier = verifier
        self.speed = speed
        self.clock = clock
        self.public_url = public_url.rstrip("/")
        self.started = clock()
        self.records = Records()
        self.script: deque[AnyStep] = deque()
        self._authorization = authorization
        self._users = users
        self._replay = replay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = request.path_params["path"]
        if path not in PATHS and path not in ENDPOINTS:
            raise HTTPException(404)
        body = await read_body(request, MAX_CALL)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != XML_TYPE and (path in PATHS or (body and kind != FORM_TYPE)):
            raise HTTPException(415)
        signed = SignedRequest(
            f"{self.public_url or str(request.base_url).rstrip('/')}/{path}",
            request.headers.get("authorization", ""),
            request.url.query,
            body.decode("latin-1") if kind == FORM_TYPE else "",
        )
        record = CallRecord(self.clock(), path)
        with self.records.flight(record):
            reply = self._treat(record, signed, body if kind == XML_TYPE else b"")
            await perform(reply, formatdate(self.clock(), usegmt=True), scope, receive, send)

    def _treat(self, record: CallRecord, request: SignedRequest, body: bytes) -> WireReply:
        """What the farm knows, then what the script or a magic id makes of it."""
        step = self.script.popleft() if self.script else None
        outcome: Outcome
        try:
            outcome = self._answer(record, request, body)
            step = step or self._replay.step(record.method, record.arguments)
            step = step or self._magic(record)
        except (Fault, ReportedProblem) as refused:
            outcome = refused
        step = step or HONEST
        outcome = step.outcome(outcome)
        record.did = step.do
        record.fault = outcome.code if isinstance(outcome, Fault) else None
        record.problem = outcome.problem if isinstance(outcome, ReportedProblem) else ""
        return step.reply(outcome)

    def _answer(self, record: CallRecord, request: SignedRequest, body: bytes) -> Outcome:
        if record.path in ENDPOINTS:
            return self._authorize(record, request, body)
        record.method, sent = _loaded(body)
        if record.method in USER_CALLS:
            return self._answer_user(record, request, sent)
        method = METHODS.get(record.method) or self._users.account_methods.get(record.method)
        if method is None:
            raise broken("The specified handler cannot be found")
        parameters, *record.arguments = sent or [None]
        if not isinstance(parameters, dict):
            raise refusal(100)
        record.tell(parameters)
        named = dict(zip(method.parameters, record.arguments, strict=False))
        record.reading = self.verifier.verify(request.url, parameters, named, record.at)
        _check_types(record.arguments, method.parameters)
        return method.function(*record.arguments, **self._times(record))

    def _answer_user(
        self, record: CallRecord, request: SignedRequest, sent: list[Value]
    ) -> Outcome:
        """A call of ``user.*``: its parameters may be its first argument, a struct."""
        method = self._users.user_methods[record.method]
        if sent and isinstance(sent[0], dict):
            named = dict(zip(method.parameters, sent[1:], strict=False))
            request = replace(request, struct=sent[0], arguments=named)
            sent = sent[1:]
        record.arguments = sent
        verified, user = self._authorization.user_of(request, record.at)
        record.reading = verified.place
        record.tell(verified.parameters)
        _check_types(record.arguments, method.parameters)
        return method.function(user, *record.arguments, **self._times(record))

    def _authorize(self, record: CallRecord, request: SignedRequest, body: bytes) -> Outcome:
        """An endpoint of OAuth; it answers in XML-RPC who asks in XML-RPC."""
        record.method = record.path
        if body:
            record.method, sent = _loaded(body)
            if sent and isinstance(sent[0], dict):
                request = replace(request, struct=sent[0])
        verified, members = self._authorization.answer(record.path, request, record.at)
        record.reading = verified.place
        record.tell(verified.parameters)
        return {**members} if body else form(members)

    def _times(self, record: CallRecord) -> dict[str, float]:
        now = self.started + (record.at - self.started) * self.speed
        return {"started": self.started, "now": now}

    def _magic(self, record: CallRecord) -> AnyStep | None:
        number = next(iter(record.arguments), None)
        if record.method not in METHODS or not isinstance(number, int):
            return None
        return None if number in self._users.attached else MAGIC.get(number // 1000)


def _loaded(body: bytes) -> tuple[str, list[Value]]:
    try:
        return load_call(body)
    except UpstreamUnreadable:
        raise broken("A problem occurred during parsing") from None


def _check_types(arguments: list[Value], parameters: Mapping[str, type]) -> None:
    if [type(argument) for argument in arguments] != list(parameters.values()):
        raise broken("The method cannot be found")
