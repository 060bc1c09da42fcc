"""Who is let in, how often and how many at once: over a real port, with real files of keys."""

import asyncio
import json
import re
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.config.environment import SettingsError
from app.edge.api_keys import new_key
from app.edge.concurrency_limit import ConcurrencyLimit
from app.main import create_app
from app.telemetry.log_writer import LOG_WRITER
from tests.conftest import Farm, StartGateway, settings_for
from tests.hostile_farm import http, member, raw_farm, session
from tests.programs import WITHIN
from tests.running import client_of, running, serving
from tests.test_front import exchange, frozen_edge
from tests.test_http import listed, problem_of, raw

OPEN = [
    "/", "/docs", "/docs/init.js", "/openapi.json", "/openapi-3.0.json", "/problems",
    "/problems/rate_limited", "/health/live", "/health/ready", "/metrics",
]  # fmt: skip
PREFLIGHT = {
    "origin": "https://a.example",
    "access-control-request-method": "GET",
    "access-control-request-headers": "authorization,x-api-key",
}


@pytest.fixture
def key(tmp_path: Path) -> str:
    """A valid key of site-a."""
    key, line = new_key("site-a")
    (tmp_path / "keys").write_text(f"# ours\n{line}\n")
    return key


@pytest.fixture
def keyed(key: str, tmp_path: Path, start_gateway: StartGateway) -> httpx.Client:
    """A gateway that wants keys."""
    return start_gateway(api_keys_file=tmp_path / "keys")


def refused(gateway: httpx.Client) -> dict[str, float]:
    """How many requests were refused, by cause."""
    found = re.findall(r'rfgw_refused_total\{cause="(\w+)"\} (\S+)', gateway.get("/metrics").text)
    return {cause: float(number) for cause, number in found}


# --- Keys -------------------------------------------------------------------------------------


def test_a_key_is_taken_as_bearer_token_and_as_field(keyed: httpx.Client, key: str) -> None:
    for headers in (
        {"authorization": f"Bearer {key}"},
        {"authorization": f"bearer  {key}"},
        {"authorization": f"BEARER {key}"},
        {"x-api-key": key},
        {"x-api-key": key, "authorization": f"Bearer {key}"},
        {"x-api-key": key, "authorization": "Basic dXNlcjpwYXNz"},
    ):
        assert keyed.get("/sessions/1008", headers=headers).status_code == 200, headers
    assert refused(keyed) == {}
    assert 'rfgw_key_requests_total{key="site-a"} 6.0' in keyed.get("/metrics").text


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_without_a_key_nothing_is_answered_and_the_farm_is_not_asked(
    keyed: httpx.Client, farm: Farm, method: str
) -> None:
    answer = keyed.request(method, "/sessions/1008")
    assert answer.status_code == 401
    assert answer.headers.get_list("www-authenticate") == ['Bearer realm="rfgw"']
    assert answer.headers["cache-control"] == "no-store"
    if method != "HEAD":
        problem = problem_of(answer, 401, "unauthorized")
        assert problem["instance"] is None
        assert problem["retryable"] is False
    assert farm.calls() == 0
    assert refused(keyed) == {"no_key": 1}


@pytest.mark.parametrize(
    "fields",
    [
        [b"Authorization: Bearer rfgw_wrong"],
        [b"Authorization: Bearer"],
        [b"Authorization: Bearer KEY KEY"],
        [b"Authorization: Bearer \xff\xfe"],
        [b"X-API-Key: rfgw_wrong"],
        [b"X-API-Key:"],
        [b"X-API-Key: Bearer KEY"],
        [b"X-API-Key: KEY", b"Authorization: Bearer rfgw_wrong"],
        [b"X-API-Key: rfgw_wrong", b"Authorization: Bearer KEY"],
        [b"Authorization: Bearer KEY", b"Authorization: Bearer rfgw_wrong"],
        [b"Authorization: Bearer rfgw_wrong", b"Authorization: Bearer KEY"],
        [b"X-API-Key: KEY", b"X-API-Key: rfgw_wrong"],
    ],
    ids=range(12),
)
def test_a_wrong_key_is_told_apart_from_none(
    keyed: httpx.Client, key: str, farm: Farm, fields: list[bytes]
) -> None:
    given = [field.replace(b"KEY", key.encode()) for field in fields]
    given = [field.replace(b"X-API-" + key.encode(), b"X-API-Key") for field in given]
    answer = raw(keyed, "/sessions/1008", *given)
    assert answer.status == 401, answer.body
    assert answer.headers["www-authenticate"] == 'Bearer realm="rfgw", error="invalid_token"'
    assert key.encode() not in answer.body
    assert farm.calls() == 0
    assert refused(keyed) == {"wrong_key": 1}


@pytest.mark.parametrize(
    "target",
    ["/sessions/1008?api_key=KEY", "/sessions/1008?access_token=KEY",
     "/sessions/1008?X-API-Key=KEY", "/sessions/1008?Authorization=Bearer%20KEY",
     "/sessions/1008;KEY"],
)  # fmt: skip
def test_a_key_in_the_address_is_no_key(keyed: httpx.Client, key: str, target: str) -> None:
    assert raw(keyed, target.replace("KEY", key)).status == 401


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer rfgw_wrong"}])
def test_pages_documents_and_health_need_no_key(
    keyed: httpx.Client, headers: dict[str, str]
) -> None:
    for path in OPEN:
        answer = keyed.get(path, headers=headers)
        assert answer.status_code == 200, path
        assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize(
    "target",
    ["/sessions/1008", "/sessions/x", "/nope", "/doc", "/Docs", "/docs;/x", "/healthy",
     "/sessions/../docs", "/.%2Fdocs", "/favicon.ico"],
)  # fmt: skip
def test_what_is_not_known_to_be_open_is_closed(keyed: httpx.Client, target: str) -> None:
    assert raw(keyed, target).status == 401


@pytest.mark.parametrize(
    "target",
    ["//sessions/1008", "/docs/../sessions/1008", "/docs%2F..%2Fsessions/1008",
     "/%2Fsessions/1008"],
)  # fmt: skip
def test_no_spelling_leads_past_the_gate(keyed: httpx.Client, farm: Farm, target: str) -> None:
    assert raw(keyed, target).status in (401, 404)
    assert farm.calls() == 0


def test_a_preflight_needs_no_key_and_allows_to_send_one(keyed: httpx.Client) -> None:
    answer = keyed.options("/sessions/1008", headers=PREFLIGHT)
    assert answer.status_code == 204
    assert {"authorization", "x-api-key"} <= listed(answer.headers["access-control-allow-headers"])


def test_a_stream_ends_when_its_key_is_taken_back(
    key: str, tmp_path: Path, start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.watched_file.LOOK_EVERY", 0.0)
    gateway = start_gateway(api_keys_file=tmp_path / "keys", fresh_active=1)
    _, line = new_key("site-a")
    with gateway.stream("GET", "/sessions/1005/events", headers={"x-api-key": key}) as stream:
        lines = stream.iter_lines()
        assert "event: session" in (next(lines), next(lines), next(lines))
        (tmp_path / "keys").write_text(line)
        told = list(lines)
    assert told[-3] == "event: problem"
    assert json.loads(told[-2].removeprefix("data: "))["code"] == "unauthorized"
    assert "event: end" not in told


def test_a_silent_stream_ends_with_the_next_comment_once_its_key_is_taken_back(
    key: str, tmp_path: Path, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.watched_file.LOOK_EVERY", 0.0)
    edge = create_app(settings_for(farm.url, api_keys_file=tmp_path / "keys", fresh_active=600))
    edge.app.state.services.responders.streams.heartbeat_every = 0.05  # type: ignore[attr-defined]
    with (
        running(serving(edge)) as url,
        client_of(url) as client,
        client.stream("GET", "/sessions/1005/events", headers={"x-api-key": key}) as stream,
    ):
        lines = stream.iter_lines()
        while next(lines) != ":":
            pass
        (tmp_path / "keys").write_text(new_key("site-a")[1])
        told = [line for line in lines if line not in ("", ":")]
    assert told[0] == "event: problem"
    assert json.loads(told[1].removeprefix("data: "))["code"] == "unauthorized"
    assert len(told) == 2


def taken_back_while_it_waits(
    gateway: httpx.Client,
    key: str,
    keys: Path,
    seconds: float,
    then: Callable[[], None] = lambda: None,
) -> httpx.Response:
    """The answer to who waits so long for a change; ``then`` is called once the key is invalid."""
    given = {"x-api-key": key}
    given["if-none-match"] = gateway.get("/sessions/1008", headers=given).headers["etag"]
    given["prefer"] = f"wait={seconds:.0f}"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(gateway.get, "/sessions/1008", headers=given)
        counted = 'rfgw_key_requests_total{key="site-a"} 2.0'
        while counted not in gateway.get("/metrics").text:
            assert not waiting.done()
        keys.write_text(new_key("site-a")[1])
        then()
        return waiting.result()


def test_who_waits_for_a_change_is_refused_as_soon_as_its_key_is_taken_back(
    key: str, tmp_path: Path, start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.watched_file.LOOK_EVERY", 0.0)
    monkeypatch.setattr("app.api.prefer.LONGEST", 100 * WITHIN)  # it does not end by itself
    monkeypatch.setattr("app.api.prefer.LOOK_EVERY", 0.05)
    gateway = start_gateway(api_keys_file=tmp_path / "keys")
    answer = taken_back_while_it_waits(gateway, key, tmp_path / "keys", 100 * WITHIN)
    problem_of(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == 'Bearer realm="rfgw", error="invalid_token"'
    assert "wrong_key" not in refused(gateway), "it was let in"


def test_who_has_waited_to_the_end_is_refused_if_its_key_was_taken_back(
    key: str, tmp_path: Path, start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.watched_file.LOOK_EVERY", 0.0)
    monkeypatch.setattr("app.api.prefer.LOOK_EVERY", 100 * WITHIN)
    gateway = start_gateway(api_keys_file=tmp_path / "keys")
    answer = taken_back_while_it_waits(gateway, key, tmp_path / "keys", 2)
    problem_of(answer, 401, "unauthorized")


def test_a_change_is_not_told_to_who_waited_if_its_key_was_taken_back(
    key: str, tmp_path: Path, start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.watched_file.LOOK_EVERY", 0.0)
    monkeypatch.setattr("app.api.prefer.LONGEST", 100 * WITHIN)
    monkeypatch.setattr("app.api.prefer.LOOK_EVERY", 100 * WITHIN)
    taken_back, keys = threading.Event(), tmp_path / "keys"

    def told(state: str) -> bytes:
        return http(session(member("state", state), number=1008))

    def change(connection: socket.socket) -> None:
        taken_back.wait(WITHIN)
        connection.sendall(told("completed"))

    with raw_farm(told("active"), change) as farm:
        gateway = start_gateway(upstream_url=farm.url, api_keys_file=keys, fresh_active=1)
        answer = taken_back_while_it_waits(gateway, key, keys, 100 * WITHIN, taken_back.set)
    problem_of(answer, 401, "unauthorized")


def test_with_keys_answers_are_private_and_kept_ones_come_from_the_front(
    keyed: httpx.Client, key: str, farm: Farm
) -> None:
    given = {"x-api-key": key}
    first, again = (keyed.get("/sessions/1008", headers=given) for _ in range(2))
    assert again.content == first.content
    assert again.headers["cache-status"].startswith("rfgw; hit")
    tag = {"if-none-match": first.headers["etag"]}
    unchanged = keyed.get("/sessions/1008", headers={**given, **tag})
    assert unchanged.status_code == 304
    missing = keyed.get("/sessions/300001", headers=given)
    for answer in (first, again, unchanged, missing):
        assert answer.headers["cache-control"].startswith("private, max-age=")
    assert keyed.get("/sessions/1008").status_code == 401, "a kept answer needs a key too"
    assert keyed.get("/sessions/1008", headers=tag).status_code == 401
    assert farm.calls() == 2


def test_keys_are_exchanged_while_it_runs(
    key: str, tmp_path: Path, start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.watched_file.LOOK_EVERY", 0.0)
    gateway = start_gateway(api_keys_file=tmp_path / "keys")
    assert gateway.get("/sessions/1008", headers={"x-api-key": key}).status_code == 200
    other, line = new_key("site-a")
    (tmp_path / "keys").write_text(line)
    assert gateway.get("/sessions/1008", headers={"x-api-key": other}).status_code == 200
    assert gateway.get("/sessions/1008", headers={"x-api-key": key}).status_code == 401


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "holds no keys"), ("site-a rfgw_s3cret", "line 1: must be a name"), (None, "cannot be")],
)
def test_a_file_without_keys_stops_the_start(tmp_path: Path, text: str | None, told: str) -> None:
    path = tmp_path / "keys"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=f"^RFGW_API_KEYS_FILE: {told}") as raised:
        create_app(settings_for("http://127.0.0.1:1", api_keys_file=path))
    assert "s3cret" not in str(raised.value)


def test_a_crash_of_the_gate_lets_nobody_in(
    keyed: httpx.Client,
    key: str,
    farm: Farm,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("app.edge.api_keys.ApiKeys.find", None)
    sent = {"x-api-key": key, "origin": "https://a.example", "x-request-id": "at-the-gate"}
    # A path that the fast path leaves to the route: each of the two tells its own crash.
    answer = keyed.get("/sessions/1008?fields=id", headers=sent)
    problem_of(answer, 500, "internal_error")
    LOG_WRITER.flush(WITHIN)
    (crash,) = [line for line in capfd.readouterr().err.splitlines() if '"crash"' in line]
    assert '"request_id": "at-the-gate"' in crash
    assert answer.headers["access-control-allow-origin"] == "*"
    assert farm.calls() == 0


# --- Rates ------------------------------------------------------------------------------------


def test_every_counted_answer_tells_what_is_left(start_gateway: StartGateway) -> None:
    gateway = start_gateway(rate_limit="10/3600")
    first = gateway.get("/sessions/1008")
    tag = {"if-none-match": first.headers["etag"]}
    answers = [
        first,
        gateway.get("/sessions/1008"),  # from the front
        gateway.get("/sessions/1008", headers=tag),
        gateway.head("/sessions/1008"),
        gateway.get("/sessions/x"),
        gateway.get("/nope"),
        gateway.post("/sessions/1008"),
        gateway.get("/sessions/300001"),
    ]
    statuses = [answer.status_code for answer in answers]
    assert statuses == [200, 200, 304, 200, 422, 404, 405, 404]
    for left, answer in zip(range(9, 1, -1), answers, strict=True):
        assert answer.headers.get_list("ratelimit-policy") == ['"default";q=10;w=3600']
        (told,) = answer.headers.get_list("ratelimit")
        assert re.fullmatch(rf'"default";r={left};t=\d+', told)
        assert "public" in first.headers["cache-control"]


def test_beyond_its_share_a_client_is_told_when_to_come_back(
    start_gateway: StartGateway, farm: Farm
) -> None:
    gateway = start_gateway(rate_limit="2/3600")
    assert [gateway.get("/sessions/1008").status_code for _ in range(2)] == [200, 200]
    answer = gateway.get("/sessions/1009", headers={"origin": "https://a.example"})
    problem = problem_of(answer, 429, "rate_limited")
    assert problem["retryable"] is True
    assert 1795_000 < problem["retryAfterMs"] <= 1800_000
    assert int(answer.headers["retry-after"]) == -(-problem["retryAfterMs"] // 1000)
    assert re.fullmatch(r'"default";r=0;t=(3600|359\d)', answer.headers["ratelimit"])
    assert answer.headers["ratelimit-policy"] == '"default";q=2;w=3600'
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cache-control"] == "no-store"
    assert gateway.get("/sessions/1008").status_code == 429, "kept answers count too"
    assert gateway.head("/sessions/1008").status_code == 429
    assert refused(gateway) == {"rate": 3}
    assert farm.calls() == 1


def test_a_list_costs_what_its_ids_cost(start_gateway: StartGateway, farm: Farm) -> None:
    gateway = start_gateway(rate_limit="20/3600")

    def left(query: str) -> int:
        answer = gateway.get(f"/sessions?{query}")
        told = re.search(r";r=(\d+);", answer.headers["ratelimit"])
        assert told is not None
        return int(told[1])

    assert left("ids=1008,1009,1010") == 17
    assert left("ids=1008,1009&ids=1010") == 14
    assert left("ids=1008%2C1009") == 12
    assert left("ids=1008,1008,1008") == 11, "one that comes twice counts once"
    assert left("ids=") == 10
    assert left("") == 9
    refused = gateway.get("/sessions?ids=" + ",".join(map(str, range(1001, 1012))))
    problem_of(refused, 429, "rate_limited")
    assert re.match(r'"default";r=9;', refused.headers["ratelimit"])
    assert left("ids=1001,1002,1003,1004,1005,1006,1007,1008,1009") == 0
    assert farm.calls() == 10


def test_lists_within_a_limit_ask_the_farm_no_more_than_it_allows(
    start_gateway: StartGateway, farm: Farm
) -> None:
    gateway = start_gateway(rate_limit="20/3600")
    for start in range(1, 751, 50):
        gateway.get("/sessions?ids=" + ",".join(str(300_000 + start + n) for n in range(50)))
    assert farm.calls() == 50, "one list, whose cost is a whole share"


def test_what_is_open_is_neither_counted_nor_refused(start_gateway: StartGateway) -> None:
    gateway = start_gateway(rate_limit="1/3600")
    assert gateway.get("/sessions/1008").status_code == 200
    for path in OPEN:
        answer = gateway.get(path)
        assert answer.status_code == 200
        assert "ratelimit" not in answer.headers
    assert gateway.options("/sessions/1008", headers=PREFLIGHT).status_code == 204
    assert gateway.get("/sessions/1008").status_code == 429


def test_each_key_has_a_share_of_its_own_and_guesses_count_for_their_address(
    tmp_path: Path, start_gateway: StartGateway
) -> None:
    made = [new_key(name) for name in ("site-a", "site-b", "site-b")]
    (tmp_path / "keys").write_text("\n".join(line for _, line in made))
    gateway = start_gateway(api_keys_file=tmp_path / "keys", rate_limit="2/3600")

    def ask(key: str) -> int:
        return gateway.get("/sessions/1008", headers={"x-api-key": key}).status_code

    first, second, third = (key for key, _ in made)
    assert [ask(first) for _ in range(3)] == [200, 200, 429]
    assert [ask(second), ask(third), ask(second)] == [200, 200, 429], "a name is a client"
    assert [ask("wrong"), ask("other"), ask("wrong")] == [401, 401, 429]
    assert refused(gateway) == {"rate": 3, "wrong_key": 2}


def test_behind_a_believed_proxy_clients_are_told_apart(start_gateway: StartGateway) -> None:
    def statuses(gateway: httpx.Client) -> list[int]:
        hops = ["203.0.113.1", "203.0.113.2", "203.0.113.1", "9.9.9.9, 203.0.113.1"]
        return [
            gateway.get("/sessions/1008", headers={"x-forwarded-for": hop}).status_code
            for hop in hops
        ]

    believing = start_gateway(rate_limit="1/3600", forwarded_allow_ips="127.0.0.0/8")
    assert statuses(believing) == [200, 200, 429, 429]
    assert statuses(start_gateway(rate_limit="1/3600")) == [200, 429, 429, 429]


async def test_the_client_s_name_goes_along_with_the_request() -> None:
    edge = frozen_edge("*", forwarded_allow_ips="127.0.0.1")
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["rfgw.client"])

    edge.app = app
    await exchange(edge, "GET", "/sessions/1", "", [(b"x-forwarded-for", b"2001:db8::1")])
    assert seen == ["2001:db8::/64"]


def test_without_keys_limits_or_proxies_there_is_no_gate() -> None:
    assert create_app(settings_for("http://127.0.0.1:1"))._admission is None


# --- Crowds -----------------------------------------------------------------------------------


def test_more_requests_than_there_are_places_are_told_so_at_once(farm: Farm) -> None:
    edge: Any = create_app(settings_for(farm.url, max_requests=2))
    inner, held, release = edge.app, [], threading.Event()

    async def holding(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") == "/held":
            held.append(scope["path"])
            await asyncio.to_thread(release.wait)
        await inner(scope, receive, send)

    edge.app = holding
    with (
        running(serving(edge)) as url,
        client_of(url) as gateway,
        ThreadPoolExecutor(2) as pool,
    ):
        assert gateway.get("/sessions/1008").status_code == 200
        waiting = [pool.submit(gateway.get, "/held", timeout=60) for _ in range(2)]
        try:
            while len(held) < 2:
                assert not any(future.done() for future in waiting)
            answer = gateway.get("/sessions/1009")
            problem = problem_of(answer, 503, "overloaded")
            assert problem["retryable"] is True
            assert answer.headers["retry-after"] == "1"
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "cache-status" not in answer.headers, "the cache took no part"
            assert gateway.get("/sessions/1008").status_code == 200, "the front needs no place"
            for path in OPEN:
                assert gateway.get(path).status_code == 200, path
            assert gateway.options("/sessions/1", headers=PREFLIGHT).status_code == 204
            assert refused(gateway) == {"crowd": 1}
        finally:
            release.set()
        assert [future.result().status_code for future in waiting] == [404, 404]
        assert gateway.get("/sessions/1009").status_code == 200


class Scene:
    """A crowd with places for some, before an application that a test directs."""

    def __init__(self, most: int) -> None:
        self.refused: list[str] = []
        problems = create_app(settings_for("http://127.0.0.1:1"))._problems
        self.concurrency_limit = ConcurrencyLimit(most, problems, self.refused.append)
        self.statuses: list[int] = []

    async def ask(self, app: Any) -> None:
        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.statuses.append(message["status"])

        scope = {"type": "http", "path": "/x", "headers": []}
        await self.concurrency_limit.around(app)(scope, None, send)  # type: ignore[arg-type]


def answering(content_type: bytes, then: Any) -> Any:
    """An application that begins an answer, and goes on with ``then``."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", content_type)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await then()
        await send({"type": "http.response.body", "body": b""})

    return app


async def nothing() -> None:
    """Go on at once."""


@pytest.mark.parametrize(
    ("content_type", "meanwhile"),
    [(b"application/json", 503), (b"text/event-stream", 200), (b"text/event-stream; x=y", 200)],
)
async def test_an_event_stream_gives_its_place_back_when_it_begins(
    content_type: bytes, meanwhile: int
) -> None:
    scene = Scene(1)

    async def another() -> None:
        await scene.ask(answering(b"text/plain", nothing))

    await scene.ask(answering(content_type, another))
    await scene.ask(answering(b"text/plain", nothing))
    assert scene.statuses == [200, meanwhile, 200]
    assert scene.refused == (["crowd"] if meanwhile == 503 else [])


@pytest.mark.parametrize("content_type", [b"application/json", b"text/event-stream"])
async def test_a_place_comes_back_once_whatever_happens(content_type: bytes) -> None:
    scene = Scene(1)

    async def crash() -> None:
        raise ValueError

    for _ in range(3):
        with pytest.raises(ValueError, match=r"^$"):
            await scene.ask(answering(content_type, crash))
    assert scene.concurrency_limit._under_way == 0
    await scene.ask(answering(b"text/plain", nothing))
    assert scene.statuses[-1] == 200
