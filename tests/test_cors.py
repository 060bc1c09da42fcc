"""What pages of which origins may read: every origin, every status, every preflight.

The Fetch standard's CORS protocol, by a gateway with a list of origins, keys and a limit. Must not
know how the gateway is built inside.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.edge.api_keys import new_key
from app.main import create_app
from tests.conftest import Farm, settings_for
from tests.running import client_of, running, serving
from tests.test_http import EXPOSED, listed, raw

SITE = "https://www.site.example"
OTHER = "http://localhost:3000"
APP = "capacitor://localhost"

FOREIGN = [
    "null",
    "*",
    "https://evil.example",
    "https://www.site.example.evil",
    "https://www.site.example.evil.example",
    "https://evil-www.site.example",
    "https://sub.www.site.example",
    "https://site.example",
    "https://www.site.example.",
    "https://www.site.example:443",
    "https://www.site.example:8443",
    "https://www.site.example/",
    "https://www.site.example,https://evil.example",
    "https://www.site.example https://evil.example",
    "https://user@www.site.example",
    "http://www.site.example",
    "HTTPS://www.site.example",
    "https://WWW.site.example",
    "http://localhost",
    "http://localhost:3001",
    "http://127.0.0.1:3000",
    "https://localhost:3000",
    "capacitor://localhost:1",
    "file://",
    "%00",
    "\xff",
]
READABLE = "access-control-allow-origin"


@pytest.fixture(scope="module")
def key() -> tuple[str, str]:
    """A key, and its line."""
    return new_key("site-a")


@pytest.fixture(scope="module")
def stage(
    _farm: Farm, key: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, httpx.Client]]:
    """Gateways that name three origins: one as it is, others that refuse or crash."""
    keys: Path = tmp_path_factory.mktemp("cors") / "keys"
    keys.write_text(key[1])
    origins = {"cors_origins": f"{SITE}, {OTHER},{APP}"}
    kinds: dict[str, dict[str, object]] = {
        "usual": {},
        "keyed": {"api_keys_file": keys},
        "rationed": {"rate_limit": "1/9999"},
        "crowded": {"max_requests": 1},
        "broken": {},
        "gateless": {"rate_limit": "100/60"},
    }
    with ExitStack() as stack:
        clients = {}
        for kind, settings in kinds.items():
            edge: Any = create_app(settings_for(_farm.url, **origins, **settings))
            if kind == "broken":
                edge.app = _crash
            if kind == "gateless":
                edge._admission.admit = None
            url = stack.enter_context(running(serving(edge)))
            clients[kind] = stack.enter_context(client_of(url))
            if kind == "crowded":
                edge._concurrency_limit._under_way = 1
        clients["rationed"].get("/sessions/1008")
        clients["usual"].get("/sessions/1008")
        yield clients


async def _crash(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        raise RuntimeError("a bug")
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


BODY = b"Content-Length: 1"
LONG = b"X-Long: " + b"x" * 20_000
ANSWERS: list[tuple[str, str, str, bytes, int]] = [
    ("usual", "GET", "/sessions/1008", b"", 200),
    ("usual", "HEAD", "/sessions/1008", b"", 200),
    ("usual", "GET", "/sessions/1008", b"If-None-Match: *", 304),
    ("usual", "GET", "/sessions?ids=1008", b"", 200),
    ("usual", "GET", "/problems", b"", 200),
    ("usual", "GET", "/health/live", b"", 200),
    ("keyed", "GET", "/sessions/1008", b"", 401),
    ("keyed", "GET", "/sessions/1008", b"X-API-Key: wrong", 401),
    ("usual", "GET", "/sessions/300001", b"", 404),
    ("usual", "GET", "/nope", b"", 404),
    ("usual", "POST", "/sessions/1008", b"", 405),
    ("usual", "OPTIONS", "/sessions/1008", b"", 405),
    ("usual", "GET", "/sessions/1008", b"Accept: image/png", 406),
    ("usual", "GET", "/sessions/1008", BODY, 413),
    ("usual", "GET", "/sessions/x", b"", 422),
    ("rationed", "GET", "/sessions/1008", b"", 429),
    ("usual", "GET", "/sessions/1008", LONG, 431),
    ("broken", "GET", "/sessions/1008", b"", 500),
    ("gateless", "GET", "/sessions/1008", b"", 500),
    ("crowded", "GET", "/sessions/1008", b"", 503),
    ("usual", "GET", "/sessions/1012", b"Cache-Control: only-if-cached", 504),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "method", "path", "field", "status"), ANSWERS)
def test_every_status_is_readable_by_the_listed_origins_and_by_no_other(
    stage: dict[str, httpx.Client], kind: str, method: str, path: str, field: bytes, status: int
) -> None:
    fields = [field] if field else []
    for origin in [SITE, OTHER, APP, *FOREIGN, None]:
        sent = [b"Origin: " + origin.encode("latin-1")] if origin is not None else []
        answer = raw(stage[kind], path, *fields, *sent, method=method, body=b"x" * (field == BODY))
        assert answer.status == status, (origin, answer.body)
        readable = [origin] if origin in (SITE, OTHER, APP) else []
        assert answer.headers.get_list(READABLE) == readable, origin
        assert "origin" in listed(answer.headers["vary"]), "also where none was sent"
        assert answer.headers.get_list("access-control-expose-headers") == [EXPOSED]
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "origins",
    [
        [SITE, SITE],
        [SITE, "https://evil.example"],
        ["https://evil.example", SITE],
        ["null", OTHER],
        ["", SITE],
    ],
)
def test_several_origin_fields_are_nobody_s(
    stage: dict[str, httpx.Client], origins: list[str]
) -> None:
    fields = [f"Origin: {origin}".encode() for origin in origins]
    answer = raw(stage["usual"], "/sessions/1008", *fields)
    assert answer.status == 200
    assert READABLE not in answer.headers
    assert "origin" in listed(answer.headers["vary"])


def test_another_field_that_is_doubled_takes_nothing_away(stage: dict[str, httpx.Client]) -> None:
    fields = [b"Accept: */*", b"Accept: text/html", f"Origin: {SITE}".encode()]
    assert raw(stage["usual"], "/sessions/1008", *fields).headers[READABLE] == SITE


# --- Preflights: the server tells what is allowed, the browser does the refusing ---------------

ASKS = [
    ("GET", ""),
    ("GET", "authorization"),
    ("GET", "authorization,x-api-key,cache-control,if-none-match,x-request-id,prefer"),
    ("HEAD", ""),
    ("POST", ""),
    ("DELETE", "authorization"),
    ("TRACE", ""),
    ("get", "x-foreign"),
    ("GET", "*"),
    ("", ""),
]


ALLOWED = {
    *("accept", "authorization", "cache-control", "content-type", "if-modified-since"),
    *("if-none-match", "last-event-id", "pragma", "prefer", "x-api-key", "x-request-id"),
    *("baggage", "sentry-trace", "traceparent", "tracestate", "x-requested-with"),
}
"""What a page of another origin may send: what we read, and what libraries add by themselves."""


@pytest.mark.parametrize("kind", ["usual", "keyed", "rationed", "crowded", "broken", "gateless"])
@pytest.mark.parametrize(("method", "names"), ASKS)
def test_a_preflight_tells_the_same_to_everybody_and_the_origin_to_the_listed(
    stage: dict[str, httpx.Client], kind: str, method: str, names: str
) -> None:
    asked = [b"Access-Control-Request-Method: " + method.encode()]
    if names:
        asked.append(b"Access-Control-Request-Headers: " + names.encode())
    for origin in (SITE, APP, "https://evil.example", "null", "https://www.site.example.evil"):
        sent = f"Origin: {origin}".encode()
        answer = raw(stage[kind], "/sessions/1008", sent, *asked, method="OPTIONS")
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers.get_list(READABLE) == ([origin] if origin in (SITE, APP) else [])
        assert listed(answer.headers["access-control-allow-methods"]) == {"get", "head"}
        allowed = listed(answer.headers["access-control-allow-headers"])
        assert allowed == ALLOWED
        assert answer.headers["access-control-max-age"] == "7200"
        assert "origin" in listed(answer.headers["vary"])
        assert "access-control-allow-credentials" not in answer.headers
        assert "ratelimit" not in answer.headers


@pytest.mark.parametrize("kind", ["usual", "keyed"])
def test_without_a_list_every_origin_reads_and_none_with_credentials(
    farm: Farm, key: tuple[str, str], tmp_path: Path, kind: str
) -> None:
    (tmp_path / "keys").write_text(key[1])
    settings = {"api_keys_file": tmp_path / "keys"} if kind == "keyed" else {}
    with (
        running(serving(create_app(settings_for(farm.url, **settings)))) as url,
        client_of(url) as client,
    ):
        for origin in [SITE, *FOREIGN, None]:
            sent = [b"Origin: " + origin.encode("latin-1")] if origin is not None else []
            sent += [b"Cookie: a=b", b"X-API-Key: " + key[0].encode()]
            for path in ("/sessions/1008", "/sessions/x"):
                answer = raw(client, path, *sent)
                assert answer.headers.get_list(READABLE) == ["*"]
                assert "access-control-allow-credentials" not in answer.headers
                assert "origin" not in listed(answer.headers.get("vary", ""))
