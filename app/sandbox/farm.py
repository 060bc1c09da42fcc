"""The farm's calls: verify, decode, answer, encode, record. Must not know the gateway."""

from collections import deque
from collections.abc import Callable
from email.utils import formatdate

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from app.sandbox.bodies import read_body
from app.sandbox.data import METHODS
from app.sandbox.faults import broken, refusal
from app.sandbox.outcomes import Outcome
from app.sandbox.records import CallRecord, Records
from app.sandbox.script import MAGIC, AnyStep, ScriptAnswer
from app.sandbox.verifier import Verifier
from app.sandbox.wire import WireReply, perform
from app.upstream.xmlrpc.codec import Fault, UpstreamUnreadable, Value, load_call

MAX_CALL = 16 * 1024
PATHS = {path for method in METHODS for path in (method, method.rpartition(".")[0])}
HONEST = ScriptAnswer()


class SandboxFarm:
    """The ASGI application behind ``POST /<method>``, and what tests ask of it."""

    def __init__(
        self, verifier: Verifier, clock: Callable[[], float], public_url: str, speed: float
    ) -> None:
        self.verifier = verifier
        self.speed = speed
        self.clock = clock
        self.public_url = public_url.rstrip("/")
        self.started = clock()
        self.records = Records()
        self.script: deque[AnyStep] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = request.path_params["path"]
        if path not in PATHS:
            raise HTTPException(404)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "text/xml":
            raise HTTPException(415)
        body = await read_body(request, MAX_CALL)
        url = f"{self.public_url or str(request.base_url).rstrip('/')}/{path}"
        record = CallRecord(self.clock(), path)
        with self.records.flight(record):
            reply = self._treat(record, url, body)
            await perform(reply, formatdate(self.clock(), usegmt=True), scope, receive, send)

    def _treat(self, record: CallRecord, url: str, body: bytes) -> WireReply:
        """What the farm knows, then what the script or a magic id makes of it."""
        step = self.script.popleft() if self.script else None
        outcome: Outcome
        try:
            outcome = self._answer(record, url, body)
            step = step or _magic(record.arguments)
        except Fault as fault:
            outcome = fault
        step = step or HONEST
        outcome = step.outcome(outcome)
        record.did = step.do
        record.fault = outcome.code if isinstance(outcome, Fault) else None
        return step.reply(outcome)

    def _answer(self, record: CallRecord, url: str, body: bytes) -> Value:
        try:
            record.method, sent = load_call(body)
        except UpstreamUnreadable:
            raise broken("A problem occurred during parsing") from None
        method = METHODS.get(record.method)
        if method is None:
            raise broken("The specified handler cannot be found")
        parameters, *record.arguments = sent or [None]
        if not isinstance(parameters, dict):
            raise refusal(100)
        record.tell(parameters)
        named = dict(zip(method.parameters, record.arguments, strict=False))
        record.reading = self.verifier.verify(url, parameters, named, record.at)
        if [type(argument) for argument in record.arguments] != list(method.parameters.values()):
            raise broken("The method cannot be found")
        now = self.started + (record.at - self.started) * self.speed
        return method.function(*record.arguments, started=self.started, now=now)


def _magic(arguments: list[Value]) -> AnyStep | None:
    number = next(iter(arguments), None)
    return MAGIC.get(number // 1000) if isinstance(number, int) else None
