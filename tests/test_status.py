"""The numbers of the status page: what they are, and who may see them."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.edge.api_keys import new_key
from app.telemetry.hit_counters import BOUNDS
from app.telemetry.metrics import Metrics
from app.telemetry.status import BREAKER, FAILURES, LABELS, StatusHistory
from tests.conftest import Farm, StartGateway
from tests.programs import DEMO, RFGW, Program, await_ready, free_port, run, started
from tests.running import client_of
from tests.test_server import children, connect
from tests.test_upstream import wait_for
from tests.test_workers import alone


class Moments:
    """A clock that is wound by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Unix seconds."""
        return self.now


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def clock() -> Moments:
    return Moments()


@pytest.fixture
def history(metrics: Metrics, clock: Moments) -> StatusHistory:
    return StatusHistory(metrics.families, clock, {"entries": 10})


def test_rates_and_ratios_are_of_the_time_between_two_samples(
    history: StatusHistory, metrics: Metrics, clock: Moments
) -> None:
    metrics.requests.count("getSession", 200, 0.01)  # before anybody looked
    history.sample()
    for outcome in ("hit", "hit", "negative", "miss"):
        metrics.count_answer(outcome, 0)
        metrics.requests.count("getSession", 200, 0.01)
    metrics.requests.count("getSession", 404, 0.01)
    metrics.count_attempt("ok", 1, 0.01)
    metrics.count_attempt("deadline", 1, 0.01)
    clock.now += 10
    history.sample()
    clock.now += 10
    told = history.document()
    assert told["hour"]["requests"] == {"2xx": 4, "4xx": 1}
    assert told["hour"]["answers"] == {"hit": 2, "negative": 1, "miss": 1}
    assert told["hour"]["attempts"] == {"ok": 1, "deadline": 1}
    assert told["hour"]["hitRatio"] == 0.75
    first, second = told["points"]
    assert (first["at"], first["requests"], first["hitRatio"]) == (1010.0, 0.5, 0.75)
    assert (first["attempts"], first["failed"]) == (0.2, 0.1)
    assert (second["requests"], second["hitRatio"], second["p95"]) == (0, None, None)


def test_quantiles_are_linear_within_their_bucket(history: StatusHistory, metrics: Metrics) -> None:
    history.sample()
    for _ in range(100):
        metrics.requests.count("getSession", 200, 0.05)  # from 0.025 to 0.1
    told = history.document()["recent"]["requestSeconds"]
    assert told["p50"] == pytest.approx(0.0625)
    assert told["p99"] == pytest.approx(0.025 + 0.075 * 0.99)
    for _ in range(900):
        metrics.requests.count("getSession", 200, 100.0)
    assert history.document()["recent"]["requestSeconds"]["p95"] == BOUNDS[-1]
    assert history.document()["recent"]["attemptSeconds"]["p95"] is None


def test_recent_latencies_are_of_five_minutes_and_not_of_the_hour(
    history: StatusHistory, metrics: Metrics, clock: Moments
) -> None:
    history.sample()
    metrics.requests.count("getSession", 200, 5.0)
    metrics.count_attempt("ok", 1, 5.0)
    for _ in range(31):
        clock.now += 10
        history.sample()
    metrics.requests.count("getSession", 200, 0.0005)
    metrics.count_attempt("ok", 1, 0.0005)
    told = history.document()["recent"]
    assert max(told["requestSeconds"]["p99"], told["attemptSeconds"]["p99"]) < 0.001


def test_the_last_twenty_failures_are_told_with_their_causes(
    history: StatusHistory, metrics: Metrics, clock: Moments
) -> None:
    metrics.count_attempt("dns", 1, 0.1)  # before anybody looked
    history.sample()
    for number in range(FAILURES + 5):
        clock.now += 10
        metrics.count_attempt("fault", 1, 0.1)
        metrics.count_attempt("deadline" if number else "reset", 1, 0.1)
        history.sample()
    clock.now += 10
    metrics.count_not_asked("breaker_open")
    metrics.count_not_asked("breaker_open")
    metrics.crashes.inc()
    history.sample()
    told = history.document()["failures"]
    assert len(told) == FAILURES
    assert {one["cause"] for one in told} == {"deadline", "breaker_open", ""}
    newest = [one for one in told if one["at"] == clock.now]
    assert {(one["kind"], one["cause"], one["times"]) for one in newest} == {
        ("not asked", "breaker_open", 2),
        ("bug", "", 1),
    }


def test_what_is_no_failure_of_the_farm_is_not_told_as_one(
    history: StatusHistory, metrics: Metrics
) -> None:
    history.sample()
    for outcome in ("ok", "fault", "aborted"):
        metrics.count_attempt(outcome, 1, 0.01)
    history.sample()
    assert history.document()["failures"] == []


async def test_nobody_samples_after_the_end(history: StatusHistory) -> None:
    before = asyncio.all_tasks()
    async with history.sampling():
        assert len(asyncio.all_tasks() - before) == 1
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


def test_an_hour_is_remembered_and_no_more(history: StatusHistory, clock: Moments) -> None:
    for _ in range(500):
        history.sample()
        clock.now += 10
    told = history.document()
    assert told["now"] - told["since"] == 3610
    assert len(told["points"]) == 361
    clock.now -= 9.5
    assert len(history.document()["points"]) == 360, "half a second is too short for a rate"


def test_every_series_that_the_page_reads_is_there(metrics: Metrics) -> None:
    families = {family.name for family in metrics.families()}
    read = {series.removesuffix("_total").removesuffix("_bucket") for series in LABELS}
    assert read | {BREAKER} <= families


# Who may see them


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, str, str]:
    """A file of keys, an operator's key and a client's."""
    (operator, one), (client, other) = new_key("ops", ["status"]), new_key("site-a", ["accounts"])
    (tmp_path / "keys").write_text(f"{one}\n{other}\n")
    return tmp_path / "keys", operator, client


def test_it_is_off_by_default(gateway: httpx.Client) -> None:
    for path in ("/status", "/status.json"):
        assert gateway.get(path).json()["code"] == "route_not_found"


def test_loopback_sees_the_numbers(start_gateway: StartGateway) -> None:
    gateway = start_gateway(status="loopback")
    gateway.get("/sessions/1008")
    answer = gateway.get("/status.json")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["gauges"]["workers"] == 1
    assert gateway.get("/status.json", headers={"Host": "localhost:8000"}).status_code == 200
    assert gateway.get("/status.json", headers={"Sec-Fetch-Site": "same-origin"}).is_success


@pytest.mark.parametrize(
    "fields",
    [
        {"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}, {"Via": "1.1 proxy"},
        {"X-Real-IP": "127.0.0.1"}, {"Host": "rebound.example"}, {"Host": "127.0.0.1.example"},
        {"Origin": "https://evil.example"}, {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Connection": "close"},
    ],
    ids=str,
)  # fmt: skip
def test_the_numbers_are_not_there_for_others(
    fields: dict[str, str], start_gateway: StartGateway
) -> None:
    answer = start_gateway(status="loopback").get("/status.json", headers=fields)
    assert (answer.status_code, answer.json()["code"]) == (404, "route_not_found")


def test_what_asks_by_http_1_0_may_be_a_proxy_that_names_nobody(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway(status="loopback")
    for version, status in (("1.1", b" 200 "), ("1.0", b" 404 ")):
        with connect(gateway.base_url.port or 0) as client:
            client.sendall(f"GET /status.json HTTP/{version}\r\nHost: 127.0.0.1\r\n\r\n".encode())
            assert status in client.makefile("rb").readline()


def test_who_is_not_on_this_machine_does_not_see_them(start_gateway: StartGateway) -> None:
    gateway = start_gateway(status="loopback", forwarded_allow_ips="127.0.0.1")
    assert gateway.get("/status.json", headers={"X-Forwarded-For": "10.0.0.1"}).is_client_error


def test_only_keys_with_the_scope_open_them(
    start_gateway: StartGateway, keys: tuple[Path, str, str]
) -> None:
    path, operator, client = keys
    gateway = start_gateway(status="key", api_keys_file=path)
    assert gateway.get("/status").status_code == 200
    assert gateway.get("/status.json").status_code == 401
    wrong = gateway.get("/status.json", headers={"X-API-Key": f"{operator}x"})
    assert wrong.status_code == 401
    others = gateway.get("/status.json", headers={"X-API-Key": client})
    assert (others.status_code, others.json()["code"]) == (404, "route_not_found")
    seen = gateway.get("/status.json", headers={"Authorization": f"Bearer {operator}"})
    assert seen.json()["hour"]["requests"] == {"2xx": 1, "4xx": 3}
    foreign = {"Authorization": f"Bearer {operator}", "Origin": "https://evil.example"}
    assert gateway.get("/status.json", headers=foreign).status_code == 404


@pytest.mark.parametrize("text", ["everybody", "true", "key"])
def test_what_opens_it_to_nobody_in_particular_is_refused(text: str, tmp_path: Path) -> None:
    done = run(tmp_path, "config", settings={**DEMO, "RFGW_STATUS": text})
    assert done.returncode == 2
    assert done.stderr.startswith("RFGW_STATUS: ")


@pytest.fixture
def two_workers(tmp_path: Path, farm: Farm) -> Iterator[tuple[Program, httpx.Client]]:
    """A gateway of two processes, and a client of it."""
    port = free_port()
    settings = {**DEMO, "RFGW_UPSTREAM_URL": farm.url, "RFGW_PORT": str(port)}
    options = ("--workers", "2", "--status", "loopback", "--no-log-requests")
    with started(tmp_path, *RFGW, "serve", *options, settings=settings) as program:
        await_ready(port)
        with client_of(f"http://127.0.0.1:{port}") as client:
            yield program, client
        program.terminate()


def test_the_numbers_are_of_all_workers(two_workers: tuple[Program, httpx.Client]) -> None:
    program, client = two_workers
    wait_for(lambda: len(children(program.pid)) == 2)
    workers = children(program.pid)
    for worker in workers:  # each keeps the session
        with alone(worker, workers):
            answer = client.get("/sessions/1008", headers={"Connection": "close"})
        assert answer.is_success

    def gauges() -> dict[str, float]:
        told: dict[str, float] = client.get("/status.json").json()["gauges"]
        return told

    wait_for(lambda: (gauges()["workers"], gauges()["cache_entries"]) == (2, 2))
    lines = client.get("/metrics").text.splitlines()
    assert "rfgw_cache_entries 2.0" in lines
