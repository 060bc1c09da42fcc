"""The farm and the gateway, made of settings: what answers calls, without HTTP in front of it.

Knows settings and the parts' own arguments. Must not know the web framework.
"""

import time
from collections.abc import Callable

from app.cache.memory import MemoryStore
from app.config.settings import Settings
from app.core import errors
from app.core.cache_entry import StaleWindows
from app.core.call import Call
from app.core.fetch_result import FetchResult
from app.core.freshness import FreshnessPolicy
from app.core.gateway import Gateway
from app.core.single_flight import SingleFlight
from app.telemetry import logs
from app.telemetry.log_writer import LOG_WRITER
from app.telemetry.metrics import Metrics
from app.upstream.circuit_breaker import Breaker
from app.upstream.client import Attempt, Farm
from app.upstream.guard import Bulkhead, Guard
from app.upstream.oauth import Signer
from app.upstream.sockets import open_http
from app.upstream.transport import Transport

QUEUE_WAIT = 0.25
"""Seconds that a call waits for its turn at most: beyond, telling the client is kinder."""

SPARE_CONNECTIONS = 8
"""The pool is larger than the bulkhead by these, so that nobody ever waits inside the client."""


async def answer_once(settings: Settings, call: Call) -> FetchResult:
    """One answer without a server."""
    metrics = Metrics()
    farm = farm_of(settings, metrics)
    gateway = gateway_of(settings, farm, metrics)
    try:
        return await gateway.fetch(call)
    finally:
        await gateway.aclose()
        await farm.aclose()


def farm_of(settings: Settings, metrics: Metrics) -> Farm:
    """The farm of these settings: a signer, a guard and a connection pool of its own."""
    observe, breaker_changed = _observers(metrics)
    return Farm(
        transport=_transport(settings),
        base=settings.upstream_url,
        signer=_signer(settings),
        bulkhead=Bulkhead(
            calls=settings.upstream_concurrency,
            queue=settings.upstream_queue,
            wait=min(QUEUE_WAIT, settings.upstream_deadline),
        ),
        guard=Guard(Breaker(breaker_changed)),
        deadline=settings.upstream_deadline,
        now=time.time,
        observe=observe,
        not_asked=metrics.count_not_asked,
        drift=metrics.count_drift,
    )


def gateway_of(settings: Settings, farm: Farm, metrics: Metrics) -> Gateway:
    """A gateway over ``farm`` with an empty store."""
    crashed = crashed_by(metrics)
    store = MemoryStore(max_entries=settings.cache_max_entries, max_bytes=settings.cache_max_bytes)
    gateway = Gateway(
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
        clock=time.monotonic,
        drift=metrics.count_drift,
        on_crash=lambda error: crashed("-", error),
        single_flight=SingleFlight(metrics.flights_joined.inc),
        answered=metrics.count_answer,
        misread=metrics.count_misread,
    )
    metrics.lines_dropped.read = lambda: LOG_WRITER.dropped
    metrics.cache_entries.set_function(lambda: len(store))
    metrics.cache_bytes.set_function(lambda: store.nbytes)
    metrics.flights.set_function(lambda: len(gateway.single_flight))
    metrics.calls.set_function(lambda: farm.bulkhead.held)
    metrics.queued.set_function(lambda: farm.bulkhead.waiting)
    return gateway


def crashed_by(metrics: Metrics) -> Callable[[str, BaseException], None]:
    """Who hears of bugs: counts and logs them."""

    def crashed(request_id: str, error: BaseException) -> None:
        metrics.crashes.inc()
        logs.crash(request_id, error)

    return crashed


def _transport(settings: Settings) -> Transport:
    ca_file = settings.upstream_ca_file
    return Transport(
        http=open_http(
            transport=settings.upstream_transport,
            connections=settings.upstream_concurrency + SPARE_CONNECTIONS,
            ca_file=str(ca_file) if ca_file else None,
        ),
        connect_timeout=settings.upstream_connect_timeout,
        max_body=settings.upstream_max_body,
        now=time.time,
    )


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


def _observers(metrics: Metrics) -> tuple[Callable[[Attempt], None], Callable[[str], None]]:
    """Who hears of each attempt, and who of the breaker's new states: both count and log."""

    def attempted(attempt: Attempt) -> None:
        metrics.count_attempt(attempt.outcome, attempt.number, attempt.seconds)
        logs.event(
            "upstream_attempt",
            method=attempt.method,
            arguments=dict(attempt.arguments),
            attempt=attempt.number,
            outcome=attempt.outcome,
            fault_code=attempt.fault_code,
            ms=round(attempt.seconds * 1000, 1),
        )

    def breaker_changed(state: str) -> None:
        metrics.breaker.state(state)
        logs.event("upstream_breaker", state=state)

    return attempted, breaker_changed
