"""The way of a call to the farm: its address, its connection, its TLS, its proxy."""

import asyncio
import base64
import os
import socket
import ssl
import threading
import time
import xmlrpc.client
from pathlib import Path

import httpx
import pytest
import trustme

from app.cli.doctor.examination import run_doctor
from app.config.addresses import forward_proxy as parsed
from app.core import watched_file
from app.sandbox.server import DEMO_CONSUMER_KEY, DEMO_CONSUMER_SECRET
from app.telemetry.log_writer import LOG_WRITER
from app.upstream.oauth import Signer
from app.upstream.sockets import FarmConnections, _Protocol
from app.upstream.tls import Trust
from app.upstream.transport import Message, Transport
from app.upstream.xmlrpc.codec import dump_call
from tests.conftest import StartGateway, settings_for
from tests.forward_proxy import forward_proxy
from tests.hostile_farm import HOST, http, raw_farm, server_tls, session, write_authority
from tests.programs import WITHIN, free_port
from tests.test_http import problem_of

KEPT = http(session(), close=False)
IDS = range(1001, 1006)


def outcomes(gateway: httpx.Client) -> dict[str, float]:
    """How many attempts ended in which way."""
    found = {}
    for line in gateway.get("/metrics").text.splitlines():
        if line.startswith("rfgw_upstream_attempts_total{"):
            name, _, number = line.partition('outcome="')[2].partition('"} ')
            found[name] = float(number)
    return {name: number for name, number in found.items() if number}


# --- The connection --------------------------------------------------------------------------


def test_calls_one_after_the_other_share_a_connection(start_gateway: StartGateway) -> None:
    with raw_farm(KEPT, keep_alive=True) as farm:
        gateway = start_gateway(upstream_url=farm.url)
        assert [gateway.get(f"/sessions/{id}").status_code for id in IDS] == [200] * 5
        assert farm.connections == 1


def test_an_old_connection_takes_no_more_calls_and_nothing_is_lost(
    start_gateway: StartGateway,
) -> None:
    with raw_farm(KEPT, keep_alive=True) as farm:
        gateway = start_gateway(upstream_url=farm.url, upstream_max_connection_age=1e-6)
        assert [gateway.get(f"/sessions/{id}").status_code for id in IDS] == [200] * 5
        assert farm.connections == 5
        assert outcomes(gateway) == {"ok": 5}, "none was tried twice"


@pytest.mark.parametrize("domain", ["", "; Domain=localhost", "; Path=/"])
def test_what_the_farm_wants_remembered_is_never_sent_back(
    start_gateway: StartGateway, domain: str
) -> None:
    """By name: jars keep no cookies of numeric hosts."""
    answer = http(session(), f"Set-Cookie: visitor=1{domain}", close=False)
    with raw_farm(answer, keep_alive=True) as farm:
        gateway = start_gateway(upstream_url=farm.url.replace(HOST, "localhost"))
        for id in IDS:
            reply = gateway.get(f"/sessions/{id}")
            assert reply.status_code == 200
            assert "set-cookie" not in reply.headers
        assert len(farm.requests) == 5
        assert b"cookie" not in b"".join(farm.requests).lower()


# --- What is sent, and what comes back -------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["", "/a", "/%7Eu", "/~u", "/a%2fb", "/a%2Fb", "/a%27b", "/a'b", "/a/../b", "/./a", "/a|b",
     "/a//b", "/a%20b", "/a;b=c", "/%C3%A4", "/a@b:c", "/[a]", '/"a"', "/<a>", "/{a}", "/a^b`",
     "/a%zz", "/a+b", "/A%41", "/(a)*!$&,="],
)  # fmt: skip
def test_the_address_goes_out_as_it_was_signed(start_gateway: StartGateway, path: str) -> None:
    with raw_farm(http(session())) as farm:
        base = f"{farm.url}{path}"
        assert start_gateway(upstream_url=base).get("/sessions/1001").status_code == 200
        head, _, body = farm.requests[0].partition(b"\r\n\r\n")
        assert head.splitlines()[0].decode() == f"POST {path}/community.getSession HTTP/1.1"
        (sent, _), method = xmlrpc.client.loads(body)
        assert isinstance(sent, dict)
        assert method is not None
        signed = Signer(DEMO_CONSUMER_KEY, DEMO_CONSUMER_SECRET).sign(
            base, method, {}, timestamp=int(sent["oauth_timestamp"]), nonce=sent["oauth_nonce"]
        )
        assert sent == signed


@pytest.mark.parametrize(
    ("size", "outcome", "status"), [(32_000, "ok", 200), (33_000, "head_too_large", 502)]
)
def test_a_header_field_may_have_32_kib(
    start_gateway: StartGateway, size: int, outcome: str, status: int
) -> None:
    with raw_farm(http(session(), f"X-Debug: {'a' * size}")) as farm:
        gateway = start_gateway(upstream_url=farm.url)
        assert gateway.get("/sessions/1001").status_code == status
        assert outcomes(gateway) == {outcome: 1}


@pytest.mark.parametrize(
    ("coding", "status"), [("", 200), (" ", 200), ("Identity", 200), ("gzip", 502), ("x", 502)]
)
def test_an_empty_content_encoding_is_none(
    start_gateway: StartGateway, coding: str, status: int
) -> None:
    with raw_farm(http(session(), f"Content-Encoding: {coding}")) as farm:
        assert start_gateway(upstream_url=farm.url).get("/sessions/1001").status_code == status


# --- TLS -------------------------------------------------------------------------------------


def test_a_file_of_authorities_is_read_anew_and_a_broken_one_changes_nothing(
    start_gateway: StartGateway,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(watched_file, "LOOK_EVERY", 0.0)
    path, another = write_authority(tmp_path / "ca.pem"), trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    another.issue_cert(HOST).configure_cert(theirs)
    with raw_farm(http(session()), tls=server_tls("proper")) as farm:
        gateway = start_gateway(upstream_url=farm.url, upstream_ca_file=path)
        assert gateway.get("/sessions/1001").status_code == 200
        path.write_text("nothing")
        assert gateway.get("/sessions/1002").status_code == 200
        path.unlink()
        assert gateway.get("/sessions/1003").status_code == 200
        farm.tls = theirs
        assert gateway.get("/sessions/1004").status_code == 502
        another.cert_pem.write_to_path(str(path))
        assert gateway.get("/sessions/1005").status_code == 200
        farm.tls = server_tls("proper")
        assert gateway.get("/sessions/1006").status_code == 502, "the old one is not trusted"
    LOG_WRITER.flush(WITHIN)
    told = capfd.readouterr().err
    assert told.count('"level": "error", "event": "upstream_ca_refused"') == 2
    assert told.count('"reason": "holds no certificates"') == 1
    assert told.count('"event": "upstream_ca_read"') == 1


def test_connections_live_on_while_the_file_stays_the_same(
    start_gateway: StartGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_file, "LOOK_EVERY", 0.0)
    path = write_authority(tmp_path / "ca.pem")
    with raw_farm(KEPT, keep_alive=True, tls=server_tls("proper")) as farm:
        gateway = start_gateway(upstream_url=farm.url, upstream_ca_file=path)
        assert [gateway.get(f"/sessions/{id}").status_code for id in IDS] == [200] * 5
        assert farm.connections == 1


async def test_a_connection_may_be_lost_before_it_is_made() -> None:
    """Behind a proxy, aiohttp tells the connection itself that it is made, after the handshake."""
    connection = _Protocol(asyncio.get_running_loop(), 60, set())
    connection.connection_lost(ConnectionResetError())
    assert not connection.is_connected()


async def test_what_waits_for_the_farm_s_closure_alert_ends_with_the_gateway(
    tmp_path: Path,
) -> None:
    """A TLS connection that we close waits for the other side, here one that never says a word."""
    ended = threading.Event()

    def never_close(connection: socket.socket) -> None:
        connection.sendall(http(session()))
        with socket.socket(fileno=os.dup(connection.fileno())) as raw:
            raw.settimeout(WITHIN)
            while raw.recv(4096):  # the alert, unread by TLS and so without an answer
                pass
        ended.set()

    trust = Trust(write_authority(tmp_path / "ca.pem"))
    with raw_farm(never_close, tls=server_tls("proper")) as farm:
        connections = FarmConnections(connections=1, trust=trust, max_age=60)
        transport = Transport(http=connections, connect_timeout=10, max_body=2**19, now=time.time)
        await transport.post(Message(f"{farm.url}/x", dump_call("community.getSession", [1001])))
        await transport.aclose()
        # By itself the wait for the alert would end after 30 s.
        assert await asyncio.to_thread(ended.wait, WITHIN / 4)
    assert not connections._open_transports, "forgotten once it has ended"


# --- The forward proxy -----------------------------------------------------------------------

SECRET = "c4nary p@ss"
AUTHORIZATION = "Basic " + base64.b64encode(f"us/er:{SECRET}".encode()).decode()


def through(port: int, password: str = "c4nary%20p%40ss") -> str:
    return f"http://us%2Fer:{password}@127.0.0.1:{port}"


@pytest.mark.parametrize("encrypted", [True, False])
def test_calls_go_through_the_proxy_and_its_password_to_it_alone(
    start_gateway: StartGateway, tmp_path: Path, encrypted: bool
) -> None:
    tls = server_tls("proper") if encrypted else None
    with (
        forward_proxy(AUTHORIZATION) as proxy,
        raw_farm(KEPT, keep_alive=True, tls=tls) as farm,
    ):
        gateway = start_gateway(
            upstream_url=farm.url,
            upstream_ca_file=write_authority(tmp_path / "ca.pem"),
            upstream_proxy=through(proxy.port),
        )
        assert [gateway.get(f"/sessions/{id}").status_code for id in IDS] == [200] * 5
        assert farm.connections == 1
        line = proxy.heads[0].splitlines()[0]
        if encrypted:
            assert line == f"CONNECT {HOST}:{farm.port} HTTP/1.1"
            assert b"proxy-" not in b"".join(farm.requests).lower()
        else:
            assert line == f"POST {farm.url}/community.getSession HTTP/1.1"
            assert all(AUTHORIZATION.encode() in request for request in farm.requests)


def test_a_handshake_that_fails_behind_the_proxy_is_the_farms_tls_and_no_crash(
    start_gateway: StartGateway, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with forward_proxy(AUTHORIZATION) as proxy, raw_farm(KEPT, tls=server_tls("expired")) as farm:
        gateway = start_gateway(
            upstream_url=farm.url,
            upstream_ca_file=write_authority(tmp_path / "ca.pem"),
            upstream_proxy=through(proxy.port),
        )
        problem_of(gateway.get("/sessions/1001"), 502, "upstream_unreachable")
        assert outcomes(gateway) == {"tls": 1}
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_proxy_that_refuses_or_is_not_there_is_told_apart(
    start_gateway: StartGateway, encrypted: bool
) -> None:
    url = f"http{'s' if encrypted else ''}://127.0.0.1:{free_port()}"
    with forward_proxy(AUTHORIZATION) as proxy:
        gateway = start_gateway(upstream_url=url, upstream_proxy=through(proxy.port, "wrong"))
        problem = problem_of(gateway.get("/sessions/1001"), 502, "upstream_unreachable")
        assert outcomes(gateway) == {"proxy": 1}
        assert "wrong" not in str(problem)
    gateway = start_gateway(upstream_url=url, upstream_proxy=through(free_port()))
    problem_of(gateway.get("/sessions/1001"), 502, "upstream_unreachable")
    assert outcomes(gateway) == {"proxy": 1}


@pytest.mark.parametrize(
    ("address", "url", "authorization"),
    [
        ("http://proxy.example", "http://proxy.example:80", ""),
        ("http://proxy.example:3128/", "http://proxy.example:3128", ""),
        ("http://[::1]:3128", "http://[::1]:3128", ""),
        ("http://a:b%3A%25@p", "http://p:80", "Basic " + base64.b64encode(b"a:b:%").decode()),
        ("http://a@p", "http://p:80", "Basic " + base64.b64encode(b"a:").decode()),
    ],
)
def test_the_address_of_a_proxy_is_read(address: str, url: str, authorization: str) -> None:
    proxy = parsed(address)
    assert (proxy.url, proxy.authorization) == (url, authorization)


@pytest.mark.parametrize(
    "address",
    ["proxy:3128", "https://p:1", "socks5://p:1", "http://", "http://p:0", "http://p:x", "http://p/a",
     "http://p?a", "http://p#a", "http://p\\a", "http://a:b%@p", "http://a:%ff@p", "http://a%3Ab:c@p"],
)  # fmt: skip
def test_what_is_no_address_of_a_proxy_is_refused_unquoted(address: str) -> None:
    with pytest.raises(ValueError, match=r"^must (be|have) ") as raised:
        parsed(address.replace("a:b", "a:c4nary"))
    assert "c4nary" not in str(raised.value)


def told_by_doctor(capsys: pytest.CaptureFixture[str], **settings: object) -> str:
    def load() -> object:
        return settings_for(**settings)  # type: ignore[arg-type]

    run_doctor(load, 1001, as_json=False)  # type: ignore[arg-type]
    return capsys.readouterr().out


@pytest.mark.parametrize("encrypted", [True, False])
def test_the_doctor_goes_through_the_proxy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], encrypted: bool
) -> None:
    tls = server_tls("proper") if encrypted else None
    with forward_proxy(AUTHORIZATION) as proxy, raw_farm(KEPT, keep_alive=True, tls=tls) as farm:
        known: dict[str, object] = {
            "farm_url": farm.url,
            "upstream_ca_file": write_authority(tmp_path / "ca.pem"),
        }
        told = told_by_doctor(capsys, upstream_proxy=through(proxy.port), **known)
        assert "FAIL" not in told
        assert f"the proxy, port {proxy.port}:" in told
        assert ("CONNECT" in proxy.heads[0]) is encrypted
        refused = told_by_doctor(capsys, upstream_proxy=through(proxy.port, "wr0ng"), **known)
        assert "FAIL" in refused
        assert "RFGW_UPSTREAM_PROXY" in refused
        away = told_by_doctor(capsys, upstream_proxy=through(free_port(), "wr0ng"), **known)
        assert "check RFGW_UPSTREAM_PROXY" in away
        for text in (told, refused, away):
            assert "c4nary" not in text
            assert "wr0ng" not in text
            assert AUTHORIZATION not in text
