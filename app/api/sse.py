"""Watched calls as server-sent events (WHATWG HTML section 9.2): updates become frames.

Knows the event stream's grammar and its connection. Must not know what is watched, nor how often
the farm is asked for it.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Literal

from fastapi import Request, Response
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from app.api.authorization import client_of, is_authorized
from app.api.negotiation import quality
from app.api.prefer import until_gone
from app.api.problems import CODES, Problems
from app.api.replies import cache_status
from app.core import errors
from app.core.fetch_result import FetchResult
from app.core.freshness import Uniform
from app.core.gateway import Gateway
from app.core.subscriptions import Subscriber, Subscriptions, Update
from app.telemetry.request_context import current_request

EVENT_STREAM = "text/event-stream"

START, BODY = "http.response.start", "http.response.body"

# A proxy that compresses would hold events back until its buffer is full.
NO_STORE, VARY = (b"cache-control", b"no-store, no-transform"), (b"vary", b"Accept")
HEADERS = [
    (b"content-type", EVENT_STREAM.encode()),
    NO_STORE,
    VARY,
    (b"x-accel-buffering", b"no"),  # nginx: pass each frame on as it comes
]

RETRY = 1500, 3000
"""Milliseconds after which a browser that lost its stream asks for it again, from and to: spread,
so that the readers of a process that has ended do not come back all at once."""
ENOUGH = 65_536
"""Bytes of events after which they are sent, though there may be more."""
HEARTBEAT = b":\n\n"
HEARTBEAT_EVERY = 12.0
"""Seconds of silence, at most: proxies close what is silent for long."""


class StreamEnd(BaseModel):
    """The data of a stream's last event."""

    reason: Literal["final"] = Field(description="What was watched is not expected to change.")


END = b"event: end\ndata: %b\n\n" % StreamEnd(reason="final").model_dump_json().encode()


LINE_ENDS = {"\u2028": b"\\u2028", "\u2029": b"\\u2029", "\x85": b"\\u0085"}
"""No line ends to an event stream, but to many a program that reads one line by line."""


def one_line(json: bytes) -> bytes:
    """The same JSON without a line end of any kind: one ``data`` line for everybody."""
    for end, escaped in LINE_ENDS.items():
        json = json.replace(end.encode(), escaped)
    return json


class EventStreams:
    """What every stream needs. ``count`` hears the name of each event that is sent.

    What is asked for when a stream of several calls begins is answered within ``patience`` seconds.
    """

    def __init__(
        self,
        gateway: Gateway,
        subscriptions: Subscriptions,
        problems: Problems,
        count: Callable[[str], None],
        *,
        patience: float,
        heartbeat_every: float = HEARTBEAT_EVERY,
        uniform: Uniform = random.uniform,
    ) -> None:
        self.gateway = gateway
        self.subscriptions = subscriptions
        self.problems = problems
        self.count = count
        self.patience = patience
        self.heartbeat_every = heartbeat_every
        self.uniform = uniform
        self.streams = 0


class ServerSentEvents(Response):
    """Events for one reader. What goes wrong before the first is a problem.

    Each frame waits until the connection takes more: a slow reader gets the newest event next,
    however many there were meanwhile.
    """

    is_over = False
    """Whether no more events are expected: what was watched has become final."""
    gather_for = 0.0
    """Seconds that an update waits for others, to be sent with them."""

    def __init__(self, live: EventStreams) -> None:
        super().__init__()
        self._live = live

    async def begin(self, request: Request, subscriber: Subscriber) -> Response | None:
        """Have the reader watch. An answer, if one is to be sent in place of the stream."""
        raise NotImplementedError

    async def prepare(self, update: Update) -> None:
        """Do beside the event loop what a frame of the update would hold it with."""

    def frame(self, key: str, update: Update, scope: Scope) -> bytes:
        """The event of an update of the call with this key; empty if it is no news."""
        raise NotImplementedError

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request of ``scope``. Raises errors.GatewayError if it must not watch."""
        request = Request(scope)
        if not quality(",".join(request.headers.getlist("accept")), EVENT_STREAM):
            raise errors.NotAcceptable
        with self._live.subscriptions.reader(client_of(scope)) as subscriber:
            instead = await self.begin(request, subscriber)
            if instead is not None:
                await instead(scope, receive, send)
                return
            await send({"type": START, "status": 200, "headers": HEADERS})
            if current_request().method != "HEAD":
                self._live.streams += 1
                try:
                    with until_gone(receive, subscriber):
                        await self.send_updates(subscriber, scope, send)
                finally:
                    self._live.streams -= 1
            await send({"type": BODY, "body": b""})

    async def send_updates(self, subscriber: Subscriber, scope: Scope, send: Send) -> None:
        """All updates that change something, until there will be no more."""
        await _write(send, b"retry: %d\n\n" % self._live.uniform(*RETRY))
        while (newest := await self._next(subscriber, scope, send)) is not None:
            if not is_authorized(scope):
                await _write(send, self.problem(errors.Unauthorized(), scope))
                return
            await asyncio.sleep(self.gather_for)
            frames = await self._frames(newest, subscriber, scope)
            if frames:
                await _write(send, frames)
            if self.is_over:
                self._live.count("end")
                await _write(send, END)
                return

    async def _frames(
        self, newest: tuple[str, Update] | None, subscriber: Subscriber, scope: Scope
    ) -> bytes:
        """The events of this update and of all others that are there, to be sent in one piece."""
        frames = b""
        while newest is not None:
            await self.prepare(newest[1])
            frames += self.frame(*newest, scope)
            more = subscriber.has_more and len(frames) < ENOUGH
            newest = await subscriber.next() if more else None
        return frames

    async def _next(
        self, subscriber: Subscriber, scope: Scope, send: Send
    ) -> tuple[str, Update] | None:
        """The next update. A key that has been taken back is noticed with the next comment."""
        while True:
            try:
                async with asyncio.timeout(self._live.heartbeat_every):
                    return await subscriber.next()
            except TimeoutError:
                if not is_authorized(scope):
                    return "", Update(None, errors.Unauthorized())
                await _write(send, HEARTBEAT)

    def problem(self, error: errors.GatewayError, scope: Scope) -> bytes:
        """The event that tells of an error. JSON has no line ends, so one data line holds it."""
        problem = self._live.problems.document(
            CODES[type(error)], current_request().id, error=error, path=scope["path"]
        )
        self._live.count("problem")
        return b"event: problem\ndata: %b\n\n" % problem.model_dump_json().encode()

    def refusal(self, answer: FetchResult, error: errors.GatewayError, scope: Scope) -> Response:
        """What is sent in place of a stream that cannot begin."""
        words = {"cache-status": cache_status(answer, self._live.gateway.clock())}
        return self._live.problems.of(error, scope, words)


def no_more() -> Response:
    """204 tells a browser not to come again."""
    fields = {name.decode(): text.decode() for name, text in (NO_STORE, VARY)}
    return Response(status_code=204, headers=fields)


async def _write(send: Send, frame: bytes) -> None:
    await send({"type": BODY, "body": frame, "more_body": True})
