"""Whether this process is about to end, and what is called when that begins.

Knows a flag and callables. Must not know signals, sockets or what is done about it.
"""

from collections.abc import Callable


class Drain:
    """Begun once, never taken back."""

    def __init__(self) -> None:
        self.begun = False
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` when the drain begins, or now if it has."""
        if self.begun:
            listener()
        else:
            self._listeners.append(listener)

    def begin(self) -> None:
        """Call all listeners in the order in which they came; a second time, none."""
        self.begun = True
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()
