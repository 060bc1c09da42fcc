"""create_app(settings): the gateway as an ASGI application, built and connected."""

import gc
import logging
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.routing import RouteContext, iter_route_contexts

from app.api.client_address import ClientAddresses
from app.api.error_codes import Code
from app.api.health import health_router
from app.api.problems import CODES, Problem, Problems
from app.api.route_path import first_segment
from app.config.base import env_name
from app.config.environment import SettingsError, load_settings
from app.config.otel import traces_wanted
from app.config.settings import Settings
from app.core.call import Call
from app.docs.demo_page import demo_router
from app.docs.document_routes import document_router
from app.docs.problem_pages import problem_router
from app.docs.status_page import status_router
from app.docs.swagger_ui import docs_router
from app.edge.admission import Admission
from app.edge.api_keys import ApiKeys, ApiKeysError
from app.edge.application import EdgeApplication
from app.edge.common_fields import VisitorPaths
from app.edge.concurrency_limit import ConcurrencyLimit
from app.edge.fast_path import FastPath, SampledFastPath
from app.edge.representation import Representations
from app.resources import ACCOUNTS, CALLS, FAST_ROUTES, LISTS, ROUTERS, VISITORS
from app.server.drain import Drain
from app.services import Services, answer_once, build_services
from app.telemetry import logs
from app.telemetry.access_log import AccessLog
from app.telemetry.log_writer import LOG_WRITER
from app.telemetry.multiprocess import MultiprocessMetrics
from app.upstream.recorder import Recorder
from app.upstream.refusals import FAULTS
from app.version import VERSION

COLLECT_AFTER = 20_000
"""New objects after which the garbage collector looks at the young ones; Python's own is 700."""
MAX_BODY = 4096
"""Bytes of a request's body, for a route that takes one."""


def create_app(
    settings: Settings | None = None,
    drain: Drain | None = None,
    multiprocess: MultiprocessMetrics | None = None,
) -> EdgeApplication:
    """The gateway as an ASGI application, from ``settings`` or from the environment.

    Whoever runs it begins the ``drain`` before ending it. ``multiprocess`` adds up the metrics of
    all worker processes.

    Wrong settings in the environment end the process with exit code 2, one line for each. Raises
    SettingsError if ``settings`` were given and name a file that holds no keys.
    """
    if settings is None:
        with _wrong_settings_told():
            return create_app(load_settings(), drain, multiprocess)
    form = logs.configure(settings.log_level, settings.log_format)
    traced = traces_wanted()
    services = build_services(settings, drain, multiprocess, traced=traced)
    metrics = services.metrics
    wanted = settings.log_requests and logs.EVENTS.isEnabledFor(logging.INFO)
    access_log = AccessLog(metrics.requests, form if wanted else None)
    api = _api(settings, services)
    routes = [*iter_route_contexts(api.routes)]
    return EdgeApplication(
        api,
        _fast_path(services, access_log, settings.trace_hits if traced else 0.0),
        Representations(services.responders.replies.coding),
        services.problems,
        settings.origins,
        services.instrumentation,
        access_log,
        _admission(settings, services),
        ConcurrencyLimit(settings.max_requests, services.problems, metrics.count_refused),
        services.drain,
        settings.root_path,
        {first_segment(route.path or "") for route in routes},
        _bodies(routes),
        _visitor_paths(settings),
    )


def _fast_path(services: Services, access_log: AccessLog, traced: float) -> FastPath:
    """``traced`` is the share of kept answers that get a span."""
    parts = services.gateway, services.responders.replies, FAST_ROUTES, access_log.expect
    return SampledFastPath(traced, *parts) if traced else FastPath(*parts)


def create_worker(settings: Settings, multiprocess: MultiprocessMetrics) -> EdgeApplication:
    """The application in one of several processes. What has become wrong since the first of them
    began ends it with exit code 2."""
    with _wrong_settings_told():
        return create_app(settings, multiprocess=multiprocess)


@contextmanager
def _wrong_settings_told() -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None


async def fetch_once(
    settings: Settings, call: Call, recorder: Recorder | None = None
) -> tuple[bytes, Problem | None]:
    """One answer without a server: its JSON, or the problem."""
    answer = await answer_once(settings, call, recorder)
    if answer.error is not None:
        problems = Problems(settings.public_url)
        return b"", problems.document(CODES[type(answer.error)], "-", error=answer.error)
    assert answer.entry is not None  # noqa: S101 - no error, so there is an entry
    return answer.entry.body, None


def create_api(settings: Settings) -> FastAPI:
    """The application within: for its OpenAPI document."""
    return _api(settings, build_services(settings))


def _bodies(routes: Sequence[RouteContext]) -> dict[tuple[bytes, bytes], int]:
    """How many bytes of a body each route takes that declares one, by its method and path."""
    return {
        (method.encode(), (route.path or "").encode()): MAX_BODY
        for route in routes
        if getattr(route, "body_field", None) is not None
        for method in route.methods or ()
    }


def _login_to(settings: Settings) -> str:
    """The path of the page that a login on the landing page leads to."""
    if not settings.login:
        return ""
    page = "/demo" if settings.demo_dir else "/me/sessions"
    return f"{settings.root_path or urlsplit(settings.public_url).path}{page}"


def _visitor_paths(settings: Settings) -> VisitorPaths:
    off = frozenset(() if settings.login else VISITORS).union(() if settings.accounts else ACCOUNTS)
    return VisitorPaths(on=VISITORS - off, off=off)


def _admission(settings: Settings, services: Services) -> Admission | None:
    """What decides whether a request is answered; None if every request is."""
    path, proxies, rate_limiter = settings.api_keys_file, settings.proxies, services.rate_limiter
    if not (path or rate_limiter or proxies or settings.trusts_unix):
        return None
    try:
        keys = ApiKeys(path) if path else None
    except ApiKeysError as error:
        raise SettingsError(f"{env_name('api_keys_file')}: {error}") from None
    metrics = services.metrics
    counted = metrics.count_refused, metrics.keys.numbers
    addresses = ClientAddresses(proxies, unix=settings.trusts_unix)
    return Admission(addresses, keys, rate_limiter, time.monotonic, *counted, LISTS)


def _api(settings: Settings, services: Services) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # What exists now lives for ever: the collector need never look at it again. A miss makes
        # thousands of objects and no cycles: looking seldom saves a fifth of its processor time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER, 10, 10)
        logs.event("started", version=VERSION, upstream=settings.upstream_url)
        async with services.running():
            yield
        LOG_WRITER.flush()

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
    app.state.services = services
    for router in ROUTERS:
        app.router.routes.extend(router.routes)  # those of include_router are matched twice
    tables = [FAULTS, *(call.faults for call in CALLS)]
    known = {CODES[kind]: number for table in reversed(tables) for number, kind in table.items()}
    faults = {**known, Code.UPSTREAM_FAULT: 999}  # any other number
    app.include_router(
        problem_router(public_url=settings.public_url, version=VERSION, faults=faults)
    )
    app.include_router(health_router(services.metrics.exposition, services.drain))
    login_to = _login_to(settings)
    app.include_router(
        docs_router(public_url=settings.public_url, version=VERSION, login_to=login_to)
    )
    if services.status is not None:
        app.include_router(
            status_router(
                services.status.document, by_key=settings.status == "key", version=VERSION
            )
        )
    if settings.demo_dir is not None:
        app.include_router(demo_router(settings.demo_dir))
    app.include_router(document_router(app, settings.public_url))
    services.problems.install(app)
    return app
