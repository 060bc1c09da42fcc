"""Several gateway processes that share a cache, as an operator runs them."""

import asyncio
import json
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from app.cluster.leases import LEASE
from tests.conftest import Farm
from tests.programs import DEMO, PATIENT, RFGW, WITHIN, Program, await_port, free_port, started
from tests.running import client_of
from tests.valkey import Valkey, valkey

PASSWORD = "c4nary-p4ssword%25"


class Process(NamedTuple):
    """One gateway: its program, and where it is."""

    program: Program
    url: str


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short: sockets live here."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def server(directory: Path) -> Iterator[Valkey]:
    with valkey(directory, "--requirepass", PASSWORD) as running:
        yield running


class Group:
    """Gateway processes over one farm and one server; what they log is in ``log``."""

    def __init__(self, directory: Path, farm: Farm, server: Valkey, stack: ExitStack) -> None:
        self._directory, self._stack = directory, stack
        address = f"unix://:{PASSWORD.replace('%', '%25')}@{server.socket}"
        (directory / "url").write_text(f"{address}\n")
        self._settings = {
            **DEMO,
            "RFGW_UPSTREAM_URL": farm.url,
            "RFGW_CACHE_URL_FILE": str(directory / "url"),
        }
        self.log = directory / "log"

    def start(self, count: int) -> list[Process]:
        """So many, which begin side by side."""
        begun = [self._begin() for _ in range(count)]
        processes = [Process(program, f"http://127.0.0.1:{port}") for program, port in begun]
        for (program, port), process in zip(begun, processes, strict=True):
            await_port(port, program)  # open before the start is over; then an answer tells
            live = httpx.get(f"{process.url}/health/live", trust_env=False, timeout=WITHIN)
            assert live.is_success
        return processes

    def _begin(self) -> tuple[Program, int]:
        port = free_port()
        settings = {**self._settings, "RFGW_PORT": str(port)}
        log = self._stack.enter_context(self.log.open("a"))
        program = self._stack.enter_context(
            started(self._directory, *PATIENT, "serve", settings=settings, log=log)
        )
        return program, port


@pytest.fixture
def coordinator(directory: Path, farm: Farm, server: Valkey) -> Iterator[Group]:
    with ExitStack() as stack:
        yield Group(directory, farm, server, stack)


async def ask(port: int) -> tuple[bytes, bytes]:
    """The status line and the body of the answer for session 1010."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /sessions/1010 HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head.partition(b"\r\n")[0], body


def questions(process: Process, how: str) -> float:
    """How many questions of a process ended like this."""
    text = httpx.get(f"{process.url}/metrics", trust_env=False, timeout=WITHIN).text
    found = re.search(rf'^rfgw_shared_cache_questions_total{{how="{how}"}} (\S+)', text, re.M)
    return float(found[1]) if found else 0.0


async def test_a_thousand_cold_askers_of_four_processes_are_one_call(
    coordinator: Group, farm: Farm
) -> None:
    """One call for each lease, and one lease, unless its holder stands still for its length.

    On a busy machine it may: then another process asks too, and each at most once.
    """
    processes = await asyncio.to_thread(coordinator.start, 4)
    farm.next({"do": "late", "seconds": 0.5})
    ports = [int(process.url.rpartition(":")[2]) for process in processes]
    began = time.monotonic()
    ((status, body),) = set(await asyncio.gather(*(ask(port) for port in 250 * ports)))
    leases = 1 + (time.monotonic() - began) // LEASE
    assert (status, json.loads(body)["id"]) == (b"HTTP/1.1 200 OK", 1010)
    assert farm.calls() == sum(questions(process, "led") for process in processes)
    assert 1 <= farm.calls() <= min(leases, len(processes))
    assert sum(questions(process, "alone") for process in processes) == 0


def test_who_stands_still_while_it_asks_loses_its_lease_and_another_asks(
    coordinator: Group, farm: Farm
) -> None:
    one, other = coordinator.start(2)
    farm.next({"do": "hang"})
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(httpx.get, f"{one.url}/sessions/1010", trust_env=False, timeout=WITHIN)
        deadline = time.monotonic() + WITHIN
        while farm.calls() < 1:
            assert time.monotonic() < deadline
        one.program.send_signal(signal.SIGSTOP)
        try:
            second = httpx.get(f"{other.url}/sessions/1010", trust_env=False, timeout=WITHIN)
        finally:
            one.program.send_signal(signal.SIGCONT)
        assert second.status_code == 200
        assert first.result().status_code == 504, "its own call hangs"
    assert (questions(one, "led"), questions(other, "led")) == (1, 1)
    assert farm.calls() == 2


def test_when_the_one_who_asks_is_killed_another_takes_over(coordinator: Group, farm: Farm) -> None:
    one, *others = coordinator.start(3)
    farm.next({"do": "hang"})
    began = time.monotonic()
    with ThreadPoolExecutor(9) as pool:
        lost = pool.submit(httpx.get, f"{one.url}/sessions/1010", trust_env=False)
        deadline = time.monotonic() + WITHIN
        while farm.calls() < 1:
            assert time.monotonic() < deadline
        answers = [
            pool.submit(httpx.get, f"{other.url}/sessions/1010", trust_env=False, timeout=WITHIN)
            for other in others
            for _ in range(4)
        ]
        one.program.send_signal(signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            lost.result()
        assert {answer.result().status_code for answer in answers} == {200}
    leases = 1 + (time.monotonic() - began) // LEASE
    assert farm.calls() == 1 + sum(questions(other, "led") for other in others)
    assert 2 <= farm.calls() <= leases


def test_the_password_of_the_server_is_nowhere(coordinator: Group, server: Valkey) -> None:
    (process,) = coordinator.start(1)
    shown = []
    with client_of(process.url) as client:
        for path in ("/sessions/1005", "/metrics", "/sessions/1005"):
            shown.append(client.get(path).text)
            server.stop()
        assert client.get("/sessions/1010").is_success
        shown.append(client.get("/metrics").text)
    process.program.send_signal(signal.SIGTERM)
    assert process.program.wait(WITHIN) == 0
    logged = coordinator.log.read_text()
    assert '"state": "up"' in logged
    assert "c4nary" not in logged + "".join(shown)


def test_a_dead_server_is_one_log_line_and_not_one_for_each_try(
    coordinator: Group, server: Valkey
) -> None:
    (process,) = coordinator.start(1)
    server.stop()
    with client_of(process.url) as client:
        for number in range(5000, 5300):  # each would like to meet
            client.get(f"/sessions/{number}")
    deadline = time.monotonic() + WITHIN
    while '"state": "down"' not in coordinator.log.read_text():  # a second after the one before
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.program.send_signal(signal.SIGTERM)
    assert process.program.wait(WITHIN) == 0
    lines = [line for line in coordinator.log.read_text().splitlines() if '"shared_cache"' in line]
    assert 2 <= len(lines) <= 4  # up, then down: closed, then refused


def life(directory: Path, farm: Farm, path: Path, **more: str) -> tuple[httpx.Response, str]:
    """One life of a process with a snapshot: what it answered, and what it logged."""
    port = free_port()
    settings = {
        **DEMO,
        "RFGW_UPSTREAM_URL": farm.url,
        "RFGW_SNAPSHOT_FILE": str(path),
        "RFGW_PORT": str(port),
        **more,
    }
    with (
        (directory / "log").open("w+") as log,
        started(directory, *RFGW, "serve", settings=settings, log=log) as program,
    ):
        await_port(port, program)
        answer = httpx.get(
            f"http://127.0.0.1:{port}/sessions/1010", trust_env=False, timeout=WITHIN
        )
        program.send_signal(signal.SIGTERM)
        assert program.wait(WITHIN) == 0
    return answer, (directory / "log").read_text()


def test_a_process_alone_knows_again_what_it_knew(directory: Path, farm: Farm) -> None:
    path = directory / "snapshot"
    first, logged = life(directory, farm, path)
    assert '"problem": "missing"' in logged
    second, logged = life(directory, farm, path)
    assert "; hit; " in second.headers["cache-status"]
    assert second.content == first.content
    assert '"entries": 1' in logged
    assert farm.calls() == 1


def test_what_a_process_knew_stands_in_for_a_farm_that_fails(directory: Path, farm: Farm) -> None:
    path = directory / "snapshot"
    phases = ("ACTIVE", "QUEUED", "WAITING", "TERMINAL")
    soon = {f"RFGW_FRESH_{phase}": "0.1" for phase in phases}  # less than a start takes
    soon["RFGW_STALE_WHILE_REVALIDATE"] = "0"
    first, _ = life(directory, farm, path, **soon)
    resets: list[dict[str, object]] = [{"do": "reset"}] * 5
    farm.next(*resets)
    second, _ = life(directory, farm, path, **soon)
    assert second.content == first.content
    assert second.headers["cache-status"].endswith("; detail=sie")


def test_a_broken_snapshot_is_an_empty_cache_and_a_log_line(directory: Path, farm: Farm) -> None:
    path = directory / "snapshot"
    path.write_bytes(b"rubbish")
    answer, logged = life(directory, farm, path)
    assert answer.status_code == 200
    assert logged.count('"event": "snapshot_read"') == 1
    assert '"problem": "foreign"' in logged


def test_a_snapshot_that_cannot_be_written_is_a_log_line(directory: Path, farm: Farm) -> None:
    answer, logged = life(directory, farm, Path("/proc/snapshot"))
    assert answer.status_code == 200
    assert '"event": "snapshot_not_written"' in logged
