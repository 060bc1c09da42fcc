"""A sandbox farm and a gateway over it, on real ports, for every test that asks."""

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import hypothesis
import pytest
from starlette.applications import Starlette

from app.config.settings import Settings
from app.main import create_app
from app.sandbox.farm import SandboxFarm as Sandbox
from app.sandbox.server import (
    DEMO_CONSUMER_KEY,
    DEMO_CONSUMER_SECRET,
    create_farm,
    farm_server,
)
from app.telemetry.log_writer import LOG_WRITER
from tests.programs import WITHIN
from tests.running import client_of, running, serving

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job is born ignoring Ctrl-C, and so would be what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile(
    "unhurried",
    hypothesis.settings.get_profile(hypothesis.settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("unhurried")
"""A busy machine is no fault: no example has a time of its own."""


@pytest.hookimpl(wrapper=True, trylast=True)
def _all_lines_told(item: pytest.Item) -> Iterator[None]:
    """What a step of a test logs is written before pytest ends its capture, not among its dots."""
    try:
        return (yield)
    finally:
        LOG_WRITER.flush(WITHIN)


pytest_runtest_setup = pytest_runtest_call = pytest_runtest_teardown = _all_lines_told


OUTSIDE = {
    "httpx", "raw_farm", "redis", "run", "running", "socket", "started", "subprocess",
    "sync_playwright", "valkey",
}  # fmt: skip
"""Names that a module of tests imports to reach ports or processes."""

LONGEST = "test_workers.py"
"""The file that comes first: its few tests take so long that at the end they would run alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as ``quick`` what needs no port, process or browser: ``make quick`` runs it."""
    for item in items:
        imported = vars(getattr(item, "module", item)).keys()
        fixtures = getattr(item, "fixturenames", ())
        is_slow = item.get_closest_marker("slow") is not None
        if not is_slow and "_farm" not in fixtures and not OUTSIDE & imported:
            item.add_marker(pytest.mark.quick)
    # Files of quick tests come last: processes that have nothing else to do share them.
    longer = {item.path for item in items if item.get_closest_marker("quick") is None}
    items.sort(key=lambda item: (item.path not in longer, item.path.name != LONGEST))


@pytest.fixture(autouse=True)
def _quick_is_quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that is marked ``quick`` reaches no port and starts no process."""
    if request.node.get_closest_marker("quick") is None:
        return

    def refuse(*_arguments: object, **_options: object) -> None:
        raise AssertionError("this is no quick test: mark it slow, or import what it reaches with")

    for name in ("bind", "connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)


class Farm:
    """The sandbox as a test sees it: its address, what it was asked, what it does next."""

    def __init__(self, url: str, app: Starlette) -> None:
        self.url = url
        self._sandbox: Sandbox = app.state.farm
        # The server closes an idle connection after 5 s, and a request that is sent just then is
        # lost.
        self.http = client_of(url, limits=httpx.Limits(keepalive_expiry=0.5), timeout=WITHIN)

    def begin(self) -> None:
        """Sessions begin their lives anew: the one that is watched is rendering, not finished."""
        self._sandbox.started = self._sandbox.clock()
        self.forget()

    def next(self, *steps: dict[str, object]) -> None:
        """Queue misbehaviours, one for each call to come."""
        assert self.http.put("/__script", json=list(steps)).is_success

    def calls(self) -> int:
        """How many calls came in since the last ``forget``."""
        total: int = self.http.get("/__records").json()["total"]
        return total

    def forget(self) -> None:
        """Drop the records and what was queued."""
        self.http.delete("/__records")
        self.http.delete("/__script")
        self.http.delete("/__users")


def settings_for(farm_url: str, **overrides: object) -> Settings:
    """Settings of a gateway over the farm at ``farm_url``, with the demo consumer."""
    return Settings.model_validate(
        {
            "upstream_url": farm_url,
            "consumer_key": DEMO_CONSUMER_KEY,
            "consumer_secret": DEMO_CONSUMER_SECRET,
            "ttl_jitter": 0,
            "upstream_connect_timeout": 4,  # a busy machine is no fault of the farm's
            "stale_if_slow": 4,
            **overrides,
        }
    )


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def _farm() -> Iterator[Farm]:
    app = create_farm()
    with running(farm_server(app)) as url:
        farm = Farm(url, app)
        yield farm
        farm.http.close()


@pytest.fixture
def farm(_farm: Farm) -> Iterator[Farm]:
    """The sandbox farm as if just started, with nothing recorded and nothing queued."""
    _farm.begin()
    yield _farm
    _farm.forget()  # a module's own gateway may ask it before the next test begins


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer of a shared cache is late, as some are on a busy machine, and no lease ends."""
    for bound in (
        "redis_connection.DEADLINE",
        "redis_connection.QUIET",
        "handshake.CONNECT",
        "redis_url.CONNECT",
        "leases.LEASE",
        "shared_store.LEASE",
    ):
        monkeypatch.setattr(f"app.cluster.{bound}", WITHIN)


@pytest.fixture
def log_lines(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is logged from now on, in the pieces that are written.

    To read captured standard error again and again loses what is written meanwhile.
    """
    LOG_WRITER.flush(WITHIN)
    written: list[bytes] = []
    monkeypatch.setattr(LOG_WRITER, "_write", written.append)
    return written


StartGateway = Callable[..., httpx.Client]


@pytest.fixture
def start_gateway(farm: Farm) -> Iterator[StartGateway]:
    """Starts a gateway of its own with the given settings; a client of it comes back."""
    with ExitStack() as stack:

        def start(**overrides: object) -> httpx.Client:
            server = serving(create_app(settings_for(farm.url, **overrides)))
            url = stack.enter_context(running(server))
            return stack.enter_context(client_of(url))

        yield start


@pytest.fixture
def gateway(start_gateway: StartGateway) -> httpx.Client:
    """A gateway with default settings and nothing kept."""
    return start_gateway()
