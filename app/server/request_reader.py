"""Reads a connection's requests: one head after the other, bounded in size, as its turn comes.

Knows RFC 9112, bytes and the parser. Must not know how a request is answered, or how long it takes.
"""

import re
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.server.lingering_close import PASSED_OVER
from app.server.read_buffer import ReadBuffer
from app.server.request_head import (
    GUARDED,
    MALFORMED,
    MAX_HEAD,
    TOO_LARGE,
    Framing,
    LastRequest,
    RequestRejected,
)

AT_ONCE = 8
"""Requests in a row that a client who pipelines is answered before others have their turn."""
BYTES_AT_ONCE = 65_536
"""Bytes of answers in a row after which others have their turn, too: the system's buffers take
megabytes of a client who does not read, and to copy those takes milliseconds."""

PLAIN_LINE = re.compile(rb"GET (/[A-Za-z0-9._~/-]*) HTTP/1\.1\r\n")
"""The request line of which only the path, strictly written, differs from another like it."""


class RequestReader(HttpToolsProtocol):
    """The half of a connection that reads. The other half overrides what answers."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)  # by the server
        self.over = False  # whatever still comes is no request
        self.received = 0  # whole requests
        self.given = 0  # bytes of answers that were there at once
        self.begun = False  # whether the head of a further one has begun to come
        self._framing = Framing()
        self._passed = 0  # bytes since it is over
        self._pending = 0  # bytes of a head that is not whole yet, at most
        self._bulk = False  # whether the head that is read may be too large
        self._read_buffer = ReadBuffer()
        self._repeatable = False  # whether the last head is one like which another may come
        self._last_fields = b""  # as they came, if a repeatable head is what the parser read last

    def data_received(self, data: bytes) -> None:
        """Parse, or pass over what comes after the end."""
        if self.over:
            self._passed += len(data)
            if self._passed > PASSED_OVER:
                self.transport.pause_reading()
            return
        if self._read_buffer or not self._repeats(data):
            self._read_buffer.add(data)
            self._parse()

    def _parse(self) -> None:
        """Parse one head after the other until a request, or this client, waits for its turn.

        What follows stays unread: it fills the client's buffers, not this process's memory.
        """
        if self.transport.is_closing():
            return
        stop, enough = self.received + AT_ONCE, self.given + BYTES_AT_ONCE
        while self._read_buffer and not self.pipeline and not self.over:
            if self.received == stop or self.given >= enough:
                self.loop.call_soon(self._parse)
                break
            piece = self._read_buffer.take()
            if not self._repeats(piece):
                self._feed(piece)
        if self.over:
            self._read_buffer.clear()
        if self._read_buffer:
            self.flow.pause_reading()
        elif not self.pipeline:
            self.flow.resume_reading()

    def _repeats(self, piece: bytes) -> bool:
        """Answer a head that repeats the last one, but for its path, without the parser.

        Clients send the same fields again and again. What was read and checked once is good for
        the same bytes, and leaves the parser as it is. False: the parser has to read it.
        """
        fields = self._last_fields
        if not fields or len(piece) > MAX_HEAD or not piece.endswith(fields):
            return False
        line = PLAIN_LINE.fullmatch(piece, 0, len(piece) - len(fields))
        return line is not None and self._answer_again(line[1])

    def _feed(self, piece: bytes) -> None:
        line = None if self.begun else PLAIN_LINE.match(piece)
        self._last_fields, self._repeatable = b"", False
        self._parse_piece(piece)
        if line is not None and self._repeatable:
            self._last_fields = piece[line.end() :]

    def _parse_piece(self, piece: bytes) -> None:
        received = self.received
        self._bulk = self._pending + len(piece) > MAX_HEAD
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            # The answer is an ordinary one. What follows may be of the other protocol already.
            self.over = True
            self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            cause = error.__context__
            if not isinstance(cause, LastRequest):
                self._refuse(cause.status if isinstance(cause, RequestRejected) else MALFORMED)
        else:
            # Of the next head, at most this piece has come; most often it is nothing.
            more = self._pending + len(piece)
            self._pending = more if self.received == received else min(len(piece), MAX_HEAD)
            if self._pending > 2 * MAX_HEAD:  # the parser keeps a field until it is whole
                self._refuse(TOO_LARGE)

    def on_message_begin(self) -> None:
        """A head begins. What ASGI wants to know waits until ASGI is asked."""
        self.begun = True
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole field. The blanks behind a value are none of it (RFC 9112 section 5)."""
        name, value = name.lower(), value.rstrip(b" \t")
        self.headers.append((name, value))
        if name in GUARDED:
            self._framing.read(name, value)

    def on_message_complete(self) -> None:
        """The request is whole; the next one may begin."""
        self.begun = False
        self.received += 1
        self._framing.begin()

    def _answer_again(self, target: bytes) -> bool:
        """Answer a GET for ``target`` with the last head's fields at once; False if it cannot."""
        raise NotImplementedError

    def _refuse(self, status: int) -> None:
        """Answer what was being read with ``status``, and read nothing more."""
        raise NotImplementedError
