"""Everything that lives as long as the process, built complete and closed in one place."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.api.problems import Problems
from app.api.replies import Replies
from app.api.responder import Responders
from app.cache.codec import Unusable
from app.cache.memory import MemoryStore
from app.cache.snapshot import Snapshot
from app.config.settings import Settings
from app.core.cache_entry import StaleWindows
from app.core.call import Call
from app.core.clock import age_clock
from app.core.fetch_result import FetchResult
from app.core.freshness import FreshnessPolicy
from app.core.gateway import Gateway
from app.core.performer import Performer
from app.core.ports import Instrumentation
from app.core.subscriptions import Subscriptions
from app.edge.rate_limit import RateLimit, RateLimiter
from app.login.logins import Logins
from app.login.same_site import origin_of
from app.login.sealed_cookies import CookieSeal
from app.login.visitor import Visits
from app.login.visitor_cookies import VisitorCookies
from app.resources.accounts import Accounts
from app.server.drain import Drain
from app.telemetry import logs
from app.telemetry.metrics import Metrics
from app.telemetry.multiprocess import MultiprocessMetrics
from app.telemetry.status import StatusHistory
from app.upstream.client import UpstreamClient
from app.upstream.recorder import Recorder
from app.wiring import (
    QUEUE_WAIT,
    coordinator_of,
    farm_of,
    gateway_of,
    rate_limiter_of,
    recorder_of,
    snapshot_of,
    status_of,
    telemetry_of,
)

if TYPE_CHECKING:
    from app.cluster.coordinator import RedisCoordinator

KEEP_MY_SESSIONS = 5.0
"""Seconds that a visitor's list of sessions is kept."""
MAX_VISITORS = 1000
"""Visitors whose lists are kept."""


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one gateway process. ``running`` starts and closes them."""

    metrics: Metrics
    instrumentation: Instrumentation
    problems: Problems
    drain: Drain
    rate_limiter: RateLimiter | None  # None: clients are not limited
    farm: UpstreamClient
    gateway: Gateway
    coordinator: "RedisCoordinator | None"  # None: this process shares its cache with no other
    snapshot: Snapshot | None  # None: what is kept ends with the process
    subscriptions: Subscriptions
    responders: Responders
    status: StatusHistory | None  # None: nobody may see it
    visits: Visits | None  # None: visitors cannot log in
    accounts: Accounts | None  # None: none are made

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything works while the block runs, and is closed in order at its end."""
        sampling = self.status.sampling() if self.status else nullcontext()
        async with self.metrics.shown(), sampling:
            if self.coordinator is not None:
                await self.coordinator.start()
            self._read_snapshot()
            yield
            if self.visits is not None:
                await self.visits.aclose()
            if self.accounts is not None:
                await self.accounts.aclose()
            await self.subscriptions.aclose()
            await self.gateway.aclose()
            self._write_snapshot()
            if self.coordinator is not None:
                await self.coordinator.aclose()
            await self.farm.aclose()
            await self.instrumentation.aclose()

    def _read_snapshot(self) -> None:
        """A file that is missing or unusable is an empty one."""
        if self.snapshot is None:
            return
        entries, problem = 0, ""
        try:
            entries = self.snapshot.read(self.gateway.store)
        except OSError as error:
            problem = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        except Unusable as unusable:
            problem = unusable.reason
        self.metrics.shared.snapshot.set(entries)
        logs.event("snapshot_read", entries=entries, problem=problem)

    def _write_snapshot(self) -> None:
        """If that fails, the file that was there stays."""
        if self.snapshot is None:
            return
        try:
            logs.event("snapshot_written", entries=self.snapshot.write(self.gateway.store))
        except OSError:
            logs.event("snapshot_not_written", level=logging.ERROR)


def build_services(
    settings: Settings,
    drain: Drain | None = None,
    multiprocess: MultiprocessMetrics | None = None,
    *,
    traced: bool = False,
) -> Services:
    """All parts of one process. ``multiprocess`` adds up several's; ``traced``: it makes spans."""
    metrics = Metrics(multiprocess)
    recorder = recorder_of(settings)
    instrumentation = telemetry_of(metrics, recorder, traced=traced)
    problems = Problems(settings.public_url or settings.root_path)
    drain = drain or Drain()
    rate_limiter = rate_limiter_of(settings)
    store = MemoryStore(max_entries=settings.cache_max_entries, max_bytes=settings.cache_max_bytes)
    coordinator = coordinator_of(settings, store, metrics, rate_limiter)
    farm = farm_of(settings, instrumentation, recorder)
    gateway = gateway_of(settings, farm, store, instrumentation, coordinator)
    subscriptions = Subscriptions(
        gateway, most=settings.events_max_streams, per_client=settings.events_per_client
    )
    drain.listen(subscriptions.end)
    responders = Responders(
        gateway,
        subscriptions,
        problems,
        private=settings.api_keys_file is not None,
        compress=settings.compress,
        patience=settings.upstream_deadline + QUEUE_WAIT,
        count_event=metrics.count_stream_event,
    )
    metrics.read_gauges(
        cache_entries=lambda: len(store),
        cache_bytes=lambda: store.nbytes,
        cache_failures=lambda: len(gateway.failures),
        flights=lambda: len(gateway.single_flight),
        calls=lambda: sum(bulkhead.held for bulkhead in farm.bulkheads),
        queued=lambda: sum(bulkhead.waiting for bulkhead in farm.bulkheads),
        streams=lambda: responders.open_streams,
    )
    performer = Performer(farm, instrumentation)
    return Services(
        metrics,
        instrumentation,
        problems,
        drain,
        rate_limiter,
        farm,
        gateway,
        coordinator,
        snapshot_of(settings),
        subscriptions,
        responders,
        status_of(settings, metrics),
        visits_of(settings, farm, performer, metrics, instrumentation, responders.replies),
        Accounts(performer, RateLimit(*settings.accounts_rate), time.monotonic)
        if settings.accounts
        else None,
    )


async def answer_once(
    settings: Settings, call: Call, recorder: Recorder | None = None
) -> FetchResult:
    """One answer without a server."""
    instrumentation = telemetry_of(Metrics(), recorder, traced=False)
    farm = farm_of(settings, instrumentation, recorder)
    store = MemoryStore(max_entries=1, max_bytes=settings.cache_max_bytes)
    gateway = gateway_of(settings, farm, store, instrumentation, None)
    try:
        return await gateway.fetch(call)
    finally:
        await gateway.aclose()
        await farm.aclose()


def visits_of(
    settings: Settings,
    farm: UpstreamClient,
    performer: Performer,
    metrics: Metrics,
    instrumentation: Instrumentation,
    replies: Replies,
) -> Visits | None:
    """What routes for visitors need, if visitors can log in."""
    if not settings.login:
        return None
    own = origin_of(settings.public_url)
    cookies = VisitorCookies(
        CookieSeal(settings.cookie_keys),
        secure=own.startswith("https:"),
        lifetime=settings.login_lifetime,
        now=time.time,
    )
    logins = Logins(
        performer,
        cookies,
        farm_url=settings.upstream_url,
        callback=f"{settings.public_url}/login/callback",
        origins=settings.origins,
        core_1_0=settings.oauth_core_1_0,
        count=metrics.count_login,
    )
    gateway = _gateway_of_visitors(farm, instrumentation, settings.cache_max_bytes)
    unwatched = Subscriptions(gateway, most=0, per_client=0)
    own_replies = Replies(gateway, unwatched, replies.problems, replies.coding, private=True)
    return Visits(logins, own_replies, performer, settings.origins | {own})


def _gateway_of_visitors(
    farm: UpstreamClient, instrumentation: Instrumentation, max_bytes: int
) -> Gateway:
    """What one visitor asks for is kept for nobody else, and in this process alone."""
    return Gateway(
        upstream=farm,
        store=MemoryStore(max_entries=MAX_VISITORS, max_bytes=max_bytes),
        freshness=FreshnessPolicy(
            lifetimes={"active": KEEP_MY_SESSIONS},
            refusals={},
            windows=StaleWindows(0, 0),
            if_slow=0,
            jitter=0,
        ),
        clock=age_clock,
        instrumentation=instrumentation,
    )
