"""Makes each part from the settings: the farm, the gateway, what processes share."""

import math
import resource
import time
from typing import TYPE_CHECKING

from app.cache.codec import Seal, group_name
from app.cache.memory import MemoryStore
from app.cache.snapshot import Snapshot
from app.config.addresses import forward_proxy
from app.config.settings import Settings
from app.core import errors
from app.core.cache_entry import StaleWindows
from app.core.clock import age_clock
from app.core.freshness import FreshnessPolicy
from app.core.gateway import Gateway
from app.core.ports import Instrumentation
from app.edge.rate_limit import RateLimit, RateLimiter, SharedRateLimit
from app.telemetry.instrumentation import Telemetry
from app.telemetry.metrics import Metrics
from app.telemetry.state_log import StateLog
from app.telemetry.status import StatusHistory
from app.upstream.bulkhead import LOGIN_CALLS, Bulkhead
from app.upstream.circuit_breaker import Breaker, Guard
from app.upstream.client import UpstreamClient
from app.upstream.oauth import Signer
from app.upstream.recorder import FolderRecorder, Recorder
from app.upstream.sockets import FarmConnections, Proxy
from app.upstream.tls import trust_for
from app.upstream.transport import Transport
from app.version import VERSION

if TYPE_CHECKING:
    from app.cluster.coordinator import RedisCoordinator

QUEUE_WAIT = 0.25
"""Seconds that a call waits for its turn at most: beyond, telling the client is kinder."""

SPARE_CONNECTIONS = LOGIN_CALLS + 8
"""The pool is larger than the bulkhead by these, so that nobody ever waits inside the client."""

OWN_FILES = 32
"""Open files of the process itself: standard streams, listeners, the event loop, the connections to
a shared cache, files that are read anew, libraries. Seen: about 20."""
FEWEST_CONNECTIONS = 8
"""Clients that may be connected however few files may be open."""


def files_left(settings: Settings, limit: int | None = None) -> float:
    """How many open files are left for clients, of a ``limit`` that is this process's own unless
    given."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if limit is None else limit
    if limit == resource.RLIM_INFINITY:
        return math.inf
    return limit - OWN_FILES - settings.upstream_concurrency - SPARE_CONNECTIONS


def connections_of(settings: Settings) -> float:
    """How many clients may be connected to a process at once."""
    return settings.max_connections or max(files_left(settings), FEWEST_CONNECTIONS)


def farm_of(
    settings: Settings, instrumentation: Instrumentation, recorder: Recorder | None = None
) -> UpstreamClient:
    """The farm of these settings: a signer, a guard and a connection pool of its own."""
    places, wait = settings.upstream_concurrency, min(QUEUE_WAIT, settings.upstream_deadline)
    bulkhead = Bulkhead(calls=places, queue=settings.upstream_queue, wait=wait)
    steps = Bulkhead(calls=LOGIN_CALLS, queue=LOGIN_CALLS, wait=wait)
    return UpstreamClient(
        transport=_transport(settings),
        base=settings.upstream_url,
        signer=_signer(settings),
        bulkhead=bulkhead,
        # A farm that serves one connection at a time would not hear a login on a second one.
        login_bulkhead=steps if places > 1 else bulkhead,
        guard=Guard(Breaker(instrumentation.breaker)),
        deadline=settings.upstream_deadline,
        now=time.time,
        clock=age_clock,
        user_signing=settings.user_signing,
        instrumentation=instrumentation,
        recorder=recorder,
    )


def recorder_of(settings: Settings) -> Recorder | None:
    """What keeps answers that cannot be read, if a folder for them is set."""
    if settings.record_dir is None:
        return None
    secrets = upstream_secrets(settings)
    return FolderRecorder(settings.record_dir, secrets, settings.record_max, time.monotonic)


def upstream_secrets(settings: Settings) -> list[str]:
    """What a call to the farm is signed with, and what a proxy is told."""
    given = (
        settings.consumer_key,
        settings.consumer_secret,
        settings.oauth_token,
        settings.oauth_token_secret,
        settings.upstream_proxy,
    )
    proxy = _proxy(settings)
    told = [proxy.authorization.rpartition(" ")[2]] if proxy and proxy.authorization else []
    return [*(secret.get_secret_value() for secret in given if secret is not None), *told]


def gateway_of(
    settings: Settings,
    farm: UpstreamClient,
    store: MemoryStore,
    instrumentation: Instrumentation,
    coordinator: "RedisCoordinator | None",
) -> Gateway:
    """A gateway over ``farm``."""
    return Gateway(
        upstream=farm,
        store=store,
        freshness=FreshnessPolicy(
            lifetimes={
                "active": settings.fresh_active,
                "queued": settings.fresh_queued,
                "waiting": settings.fresh_waiting,
                "terminal": settings.fresh_terminal,
            },
            refusals={
                errors.SessionNotFound: settings.keep_not_found,
                errors.SessionNotAttached: settings.keep_refused,
                errors.SessionForbidden: settings.keep_refused,
            },
            windows=StaleWindows(settings.stale_while_revalidate, settings.stale_if_error),
            if_slow=settings.stale_if_slow,
            jitter=settings.ttl_jitter,
        ),
        clock=age_clock,
        instrumentation=instrumentation,
        coordinator=coordinator,
    )


def _transport(settings: Settings) -> Transport:
    return Transport(
        http=FarmConnections(
            connections=settings.upstream_concurrency + SPARE_CONNECTIONS,
            trust=trust_for(settings.upstream_url, settings.upstream_ca_file),
            max_age=settings.upstream_max_connection_age,
            proxy=_proxy(settings),
        ),
        connect_timeout=settings.upstream_connect_timeout,
        max_body=settings.upstream_max_body,
        now=time.time,
    )


def _proxy(settings: Settings) -> Proxy | None:
    if settings.upstream_proxy is None:
        return None
    proxy = forward_proxy(settings.upstream_proxy.get_secret_value())
    return Proxy(proxy.url, proxy.authorization)


def _signer(settings: Settings) -> Signer:
    token, token_secret = settings.oauth_token, settings.oauth_token_secret
    return Signer(
        consumer_key=settings.consumer_key.get_secret_value(),
        consumer_secret=settings.consumer_secret.get_secret_value(),
        token=token.get_secret_value() if token else "",
        token_secret=token_secret.get_secret_value() if token_secret else "",
        reading=settings.signing,
        version=settings.oauth_version,
    )


def rate_limiter_of(settings: Settings) -> RateLimiter | None:
    """What limits clients, if they are limited: with a shared cache, for all processes together."""
    if settings.rate is None:
        return None
    rate = RateLimit(*settings.rate)
    return SharedRateLimit(rate) if settings.cache_url else rate


def coordinator_of(
    settings: Settings, store: MemoryStore, metrics: Metrics, rate_limiter: RateLimiter | None
) -> "RedisCoordinator | None":
    """What connects this process to others, if a shared cache is set."""
    if settings.cache_url is None:
        return None
    from app.cluster.coordinator import open_coordinator  # noqa: PLC0415 - needs redis-py

    state_log = StateLog("shared_cache")

    def changed(state: str, cause: str) -> None:
        metrics.shared.is_up.set(state == "up")
        state_log.update(state=state, cause=cause)

    return open_coordinator(
        settings.cache_url.get_secret_value(),
        name=group_of(settings),
        secret=settings.consumer_secret.get_secret_value(),
        store=store,
        clock=age_clock,
        deadline=settings.upstream_deadline,
        tail=settings.stale_if_error,
        watch=metrics.shared,
        observe=metrics.shared.question,
        changed=changed,
        rate_limit=rate_limiter if isinstance(rate_limiter, SharedRateLimit) else None,
    )


def telemetry_of(metrics: Metrics, recorder: Recorder | None, *, traced: bool) -> Telemetry:
    """What counts, logs and, if ``traced``, makes spans of what the others report."""
    on_misread = recorder.misread if recorder else None
    if not traced:
        return Telemetry(metrics, on_misread)
    from app.telemetry.tracing import TracedTelemetry  # noqa: PLC0415 - needs the extra otel

    return TracedTelemetry(metrics, on_misread)


def status_of(settings: Settings, metrics: Metrics) -> StatusHistory | None:
    """What the status page shows, if anybody may see it."""
    if settings.status == "off":
        return None
    limits = {"entries": settings.cache_max_entries, "bytes": settings.cache_max_bytes}
    limits["shared"] = settings.cache_url is not None
    return StatusHistory(metrics.families, time.time, limits)


def snapshot_of(settings: Settings) -> Snapshot | None:
    """The file that keeps answers from one start to the next, if one is set."""
    if settings.snapshot_file is None:
        return None
    return Snapshot(
        settings.snapshot_file,
        group_of(settings),
        seal=Seal(settings.consumer_secret.get_secret_value(), "snapshot"),
        clock=age_clock,
        now=time.time,
        tail=settings.stale_if_error,
    )


def group_of(settings: Settings) -> str:
    """The name of all processes that may share answers."""
    token = settings.oauth_token.get_secret_value() if settings.oauth_token else ""
    key = settings.consumer_key.get_secret_value()
    return group_name(VERSION, settings.upstream_url, key, token)
