"""How a connection ends: in stages, at once, or as the end of an answer.

Knows TCP and uvicorn's framing of answers. Must not know requests.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn._types import HTTPScope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

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


def last_cycle(connection: HttpToolsProtocol, scope: HTTPScope) -> RequestResponseCycle:
    """The exchange of a request that could not be read: its answer is the connection's last."""
    cycle = RequestResponseCycle(
        scope=scope,
        transport=LingeringTransport(connection.transport),  # type: ignore[arg-type]
        flow=connection.flow,
        logger=connection.logger,
        access_logger=connection.access_logger,
        access_log=connection.access_log,
        default_headers=connection.server_state.default_headers,
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=False,
        on_response=connection.on_response_complete,
    )
    cycle.more_body = False
    return cycle
