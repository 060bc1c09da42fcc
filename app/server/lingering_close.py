"""How a connection ends: in stages, at once, or as the end of an answer.

Knows TCP and uvicorn's framing of answers. Must not know requests.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

Asgi = Callable[[Any, Any, Any], Awaitable[None]]

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time

PASSED_OVER = 256 * 1024
"""Bytes taken off the line after the end, so that the client's own end is seen; not all it has."""


class LingeringTransport:
    """A transport that closes in stages (RFC 9112 section 9.6).

    To close it amid what a client still sends would reset the connection, and the answer be lost.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.write = transport.write
        self.is_closing = transport.is_closing

    def close(self) -> None:
        """Send no more; the client's own end, or the deadline, does the rest."""
        if not self._transport.is_closing():
            self._transport.write_eof()


def reset(transport: asyncio.Transport) -> None:
    """End it, and what the kernel holds for a client that will not take it."""
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()


def without_chunks(cycle: RequestResponseCycle, application: Asgi) -> Asgi:
    """The application for a client of HTTP/1.0, which does not know chunks (RFC 9112 section 6.1).

    What has no length ends with its connection. uvicorn chunks it whatever the client's version.
    """

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        cycle.chunked_encoding = False

        async def unframed(message: Any) -> None:
            cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await application(scope, receive, unframed)

    return answer
