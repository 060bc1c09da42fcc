"""Nothing stays behind: tasks, threads, descriptors and tables are after a crowd as before it."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from app.edge.api_keys import new_key
from app.main import create_app
from app.server.server import Config, Server
from tests.conftest import Farm, settings_for
from tests.programs import WITHIN
from tests.running import client_of, running
from tests.valkey import Valkey

KEY, KEY_LINE = new_key("reader")
TIMES = 60
GAUGES = tuple(
    f"rfgw_{name} "
    for name in ("cache_entries", "flights", "streams", "upstream_calls", "upstream_queued")
)

UNDER_WAY = ("connections", "rfgw_flights", "rfgw_streams", "rfgw_upstream_calls")
"""What is no more once all requests have come to their end."""


class Watched(Server):
    """A server whose event loop the test looks into."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As ever, and keep the loop."""
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)


Held = Counter[str]
"""How much a process holds of each kind."""


class Gateway:
    """A gateway in this process, at ``url``, and what it holds."""

    def __init__(self, server: Watched, url: str) -> None:
        self._server = server
        self.url = url

    def held(self) -> Held:
        """What it holds now, this question aside."""
        with client_of(self.url) as client:
            lines = client.get("/metrics").text.splitlines()
        told = [line.rpartition(" ") for line in lines if line.startswith(GAUGES)]
        held = Counter({name: int(float(number)) for name, _, number in told})
        held.update(f"task {task.get_name()}" for task in self._tasks())
        held.update(f"thread {thread.name}" for thread in threading.enumerate())
        held["descriptors"] = len([*Path("/proc/self/fd").iterdir()])
        held["connections"] = len(self._server.server_state.connections)
        held["answers"] = len(self._server.server_state.tasks)
        return held

    def _tasks(self) -> list["asyncio.Task[object]"]:
        """The loop's tasks; those of asyncio's own names are numbered, and named alike here."""
        found: list[asyncio.Task[object]] = []
        done = threading.Event()

        def look() -> None:
            for task in asyncio.all_tasks(self._server.loop):
                if task.get_name().startswith("Task-"):
                    task.set_name(f"Task of {getattr(task.get_coro(), '__qualname__', '?')}")
                found.append(task)
            done.set()

        self._server.loop.call_soon_threadsafe(look)
        assert done.wait(WITHIN)
        return found

    def settled(self) -> Held:
        """What it holds once nothing is under way, and that is the same twice in a row."""
        until, last = time.monotonic() + WITHIN, self.held()
        while (now := self.held()) != last or any(now[name] for name in UNDER_WAY):
            assert time.monotonic() < until, now
            last = now
            time.sleep(0.02)
        return now

    def await_no_more_than(self, before: Held) -> None:
        """Wait until it holds no more of anything than before."""
        until = time.monotonic() + WITHIN
        while more := self.held() - before:
            assert time.monotonic() < until, more
            time.sleep(0.05)


@contextmanager
def gateway_of(farm: Farm, **settings: object) -> Iterator[Gateway]:
    app = create_app(settings_for(farm.url, **settings))
    server = Watched(Config(lambda: app))
    with running(server) as url:
        yield Gateway(server, url)


@pytest.fixture(params=["alone", "shared"])
def gateway(
    request: pytest.FixtureRequest, farm: Farm, tmp_path: Path, patience: None
) -> Iterator[Gateway]:
    """A gateway alone, or one that shares its cache."""
    (tmp_path / "keys").write_text(KEY_LINE)
    settings: dict[str, object] = {"api_keys_file": tmp_path / "keys", "rate_limit": "999999/1"}
    with ExitStack() as stack:
        if request.param == "shared":
            valkey = Valkey(tmp_path)
            valkey.start()
            stack.callback(valkey.stop)
            stack.callback(valkey.client.close)
            settings["cache_url"] = valkey.url
        yield stack.enter_context(gateway_of(farm, **settings))


def asked(path: str, **headers: str) -> Callable[[Gateway], None]:
    """Many ask for ``path``; ``{}`` in it is a number, another one each time."""

    def ask(gateway: Gateway) -> None:
        given = {
            "X-API-Key": KEY,
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        with client_of(gateway.url) as client:
            for number in range(TIMES):
                client.get(path.format(1000 + number % 40), headers=given)

    return ask


def streamed(frames: int) -> Callable[[Gateway], None]:
    """Streams are opened, and left after so many frames."""

    def open_and_leave(gateway: Gateway) -> None:
        given = {"X-API-Key": KEY}
        with client_of(gateway.url) as client:
            for number in range(TIMES // 4):
                path = f"/sessions/{1001 + number % 10}/events"
                with client.stream("GET", path, headers=given) as stream:
                    for _ in zip(range(frames), stream.iter_lines(), strict=False):
                        pass

    return open_and_leave


def sent(message: bytes, read: int) -> Callable[[Gateway], None]:
    """Bytes are sent; the client reads so many of the answer and vanishes."""

    def send(gateway: Gateway) -> None:
        where = httpx.URL(gateway.url)
        for _ in range(TIMES // 2):
            with socket.create_connection((where.host, where.port or 80), WITHIN) as client:
                client.sendall(message)
                with suppress(OSError):
                    client.recv(read) if read else None

    return send


def failed(gateway: Gateway) -> None:
    """The farm fails in several ways, and is asked again by others at the same time."""
    given = {"X-API-Key": KEY, "Cache-Control": "no-cache"}
    with client_of(gateway.url) as client:
        for number in (707001, 707002, 500001, 300, 1007):
            for _ in range(4):
                client.get(f"/sessions/{number}", headers=given)


def together(gateway: Gateway) -> None:
    """Many ask for the same at once, and some give up."""

    def ask() -> None:
        with client_of(gateway.url, timeout=0.05) as client:
            for number in range(10):
                with suppress(httpx.TransportError):
                    client.get(f"/sessions/{1001 + number}", headers={"X-API-Key": KEY})

    crowd = [threading.Thread(target=ask) for _ in range(10)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()


HEAD = b"GET /sessions/1008 HTTP/1.1\r\nHost: gateway\r\nX-API-Key: " + KEY.encode() + b"\r\n\r\n"
KINDS = {
    "hits": asked("/sessions/1008"),
    "misses": asked("/sessions/{}", Cache_Control="no-cache"),
    "refusals": asked("/sessions/9{}"),
    "lists": asked("/sessions?ids={},1008,91"),
    "fields": asked("/sessions/{}?fields=title,state"),
    "waits that nothing ends": asked("/sessions/1008", If_None_Match="*", Prefer="wait=0"),
    "pages": asked("/docs"),
    "wrong paths": asked("/nothing/{}"),
    "no keys": asked("/sessions/1008", X_API_Key="wrong"),
    "streams left at once": streamed(0),
    "streams left after an event": streamed(3),
    "whole requests": sent(HEAD, 100),
    "requests nobody waits for": sent(HEAD, 0),
    "many requests at once": sent(HEAD * 20, 100),
    "half a head": sent(HEAD[:40], 0),
    "no HTTP": sent(b"\0\1\2 nonsense\r\n\r\n", 100),
    "failures of the farm": failed,
    "a crowd that gives up": together,
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_nothing_stays_behind(gateway: Gateway, kind: Callable[[Gateway], None]) -> None:
    kind(gateway)  # what is made once and stays, such as a thread for the log, is made now
    before = gateway.settled()
    kind(gateway)
    gateway.await_no_more_than(before)
