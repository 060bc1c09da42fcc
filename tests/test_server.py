"""How the server leaves, and several workers on one port: real processes and real signals."""

import json
import os
import re
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from app.edge.api_keys import new_key
from app.main import create_app
from app.telemetry.multiprocess import MEMORY
from tests.conftest import Farm, settings_for
from tests.programs import (
    DEMO,
    RFGW,
    WITHIN,
    Program,
    await_port,
    await_ready,
    finish,
    free_port,
    is_open,
    started,
)
from tests.running import client_of
from tests.running import serving as server_of
from tests.test_upstream import Held, held, wait_for

__all__ = ["held"]  # a fixture

SERVE = (*RFGW, "serve")
IMPATIENT = (
    *(sys.executable, "-c"),
    """
import app.cli.main, app.server.server, app.server.supervisor
app.server.server.GONE_WITHIN = app.server.supervisor.ENDED_WITHIN = 1.0
app.cli.main.main(["serve"])
""",
)
"""The same, which does not wait for 13 s or more until it ends what does not end."""

LONG_LEAVING = (
    *(sys.executable, "-c"),
    """
import app.cli.main, app.server.server
from app.server.server import Server

app.server.server.GONE_WITHIN = 600.0
drain = Server._drain
Server._drain = lambda server, now: drain(server, now - 600.0)
app.cli.main.main(["serve"])
""",
)
"""The same, whose time to leave is over when it stops listening."""

SETTLING = (
    *(sys.executable, "-c"),
    """
import app.cli.main, app.server.server
app.server.server.SETTLE = 3.0
app.cli.main.main(["serve"])
""",
)
"""The same, which waits for requests on the last connections for as long as a machine may pause."""

UNBEGUN = (
    *(sys.executable, "-c"),
    """
import asyncio
import app.cli.main
from app.server.server import Server

begin = Server.startup
async def startup(server, sockets=None):
    while not server.should_exit:
        await asyncio.sleep(0.01)
    await begin(server, sockets)

Server.startup = startup
app.cli.main.main(["serve"])
""",
)
"""One that is amid its start until a signal comes."""


@contextmanager
def serving(
    directory: Path, farm: Farm, command: tuple[str, ...] = SERVE, /, **more: str
) -> Iterator[tuple[Program, int]]:
    """``rfgw serve``, ready, and its port."""
    port = int(more.get("RFGW_PORT") or free_port())
    settings = {**DEMO, "RFGW_UPSTREAM_URL": farm.url, "RFGW_PORT": str(port), **more}
    with (
        (directory / "log").open("w") as log,
        started(directory, *command, settings=settings, log=log) as program,
    ):
        await_ready(port)
        yield program, port


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=WITHIN)


def ask(client: socket.socket, path: str) -> bytes:
    """The answer to a GET, whose body ends with a brace."""
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: gw\r\n\r\n".encode())
    return answer_on(client)


def answer_on(client: socket.socket) -> bytes:
    """The next answer: all of it, as its Content-Length tells."""
    answer = b""
    while True:
        head, _, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if length and len(body) >= int(length[1]):
            return answer
        piece = client.recv(65536)
        assert piece, answer
        answer += piece


def test_a_leaving_gateway_says_so_first_and_still_answers(tmp_path: Path, farm: Farm) -> None:
    with (
        serving(tmp_path, farm, RFGW_SHUTDOWN_GRACE="5") as (program, port),
        connect(port) as kept,
        connect(port) as idle,
    ):
        assert b"connection: close" not in ask(kept, "/health/live")
        assert b"200 OK" in ask(idle, "/health/live")
        program.send_signal(signal.SIGTERM)
        while True:
            with connect(port) as probe:
                ready = ask(probe, "/health/ready")
            if b" 503 " in ready:
                break
            assert b" 200 " in ready
        assert b"shutting_down" in ready
        assert b"connection: close" in ready
        with connect(port) as probe:  # as HAProxy asks
            probe.sendall(b"OPTIONS /health/ready HTTP/1.1\r\nHost: gw\r\n\r\n")
            assert b" 503 " in answer_on(probe)
        last = ask(kept, "/sessions/1008")
        assert b" 200 OK" in last
        assert b"connection: close" in last
        assert kept.recv(1) == b""
        assert idle.recv(1) == b""
        assert finish(program).returncode == 0


def test_who_connected_last_is_answered(tmp_path: Path, farm: Farm) -> None:
    with (
        serving(tmp_path, farm, SETTLING, RFGW_SHUTDOWN_GRACE="1") as (program, port),
        connect(port) as client,
    ):
        program.send_signal(signal.SIGTERM)
        wait_for(lambda: not is_open(port))
        assert b" 200 OK" in ask(client, "/health/live")
        assert finish(program).returncode == 0


def await_leaving(port: int) -> None:
    """Wait until it says that it is about to leave, or listens no more."""
    with client_of(f"http://127.0.0.1:{port}") as client, suppress(httpx.TransportError):
        while client.get("/health/ready", headers={"connection": "close"}).is_success:
            pass


@pytest.mark.parametrize("grace", ["0", "1"])
def test_what_is_under_way_is_finished_and_is_the_last(
    tmp_path: Path, farm: Farm, held: Held, grace: str
) -> None:
    settings = {"RFGW_UPSTREAM_URL": held.url, "RFGW_UPSTREAM_DEADLINE": "60"}
    with (
        serving(tmp_path, farm, RFGW_SHUTDOWN_GRACE=grace, **settings) as (program, port),
        connect(port) as client,
    ):
        client.sendall(b"GET /sessions/%d HTTP/1.1\r\nHost: gw\r\n\r\n" % held.number)
        wait_for(lambda: held.asked == 1)
        program.send_signal(signal.SIGTERM)
        await_leaving(port)
        held.release()
        answer = answer_on(client)
        assert b" 200 OK" in answer
        assert b"connection: close" in answer
        assert finish(program).returncode == 0


def test_the_time_to_leave_counts_from_the_signal_and_the_grace_is_a_part_of_it(
    tmp_path: Path, farm: Farm
) -> None:
    farm.next({"do": "hang"})
    with (
        serving(tmp_path, farm, LONG_LEAVING, RFGW_UPSTREAM_DEADLINE="300") as (program, port),
        connect(port) as client,
    ):
        client.sendall(b"GET /sessions/1008 HTTP/1.1\r\nHost: gw\r\n\r\n")
        wait_for(lambda: farm.calls() == 1)
        program.send_signal(signal.SIGTERM)
        assert finish(program).returncode == 0
        assert all_sent_to(client) == b""


def test_ctrl_c_does_not_wait_for_the_grace(tmp_path: Path, farm: Farm) -> None:
    with serving(tmp_path, farm, RFGW_SHUTDOWN_GRACE="10") as (program, _):
        began = time.monotonic()
        program.send_signal(signal.SIGINT)
        assert finish(program).returncode == 0
        assert time.monotonic() - began < 10


def test_a_second_signal_ends_it_at_once(tmp_path: Path, farm: Farm) -> None:
    farm.next({"do": "hang"})
    settings = {"RFGW_SHUTDOWN_GRACE": "10", "RFGW_UPSTREAM_DEADLINE": "60"}
    with serving(tmp_path, farm, **settings) as (program, port), connect(port) as client:
        client.sendall(b"GET /sessions/1008 HTTP/1.1\r\nHost: gw\r\n\r\n")
        while not farm.calls():
            pass
        began = time.monotonic()
        program.send_signal(signal.SIGTERM)
        while True:
            with connect(port) as probe:
                if b" 503 " in ask(probe, "/health/ready"):
                    break
        program.send_signal(signal.SIGTERM)
        assert finish(program).returncode == 0
        assert time.monotonic() - began < 10
        assert all_sent_to(client) == b""
    assert_nothing_is_wrong(tmp_path)


def all_sent_to(client: socket.socket) -> bytes:
    """What comes until the end, which may be a reset."""
    with suppress(ConnectionResetError):
        return client.recv(65536)
    return b""


def assert_nothing_is_wrong(directory: Path) -> None:
    """No line of the log tells of a crash."""
    log = (directory / "log").read_text()
    assert "Traceback" not in log
    assert {json.loads(line)["event"] for line in log.splitlines()}.isdisjoint({"crash"})
    assert {json.loads(line)["level"] for line in log.splitlines()}.isdisjoint({"error"})


def test_what_does_not_end_is_ended(tmp_path: Path, farm: Farm) -> None:
    farm.next({"do": "hang"})
    with (
        serving(tmp_path, farm, IMPATIENT, RFGW_UPSTREAM_DEADLINE="300") as (program, port),
        connect(port) as client,
    ):
        client.sendall(b"GET /sessions/1008 HTTP/1.1\r\nHost: gw\r\n\r\n")
        while not farm.calls():
            pass
        program.send_signal(signal.SIGTERM)
        assert finish(program).returncode == 0
        assert all_sent_to(client) == b""
    assert_nothing_is_wrong(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_amid_the_start_lets_nobody_wait_in_vain(
    tmp_path: Path, farm: Farm, number: int
) -> None:
    port = free_port()
    settings = {**DEMO, "RFGW_UPSTREAM_URL": farm.url, "RFGW_PORT": str(port)}
    with (
        (tmp_path / "log").open("w") as log,
        started(tmp_path, *UNBEGUN, settings=settings, log=log) as program,
    ):
        await_port(port, program)
        with connect(port) as client:
            client.sendall(b"GET /health/live HTTP/1.1\r\nHost: gw\r\n\r\n")
            program.send_signal(number)
            answer = answer_on(client)
        assert b" 200 OK" in answer
        assert b"connection: close" in answer
        assert finish(program).returncode == 0
    assert_nothing_is_wrong(tmp_path)


def test_a_single_process_says_that_it_cannot_replace_itself(tmp_path: Path, farm: Farm) -> None:
    with serving(tmp_path, farm) as (program, port):
        deadline = time.monotonic() + WITHIN
        for times in (1, 2):
            program.send_signal(signal.SIGHUP)
            while (tmp_path / "log").read_text().count("restart_refused") < times:
                assert program.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        await_ready(port)
        program.send_signal(signal.SIGTERM)
        assert finish(program).returncode == 0
    assert (tmp_path / "log").read_text().count("restart_refused") == 2, "each is told once"


# --- Several workers ---------------------------------------------------------------------------


def children(pid: int) -> set[int]:
    """The workers of a supervisor; not the tracker that multiprocessing starts beside them."""
    workers = set()
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                workers.add(int(child))
    return workers


def all_ready(directory: Path, count: int) -> bool:
    """Whether so many workers have begun, the replaced ones among them."""
    return (directory / "log").read_text().count("Application startup complete") >= count


@contextmanager
def two_workers(
    directory: Path, farm: Farm, command: tuple[str, ...] = SERVE, /, **more: str
) -> Iterator[tuple[Program, int, set[int]]]:
    """A supervisor, its port, and its two workers once both have begun."""
    with serving(directory, farm, command, RFGW_WORKERS="2", **more) as (program, port):
        while not all_ready(directory, 2):
            time.sleep(0.05)
        yield program, port, children(program.pid)


def is_told_to_end(pid: int) -> bool:
    """Whether a SIGTERM is pending for a process that is stopped, or it has ended already."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True
    pending = re.search(r"^ShdPnd:\s*(\w+)", status, re.MULTILINE)
    return pending is None or bool(int(pending[1], 16) >> (signal.SIGTERM - 1) & 1)


def directories(pids: set[int], elsewhere: Path) -> set[Path]:
    """Where these workers pin up their counts: in memory, or where this machine has none."""
    files = [f"rfgw-*/{pid}.json" for pid in pids]
    return {
        path.parent for place in (MEMORY, elsewhere) for file in files for path in place.glob(file)
    }


def test_a_worker_that_dies_is_replaced_and_all_leave_on_sigterm(
    tmp_path: Path, farm: Farm
) -> None:
    with two_workers(tmp_path, farm) as (program, port, before):
        os.kill(min(before), signal.SIGKILL)
        while len(after := children(program.pid)) < 2 or after == before:
            time.sleep(0.05)
        assert max(before) in after
        await_ready(port)
        program.send_signal(signal.SIGTERM)
        assert finish(program).returncode == 0
        log = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        assert [line["event"] for line in log].count("listening") == 1
        assert all(line["event"] != "crash" for line in log)


def test_workers_whose_parent_is_killed_leave_as_if_told(
    tmp_path: Path, farm: Farm, held: Held
) -> None:
    settings = {"RFGW_UPSTREAM_URL": held.url, "RFGW_UPSTREAM_DEADLINE": "60", "RFGW_WORKERS": "2"}
    with (
        serving(tmp_path, farm, TMPDIR=str(tmp_path), **settings) as (program, port),
        connect(port) as client,
    ):
        while len(workers := children(program.pid)) < 2:
            time.sleep(0.05)
        while not (counts := directories(workers, tmp_path)):
            time.sleep(0.05)
        client.sendall(b"GET /sessions/%d HTTP/1.1\r\nHost: gw\r\n\r\n" % held.number)
        wait_for(lambda: held.asked == 1)
        program.kill()
        wait_for(lambda: not is_open(port))
        held.release()
        assert b" 200 OK" in answer_on(client)
        deadline = time.monotonic() + WITHIN
        while is_open(port) or any(Path(f"/proc/{pid}").exists() for pid in workers):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not any(directory.exists() for directory in counts)
    assert_nothing_is_wrong(tmp_path)


def test_workers_end_at_once_when_told_twice(tmp_path: Path, farm: Farm) -> None:
    settings = {"RFGW_WORKERS": "2", "RFGW_SHUTDOWN_GRACE": "10"}
    with serving(tmp_path, farm, **settings) as (program, _):
        began = time.monotonic()
        program.send_signal(signal.SIGTERM)
        program.send_signal(signal.SIGINT)  # two of a kind may become one on their way
        assert finish(program).returncode == 0
        assert time.monotonic() - began < 10


def test_a_rolling_restart_fails_no_request(tmp_path: Path, farm: Farm) -> None:
    settings = {"RFGW_WORKERS": "2", "RFGW_SHUTDOWN_GRACE": "1"}
    with serving(tmp_path, farm, **settings) as (program, port):
        while len(before := children(program.pid)) < 2:
            time.sleep(0.05)
        address = f"http://127.0.0.1:{port}"
        with client_of(address) as client:
            for _ in range(2):
                program.send_signal(signal.SIGHUP)
                deadline = time.monotonic() + WITHIN
                while children(program.pid) & before or len(children(program.pid)) != 2:
                    assert client.get("/sessions/1008").status_code == 200
                    assert time.monotonic() < deadline
                before = children(program.pid)
        program.send_signal(signal.SIGTERM)
        assert finish(program).returncode == 0


def test_a_worker_that_hangs_holds_up_neither_a_restart_nor_the_end(
    tmp_path: Path, farm: Farm
) -> None:
    with two_workers(tmp_path, farm, IMPATIENT) as (program, port, before):
        os.kill(min(before), signal.SIGSTOP)
        program.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + WITHIN
        while before & children(program.pid):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        while not all_ready(tmp_path, 4):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        await_ready(port)
        os.kill(min(children(program.pid)), signal.SIGSTOP)
        program.send_signal(signal.SIGTERM)
        assert finish(program).returncode == 0


def test_a_worker_that_hangs_while_it_is_replaced_does_not_outlive_the_end(
    tmp_path: Path, farm: Farm
) -> None:
    with two_workers(tmp_path, farm, IMPATIENT) as (program, _, workers):
        stuck = min(workers)
        os.kill(stuck, signal.SIGSTOP)
        program.send_signal(signal.SIGHUP)
        wait_for(lambda: is_told_to_end(stuck))
        program.send_signal(signal.SIGTERM)
        assert finish(program).returncode == 0
    assert not Path(f"/proc/{stuck}").exists()


def test_a_restart_that_fails_leaves_the_old_workers_and_says_why(
    tmp_path: Path, farm: Farm
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(new_key("one")[1])
    with two_workers(tmp_path, farm, RFGW_API_KEYS_FILE=str(keys)) as (program, port, before):
        keys.write_text("c4nary")
        program.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + WITHIN
        while "restart_failed" not in (tmp_path / "log").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert children(program.pid) == before
        await_ready(port)
        program.send_signal(signal.SIGTERM)
        assert finish(program).returncode == 0
    log = (tmp_path / "log").read_text()
    assert re.search(r"^RFGW_API_KEYS_FILE: line 1: must be ", log, re.MULTILINE)
    assert "Traceback" not in log
    assert "c4nary" not in log


async def test_the_deadlines_of_clients_are_looked_at_once_a_second() -> None:
    """The server's ticks come ten times a second."""
    server, looked = server_of(create_app(settings_for("http://127.0.0.1:1"))), list[float]()

    class Looked:
        """A connection that notes when it is looked at."""

        check_timeouts = looked.append

    server.config.load()
    server.server_state.connections.add(Looked())  # type: ignore[arg-type]
    for counter in range(30):
        await server.on_tick(counter)
    assert len(looked) == 3


def test_who_leaves_amid_a_restart_leaves_no_worker_behind(tmp_path: Path, farm: Farm) -> None:
    with two_workers(tmp_path, farm) as (program, _, before):
        deadline = time.monotonic() + WITHIN
        program.send_signal(signal.SIGHUP)
        while not children(program.pid) - before:
            assert time.monotonic() < deadline
        program.send_signal(signal.SIGTERM)
        assert finish(program).returncode == 0


def test_a_worker_that_cannot_be_replaced_now_is_replaced_later(tmp_path: Path, farm: Farm) -> None:
    with two_workers(tmp_path, farm) as (program, _, workers):
        limits = resource.prlimit(program.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(program.pid, resource.RLIMIT_NOFILE, (8, limits[1]))
        os.kill(min(workers), signal.SIGKILL)
        deadline = time.monotonic() + WITHIN
        while "worker_not_started" not in (tmp_path / "log").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        resource.prlimit(program.pid, resource.RLIMIT_NOFILE, limits)
        while not all_ready(tmp_path, 3):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        program.send_signal(signal.SIGTERM)
        assert finish(program).returncode == 0
