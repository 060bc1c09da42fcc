"""Clients that leave: at once, without a word, or only halfway."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from app.api import prefer
from app.core.clock import age_clock
from app.login.sealed_cookies import new_cookie_key
from app.server import listeners
from app.server.lingering_close import RESET_ON_CLOSE
from app.services import build_services
from tests.conftest import Farm, StartGateway, settings_for
from tests.hostile_farm import GOOD, raw_farm
from tests.programs import ROOT, WITHIN
from tests.test_connection import answers_in, connect, holds, rest_of
from tests.test_sse import StartLive, start_live

__all__ = ["start_live"]  # a fixture


def request(path: str, *fields: str) -> bytes:
    """A GET, its connection left open."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: gw", *fields, "", ""]).encode()


def said_half(gateway: httpx.Client, *requests: bytes) -> bytes:
    """All that comes of these requests to a client that sends no more after them."""
    with connect(str(gateway.base_url)) as client:
        client.sendall(b"".join(requests))
        client.shutdown(socket.SHUT_WR)
        return rest_of(client)


# --- Halfway ---------------------------------------------------------------------------------


def test_what_was_asked_before_a_half_close_is_answered(gateway: httpx.Client, farm: Farm) -> None:
    miss = answers_in(said_half(gateway, request("/sessions/1008")))
    assert [answer.status for answer in miss] == [200]
    assert json.loads(miss[0].body)["id"] == 1008
    hit = answers_in(said_half(gateway, request("/sessions/1008")))
    assert [answer.status for answer in hit] == [200]
    row = [request(f"/sessions/{id}") for id in (1008, 1001, 1002, 1008)]
    answers = answers_in(said_half(gateway, *row))
    assert [json.loads(answer.body)["id"] for answer in answers] == [1008, 1001, 1002, 1008]
    assert farm.calls() == 3


def test_half_a_request_and_a_half_close_are_the_end(gateway: httpx.Client) -> None:
    assert said_half(gateway, request("/sessions/1008")[:-2]) == b""
    assert said_half(gateway) == b""


def test_a_bad_request_before_a_half_close_is_refused(gateway: httpx.Client) -> None:
    (answer,) = answers_in(said_half(gateway, b"GET / HTTP/1.1\r\n\r\n"))
    assert answer.status == 400


def test_to_a_stream_a_half_close_is_the_end(start_gateway: StartGateway) -> None:
    gateway = start_gateway(events_per_client=1)
    for _ in range(3):
        told = said_half(gateway, request("/sessions/1005/events"))
        assert told.startswith(b"HTTP/1.1 200 OK\r\n")
        assert told.endswith(b"0\r\n\r\n")


def test_to_a_wait_a_half_close_is_the_end(
    gateway: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefer, "LONGEST", 3600)
    tag = gateway.get("/sessions/1003").headers["etag"]
    waits = request("/sessions/1003", f"If-None-Match: {tag}", "Prefer: wait=3600")
    assert said_half(gateway, waits).startswith(b"HTTP/1.1 304 ")


# --- At once ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [True, False])
def test_a_wait_ends_when_its_client_goes(
    start_live: StartLive, monkeypatch: pytest.MonkeyPatch, reset: bool
) -> None:
    monkeypatch.setattr(prefer, "LONGEST", 3600)
    gateway = start_live(events_per_client=1)
    tag = gateway.http.get("/sessions/1003").headers["etag"]
    with connect(str(gateway.http.base_url)) as client:
        fields = f"If-None-Match: {tag}", "Prefer: wait=3600"
        client.sendall(request("/sessions/1003", *fields))
        assert holds(lambda: len(gateway.live.subscriptions) == 1)
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    assert holds(lambda: len(gateway.live.subscriptions) == 0)


def test_all_that_a_client_has_pipelined_ends_with_its_connection(start_live: StartLive) -> None:
    gateway = start_live()
    gateway.live.heartbeat_every = 100 * WITHIN  # no comment is written, which would find it out
    with connect(str(gateway.http.base_url)) as client:
        client.sendall(request("/sessions/1003/events") + request("/sessions/1008"))
        assert holds(lambda: len(gateway.live.subscriptions) == 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    assert holds(lambda: len(gateway.live.subscriptions) == 0)


def test_a_request_whose_client_has_gone_is_logged_as_without_an_answer(
    start_gateway: StartGateway, log_lines: list[bytes]
) -> None:
    gone = threading.Event()

    def answer_then(connection: socket.socket) -> None:
        gone.wait(WITHIN)
        connection.sendall(GOOD)

    def logged() -> list[bytes]:
        return [line for line in b"".join(log_lines).splitlines() if b'"id": 1001' in line]

    with raw_farm(answer_then) as farm:
        gateway = start_gateway(upstream_url=farm.url, upstream_deadline=WITHIN)
        with connect(str(gateway.base_url)) as client:
            client.sendall(request("/sessions/1001"))
            assert holds(lambda: len(farm.requests) == 1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        gone.set()
        assert holds(lambda: bool(logged()))
    assert json.loads(logged()[0])["status"] is None
    assert re.search(
        r'rfgw_requests_total\{operation="getSession",status="none"\} 1',
        gateway.get("/metrics").text,
    )


# --- Without a word --------------------------------------------------------------------------

VANISHING = """
import fcntl, socket, struct, sys, time
from app.api import sse
from app.main import create_app
from app.sandbox.server import create_farm, farm_server
from app.server import listeners
from tests.conftest import settings_for
from tests.running import running, serving

def loopback(up):
    with socket.socket() as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", up))  # SIOCSIFFLAGS, IFF_UP

loopback(1)
app_of = {}
with running(farm_server(create_farm())) as farm:
    app = create_app(settings_for(farm, fresh_active=3600))
    app.app.state.services.responders.streams.heartbeat_every = 0.1
    with listeners.listeners(["127.0.0.1"], 0) as (listener,):
        with running(serving(app), listener) as url:
            client = socket.create_connection(listener.getsockname())
            client.sendall(b"GET /sessions/1003/events HTTP/1.1\\r\\nHost: gw\\r\\n\\r\\n")
            told = b""
            while b"event: session" not in told:
                told += client.recv(65536)
            assert app.app.state.services.responders.open_streams == 1
            loopback(0)
            until = time.monotonic() + 60
            while app.app.state.services.responders.open_streams and time.monotonic() < until:
                time.sleep(0.05)
            print(app.app.state.services.responders.open_streams)
            loopback(1)
"""


@pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT") or shutil.which("unshare") is None,
    reason="network namespaces and TCP_USER_TIMEOUT are Linux's",
)
def test_a_stream_whose_client_has_vanished_is_not_counted_for_long() -> None:
    """In a network of its own, whose packets are dropped from a moment on."""
    alone = ["unshare", "--net", "--map-root-user"]
    if subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no network namespace is to be had here")
    soon = VANISHING.replace("loopback(1)", "listeners.VANISHED = [(6, 18, 1000)]\nloopback(1)", 1)
    done = subprocess.run(
        [*alone, sys.executable, "-c", soon],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.strip() == "0", done.stderr[-2000:]


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_a_listener_accepts_has_its_bound_for_vanished_clients(host: str) -> None:
    with (
        listeners.listeners([host], 0) as (listener,),
        socket.create_connection(listener.getsockname()[:2]),
    ):
        accepted, _ = listener.accept()
        with accepted:
            bound = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert bound == listeners.UNHEARD * 1000


# --- While the machine slept -----------------------------------------------------------------


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="Linux has it")
def test_ages_are_told_by_the_clock_that_goes_on_while_the_machine_sleeps() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= age_clock() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_everything_that_keeps_answers_has_that_clock(tmp_path: Path) -> None:
    """One clock for all: an age is a difference, whoever takes it."""
    login = {"login": True, "cookie_key": new_cookie_key(), "cors_origins": "https://site.example"}
    url = "http://127.0.0.1:8000"
    settings = settings_for(
        "http://127.0.0.1:1", snapshot_file=tmp_path / "snapshot", public_url=url, **login
    )
    services = build_services(settings)
    assert services.gateway.clock is age_clock
    assert services.visits is not None
    assert services.visits.replies.gateway.clock is age_clock
    assert services.snapshot is not None
    assert services.snapshot._clock is age_clock
