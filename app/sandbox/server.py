"""The farm on a real port: verify, decode, answer, encode, record. Must not know the gateway.

========================  ==========================================================
``POST /<method>``        a signed XML-RPC call; ``/<handler>`` takes it too
``GET /__records``        what was asked, the newest 10,000 calls, oldest first
``DELETE /__records``     forgets them and counts anew
``PUT /__script``         the next misbehaviours, a JSON list of ``script`` steps
``DELETE /__script``      forgets those still waiting
========================  ==========================================================
"""

import ipaddress
import json
import signal
import time
from collections import deque
from collections.abc import Callable, Collection
from email.utils import formatdate

import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.sandbox.data import METHODS
from app.sandbox.faults import broken, refusal
from app.sandbox.records import CallRecord, Records
from app.sandbox.script import MAGIC, SCRIPT, AnyStep, Outcome, ScriptAnswer
from app.sandbox.verifier import READINGS, Verifier
from app.sandbox.wire import Protocol, WireReply, perform
from app.upstream.xmlrpc.codec import Fault, UpstreamUnreadable, Value, load_call

DEMO_CONSUMER_KEY = "demo-consumer"
DEMO_CONSUMER_SECRET = "demo-secret"  # noqa: S105 - public on purpose: it opens a toy
MAX_CALL = 16 * 1024
MAX_SCRIPT = 8 * 1024 * 1024
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
        body = await _body(request, MAX_CALL)
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

    async def get_records(self, request: Request) -> Response:
        told = json.dumps(self.records.told(), default=str)
        return Response(told, media_type="application/json")

    async def delete_records(self, request: Request) -> Response:
        self.records.forget()
        return Response(status_code=204)

    async def put_script(self, request: Request) -> Response:
        try:
            steps = SCRIPT.validate_json(await _body(request, MAX_SCRIPT))
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False, include_input=False)
            status = 400 if wrong[0]["type"] == "json_invalid" else 422
            return JSONResponse({"errors": wrong}, status)
        self.script = deque(steps)
        return JSONResponse({"queued": len(steps)})

    async def delete_script(self, request: Request) -> Response:
        self.script.clear()
        return Response(status_code=204)


def create_farm(
    *,
    consumer_key: str = DEMO_CONSUMER_KEY,
    consumer_secret: str = DEMO_CONSUMER_SECRET,
    token: str = "",
    token_secret: str = "",
    readings: Collection[str] = READINGS,
    public_url: str = "",
    clock: Callable[[], float] = time.time,
    speed: float = 1,
) -> Starlette:
    """A farm with its records and script, to be run by ``farm_server``.

    ``public_url`` is the address that clients sign if it is not the one that they reach (a front
    end in between); ``clock`` tells Unix seconds; sessions live ``speed`` times as fast as it.
    The ``SandboxFarm`` is the application's ``state.farm``.
    """
    verifier = Verifier(consumer_key, consumer_secret, token, token_secret, readings)
    farm = SandboxFarm(verifier, clock, public_url, speed)
    app = Starlette(
        routes=[
            Route("/__records", farm.get_records, methods=["GET"]),
            Route("/__records", farm.delete_records, methods=["DELETE"]),
            Route("/__script", farm.put_script, methods=["PUT"]),
            Route("/__script", farm.delete_script, methods=["DELETE"]),
            Route("/{path}", farm, methods=["POST"]),
        ]
    )
    app.state.farm = farm
    app.router.redirect_slashes = False
    return app


def farm_server(app: Starlette, host: str = "127.0.0.1", port: int = 8001) -> uvicorn.Server:
    """A server that can break connections; ``port`` 0 takes a free one."""
    config = uvicorn.Config(
        app,
        host,
        port,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,  # the farm's own clock tells the date
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def serve_farm(
    host: str = "127.0.0.1",
    port: int = 8001,
    consumer_key: str = DEMO_CONSUMER_KEY,
    consumer_secret: str = DEMO_CONSUMER_SECRET,
    *,
    allow_remote: bool = False,
    speed: float = 1,
) -> None:
    """Serves until a signal. Raises ValueError for a host beyond loopback, unless allowed."""
    if not (allow_remote or _is_loopback(host)):
        raise ValueError("the sandbox listens on loopback only, unless remote clients are allowed")
    app = create_farm(consumer_key=consumer_key, consumer_secret=consumer_secret, speed=speed)
    server = farm_server(app, host, port)
    # The server sends a signal that ended it again: taken by itself, it is no failure's exit code.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    server.run()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _magic(arguments: list[Value]) -> AnyStep | None:
    number = next(iter(arguments), None)
    return MAGIC.get(number // 1000) if isinstance(number, int) else None


async def _body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise HTTPException(413)
    return bytes(body)
