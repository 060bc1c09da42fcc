"""Bytes that have been received and not parsed yet, given out one request head at a time."""

END_OF_HEAD = b"\r\n\r\n"


class ReadBuffer:
    """What a client sent ahead of its turn. It holds no more than one read of the socket."""

    def __init__(self) -> None:
        self._data = b""
        self._start = 0

    def __bool__(self) -> bool:
        return self._start < len(self._data)

    def add(self, data: bytes) -> None:
        """Append what has been received."""
        self._data = self._data[self._start :] + data if self else data
        self._start = 0

    def take(self) -> bytes:
        """The bytes up to the next end of a head; all of them if none ends in here."""
        end = self._data.find(END_OF_HEAD, self._start) + len(END_OF_HEAD)
        piece = self._data[self._start : end if end >= len(END_OF_HEAD) else len(self._data)]
        self._start += len(piece)
        if not self:
            self.clear()
        return piece

    def clear(self) -> None:
        """Forget what is left."""
        self._data, self._start = b"", 0
