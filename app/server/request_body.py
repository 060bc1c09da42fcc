"""The body of a request whose route wants one: kept until it is whole, and never large.

Knows Content-Length, Expect and bytes. Must not know what a body says.
"""

from collections.abc import Sequence

from app.server.request_head import CONTENT_TOO_LARGE, Field, RequestRejected

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class RequestBody:
    """The body that is being read, if there is one."""

    def __init__(self) -> None:
        self.most = 0  # bytes; 0: none is being read
        self._read = bytearray()

    def begin(self, most: int, fields: Sequence[Field], version: str) -> bool:
        """Read up to ``most`` bytes. Raises RequestRejected if more are announced.

        Whether the client waits to be told to send them (RFC 9110 section 10.1.1).
        """
        given = dict(fields)
        if int(given.get(b"content-length", b"0")) > most:
            raise RequestRejected(CONTENT_TOO_LARGE)
        self.most = most
        return version == "1.1" and given.get(b"expect", b"").lower() == b"100-continue"

    def add(self, piece: bytes) -> None:
        """Some more has come. Raises RequestRejected if it is too much."""
        self._read += piece
        if len(self._read) > self.most:
            raise RequestRejected(CONTENT_TOO_LARGE)

    def take(self) -> bytearray:
        """All of it; none is being read any more."""
        whole, self._read = self._read, bytearray()
        self.most = 0
        return whole
