"""Lines on their way to standard error: a thread of their own writes them, many at once.

Knows bytes and a thread. Must not know what a line says. Lines come whole: a thread that formatted
them would hold the interpreter's lock for as long, just when an answer is to be given.
"""

import atexit
import fcntl
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

ROOM = 20_000
"""Lines that wait at most, about 5 MB: half a second of the fastest answers."""
EVERY = 0.05
"""Seconds that lines are gathered for, unless a slice is full before. Each time the thread wakes it
takes the processor from a request: with 10 ms, a miss costs some hundredths more."""
SLICE = 500
"""Lines that are written at once at most. Joining them holds the interpreter's lock for 20 us."""
LAST = 1.0
"""Seconds that the end of the process waits for the last lines."""


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
            try:
                left = left[os.write(number, left) :]
            except BlockingIOError:  # whoever shares the file has made it so, and it is full
                select.select([], [number], [])
    finally:
        with suppress(OSError):
            fcntl.lockf(number, fcntl.LOCK_UN)


class LogWriter:
    """Whoever adds a line never waits, not even for a reader that has stopped.

    When ``room`` lines wait, more are ``dropped`` and counted.
    """

    def __init__(
        self,
        write: Callable[[bytes], None] = to_stderr,
        *,
        room: int = ROOM,
        every: float = EVERY,
    ) -> None:
        self._write = write
        self._room = room
        self._every = every
        self._begin()
        os.register_at_fork(after_in_child=self._begin)  # threads and their work stay behind

    def _begin(self) -> None:
        self.dropped = 0
        self._waiting: deque[bytes] = deque()
        self._idle = True
        self._wake, self._hurry = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, line: bytes) -> None:
        """Have one line written, soon; its end is added."""
        waiting = self._waiting
        before = len(waiting)
        if before >= self._room:
            self.dropped += 1
            return
        waiting.append(line)
        if self._idle:
            self._start()
        if before == SLICE - 1:
            self._hurry.set()

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
            self._gather()
            while self._waiting:
                self._write_slice()
                if len(self._waiting) < SLICE:  # what comes meanwhile need not wake it
                    self._gather()

    def _gather(self) -> None:
        self._hurry.wait(self._every)
        self._hurry.clear()

    def _write_slice(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), SLICE))]
        try:
            self._write(b"\n".join([*batch, b""]))
        except (OSError, ValueError, AttributeError):  # nobody can read any more, or ever could
            self.dropped += len(batch)

    def flush(self, within: float = LAST) -> None:
        """Wait until all is written, for so many seconds at most."""
        until = time.monotonic() + within
        while (self._waiting or not self._idle) and time.monotonic() < until:
            self._hurry.set()  # each wait of the thread takes it back
            time.sleep(0.002)


LOG_WRITER = LogWriter()
"""The process's own: there is one standard error."""

atexit.register(LOG_WRITER.flush)
