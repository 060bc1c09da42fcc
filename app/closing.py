"""How a connection ends: in stages, or at once. Knows TCP; must not know HTTP."""

import asyncio
import socket
import struct

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time

PASSED_OVER = 256 * 1024
"""Bytes taken off the line after the end, so that the client's own end is seen; not all it has."""


class Lingering:
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
