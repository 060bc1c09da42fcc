"""A client's connection: uvicorn's protocol with strict HTTP/1.1, bounds in size and deadlines.

Knows RFC 9112, bytes and seconds. Must not know what is answered, not even to what it refuses:
the application makes that answer too.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.server.application import Application
from app.server.asgi_wrappers import told_of_its_end, without_chunks
from app.server.connection_limit import ConnectionLimit, Idleness
from app.server.deadlines import Deadlines, Limits
from app.server.lingering_close import LingeringTransport, last_cycle, reset
from app.server.read_buffer import END_OF_HEAD
from app.server.request_body import CONTINUE, RequestBody
from app.server.request_head import LastRequest, check_size, origin_form, unread
from app.server.request_reader import RequestReader
from app.server.write_buffer import WriteBuffer

CLOSE = b"\r\nconnection: close"


class Connection(RequestReader):
    """One connection. The server has to ``check_timeouts`` at it once a second.

    Whatever is refused is answered once, in its turn; then nothing more is read as a request. What
    the parser lets through and this class does not is listed in docs/adr/0008.
    """

    def __init__(self, *, limits: Limits, limit: ConnectionLimit, **given: Any) -> None:
        super().__init__(**given)  # by the server
        self.application: Application = self.config.loaded_app
        self._answering: RequestResponseCycle | None = None
        self._body = RequestBody()
        self._may_be_empty = False  # a chunked body that nobody wants, of which nothing has come
        self._deadlines = Deadlines(limits, self.loop.time())
        self._limit = limit
        self._asked: Any = None  # what the application has read of the last head's fields
        self._ended = False  # whether the client sends no more

    # --- What comes ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The client is there."""
        super().connection_made(transport)
        self._write_buffer = WriteBuffer(transport)
        self._limit.make_room(self, self.connections)

    def on_headers_complete(self) -> None:
        """The head is whole: refuse it, or let the application answer."""
        version = self.parser.get_http_version()
        self._framing.check(version)
        check_size(self.url, self.headers, bulk=self._bulk)
        if self.url[:1] != b"/" or b"#" in self.url:
            self.url = origin_form(self.url, self.headers)
        if self._answer_now():
            return
        self.scope = unread(self)  # trailers, which may still come, are none of it
        method = self.parser.get_method()
        most = self.application.max_body(method, self.url) if self._framing.has_body else 0
        if self._framing.is_chunked and method in (b"GET", b"HEAD"):
            self._may_be_empty = True
        elif not most:
            self._begin()
        elif self._body.begin(most, self.headers, version) and not self._under_way():
            self.transport.write(CONTINUE)

    def on_body(self, body: bytes) -> None:
        """A piece of a body. A request whose body is wanted begins once that is whole."""
        if self._may_be_empty:
            self._may_be_empty = False
            self._begin()
        else:
            self._body.add(body)

    def _begin(self, body: bytearray | None = None) -> None:
        super().on_headers_complete()
        self.cycle.body = body or bytearray()
        if self.application.drain.begun or self._framing.has_body:
            self.cycle.keep_alive = False
        if self._framing.has_body:  # wanted or not: nothing after it is read
            self.over = True
            self.cycle.transport = LingeringTransport(self.transport)  # type: ignore[assignment]
            self.on_message_complete()
            raise LastRequest

    def on_message_complete(self) -> None:
        """The request is whole; the next one may begin."""
        if self._body.most:
            self._begin(self._body.take())
        elif self._may_be_empty:  # and it was: this is a request without a body
            self._may_be_empty = self._framing.has_body = False
            fields = self.scope["headers"]
            self.scope["headers"] = [pair for pair in fields if pair[0] != b"transfer-encoding"]
            self._begin()
        if self._under_way():
            self.cycle.more_body = False
            self.cycle.message_event.set()
        super().on_message_complete()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more, and may still read: True if there is something to answer first.

        To what waits or streams the client has left: many leave so, and never say it otherwise.
        """
        self._ended = True
        for cycle in (self._answering, self.cycle):
            if cycle is not None:
                cycle.message_event.set()
        return self._under_way() or bool(self._read_buffer)

    def _parse(self) -> None:
        super()._parse()
        if self._ended and not (self._under_way() or self._read_buffer):
            self.transport.close()

    # --- What goes ---

    def _under_way(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn does not say so
        return cycle is not None and not cycle.response_complete

    def _answer_now(self) -> bool:
        """Write the answer that the application has at once, before a scope or a task exists.

        For a GET without body and upgrade, if nothing is under way and the client takes what it is
        sent: who does not read waits as ASGI lets it wait. The last answer says that it is.
        """
        parser = self.parser
        if parser.get_method() != b"GET" or self._framing.has_body or parser.should_upgrade():
            return False
        stays = parser.should_keep_alive() and parser.get_http_version() == "1.1"
        self._repeatable = stays
        self._asked = self.application.read_fields(self.headers, self.client)
        return self._give(self.url, stays=stays)

    def _answer_again(self, target: bytes) -> bool:
        if self._give(target, stays=True):
            self.received += 1
            return True
        return False

    def _give(self, target: bytes, *, stays: bool) -> bool:
        if self._asked is None or self._under_way() or self.flow.write_paused:
            return False
        answer = self.application.answer_now(target, self._asked)
        if answer is None:
            return False
        self.server_state.total_requests += 1
        self.given += len(answer)
        if stays and not self.application.drain.begun:
            self.transport.write(answer)
        else:
            self.over = True
            self.transport.write(answer.replace(END_OF_HEAD, CLOSE + END_OF_HEAD, 1))
            self.transport.close()
        return True

    def on_response_complete(self) -> None:
        """As uvicorn's, without a timer for each request: ``check_timeouts`` sees who is idle."""
        self.server_state.total_requests += 1
        self._write_buffer.flush()
        if self.pipeline and not self.transport.is_closing():
            self._start_asgi_task(*self.pipeline.pop())
        self.loop.call_soon(self._parse)  # first, what was answered comes to its own end

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        if cycle.scope["http_version"] == "1.0":
            app = without_chunks(cycle, app)
        if cycle.transport is self.transport:
            cycle.transport = self._write_buffer  # type: ignore[assignment]
            self._write_buffer.begin()
        app = told_of_its_end(cycle, app, lambda: self._ended)
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more: uvicorn tells the newest of several requests alone."""
        self._abandon()
        super().connection_lost(exc)

    def _abandon(self) -> None:
        """Nothing more is written, not even by an answer that is just being made."""
        self.pipeline.clear()
        self._read_buffer.clear()
        for cycle in (self._answering, self.cycle):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()

    def _refuse(self, status: int) -> None:
        """Answer what was being read with ``status``, after all that came before it, and end."""
        self.over = True
        waits = self._under_way()
        self.cycle = last_cycle(self, unread(self))
        refusal = self.application.refusal(status)
        if waits:
            self.pipeline.appendleft((self.cycle, refusal))
        else:
            self._start_asgi_task(self.cycle, refusal)

    # --- How long it takes ---

    def check_timeouts(self, now: float) -> None:
        """Close the connection if its client has let us wait too long, by the loop's time."""
        passed = self._deadlines.passed(
            now,
            received=self.received,
            begun=self.begun,
            unsent=self.transport.get_write_buffer_size(),
            answering=self._under_way(),
        )
        if passed is not None:
            self._abandon()
            if passed == "send":
                reset(self.transport)
            else:
                self.transport.close()

    def idleness(self) -> Idleness | None:
        """Since when it has waited for a request; None if it does not, or is gone already."""
        if self._under_way() or self.transport.is_closing():
            return None
        return Idleness(self.received > 0, self._deadlines.since)

    def abort(self) -> None:
        """End it without a word, whatever is under way."""
        self._abandon()
        self.transport.abort()

    def close_when_answered(self) -> None:
        """The drain has begun: what is being answered now, or comes next, is the last."""
        if self._under_way():
            self.cycle.keep_alive = False
        else:
            self._parse()
