"""A path prefix changes nothing: whoever cuts it or passes it on, keys and pages are the same."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from app.api.route_path import at_prefix, first_segment, route_path, target_below
from app.main import create_app
from tests.conftest import Farm, settings_for
from tests.programs import await_port, free_port
from tests.running import client_of, running, serving

KEY = "rfgw_prefix"
KEYS = f"test sha256:{sha256(KEY.encode()).hexdigest()}\n"
PREFIXES = ["/demo", "/docs", "/health", "/metrics", "/gw", "/sessions", "/farm/gw"]
OPEN = ["/docs", "/health/live", "/metrics", "/openapi.json", "/problems", "/problems/unauthorized"]


@contextmanager
def below_root_path(farm: Farm, keys: Path, prefix: str) -> Iterator[str]:
    """A foreign server that is told the prefix, as ``uvicorn --root-path`` is."""
    app: Any = create_app(settings_for(farm.url, api_keys_file=keys))
    server = uvicorn.Server(uvicorn.Config(app, root_path=prefix, log_config=None))
    with running(server) as url:
        yield url


@contextmanager
def mounted(farm: Farm, keys: Path, prefix: str) -> Iterator[str]:
    """Another ASGI application that has the gateway below the prefix."""
    gateway: Any = create_app(settings_for(farm.url, api_keys_file=keys))
    outer = Starlette(
        routes=[Mount(prefix, app=gateway)],
        lifespan=lambda _: gateway.app.router.lifespan_context(gateway.app),
    )
    with running(uvicorn.Server(uvicorn.Config(outer, log_config=None))) as url:
        yield f"{url}{prefix}"


@contextmanager
def behind_nginx(farm: Farm, keys: Path, prefix: str, target: str) -> Iterator[str]:
    """A real nginx that serves the gateway at the prefix. ``target`` ends with / to cut it."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no nginx here: not tried behind it")
    gateway = create_app(settings_for(farm.url, api_keys_file=keys, root_path=prefix))
    folder, port = keys.parent, free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    with running(serving(gateway)) as url, ExitStack() as stack:
        location = f"location {prefix}/ {{ proxy_pass {url}{target}; }}"
        (folder / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}}"
            f" http {{ access_log off; {folders}"
            f" server {{ listen 127.0.0.1:{port}; {location} }} }}"
        )
        server = stack.enter_context(
            subprocess.Popen(
                [program, "-c", str(folder / "nginx.conf")], stderr=subprocess.PIPE, text=True
            )
        )
        stack.callback(server.terminate)
        await_port(port, server)
        yield f"http://127.0.0.1:{port}{prefix}"


@contextmanager
def cut(farm: Farm, keys: Path, prefix: str) -> Iterator[str]:
    with behind_nginx(farm, keys, prefix, "/") as url:
        yield url


@contextmanager
def passed_on(farm: Farm, keys: Path, prefix: str) -> Iterator[str]:
    with behind_nginx(farm, keys, prefix, "") as url:
        yield url


WAYS: list[Callable[..., Any]] = [below_root_path, mounted, cut, passed_on]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("way", WAYS)
def test_no_session_without_a_key_and_no_open_page_refused(
    farm: Farm, tmp_path: Path, way: Callable[..., Any], prefix: str
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(KEYS)
    with way(farm, keys, prefix) as url, client_of(url) as client:
        base = httpx.URL(url).path.rstrip("/")
        for path in (
            "/sessions/1008",
            "/sessions/1008",
            "/sessions?ids=1008",
            "/sessions/1/events",
        ):
            for wrong in ({}, {"x-api-key": "rfgw_wrong"}):
                answer = client.get(path, headers=wrong)
                assert answer.status_code == 401, path
                assert answer.json()["type"] == f"{prefix}/problems/unauthorized"
        for _ in range(2):  # asked for, then kept
            answer = client.get("/sessions/1008", headers={"x-api-key": KEY})
            assert (answer.status_code, answer.json()["id"]) == (200, 1008)
        for path in OPEN:
            assert client.get(path).status_code == 200, path
        missing = client.get("/sessions/300001", headers={"x-api-key": KEY}).json()
        assert missing["instance"] == f"{prefix}/sessions/300001"
        assert client.post("/docs").headers["allow"] == "GET, HEAD"
        assert base in ("", prefix)


@pytest.mark.parametrize(
    ("root", "path", "left"),
    [
        ("", "/sessions/1", "/sessions/1"),
        ("/gw", "/gw/sessions/1", "/sessions/1"),
        ("/gw", "/gw", ""),
        ("/gw", "/gwx/sessions/1", "/gwx/sessions/1"),
        ("/gw", "/sessions/1", "/sessions/1"),
    ],
)
def test_a_prefix_is_cut_at_the_boundary_of_a_segment(root: str, path: str, left: str) -> None:
    scope = {"type": "http", "path": path, "raw_path": path.encode(), "root_path": root}
    assert route_path(scope) == left


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("path", ["/sessions/1", "/docs", "/docs/swagger-ui.css", "/", "/nothing"])
def test_a_path_is_the_same_whether_its_prefix_came_along_or_not(prefix: str, path: str) -> None:
    heads = {"", "sessions", "docs", "demo", "health", "metrics", "problems", "openapi.json"}
    sent = {"type": "http", "path": path, "raw_path": path.encode()}
    assert route_path(at_prefix(sent, prefix, heads)) == path
    assert target_below(path.encode(), prefix, heads) == path.encode()
    if first_segment(path) in heads:
        raw_path = (prefix + path).encode()
        sent = {"type": "http", "path": prefix + path, "raw_path": raw_path}
        assert route_path(at_prefix(sent, prefix, heads)) == path
        assert target_below(raw_path, prefix, heads) == path.encode()
