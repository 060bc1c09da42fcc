"""Runs an application in one process: the server's configuration, and how it leaves.

Knows uvicorn and signals. Must not know which application it is, nor of other processes.
"""

import asyncio
import logging
import math
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import uvicorn

from app.server.application import Application
from app.server.connection import Connection
from app.server.connection_limit import ConnectionLimit
from app.server.deadlines import LIMITS, Limits
from app.telemetry import logs

GONE_WITHIN = 13.0
"""Seconds from the signal to the end, at most; a supervisor's notice and the exit come on top."""
SETTLE = 0.5
"""Seconds in which a connection that was accepted last sends its request."""
TIDY_WITHIN = 2.0
"""Seconds that the application has for its own end, if it is not left to finish its requests."""
LEAVE = (signal.SIGINT, signal.SIGTERM)
SIGNALS = (*LEAVE, signal.SIGHUP)


class Config(uvicorn.Config):
    """All that a server is told. ``build`` makes the application, in each worker anew.

    ``grace`` is how long, in seconds, requests are still welcome once the process is to leave;
    ``connections`` is how many clients may be connected at once.
    """

    def __init__(
        self,
        build: Callable[[], Application],
        *,
        workers: int = 1,
        grace: float = 0.0,
        limits: Limits = LIMITS,
        connections: float = math.inf,
    ) -> None:
        http: Any = partial(Connection, limits=limits, limit=ConnectionLimit(connections))
        super().__init__(
            "",
            workers=workers,
            http=http,
            ws="none",
            interface="asgi3",
            lifespan="on",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            log_config=None,
        )
        self.grace = grace
        self._build = build

    def load_app(self) -> Application:
        """Build it. What goes wrong in there is not uvicorn's to tell: it would show the text."""
        application = self._build()
        self.configure_logging()  # again: who builds sets up the loggers, the access log's too
        return application


class Server(uvicorn.Server):
    """uvicorn's, but it says that it is about to leave before it stops listening.

    While it drains, the readiness is 503, requests are answered as ever, and each answer closes
    its connection. SIGINT, a person's, leaves the grace out. A second signal ends it at once.
    """

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._hurried = False
        self._hung_up = False
        self._began = 0.0

    @property
    def _application(self) -> Application:
        application: Application = self.config.loaded_app
        return application

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note what is wanted. Nothing else may be done amid whatever the signal interrupts."""
        if sig == signal.SIGHUP:
            self._hung_up = True
            return
        self._captured_signals.append(sig)
        self.force_exit = self.should_exit
        self.should_exit = True
        self._hurried = self.force_exit or sig == signal.SIGINT

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and tell the service manager, if there is one, once it is so."""
        await super().startup(sockets)
        manager = os.environ.get("NOTIFY_SOCKET")
        if self.started and manager:
            _notify(manager, b"READY=1")

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; True to stop listening and go."""
        now = asyncio.get_running_loop().time()
        if counter % 10 == 0:
            for connection in list(self.server_state.connections):
                connection.check_timeouts(now)  # type: ignore[union-attr]
        if self._hung_up:
            self._hung_up = False
            logs.event("restart_refused", level=logging.WARNING, needs="RFGW_WORKERS >= 2")
        if not await super().on_tick(counter):
            return False
        self._drain(now)
        return self._hurried or now >= self._began + self.config.grace

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and end when every request that came has its answer.

        Or when ``GONE_WITHIN`` is over, or at a second signal: then what is left is cut off.
        """
        clock = asyncio.get_running_loop().time
        if not self._application.drain.begun:  # the signal came amid the start
            self._drain(clock())
            await asyncio.sleep(0.1)  # whoever has waited since then is let in
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        if self.config.grace and not self._hurried:
            await asyncio.sleep(SETTLE)
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        until = max(self._began + GONE_WITHIN, clock() + 1.0)
        while (state.connections or state.tasks) and not self.force_exit:
            if clock() >= until:
                break
            await asyncio.sleep(0.05)
        abort = await self._cut()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.lifespan.shutdown(), TIDY_WITHIN if abort else None)

    async def _cut(self) -> bool:
        """End what is under way without a word to anyone. Whether anything was."""
        for connection in list(self.server_state.connections):
            connection.abort()  # type: ignore[union-attr]
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        return bool(tasks) or self.force_exit

    def _drain(self, now: float) -> None:
        if self._application.drain.begun:
            return
        self._began = now
        self._application.drain.begin()
        for connection in list(self.server_state.connections):
            connection.close_when_answered()  # type: ignore[union-attr]


def _notify(manager: str, state: bytes) -> None:
    """Send ``state`` to a service manager's socket (sd_notify(3)); ``@`` begins an abstract name.

    A manager that cannot be reached decides by itself what it makes of the silence.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, suppress(OSError):
        sender.sendto(state, "\0" + manager[1:] if manager.startswith("@") else manager)
