"""Whether a file has changed since it was looked at last. Must not know what it holds."""

from pathlib import Path

LOOK_EVERY = 1.0
"""Seconds between two looks."""

FileState = tuple[int, ...]
"""The parts of a file's state that change with its content: device, inode, time, size."""


class WatchedFile:
    """The file at ``path``, as it was when this object was made or ``changed`` said so last.

    Read the file after that, never before: whatever is written later is then seen.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = _state(path)
        self._look_at = float("-inf")

    def changed(self, now: float) -> bool:
        """Whether it is another. ``now``: seconds on a clock that never goes back.

        The path is followed anew each time: mounted files are exchanged behind symbolic links.
        """
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_EVERY
        before, self._state = self._state, _state(self._path)
        return self._state != before


def _state(path: Path) -> FileState:
    try:
        state = path.stat()
    except OSError:
        return ()
    return state.st_dev, state.st_ino, state.st_mtime_ns, state.st_size
