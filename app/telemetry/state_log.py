"""Tells how something is, line by line. Must not know what it is."""

import asyncio
from typing import Any

from app.telemetry import logs


class StateLog:
    """Logs the state of something when it changes, at most once a second: the latest is told."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._logged: dict[str, Any] = {}
        self._latest: dict[str, Any] = {}
        self._timer: asyncio.TimerHandle | None = None

    def update(self, **state: Any) -> None:
        """This is the state now."""
        self._latest = state
        if self._timer is None:
            self._log()

    def _log(self) -> None:
        self._timer = None
        if self._latest != self._logged:
            self._logged = self._latest
            logs.event(self._name, **self._logged)
            self._timer = asyncio.get_running_loop().call_later(1.0, self._log)
