"""Bytes that have been received and not parsed yet, given out one request head at a time."""

END_OF_HEAD = b"\r\n\r\n"


class ReadBuffer:
    """What a client sent ahead of its turn. It holds no more than one read of the socket."""

    def __init__(self) -> None:
        self._data = b""
        self._start = 0
        self._tail = b""  # of what was given out and ends amid a head

    def __bool__(self) -> bool:
        return self._start < len(self._data)

    def add(self, data: bytes) -> None:
        """Append what has been received."""
        self._data = self._data[self._start :] + data if self else data
        self._start = 0

    def take(self) -> bytes:
        """The bytes up to the next end of a head; all of them if none ends in here."""
        end = self._end_of_head()
        piece = self._data[self._start : end or len(self._data)]
        self._tail = b"" if end else (self._tail + piece)[1 - len(END_OF_HEAD) :]
        self._start += len(piece)
        if not self:
            self.clear()
        return piece

    def _end_of_head(self) -> int:
        """Where the next head ends; 0 if it does not. It may have begun to end before."""
        if self._tail:
            after = self._data[self._start : self._start + len(END_OF_HEAD) - 1]
            found = (self._tail + after).find(END_OF_HEAD)
            if found >= 0:
                return self._start + found + len(END_OF_HEAD) - len(self._tail)
        found = self._data.find(END_OF_HEAD, self._start)
        return found + len(END_OF_HEAD) if found >= 0 else 0

    def clear(self) -> None:
        """Forget what is left."""
        self._data, self._start = b"", 0
