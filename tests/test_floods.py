"""What comes in floods costs a bounded share: of memory, and of the calls under way.

Knows real processes and the raw farm. Must not know how the gateway is built inside.
"""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.conftest import Farm, StartGateway
from tests.hostile_farm import GOOD, NUMBER, http, raw_farm, session
from tests.hostile_faults import FLOODS
from tests.programs import DEMO, RFGW, WITHIN, await_port, await_ready, free_port, started
from tests.running import client_of
from tests.test_http import problem_of
from tests.test_upstream import wait_for

CALLS = 32
"""Calls to the farm under way at once, by default."""


def peak(pid: int) -> int:
    """The most memory, in bytes, that a process has held so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[httpx.Client, int]]:
    """A gateway in a process of its own, over the farm that the client's header names."""
    port = free_port()
    with (
        raw_farm(GOOD) as farm,
        (tmp_path / "log").open("w") as log,
        started(
            tmp_path,
            *RFGW,
            "serve",
            settings={**DEMO, "RFGW_UPSTREAM_URL": farm.url, "RFGW_PORT": str(port)},
            log=log,
        ) as program,
    ):
        await_port(port, program)
        for index, row in enumerate(FLOODS):
            farm.scripts[2000 + index] = list(row.does)
        with client_of(f"http://127.0.0.1:{port}") as client:
            yield client, program.pid


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells how much memory was held")
def test_floods_and_bombs_are_never_held_in_memory(process: tuple[httpx.Client, int]) -> None:
    client, pid = process
    for number in range(3000, 3050):
        assert client.get(f"/sessions/{number}").status_code == 200
    before = peak(pid)
    for index, row in enumerate(FLOODS):
        answer = client.get(f"/sessions/{2000 + index}")
        assert answer.status_code in (502, 504), row.name
        for number in (4000 + index, 5000 + index):  # the breaker stays closed
            assert client.get(f"/sessions/{number}").json()["id"] == number
    assert peak(pid) - before < 48 * 2**20


def test_two_hundred_cold_sessions_on_a_slow_farm_are_never_more_than_32_calls(
    start_gateway: StartGateway,
) -> None:
    answered, turn = threading.Event(), threading.Lock()
    under_way: set[int] = set()
    most = 0

    def answer_late(connection: socket.socket) -> None:
        nonlocal most
        with turn:
            under_way.add(connection.fileno())
            most = max(most, len(under_way))
        answered.wait(WITHIN)
        with turn:
            under_way.discard(connection.fileno())
        connection.sendall(http(session(number=0)))

    with raw_farm(GOOD, answer_late) as farm, ThreadPoolExecutor(200) as pool:
        # Kept for longer than this takes anywhere: a refresh would be one more call.
        lasting = dict.fromkeys(["fresh_active", "fresh_queued", "fresh_waiting"], 3600)
        limits = dict.fromkeys(["upstream_deadline", "upstream_connect_timeout"], 60)
        gateway = start_gateway(upstream_url=farm.url, **limits, **lasting)
        kept = int(NUMBER)
        assert gateway.get(f"/sessions/{kept}").status_code == 200
        asked = [pool.submit(gateway.get, f"/sessions/{n}", timeout=60) for n in range(2000, 2200)]
        wait_for(lambda: sum(future.done() for future in asked) == 200 - CALLS)
        told = [future.result() for future in asked if future.done()]
        for answer in told:  # while all calls are still under way: nobody waited for one
            assert problem_of(answer, 503, "overloaded")["retryAfterMs"] > 0
        assert gateway.get(f"/sessions/{kept}").headers["cache-status"].startswith("rfgw; hit")
        answered.set()
        late = [future.result() for future in asked]
    assert most == CALLS
    assert sum(answer.json().get("code") == "upstream_mismatch" for answer in late) == CALLS
    assert len(farm.requests) == 1 + CALLS


def test_a_shortage_of_files_is_ours_and_not_the_farms(tmp_path: Path, farm: Farm) -> None:
    port = free_port()
    settings = {**DEMO, "RFGW_UPSTREAM_URL": farm.url, "RFGW_PORT": str(port)}
    settings["RFGW_MAX_CONNECTIONS"] = "1000"  # more than there are files
    limited = ("sh", "-c", f"ulimit -n 64; exec {sys.executable} -m app serve")
    with (
        (tmp_path / "log").open("w") as log,
        started(tmp_path, *limited, settings=settings, log=log) as program,
        ExitStack() as crowd,
    ):
        await_ready(port)
        address = ("127.0.0.1", port)
        with client_of(f"http://127.0.0.1:{port}") as client:
            assert client.get("/health/live").is_success
            idle = [
                crowd.enter_context(socket.create_connection(address, timeout=60))
                for _ in range(80)
            ]
            files = Path(f"/proc/{program.pid}/fd")
            wait_for(lambda: len([*files.iterdir()]) >= 64)  # all that there are
            answers = [client.get(f"/sessions/{number}") for number in range(1001, 1009)]
            codes = {answer.json()["code"] for answer in answers}
            assert codes == {"overloaded"}
            assert all(answer.headers["retry-after"] for answer in answers)
            for one in idle:
                one.close()
            deadline = time.monotonic() + WITHIN
            while (answer := client.get("/sessions/1001")).status_code != 200:
                assert answer.json()["code"] == "overloaded", "the breaker has learnt nothing"
                assert time.monotonic() < deadline
