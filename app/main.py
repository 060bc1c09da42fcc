"""create_app(settings): the one place that builds the parts and connects them."""

import gc
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app import errors, logs
from app.api.admission import Crowd, Gate
from app.api.catalogue import Code
from app.api.clients import Clients
from app.api.demo_page import demo_router
from app.api.docs import docs_router
from app.api.document_routes import document_router
from app.api.edge import Edge
from app.api.front import Front
from app.api.health import health_router
from app.api.keys import Keys, KeysError
from app.api.lists import Lists
from app.api.problem_pages import problem_router
from app.api.problems import CODES, Problem, Problems
from app.api.rate import Rate
from app.api.replies import Replies
from app.api.seen import Observer
from app.api.sse import Live
from app.cache.memory import MemoryStore
from app.call import Call
from app.drain import Drain
from app.entry import Windows
from app.environment import SettingsError, load_settings
from app.flight import Flights
from app.gateway import Gateway, Keeping
from app.lines import LINES
from app.live import Hub
from app.metrics import Metrics
from app.resources import FRONT_KEYS, FRONT_OPERATIONS, ROUTERS
from app.settings import Settings, env_name
from app.sharing import Memory, join_group
from app.upstream.breaker import Breaker
from app.upstream.client import FAULTS, Attempt, Farm
from app.upstream.guard import Bulkhead, Guard
from app.upstream.oauth import Signer
from app.upstream.transport import Transport, open_http
from app.version import VERSION

QUEUE_WAIT = 0.25
"""Seconds that a call waits for its turn at most: beyond, telling the client is kinder."""

COLLECT_AFTER = 20_000
"""New objects after which the garbage collector looks at the young ones; Python's own is 700."""

SPARE_CONNECTIONS = 8
"""The pool is larger than the bulkhead by these, so that nobody ever waits inside the client."""


def create_app(settings: Settings | None = None, drain: Drain | None = None) -> Edge:
    """The gateway as an ASGI application, from ``settings`` or from the environment.

    Whoever runs it begins the ``drain`` before ending it.

    Wrong settings in the environment end the process with exit code 2, one line for each. Raises
    SettingsError if ``settings`` were given and name a file that holds no keys.
    """
    if settings is None:
        try:
            return create_app(load_settings(), drain)
        except SettingsError as error:
            sys.stderr.write(f"{error}\n")
            raise SystemExit(2) from None
    form = logs.configure(settings.log_level, settings.log_format)
    problems = Problems(settings.public_url)
    metrics = Metrics()
    gate = _gate(settings, metrics)
    drain = drain or Drain()
    app = _api(settings, problems, drain, metrics)
    wanted = settings.log_requests and logs.EVENTS.isEnabledFor(logging.INFO)
    observer = Observer(metrics.requests, form if wanted else None, FRONT_OPERATIONS)
    front = Front(app.state.gateway, app.state.replies, FRONT_KEYS, observer.expect)
    crowd = Crowd(settings.max_requests, problems, metrics.count_refused)
    crashed = _crashed(metrics)
    return Edge(app, front, problems, settings.origins, crashed, observer, gate, crowd, drain)


def create_api(settings: Settings) -> FastAPI:
    """The application within: for its OpenAPI document."""
    return _api(settings, Problems(settings.public_url), Drain(), Metrics())


async def fetch_once(settings: Settings, call: Call) -> tuple[bytes, Problem | None]:
    """One answer without a server: its JSON, or the problem."""
    metrics = Metrics()
    farm = farm_of(settings, metrics)
    gateway = gateway_of(settings, farm, metrics)
    try:
        answer = await gateway.fetch(call)
    finally:
        await gateway.aclose()
        await farm.aclose()
    if answer.error is not None:
        problems = Problems(settings.public_url)
        return b"", problems.document(CODES[type(answer.error)], "-", error=answer.error)
    assert answer.entry is not None  # noqa: S101 - no error, so there is an entry
    return answer.entry.body, None


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


def _crashed(metrics: Metrics) -> Callable[[str, BaseException], None]:
    """Who hears of bugs: counts and logs them."""

    def crashed(request_id: str, error: BaseException) -> None:
        metrics.crashes.inc()
        logs.crash(request_id, error)

    return crashed


def gateway_of(settings: Settings, farm: Farm, metrics: Metrics) -> Gateway:
    """A gateway over ``farm`` with an empty store."""
    crashed = _crashed(metrics)
    store = MemoryStore(max_entries=settings.cache_max_entries, max_bytes=settings.cache_max_bytes)
    gateway = Gateway(
        upstream=farm,
        store=store,
        keeping=Keeping(
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
            windows=Windows(settings.stale_while_revalidate, settings.stale_if_error),
            if_slow=settings.stale_if_slow,
            jitter=settings.ttl_jitter,
        ),
        clock=time.monotonic,
        drift=metrics.count_drift,
        on_crash=lambda error: crashed("-", error),
        flights=Flights(metrics.flights_joined.inc),
        answered=metrics.count_answer,
        misread=metrics.count_misread,
    )
    metrics.lines_dropped.read = lambda: LINES.dropped
    metrics.cache_entries.set_function(lambda: len(store))
    metrics.cache_bytes.set_function(lambda: store.nbytes)
    metrics.flights.set_function(lambda: len(gateway.flights))
    metrics.calls.set_function(lambda: farm.bulkhead.held)
    metrics.queued.set_function(lambda: farm.bulkhead.waiting)
    return gateway


def _gate(settings: Settings, metrics: Metrics) -> Gate | None:
    """Who decides whether a request is answered; nobody, if every request is."""
    path, rate, proxies = settings.api_keys_file, settings.rate, settings.proxies
    if not (path or rate or proxies):
        return None
    try:
        keys = Keys(path) if path else None
    except KeysError as error:
        raise SettingsError(f"{env_name('api_keys_file')}: {error}") from None
    counter = Rate(*rate) if rate else None
    told = metrics.count_refused, metrics.keys.numbers
    return Gate(Clients(proxies), keys, counter, time.monotonic, *told)


def _api(settings: Settings, problems: Problems, drain: Drain, metrics: Metrics) -> FastAPI:
    farm = farm_of(settings, metrics)
    gateway = gateway_of(settings, farm, metrics)
    group = join_group(settings, gateway, metrics)
    memory = Memory(settings, gateway, metrics)
    hub = Hub(gateway, most=settings.events_max_streams, per_client=settings.events_per_client)
    drain.listen(hub.end)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # What exists now lives for ever: the collector need never look at it again. A miss makes
        # thousands of objects and no cycles: looking seldom saves a fifth of its processor time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER, 10, 10)
        logs.event("started", version=VERSION, upstream=settings.upstream_url)
        if group is not None:
            await group.start()
        memory.recall()
        yield
        await hub.aclose()
        await gateway.aclose()
        memory.keep()
        if group is not None:
            await group.aclose()
        await farm.aclose()
        LINES.flush()

    app = FastAPI(
        title="Renderfarm gateway",
        version=VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.drain = drain
    app.state.gateway = gateway
    private = settings.api_keys_file is not None
    app.state.replies = Replies(gateway, problems, gateway.keeping.windows, private=private)
    app.state.lists = Lists(app.state.replies, settings.upstream_deadline + QUEUE_WAIT)
    app.state.hub = hub
    app.state.live = live = Live(gateway, hub, problems, metrics.count_stream_event)
    metrics.streams.set_function(lambda: live.streams)
    for router in ROUTERS:
        app.include_router(router)
    known = {CODES[kind]: number for number, kind in FAULTS.items()}
    faults = {**known, Code.UPSTREAM_FAULT: 999}  # any other number
    app.include_router(
        problem_router(public_url=settings.public_url, version=VERSION, faults=faults)
    )
    app.include_router(health_router(metrics.exposition, drain))
    app.include_router(docs_router(public_url=settings.public_url, version=VERSION))
    if settings.demo_dir is not None:
        app.include_router(demo_router(settings.demo_dir))
    app.include_router(document_router(app, settings.public_url))
    problems.install(app)
    return app
