"""The cost of a hit without sockets: the application called directly, beside a bare ASGI one.

The gateway is asked for bytes, as its connections ask, and by ASGI, as a foreign server asks. It
logs as it does in service, but to nowhere.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from operator import sub
from pathlib import Path
from typing import Any, cast

import uvloop

from app.config.environment import load_settings
from app.edge.application import EdgeApplication
from app.main import create_app
from app.telemetry.log_writer import LOG_WRITER
from bench import servers
from bench.load import CHROME
from bench.options import Options
from bench.report import Report, spread
from bench.sample import ID, answer_json
from bench.timing import interleaved

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

AT_ONCE = 1000
BODY = answer_json()
PLAIN: Headers = [(b"host", b"127.0.0.1"), (b"accept", b"*/*")]
BROWSER: Headers = [
    (b"host", b"127.0.0.1"),
    *((name.lower().encode(), value.encode()) for name, value in CHROME.items()),
]


async def bare(scope: Message, receive: Receive, send: Send) -> None:
    """Fixed bytes."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


def scope_of(headers: Headers) -> Message:
    """What uvicorn would hand over."""
    path = f"/sessions/{ID}"
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


async def receive_nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send_nowhere(message: Message) -> None:
    pass


async def ask(app: App, headers: Headers) -> tuple[int, dict[bytes, bytes]]:
    """One request: the answer's status and headers."""
    told: list[Message] = []

    async def send(message: Message) -> None:
        told.append(message)

    await app(scope_of(headers), receive_nothing, send)
    return told[0]["status"], dict(told[0]["headers"])


async def hits(app: App, scope: Message) -> None:
    """AT_ONCE requests, one after the other."""
    for _ in range(AT_ONCE):
        await app(scope.copy(), receive_nothing, send_nowhere)


def hits_now(gateway: EdgeApplication, headers: Headers) -> None:
    """AT_ONCE requests of one connection to the fast path, one after the other."""
    target = f"/sessions/{ID}".encode()
    asked = gateway.read_fields(headers, ("127.0.0.1", 50_000))
    for _ in range(AT_ONCE):
        if asked is None or gateway.answer_now(target, asked) is None:
            raise RuntimeError("the gateway has no answer at once")


async def start(app: App) -> None:
    """Run the lifespan's first half; the rest ends with the loop."""
    started = asyncio.Event()
    never = asyncio.Event()
    messages = iter([{"type": "lifespan.startup"}])

    async def receive() -> Message:
        for message in messages:
            return dict(message)
        await never.wait()
        return {"type": "lifespan.shutdown"}

    async def send(message: Message) -> None:
        if not started.is_set() and message["type"] != "lifespan.startup.complete":
            raise RuntimeError(f"the gateway did not start: {message['type']}")
        started.set()

    scope: Message = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    life = asyncio.ensure_future(app(scope, receive, send))
    waiting = asyncio.ensure_future(started.wait())
    await asyncio.wait({life, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not started.is_set():
        life.result()


async def first(app: App) -> dict[str, Headers]:
    """Have the answer kept, in gzip too; the header sets to ask with."""
    await ask(app, BROWSER)
    status, told = await ask(app, PLAIN)
    if status != 200:
        raise RuntimeError(f"the gateway answered {status}")
    condition = [(b"if-none-match", told[b"etag"])]
    return {
        "200, plain": PLAIN,
        "200, browser": BROWSER,
        "304, plain": PLAIN + condition,
        "304, browser": BROWSER + condition,
    }


def measure(options: Options, farm_port: int) -> dict[str, list[float]]:
    """CPU microseconds of a hit, by what is asked of whom."""
    os.environ["RFGW_CONSUMER_KEY"], os.environ["RFGW_CONSUMER_SECRET"] = "bench", "bench"
    os.environ["RFGW_UPSTREAM_URL"] = f"http://127.0.0.1:{farm_port}"
    os.environ["RFGW_FRESH_ACTIVE"] = "3600"
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        edge = create_app(load_settings())
        gateway = cast(App, edge)
        runner.run(start(gateway))

        def by_asgi(app: App, headers: Headers) -> Callable[[], None]:
            return lambda: runner.run(hits(app, scope_of(headers)))

        works: dict[str, Callable[[], None]] = {"bare": by_asgi(bare, PLAIN)}
        for name, headers in runner.run(first(gateway)).items():
            works[name] = partial(hits_now, edge, headers)
        works["200, plain, by ASGI"] = by_asgi(gateway, PLAIN)
        taken = interleaved(works, rounds=options.rounds, times=options.fewer(20, 2))
        LOG_WRITER.flush(60)
    return {name: [used / AT_ONCE for used in found] for name, found in taken.items()}


def run(options: Options) -> Report:
    """Bare and gateway, in one process."""
    report = Report("inprocess", "A kept answer, without sockets")
    with servers.stage() as stage:
        taken = measure(options, stage.farm().port)
    rows = (
        [name, spread(found, 2), spread(map(sub, found, taken["bare"]), 2)]
        for name, found in taken.items()
    )
    report.show("CPU us a request", ("answer", "in all", "over bare ASGI"), rows)
    return report
