"""Two workers and a Valkey server: as good as one process that is never restarted."""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import Farm
from tests.programs import PATIENT, WITHIN, Program, finish
from tests.running import client_of
from tests.test_server import children, serving
from tests.test_sse import Event, parsed
from tests.valkey import valkey

LIFETIME = 0.5


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short: sockets live here."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@contextmanager
def two_workers(directory: Path, farm: Farm, /, **more: str) -> Iterator[tuple[Program, str]]:
    """The program, and the address at which both of its workers answer."""
    with (
        valkey(directory) as server,
        serving(
            directory,
            farm,
            (*PATIENT, "serve"),
            RFGW_WORKERS="2",
            RFGW_CACHE_URL=server.url,
            RFGW_SHUTDOWN_GRACE="0.5",
            RFGW_TTL_JITTER="0",
            RFGW_FRESH_ACTIVE=str(LIFETIME),
            **more,
        ) as (program, port),
    ):
        until(lambda: len(children(program.pid)) == 2)
        yield program, f"http://127.0.0.1:{port}"


def until(condition: Callable[[], object]) -> None:
    """Wait for what is sure to come soon."""
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def replace_workers(program: Program) -> None:
    """A rolling restart, to its end."""
    before = children(program.pid)
    program.send_signal(signal.SIGHUP)
    until(lambda: len(children(program.pid)) == 2 and not children(program.pid) & before)


def worker_of(answer: httpx.Response) -> str:
    """Each process begins its requests' ids with a word of its own."""
    return answer.headers["x-request-id"].rpartition("-")[0]


@contextmanager
def alone(worker: int, workers: set[int]) -> Iterator[None]:
    """For the time of the block, whoever connects is this worker's: the others stand still."""
    others = workers - {worker}
    for other in others:
        os.kill(other, signal.SIGSTOP)
    try:
        yield
    finally:
        for other in others:
            os.kill(other, signal.SIGCONT)


def client_of_each(program: Program, address: str, stack: ExitStack) -> dict[str, httpx.Client]:
    """By worker, a client with a connection to it."""
    clients: dict[str, httpx.Client] = {}
    workers = children(program.pid)
    for worker in workers:
        kept = httpx.Limits(keepalive_expiry=None)  # a connection is one worker's for good
        client = stack.enter_context(client_of(address, limits=kept))
        with alone(worker, workers):
            clients[worker_of(client.get("/health/live"))] = client
    assert len(clients) == len(workers)
    return clients


class Watcher:
    """One stream, and what it has brought so far of session 1005."""

    def __init__(self, http: httpx.Client, worker: str, stack: ExitStack, path: str) -> None:
        answer = stack.enter_context(http.stream("GET", path))
        assert (answer.status_code, worker_of(answer)) == (200, worker)
        self.events: list[Event] = []
        threading.Thread(target=self._read, args=[answer], daemon=True).start()

    def _read(self, answer: httpx.Response) -> None:
        self.events.extend(parsed(answer.iter_lines()))

    def seen(self) -> set[int]:
        """How far the session was."""
        told = [event.data.get("session", event.data) for event in list(self.events)]
        return {session["partsRendered"] for session in told if session["id"] == 1005}


def test_watchers_of_both_workers_hear_of_every_change_for_one_call_a_lifetime(
    directory: Path, farm: Farm
) -> None:
    paths = ["/sessions/1005/events", "/sessions/events?ids=42,1005"]
    with two_workers(directory, farm) as (program, address), ExitStack() as stack:
        clients = client_of_each(program, address, stack)
        for http in clients.values():
            assert http.get("/sessions/42").is_success  # and is asked for no more
        subscribers = [
            Watcher(http, worker, stack, path)
            for (worker, http), path in zip(clients.items(), paths, strict=True)
        ]
        until(lambda: all(subscriber.seen() for subscriber in subscribers))
        began, before = time.monotonic(), farm.calls()
        already = set.union(*(subscriber.seen() for subscriber in subscribers))

        def heard_by_all() -> set[int]:
            return set.intersection(*(subscriber.seen() for subscriber in subscribers)) - already

        until(lambda: len(heard_by_all()) >= 4)
        calls, at_most = farm.calls() - before, (time.monotonic() - began) / LIFETIME + 2
        assert calls >= 3, "the first of the four may have been under way"
        assert calls <= at_most
        program.send_signal(signal.SIGTERM)
        assert finish(program).returncode == 0


def test_after_a_rolling_restart_the_first_answers_are_kept_ones_and_cost_no_call(
    directory: Path, farm: Farm
) -> None:
    with two_workers(directory, farm) as (program, address), ExitStack() as stack:
        with client_of(address) as client:
            first = client.get("/sessions/1008")
        replace_workers(program)
        farm.forget()
        clients = client_of_each(program, address, stack)
        assert worker_of(first) not in clients
        for worker, client in clients.items():
            answer = client.get("/sessions/1008")
            assert worker_of(answer) == worker
            assert "; hit" in answer.headers["cache-status"]
            assert answer.headers["etag"] == first.headers["etag"]
        assert farm.calls() == 0
        program.send_signal(signal.SIGTERM)
        assert finish(program).returncode == 0
