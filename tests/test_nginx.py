"""deploy/nginx.conf: a real nginx with it, in front of real gateways."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from app.config.settings import Settings
from app.edge.api_keys import new_key
from app.server.deadlines import LIMITS
from tests.conftest import Farm, StartGateway
from tests.name_server import name_server
from tests.programs import DEMO, RFGW, ROOT, WITHIN, await_port, free_port, started
from tests.running import client_of

CONFIGURATION = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
KEY, KEY_LINE = new_key("guide")

OPERATING = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
OLDER = OPERATING.partition("```nginx\nresolver ")[2].partition("```")[0]
"""The configuration of operating.md for an nginx that knows no ``resolve``."""

StartNginx = Callable[[int, int], httpx.Client]


def nginx_program() -> str:
    """The nginx of this machine; the test is skipped if there is none."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        reason = "no nginx here: deploy/nginx.conf was not run (apt-get install nginx-light)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return program


def knows_resolve(program: str) -> bool:
    """Whether it is nginx 1.27.3 or newer."""
    told = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    version = re.findall(r"nginx/(\d+)\.(\d+)\.(\d+)", told)[0]
    return tuple(map(int, version)) >= (1, 27, 3)


@contextmanager
def nginx_with(folder: Path, text: str, port: int) -> Iterator[httpx.Client]:
    """A client of an nginx whose http block has ``text``; it listens on ``port``."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    frame = f"daemon off; master_process off; pid {folder}/pid; error_log stderr;"
    file = folder / "nginx.conf"
    file.write_text(f"{frame} events {{}} http {{ access_log off; {folders} {text} }}")
    with subprocess.Popen(
        [nginx_program(), "-c", str(file)], stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            await_port(port, server)
            url = f"http://127.0.0.1:{port}"
            with client_of(url, timeout=30) as client:
                yield client
        finally:
            server.terminate()


def replaced(text: str, parts: Mapping[str, str]) -> str:
    """``text`` with each of these parts, which have to be there, exchanged."""
    for ours, theirs in parts.items():
        assert ours in text, ours
        text = text.replace(ours, theirs)
    return text


@pytest.fixture
def start_nginx(tmp_path: Path) -> Iterator[StartNginx]:
    """Starts an nginx in front of what listens on two ports; a client of it comes back."""
    with ExitStack() as stack:

        def start(first: int, second: int) -> httpx.Client:
            port = free_port()
            parts = {
                "gateway-1:8000 resolve": f"127.0.0.1:{first}",
                "gateway-2:8000 resolve": f"127.0.0.1:{second}",
                "listen 8080": f"listen 127.0.0.1:{port}",
                "/var/cache/nginx": str(tmp_path),
            }
            text = replaced(CONFIGURATION, parts)
            return stack.enter_context(nginx_with(tmp_path, text, port))

        yield start


@pytest.fixture
def nginx(start_nginx: StartNginx, gateway: httpx.Client) -> httpx.Client:
    """An nginx in front of one gateway."""
    port = gateway.base_url.port
    assert port is not None
    return start_nginx(port, port)


def test_nginx_keeps_what_the_gateway_allows_and_no_request_s_id(
    nginx: httpx.Client, gateway: httpx.Client, farm: Farm
) -> None:
    first = nginx.get("/sessions/1008", headers={"X-Request-ID": "one"})
    again = nginx.get("/sessions/1008", headers={"X-Request-ID": "not a valid one"})
    assert first.headers.get_list("x-request-id") == ["one"]
    assert re.fullmatch(r"[0-9a-f]{32}", again.headers["x-request-id"])
    assert again.content == first.content
    assert again.headers["cache-status"] == first.headers["cache-status"], "nginx kept it"
    assert "server-timing" not in again.headers, "it was another request's"
    tag = {"If-None-Match": first.headers["etag"]}
    assert nginx.get("/sessions/1008", headers=tag).status_code == 304
    polled = nginx.get("/sessions/1008", headers={"Cache-Control": "max-age=0"})
    assert polled.headers["cache-status"] == first.headers["cache-status"], "pollers too"
    for wish in ("only-if-cached", "max-age=0, No-Cache"):
        passed = nginx.get("/sessions/1008", headers={"Cache-Control": wish})
        assert passed.headers["cache-status"] != first.headers["cache-status"], "it was asked"
    ids = [nginx.get("/sessions/007").json()["requestId"] for _ in range(2)]
    assert len(set(ids)) == 2, "no-store is obeyed"


def test_a_request_that_waits_reaches_the_gateway_and_its_304_is_kept_by_nobody(
    nginx: httpx.Client,
) -> None:
    tag = nginx.get("/sessions/1003").headers["etag"]
    waiting = {"If-None-Match": tag, "Prefer": "wait=1"}
    waited = nginx.get("/sessions/1003", headers=waiting)
    assert (waited.status_code, waited.headers["preference-applied"]) == (304, "wait=1")
    assert nginx.get("/sessions/1003").status_code == 200


def test_events_come_through_as_they_happen(
    start_nginx: StartNginx, start_gateway: StartGateway
) -> None:
    port = start_gateway(fresh_active=0.5).base_url.port
    assert port is not None
    nginx = start_nginx(port, port)
    with nginx.stream("GET", "/sessions/1005/events", timeout=60) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        events = (line for line in stream.iter_lines() if line.startswith("event: "))
        assert [next(events), next(events)] == ["event: session", "event: session"]


def test_the_metrics_are_for_this_machine(nginx: httpx.Client) -> None:
    assert "rfgw_requests_total" in nginx.get("/metrics").text


def test_nginx_keeps_no_answer_for_somebody_without_a_key_and_tells_who_asks(
    start_nginx: StartNginx, start_gateway: StartGateway, farm: Farm, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text(KEY_LINE)
    gateway = start_gateway(
        api_keys_file=tmp_path / "keys", rate_limit="9/9999", forwarded_allow_ips="127.0.0.1"
    )
    port = gateway.base_url.port
    assert port is not None
    nginx = start_nginx(port, port)
    given = {"X-API-Key": KEY}
    statuses = [
        nginx.get("/sessions/1008", headers=headers).status_code
        for headers in (given, given, {}, {"X-API-Key": "wrong"}, given)
    ]
    assert statuses == [200, 200, 401, 401, 200]
    assert farm.calls() == 1, "the gateway kept it"
    spent = [nginx.get("/sessions/1008").status_code for _ in range(8)]
    assert spent == [401] * 7 + [429], "guesses count for the address that nginx tells"
    assert "ratelimit" not in nginx.get("/sessions/1008", headers=given).headers
    claimed = nginx.get("/sessions/1008", headers={"X-Forwarded-For": "203.0.113.9"})
    assert claimed.status_code == 429, "what a client claims of itself is dropped"


def test_one_of_two_gateways_is_enough(start_nginx: StartNginx, tmp_path: Path, farm: Farm) -> None:
    ports = [free_port(), free_port()]
    settings = {**DEMO, "RFGW_UPSTREAM_URL": farm.url, "RFGW_SHUTDOWN_GRACE": "0"}
    with ExitStack() as stack:
        gateways = []
        for port in ports:
            log = stack.enter_context((tmp_path / f"{port}.log").open("w"))
            own = {**settings, "RFGW_PORT": str(port)}
            gateways.append(
                stack.enter_context(started(tmp_path, *RFGW, "serve", settings=own, log=log))
            )
            await_port(port, gateways[-1])
        nginx = start_nginx(ports[0], ports[1])

        def ask() -> set[int]:
            wish = {"Cache-Control": "no-cache"}  # past nginx's own cache
            return {nginx.get("/sessions/1008", headers=wish).status_code for _ in range(8)}

        assert ask() == {200}
        gateways[0].terminate()
        assert gateways[0].wait(30) == 0
        assert ask() == {200}


def test_nginx_parts_with_an_idle_connection_before_the_gateway_does() -> None:
    upstream = CONFIGURATION.partition("upstream rfgw {")[2].partition("}")[0]
    (seconds,) = re.findall(r"^ +keepalive_timeout (\d+)s;$", upstream, re.MULTILINE)
    assert int(seconds) < LIMITS.keep_alive == Settings.model_fields["keep_alive"].default


def older(directory: Path, names: int, gateway: int, port: int) -> str:
    """The way of operating.md for an older nginx."""
    parts = {
        "127.0.0.11 valid=5s": f"127.0.0.1:{names} valid=1s",
        "listen 8080": f"listen 127.0.0.1:{port}",
        ":8000": f":{gateway}",
    }
    return replaced(f"resolver {OLDER}", parts)


def newer(directory: Path, names: int, gateway: int, port: int) -> str:
    """deploy/nginx.conf, with one gateway."""
    if not knows_resolve(nginx_program()):
        pytest.skip("this nginx knows no resolve in an upstream: it needs 1.27.3")
    parts = {
        "127.0.0.11 valid=5s": f"127.0.0.1:{names} valid=1s",
        "    server gateway-1:8000 resolve;\n": "",
        "gateway-2:8000": f"gateway:{gateway}",
        "listen 8080": f"listen 127.0.0.1:{port}",
        "/var/cache/nginx": str(directory),
    }
    return replaced(CONFIGURATION, parts)


@pytest.mark.parametrize("way", [older, newer])
def test_a_gateway_made_anew_at_another_address_is_found(
    tmp_path: Path, farm: Farm, way: Callable[[Path, int, int, int], str]
) -> None:
    gateway, port = free_port(), free_port()
    own = {
        **DEMO,
        "RFGW_UPSTREAM_URL": farm.url,
        "RFGW_PORT": str(gateway),
        "RFGW_LOG_LEVEL": "error",
    }
    hosts = ["127.0.0.2", "127.0.0.3"]
    with name_server() as (server, names), ExitStack() as stack:
        nginx = stack.enter_context(nginx_with(tmp_path, way(tmp_path, names, gateway, port), port))

        def await_status(*wanted: int) -> None:
            until = time.monotonic() + WITHIN
            while (got := nginx.get("/health/ready").status_code) not in wanted:
                assert time.monotonic() < until, got
                time.sleep(0.2)

        await_status(502)  # the name is missing at the start, and nginx runs
        for host in hosts:
            with started(tmp_path, *RFGW, "serve", settings=own | {"RFGW_HOST": host}):
                server.names["gateway"] = host
                await_status(200)
            await_status(502, 504)


def test_a_proxy_that_compresses_passes_events_on_as_they_happen(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    gateway, port = start_gateway(fresh_active=0.5, compress=False).base_url.port, free_port()
    text = f"""server {{
        listen 127.0.0.1:{port};
        gzip on; gzip_proxied any; gzip_min_length 1; gzip_types text/event-stream application/json;
        location / {{ proxy_pass http://127.0.0.1:{gateway}; proxy_http_version 1.1; }}
    }}"""
    with nginx_with(tmp_path, text, port) as nginx:
        coded = {"Accept-Encoding": "gzip"}
        answer = nginx.get("/sessions/1008", headers=coded)
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["etag"].startswith('W/"'), "compressing changes the bytes"
        tag = {**coded, "If-None-Match": answer.headers["etag"]}
        assert nginx.get("/sessions/1008", headers=tag).status_code == 304
        with nginx.stream("GET", "/sessions/1005/events", headers=coded, timeout=60) as stream:
            events = (line for line in stream.iter_lines() if line.startswith("event: "))
            assert [next(events), next(events)] == ["event: session", "event: session"]
