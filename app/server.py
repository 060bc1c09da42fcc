"""Runs an application: the server's configuration, how it leaves, and several workers on one port.

Knows uvicorn, signals and processes. Must not know which application it is.
"""

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Collection
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess, multiprocess

from app.connection import LIMITS, Application, Connection, Limits

GONE_WITHIN = 13.0
"""Seconds from the signal to the end, at most; a supervisor's notice and the exit come on top."""
SETTLE = 0.5
"""Seconds in which a connection that was accepted last sends its request."""
LEAVE = (signal.SIGINT, signal.SIGTERM)

Watch = Callable[[Collection[int | None]], None]
"""Told the pids of the workers whenever they may have changed."""


class Config(uvicorn.Config):
    """All that a server is told. ``build`` makes the application, in each worker anew.

    ``grace`` is how long, in seconds, requests are still welcome once the process is to leave.
    """

    def __init__(
        self,
        build: Callable[[], Application],
        *,
        workers: int = 1,
        grace: float = 0.0,
        limits: Limits = LIMITS,
    ) -> None:
        http: Any = partial(Connection, limits=limits)
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
    """uvicorn's, but it says that it is about to leave before it stops to listen.

    While it drains, the readiness is 503, requests are answered as ever, and each answer closes
    its connection. SIGINT, a person's, leaves the grace out. A second signal ends it at once.
    """

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._hurried = False
        self._began = 0.0

    @property
    def _application(self) -> Application:
        application: Application = self.config.loaded_app
        return application

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note what is wanted. Nothing else may be done amid whatever the signal interrupts."""
        self._captured_signals.append(sig)
        self.force_exit = self.should_exit
        self.should_exit = True
        self._hurried = self.force_exit or sig == signal.SIGINT

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; True to stop listening and go."""
        now = asyncio.get_running_loop().time()
        if counter % 10 == 0:
            for connection in list(self.server_state.connections):
                connection.look(now)  # type: ignore[union-attr]
        if not await super().on_tick(counter):
            return False
        self._drain(now)
        return self._hurried or now >= self._began + self.config.grace

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and end when every request that came has its answer."""
        now = asyncio.get_running_loop().time()
        self._drain(now)
        for server in self.servers:
            server.close()
        if self.config.grace and not self._hurried:
            await asyncio.sleep(SETTLE)
        left = max(1.0, self._began + GONE_WITHIN - now - SETTLE)
        self.config.timeout_graceful_shutdown = left  # type: ignore[assignment] # takes any number
        await super().shutdown(sockets)

    async def _wait_tasks_to_complete(self) -> None:
        # uvicorn's goes on to wait for connections, also when it is to end at once.
        state = self.server_state
        while (state.connections or state.tasks) and not self.force_exit:  # noqa: ASYNC110 - as there
            await asyncio.sleep(0.05)

    def _drain(self, now: float) -> None:
        if self._application.drain.begun:
            return
        self._began = now
        self._application.drain.begin()
        for connection in list(self.server_state.connections):
            connection.leave()  # type: ignore[union-attr]


class Worker(multiprocess.Process):
    """One of several processes."""

    config: Config

    @property
    def server(self) -> uvicorn.Server:
        """Ours, in place of uvicorn's own."""
        if self._server is None:
            self._server = Server(self.config)
        return self._server


class Workers(Multiprocess):
    """uvicorn's supervisor over our servers. It hears a signal while it waits for a worker, too."""

    def __init__(self, config: Config, sockets: list[socket.socket], watch: Watch | None) -> None:
        super().__init__(config, sockets)
        self._watch = watch
        # There is no other way to say which processes it starts.
        multiprocess.Process = Worker  # type: ignore[misc]

    def restart_all(self) -> None:
        """Replace one after the other; the old one leaves when the new one answers."""
        for index, old in enumerate(self.processes):
            new = Worker(self.config, self.sockets)
            new.start()
            if not self._await_ready(new):
                new.kill()
                new.join()
                return
            self.processes[index] = new
            old.terminate()
            self._await_end(old)
            self._tell()

    def keep_subprocess_alive(self) -> None:
        """Replace those that died."""
        super().keep_subprocess_alive()
        self._tell()

    def join_all(self) -> None:
        """Wait for the end of all; one more signal ends them at once."""
        for process in self.processes:
            self._await_end(process)
        for process in self.processes:
            process.process.kill()
            process.join()

    def _await_ready(self, worker: multiprocess.Process) -> bool:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and worker.process.is_alive() and not self._is_told():
            if worker.is_ready(0.2):
                return True
            time.sleep(0.05)
        return False

    def _await_end(self, worker: multiprocess.Process) -> None:
        while worker.process.is_alive() and not self._is_told():
            worker.process.join(0.1)

    def _tell(self) -> None:
        if self._watch is not None:
            self._watch([worker.pid for worker in self.processes])

    def _is_told(self) -> bool:
        return any(number in LEAVE for number in self.signal_queue)


def serve(config: Config, listener: socket.socket, watch: Watch | None = None) -> None:
    """Serve on ``listener`` until a signal, in this process or in several below it."""
    if config.workers > 1:
        Workers(config, [listener], watch).run()
        return
    server = Server(config)
    # The server sends a signal that ended it again. Taken as it takes them itself, one that
    # comes early ends the start, and none makes the exit code a failure's.
    for number in LEAVE:
        signal.signal(number, server.handle_exit)
    server.run(sockets=[listener])
