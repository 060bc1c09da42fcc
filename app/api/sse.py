"""A watched call as server-sent events (WHATWG HTML section 9.2): news becomes frames.

Knows the event stream's grammar and its connection. Must not know what is watched, nor how often
the farm is asked for it.
"""

import asyncio
from collections.abc import Callable
from typing import Literal

from fastapi import Request, Response
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from app.api.client_address import client_of, is_authorized
from app.api.negotiation import quality
from app.api.prefer import KEPT_ONLY
from app.api.problems import CODES, Problems
from app.api.replies import cache_status, matches, wish_of_request
from app.core import errors
from app.core.cache_entry import CacheEntry
from app.core.call import Call
from app.core.fetch_result import FetchResult
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

RETRY = b"retry: 3000\n\n"
"""Milliseconds after which a browser that lost its stream asks for it again."""
HEARTBEAT = b":\n\n"
HEARTBEAT_EVERY = 12.0
"""Seconds of silence, at most: proxies close what is silent for long."""


class StreamEnd(BaseModel):
    """The data of a stream's last event."""

    reason: Literal["final"] = Field(description="What was watched is not expected to change.")


END = b"event: end\ndata: %b\n\n" % StreamEnd(reason="final").model_dump_json().encode()


class EventStreams:
    """What every stream needs. ``count`` hears the name of each event that is sent."""

    def __init__(
        self,
        gateway: Gateway,
        subscriptions: Subscriptions,
        problems: Problems,
        count: Callable[[str], None],
        heartbeat_every: float = HEARTBEAT_EVERY,
    ) -> None:
        self.gateway = gateway
        self.subscriptions = subscriptions
        self.problems = problems
        self.count = count
        self.heartbeat_every = heartbeat_every
        self.streams = 0


class EventStream(Response):
    """The events of one call for one reader. What goes wrong before the first is a problem.

    Each frame waits until the connection takes more: a slow reader gets the newest event next,
    however many there were meanwhile.
    """

    def __init__(self, live: EventStreams, name: str, call: Call) -> None:
        super().__init__()
        self._live = live
        self._name = name
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request of ``scope``. Raises errors.GatewayError if it must not watch."""
        request = Request(scope)
        headers = request.headers
        if not quality(",".join(headers.getlist("accept")), EVENT_STREAM):
            raise errors.NotAcceptable
        gateway = self._live.gateway
        kept = None
        if wish_of_request(request).only_if_cached:  # before the hub, which asks the farm
            kept = await gateway.fetch(self._call, KEPT_ONLY)
            if kept.error is not None:
                await self._problem(kept, kept.error, scope)(scope, receive, send)
                return
        with self._live.subscriptions.watch(self._call, client_of(scope)) as subscriber:
            answer = kept or await gateway.fetch(self._call)
            if answer.error is not None:
                await self._problem(answer, answer.error, scope)(scope, receive, send)
                return
            assert answer.entry is not None  # noqa: S101 - no error, so there is an entry
            last = headers.get("last-event-id", "").encode("latin-1")
            known = bool(last) and matches(last, answer.entry.digest)
            over = known and answer.entry.final  # 204 tells a browser not to come again
            fields = [NO_STORE, VARY] if over else HEADERS
            await send({"type": START, "status": 204 if over else 200, "headers": fields})
            if not over and current_request().method != "HEAD":
                gone = asyncio.create_task(_await_end(receive, subscriber))
                self._live.streams += 1
                try:
                    await self._tell(answer.entry, subscriber, scope, send, known=known)
                finally:
                    self._live.streams -= 1
                    gone.cancel()
            await send({"type": BODY, "body": b""})

    def _problem(self, answer: FetchResult, error: errors.GatewayError, scope: Scope) -> Response:
        """What is sent instead of a stream that cannot begin."""
        words = {"cache-status": cache_status(answer, self._live.gateway.clock())}
        return self._live.problems.of(error, scope, words)

    async def _tell(
        self, entry: CacheEntry, subscriber: Subscriber, scope: Scope, send: Send, *, known: bool
    ) -> None:
        """The entry, unless it is ``known``, and then all news, until there will be no more."""
        await _write(send, RETRY)
        update: Update | None = Update(entry)
        told = entry.digest if known else ""
        while update is not None:
            if not is_authorized(scope):
                await _write(send, self._frame(Update(None, errors.Unauthorized()), scope))
                return
            if update.state != told:
                told = update.state
                await _write(send, self._frame(update, scope))
            if update.entry is not None and update.entry.final:
                self._live.count("end")
                await _write(send, END)
                return
            update = await self._next(subscriber, scope, send)

    async def _next(self, subscriber: Subscriber, scope: Scope, send: Send) -> Update | None:
        """The next update. A key that has been taken back is noticed with the next comment."""
        while True:
            try:
                async with asyncio.timeout(self._live.heartbeat_every):
                    return await subscriber.next()
            except TimeoutError:
                if not is_authorized(scope):
                    return Update(None, errors.Unauthorized())
                await _write(send, HEARTBEAT)

    def _frame(self, update: Update, scope: Scope) -> bytes:
        """JSON has no line ends of its own, so that one data line holds it."""
        if update.error is not None:
            problem = self._live.problems.document(
                CODES[type(update.error)],
                current_request().id,
                error=update.error,
                path=scope["path"],
            )
            self._live.count("problem")
            return b"event: problem\ndata: %b\n\n" % problem.model_dump_json().encode()
        assert update.entry is not None  # noqa: S101 - no error, so there is an entry
        self._live.count(self._name)
        words = (self._name.encode(), update.entry.digest.encode(), update.entry.body)
        return b'event: %b\nid: "%b"\ndata: %b\n\n' % words


async def _write(send: Send, frame: bytes) -> None:
    await send({"type": BODY, "body": frame, "more_body": True})


async def _await_end(receive: Receive, subscriber: Subscriber) -> None:
    """The reader has left as soon as the server says so: nothing else is to come from it."""
    while (await receive())["type"] != "http.disconnect":
        pass
    subscriber.end()
