"""Lines on their way to standard error: a thread of their own writes them, many at once.

Knows text, moments and a thread. Must not know what a line says.
"""

import atexit
import fcntl
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

ROOM = 20_000
"""Lines that wait at most, about 5 MB: half a second of the fastest answers."""
EVERY = 0.01
"""Seconds that lines are gathered for."""
SLICE = 100
"""Lines that are formatted and written without a pause: the event loop waits that long for the
interpreter's lock."""
PAUSE = 0.001
"""Seconds between two slices."""
LAST = 1.0
"""Seconds that the end of the process waits for the last lines."""


class LineTemplate(NamedTuple):
    """A line but for its moment, a name and milliseconds, which come when it is written."""

    moment: Callable[[float], str]  # the text of a Unix time
    start: bytes
    upto_name: bytes
    upto_ms: bytes
    end: bytes


LineValues = tuple[LineTemplate, bytes, float, float]
"""A template, its name, its moment by ``time.perf_counter``, and seconds."""


def to_stderr(lines: bytes) -> None:
    """Write past Python's own buffer: a thread that is stuck in there would break the exit.

    Workers share a pipe, which takes what is large in pieces: they write one after the other.
    """
    try:
        number = sys.stderr.fileno()
    except OSError:  # what stands in for it is no file
        sys.stderr.write(lines.decode())
        return
    with suppress(OSError):  # a file that cannot be locked
        fcntl.lockf(number, fcntl.LOCK_EX)  # the end of the process ends it, too
    try:
        left = memoryview(lines)
        while left:
            left = left[os.write(number, left) :]
    finally:
        with suppress(OSError):
            fcntl.lockf(number, fcntl.LOCK_UN)


class LogWriter:
    """Whoever adds a line never waits, not even for a reader that has stopped.

    When ``room`` lines wait, more are ``dropped`` and counted. Slices follow each other without a
    pause while more than half of ``room`` waits, and at the end.
    """

    def __init__(
        self,
        write: Callable[[bytes], None] = to_stderr,
        *,
        room: int = ROOM,
        every: float = EVERY,
        pause: float = PAUSE,
    ) -> None:
        self._write = write
        self._room = room
        self._every = every
        self._pause = pause
        self._begin()
        os.register_at_fork(after_in_child=self._begin)  # threads and their work stay behind

    def _begin(self) -> None:
        self.dropped = 0
        self._waiting: deque[str | LineValues] = deque()
        self._idle = True
        self._wake, self._hurry = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, line: str | LineValues) -> None:
        """Have one line written, soon. A template costs nearly nothing until then."""
        waiting = self._waiting
        if len(waiting) >= self._room:
            self.dropped += 1
            return
        waiting.append(line)
        if self._idle:
            self._start()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log lines", daemon=True)
            self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._idle = True  # said before the look, so that no line is overlooked
            if not self._waiting:
                self._wake.wait()
            self._idle = False
            self._wake.clear()
            self._hurry.wait(self._every)
            while self._waiting:
                self._write_slice()
                if 0 < len(self._waiting) <= self._room // 2:
                    self._hurry.wait(self._pause)

    def _write_slice(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), SLICE))]
        try:
            self._write(b"\n".join([*filled(batch), b""]))
        except (OSError, ValueError):  # nobody can read any more
            self.dropped += len(batch)

    def flush(self, within: float = LAST) -> None:
        """Wait until all is written, for so many seconds at most."""
        until = time.monotonic() + within
        self._hurry.set()
        while (self._waiting or not self._idle) and time.monotonic() < until:
            time.sleep(0.002)
        self._hurry.clear()


def filled(batch: Iterable[str | LineValues]) -> list[bytes]:
    """The lines in UTF-8. Many share a millisecond, and so its text."""
    offset = time.time() - time.perf_counter()
    moment, known = b"", -1
    lines = []
    for line in batch:
        if isinstance(line, str):
            lines.append(line.encode())
            continue
        (to_text, start, upto_name, upto_ms, end), name, at, seconds = line
        millisecond = int((at + offset) * 1000)
        if millisecond != known:
            moment, known = to_text(millisecond / 1000).encode(), millisecond
        given = start, moment, upto_name, name, upto_ms, seconds * 1000, end
        lines.append(b"%b%b%b%b%b%.3f%b" % given)
    return lines


LOG_WRITER = LogWriter()
"""The process's own: there is one standard error."""

atexit.register(LOG_WRITER.flush)
