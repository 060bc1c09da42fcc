"""Where the gateway listens: several addresses, Unix sockets, and who a client of those is."""

import errno
import json
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from app.cli.doctor.advice import about_port
from app.server.listeners import ListenError, listeners
from tests.conftest import Farm
from tests.programs import DEMO, RFGW, WITHIN, Program, await_ready, finish, free_port, run, started
from tests.running import NO_TLS


@contextmanager
def serving(directory: Path, farm: Farm, **settings: str) -> Iterator[tuple[Program, int, Path]]:
    """A gateway on 127.0.0.1, on ::1 and on a Unix socket; its port and the socket's path."""
    port, path = free_port(), directory / "rfgw.sock"
    where = {
        **DEMO,
        "RFGW_UPSTREAM_URL": farm.url,
        "RFGW_HOST": f"127.0.0.1, ::1,unix:{path}",
        "RFGW_PORT": str(port),
    }
    with started(directory, *RFGW, "serve", settings=where | settings) as program:
        await_ready(port)
        yield program, port, path
        program.terminate()
        program.wait(WITHIN)


def over(path: Path) -> httpx.Client:
    """A client of a Unix socket."""
    transport = httpx.HTTPTransport(uds=str(path), verify=NO_TLS)
    return httpx.Client(transport=transport, base_url="http://gateway", verify=NO_TLS, timeout=30)


def statuses(path: Path, hops: Sequence[str]) -> list[int]:
    """What requests over the socket get whose proxy says so of where they come from."""
    with over(path) as client:
        return [
            client.get("/sessions/1008", headers={"X-Forwarded-For": one}).status_code
            for one in hops
        ]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_one_gateway_listens_on_several_addresses(farm: Farm, tmp_path: Path, workers: str) -> None:
    with serving(tmp_path, farm, RFGW_WORKERS=workers) as (_, port, path), over(path) as client:
        for host in ("127.0.0.1", "[::1]"):
            url = f"http://{host}:{port}/sessions/1008"
            assert httpx.get(url, trust_env=False, timeout=WITHIN).json()["id"] == 1008
        assert client.get("/sessions/1008").json()["id"] == 1008
    assert not path.exists()


def test_the_log_names_every_address(farm: Farm, tmp_path: Path) -> None:
    with serving(tmp_path, farm) as (program, port, path):
        program.terminate()
        lines = [json.loads(line) for line in finish(program).stderr.splitlines()]
    told = [(line["host"], line.get("port")) for line in lines if line["event"] == "listening"]
    assert told == [("127.0.0.1", port), ("::1", port), (f"unix:{path}", None)]


@pytest.mark.parametrize(("trusted", "third"), [("unix:", 200), ("127.0.0.1", 429)])
def test_a_trusted_socket_says_who_asks(
    farm: Farm, tmp_path: Path, trusted: str, third: int
) -> None:
    limits = {"RFGW_RATE_LIMIT": "1/9999", "RFGW_FORWARDED_ALLOW_IPS": trusted}
    hops = ["192.0.2.1", "192.0.2.1:4711", "192.0.2.1, 192.0.2.2", "192.0.2.2"]
    with serving(tmp_path, farm, **limits) as (_, _port, path):
        assert statuses(path, hops) == [200, 429, third, 429]


def test_behind_a_trusted_socket_further_proxies_are_looked_behind(
    farm: Farm, tmp_path: Path
) -> None:
    limits = {"RFGW_RATE_LIMIT": "1/9999", "RFGW_FORWARDED_ALLOW_IPS": "10.0.0.0/8,unix:"}
    hops = ["192.0.2.1, 10.0.0.1", "192.0.2.2, 10.0.0.1", "192.0.2.2"]
    with serving(tmp_path, farm, **limits) as (_, _port, path):
        assert statuses(path, hops) == [200, 200, 429]


def test_a_trusted_socket_says_whose_stream_it_is_without_a_rate_limit_too(
    farm: Farm, tmp_path: Path
) -> None:
    settings = {"RFGW_EVENTS_PER_CLIENT": "1", "RFGW_FORWARDED_ALLOW_IPS": "unix:"}
    with (
        serving(tmp_path, farm, **settings) as (_, _port, path),
        over(path) as client,
        ExitStack() as streams,
    ):
        seen = [
            streams.enter_context(
                client.stream("GET", "/sessions/1005/events", headers={"X-Forwarded-For": hop})
            ).status_code
            for hop in ("192.0.2.1", "192.0.2.2", "192.0.2.2")
        ]
    assert seen == [200, 200, 429]


def test_the_socket_of_a_killed_process_is_taken_over_and_that_of_a_living_one_is_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rfgw.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()
        with (
            pytest.raises(ListenError, match="Address already in use"),
            listeners([f"unix:{path}"], 0),
        ):
            pass
        assert about_port([f"unix:{path}"], 0).status == "warn"
    with listeners([f"unix:{path}"], 0):
        assert path.is_socket()
    assert not path.exists()


def test_the_socket_of_a_process_too_busy_to_answer_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "rfgw.sock"
    with ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(path))
        busy.listen(0)
        outcome = 0
        while outcome == 0:  # until its queue is full
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            outcome = client.connect_ex(str(path))
        assert outcome == errno.EAGAIN
        with (
            pytest.raises(ListenError, match="Address already in use"),
            listeners([f"unix:{path}"], 0),
        ):
            pass
        assert path.is_socket()


def test_the_socket_of_a_successor_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "rfgw.sock"
    with listeners([f"unix:{path}"], 0) as opened:
        opened[0].close()  # it listens no more, and drains
        stack = ExitStack()
        stack.enter_context(listeners([f"unix:{path}"], 0))
    assert path.is_socket(), "the one that has ended took it away"
    stack.close()
    assert not path.exists()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("kept")
    with pytest.raises(ListenError), listeners([f"unix:{path}"], 0):
        pass
    assert path.read_text() == "kept"


def test_port_zero_is_one_port_for_all_addresses() -> None:
    with listeners(["127.0.0.1", "::1"], 0) as opened:
        first, second = (listener.getsockname()[1] for listener in opened)
        assert first == second > 0


def test_an_address_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "serve", settings=DEMO | {"RFGW_HOST": "192.0.2.1", "RFGW_PORT": "15000"})
    said = "rfgw serve: 192.0.2.1 port 15000: Cannot assign requested address\n"
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_the_health_check_of_haproxy_is_answered(gateway: httpx.Client, path: str) -> None:
    port = gateway.base_url.port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(f"OPTIONS {path} HTTP/1.0\r\n\r\n".encode())  # its default: no Host either
        reply = b"".join(iter(lambda: client.recv(65_536), b""))
    assert reply.startswith(b"HTTP/1.1 200 OK\r\n"), reply
    preflight = gateway.options(
        path, headers={"Origin": "https://site.example", "Access-Control-Request-Method": "GET"}
    )
    assert preflight.status_code == 204


def test_a_proxy_of_another_user_may_connect_to_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "rfgw.sock"
    before = os.umask(0o077)
    try:
        with listeners([f"unix:{path}"], 0):
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
    finally:
        os.umask(before)
