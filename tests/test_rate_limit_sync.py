"""Shares of requests that several processes keep, by a real Valkey server."""

import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from app.cache.memory import MemoryStore
from app.cluster.coordinator import RedisCoordinator, open_coordinator
from app.cluster.rate_limit_sync import DEBT, MOST, RateLimitSync
from app.edge.rate_limit import RateLimit, SharedRateLimit
from app.telemetry.cluster_metrics import SharedCacheMetrics
from tests.conftest import Farm
from tests.group_member import until
from tests.programs import DEMO, PATIENT, WITHIN, await_port, free_port, started
from tests.running import client_of
from tests.test_shared_cache import counted
from tests.valkey import Valkey, valkey

pytestmark = pytest.mark.usefixtures("patience")

QUOTA, WINDOW = 40, 3600
"""So few in so long that nothing comes back while a test runs."""
NEW = itertools.count()
SHARED = 'total{operation="share",outcome="ok"}'


@pytest.fixture
def server() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory() as name, valkey(Path(name)) as running:
        yield running


class Process:
    """One of several processes: its own count, and its own connection."""

    def __init__(self, server: Valkey, quota: int = QUOTA) -> None:
        self.shared = SharedRateLimit(RateLimit(quota, WINDOW))
        self.registry = CollectorRegistry()
        self.coordinator: RedisCoordinator = open_coordinator(
            server.url,
            name="test",
            secret="s",
            store=MemoryStore(max_entries=10, max_bytes=10_000),
            clock=time.monotonic,
            deadline=1.0,
            tail=1.0,
            watch=SharedCacheMetrics(self.registry),
            observe=lambda how: None,
            changed=lambda state, cause: None,
            rate_limit=self.shared,
        )

    def take(self, client: str, times: int) -> int:
        """How many of so many requests are granted at once."""
        now = time.monotonic()
        return sum(self.shared.take(client, now).wait == 0 for _ in range(times))

    def spent(self, client: str, times: int) -> Callable[[], bool]:
        """Whether this process knows that so many requests were taken."""
        # Looking must not count: the rate within is asked, and then has one request less.
        whole_at = self.shared._rate._whole_at
        each = WINDOW / QUOTA
        return lambda: whole_at.get(client, 0.0) - time.monotonic() > (times - 0.5) * each

    def exchanges(self, outcome: str) -> float:
        labels = {"operation": "share", "outcome": outcome}
        return self.registry.get_sample_value("rfgw_shared_cache_total", labels) or 0.0


@asynccontextmanager
async def processes(server: Valkey, count: int = 2) -> AsyncIterator[list[Process]]:
    coordinator = [Process(server) for _ in range(count)]
    for process in coordinator:
        await process.coordinator.start()
    try:
        yield coordinator
    finally:
        for process in coordinator:
            await process.coordinator.aclose()


async def test_what_one_process_granted_another_does_not_grant_again(server: Valkey) -> None:
    async with processes(server) as (one, other):
        assert one.take("a", 30) == 30
        await until(lambda: one.exchanges("ok"))
        assert other.take("a", 1) == 1
        await until(other.spent("a", 31))
        assert other.take("a", 20) == 9
        assert other.take("b", 50) == 40, "each client has a share of its own"


async def test_what_is_shared_stays_until_the_share_is_whole_again(server: Valkey) -> None:
    async with processes(server, 1) as (one,):
        assert one.take("a", 30) == 30
        await until(lambda: one.exchanges("ok"))
        (name,) = server.client.keys("*share*")
        left = server.client.pttl(name)
        assert isinstance(left, int)
        assert 0.9 < left / (30 * WINDOW / QUOTA * 1000) <= 1


async def test_what_was_granted_too_much_is_paid_back_up_to_a_share(server: Valkey) -> None:
    async with processes(server, 4) as coordinator:
        assert [process.take("a", 50) for process in coordinator] == [40] * 4
        await until(lambda: sum(process.exchanges("ok") for process in coordinator) == 4)
        last = max(coordinator, key=lambda process: process.shared.take("a", time.monotonic()).wait)
        wait = last.shared.take("a", time.monotonic()).wait
        assert 0.9 < (wait - WINDOW / QUOTA) / ((DEBT - 1) * WINDOW) <= 1


async def test_a_server_that_is_lost_leaves_each_process_alone_and_comes_back(
    server: Valkey,
) -> None:
    async with processes(server) as (one, other):
        server.stop()
        assert one.take("a", 50) == other.take("a", 50) == 40
        await until(lambda: one.exchanges("down") + one.exchanges("late"))
        server.start()
        await until(lambda: one.take(f"b{next(NEW)}", 1) and one.exchanges("ok"))
        assert one.take("a", 1) == 0, "what is known is not forgotten"


@pytest.mark.parametrize("junk", [b"", b"nonsense", b"-1e300", b"1e300", b"inf", b"nan"])
async def test_whatever_stands_there_nobody_is_locked_out(server: Valkey, junk: bytes) -> None:
    async with processes(server, 1) as (one,):
        one.take("a", 1)
        await until(lambda: one.exchanges("ok"))
        (name,) = server.client.keys("*share*")
        server.client.set(name, junk)
        one.take("a", 1)
        await until(lambda: one.exchanges("ok") + one.exchanges("refused") == 2)
        assert one.shared.take("a", time.monotonic()).wait <= DEBT * WINDOW
        assert one.exchanges("refused") == 0
        overwritten = server.client.get(name)
        assert isinstance(overwritten, bytes)
        assert overwritten.isdigit()


async def test_another_kind_of_value_is_no_count(server: Valkey) -> None:
    async with processes(server, 1) as (one,):
        one.take("a", 1)
        await until(lambda: one.exchanges("ok"))
        (name,) = server.client.keys("*share*")
        server.client.delete(name)
        server.client.rpush(name, b"1")
        one.take("a", 1)
        await until(lambda: one.exchanges("refused"))
        server.client.delete(name)
        await until(lambda: one.take(f"b{next(NEW)}", 1) and one.exchanges("ok") > 1)


async def test_a_name_stands_nowhere_and_every_value_goes_away(server: Valkey) -> None:
    async with processes(server, 1) as (one,):
        one.take("site-a", 1)
        await until(lambda: one.exchanges("ok"))
        (name,) = server.client.keys("*share*")
        assert b"site-a" not in name
        assert 0 < server.client.pttl(name) <= WINDOW / QUOTA * 1000 + 1


def test_who_does_not_know_the_secret_cannot_tell_whose_a_share_is(server: Valkey) -> None:
    process = Process(server)
    store, shares = process.coordinator.shared_store, process.shared
    names = {
        RateLimitSync(store, shares, secret=secret, clock=time.monotonic)._name("192.0.2.7")
        for secret in ("s", "another")
    }
    assert len(names) == 2


def test_of_a_flood_of_clients_those_are_told_who_took_the_most() -> None:
    shared = SharedRateLimit(RateLimit(10, 60))
    for number in range(MOST):
        shared.take(f"flood-{number}", 0.0)
    for _ in range(3):
        shared.take("late", 0.0)
    assert (told := shared.unpublished(MOST))["late"] == 3
    assert len(told) == MOST
    assert shared.unpublished(MOST) == {}


def test_a_refused_request_is_not_told_and_less_than_is_known_is_not_believed() -> None:
    shared = SharedRateLimit(RateLimit(2, 20))
    for _ in range(5):
        shared.take("a", 0.0)
    assert shared.unpublished(MOST) == {"a": 2}
    shared.learn("a", 0.0, 0.0)
    assert shared.take("a", 0.0).wait == pytest.approx(10)
    shared.learn("a", 40.0, 0.0)
    assert shared.take("a", 0.0).wait == pytest.approx(30)


# --- As an operator runs them ------------------------------------------------------------------


def test_two_gateways_grant_about_as_much_as_one(
    tmp_path: Path, farm: Farm, server: Valkey
) -> None:
    settings = {
        **DEMO,
        "RFGW_UPSTREAM_URL": farm.url,
        "RFGW_CACHE_URL": server.url,
        "RFGW_RATE_LIMIT": f"{QUOTA}/{WINDOW}",
    }
    with ExitStack() as stack:
        ports = [free_port(), free_port()]
        for port in ports:
            own = {**settings, "RFGW_PORT": str(port)}
            log = stack.enter_context((tmp_path / str(port)).open("w"))
            program = started(tmp_path, *PATIENT, "serve", settings=own, log=log)
            await_port(port, stack.enter_context(program))
        clients = [stack.enter_context(client_of(f"http://127.0.0.1:{port}")) for port in ports]
        granted, refused_by = 0, set[int]()
        deadline = time.monotonic() + WITHIN
        while len(refused_by) < 2:
            before = [counted(client, SHARED) for client in clients]
            for number, client in enumerate(clients):
                answer = client.get("/sessions/1008")
                granted += answer.status_code == 200
                if answer.status_code == 429:
                    refused_by.add(number)
            for number in {0, 1} - refused_by:  # each learns of the other's before it grants more
                while counted(clients[number], SHARED) == before[number]:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
        assert QUOTA <= granted <= QUOTA * 3 // 2, "each alone would grant twice as much"


class Lying:
    """A server that says of each client that it owes a thousand years."""

    prefix = "rfgw"

    async def do(self, *_given: object) -> tuple[list[int]]:
        return ([1000 * 365 * 86_400 * 1_000_000],)


async def test_a_debt_beyond_the_bound_is_not_believed() -> None:
    shares = SharedRateLimit(RateLimit(QUOTA, WINDOW))
    sync = RateLimitSync(Lying(), shares, secret="s", clock=time.monotonic)  # type: ignore[arg-type]
    assert shares.take("a", time.monotonic()).wait == 0
    await sync._exchange(shares.unpublished(MOST))
    assert shares.take("a", time.monotonic()).wait == 0
