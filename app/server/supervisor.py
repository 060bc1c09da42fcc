"""Several processes on one port, and how they are replaced; or one, if that is enough.

Knows uvicorn's supervisor, signals and processes. Must not know which application it is.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import parent_process
from threading import Thread

import uvicorn
from uvicorn.supervisors import Multiprocess, multiprocess

from app.server.server import LEAVE, SIGNALS, Config, Server
from app.telemetry import logs
from app.telemetry.log_writer import LOG_WRITER

ENDED_WITHIN = 15.0
"""Seconds from its signal after which a worker is killed: one that is well needs less."""

OnWorkers = Callable[[Collection[int | None]], None]
"""Told the pids of the workers whenever they may have changed."""


@contextmanager
def _shortage_told() -> Iterator[None]:
    """Out of processes, files or memory is no reason for the parent to end."""
    try:
        yield
    except OSError as error:
        logs.event("worker_not_started", level=logging.ERROR, reason=error.strerror)


class Worker(multiprocess.Process):
    """One of several processes."""

    config: Config

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, until told to leave or left alone."""
        Thread(target=_leave_with_parent, daemon=True).start()
        try:
            super().target(sockets)
        except Exception as error:  # noqa: BLE001 - a traceback would show the exception's message
            logs.crash("-", error)
            LOG_WRITER.flush()
            raise SystemExit(1) from None

    @property
    def server(self) -> uvicorn.Server:
        """Ours, in place of uvicorn's own."""
        if self._server is None:
            self._server = Server(self.config)
        return self._server


class Supervisor(Multiprocess):
    """uvicorn's supervisor over our servers. It hears a signal while it waits for a worker, too."""

    def __init__(
        self,
        config: Config,
        sockets: list[socket.socket],
        watch: OnWorkers | None,
        early: Sequence[int] = (),
    ) -> None:
        super().__init__(config, sockets)
        self.signal_queue[:0] = early
        self._watch = watch
        self._leaves = 0
        self._replaced: list[multiprocess.Process] = []
        # There is no other way to say which processes it starts.
        multiprocess.Process = Worker  # type: ignore[misc]

    def init_processes(self) -> None:
        """Start all, unless the end was asked for before."""
        if not self._told():
            super().init_processes()

    def handle_term(self) -> None:
        """Leave. uvicorn's forgets that it was told, so that a second signal went for the first."""
        self._leaves += 1
        self.should_exit.set()

    handle_int = handle_term

    @_shortage_told()
    def restart_all(self) -> None:
        """Replace one after the other; the old one leaves when the new one answers."""
        for index, old in enumerate(self.processes):
            new = Worker(self.config, self.sockets)
            new.start()
            if not self._await_ready(new):
                new.kill()
                new.join()
                if not self._told():
                    logs.event("restart_failed", level=logging.ERROR, replaced=index)
                return
            self.processes[index] = new
            self._replaced = [old]
            old.terminate()
            self._await_end(self._replaced)
            self.keep_subprocess_alive()

    def keep_subprocess_alive(self) -> None:
        """Replace those that died. While the machine gives no new process, the others go on."""
        with _shortage_told():
            super().keep_subprocess_alive()
        self._tell()

    def join_all(self) -> None:
        """Wait for the end of all; one more signal ends them at once."""
        leaving = [*self._replaced, *self.processes]
        self._await_end(leaving, signals=2)
        for process in leaving:
            process.process.kill()
            process.join()

    def _await_ready(self, worker: multiprocess.Process) -> bool:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and worker.process.is_alive() and not self._told():
            if worker.is_ready(0.2):
                return True
            time.sleep(0.05)
        return False

    def _await_end(self, workers: Sequence[multiprocess.Process], signals: int = 1) -> None:
        """Until they have ended, or so many signals to leave have come. Who is stuck is killed."""
        deadline = time.monotonic() + ENDED_WITHIN
        while self._told() < signals:
            alive = [worker.process for worker in workers if worker.process.is_alive()]
            if not alive:
                return
            if time.monotonic() >= deadline:
                for process in alive:
                    process.kill()
            alive[0].join(0.1)

    def _tell(self) -> None:
        if self._watch is None:
            return
        with suppress(OSError):  # for want of memory or files: the next time will do
            self._watch([worker.pid for worker in self.processes])

    def _told(self) -> int:
        """How many signals to leave have come."""
        return self._leaves + sum(number in LEAVE for number in self.signal_queue)


def _leave_with_parent() -> None:
    """A parent that is killed tells nobody. Its workers would hold the port for good."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def serve(
    config: Config,
    listeners: list[socket.socket],
    watch: OnWorkers | None = None,
    early: Sequence[int] = (),
) -> None:
    """Serve on ``listeners`` until a signal, in this process or in several below it.

    ``early`` are the signals that came before; it may grow until ours are installed.
    """
    if config.workers > 1:
        Supervisor(config, listeners, watch, early).run()
        return
    server = Server(config)
    # The server sends a signal that ended it again. Taken as it takes them itself, one that
    # comes early ends the start, and none makes the exit code a failure's.
    for number in SIGNALS:
        signal.signal(number, server.handle_exit)
    for noted in early:
        server.handle_exit(noted, None)
    server.run(sockets=listeners)
