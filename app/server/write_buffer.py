"""An answer's head and body in one write: two would be two system calls, and two segments.

Knows writes and whether a head tells a length. Must not know requests, nor how a connection ends.
"""

import asyncio

LENGTH = b"\r\ncontent-length: "  # as uvicorn writes it, whatever case an application used


class WriteBuffer:
    """A transport that keeps a head back for the body that follows it.

    Only one that tells a length: then the body comes at once. Whoever streams is not held up.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._next_is_head = False
        self._head = b""
        self.is_closing = transport.is_closing

    def begin(self) -> None:
        """What is written next is the head of an answer."""
        self._next_is_head = True

    def write(self, data: bytes) -> None:
        """Write it, or keep it for a moment."""
        if self._next_is_head:
            self._next_is_head = False
            if LENGTH in data:
                self._head = data
                return
        elif self._head:
            data = self._head + data
            self._head = b""
        self._transport.write(data)

    def flush(self) -> None:
        """Write a head to which no body came: of an answer to HEAD, or of one that broke off."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        """Close when all is written."""
        self.flush()
        self._transport.close()
