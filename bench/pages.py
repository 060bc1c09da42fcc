"""Whole pages live: one event stream of 50 sessions beside 50 streams of one.

Every page watches the same sessions, so that the farm is asked as often for many pages as for few:
what a page costs is the difference between the two, and no call to the farm is in it.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import uvloop

from bench import servers
from bench.farm import Connection
from bench.live import Moving
from bench.load import fetch, get
from bench.options import Options
from bench.report import Report
from bench.sample import ID
from bench.servers import GATEWAY, Server

IDS = range(ID, ID + 50)
FEW, MANY = 2, 40
LIFETIME, FOR_EVER = 1.0, 3600.0
ONE = [f"/sessions/events?ids={','.join(map(str, IDS))}"]
FIFTY = [f"/sessions/{id}/events" for id in IDS]
WAYS = {"one stream of 50": ONE, "50 streams of one": FIFTY}
HEAD = (
    "a page is", "pages", "seconds", "events", "calls", "CPU ms a second", "RSS MiB",
    "an event: CPU us", "a page: CPU ms a second", "a page: kB",
)  # fmt: skip


class Cost(NamedTuple):
    """What a number of pages cost: CPU seconds, resident bytes; events and calls."""

    cpu: float
    rss: float
    events: int
    calls: int


class Reader(asyncio.Protocol):
    """One connection that counts the events of its stream."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.events = 0
        self._end = b""
        self._heard = asyncio.Event()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.write(get(self.path, {"Accept": "text/event-stream"}))

    def data_received(self, data: bytes) -> None:
        self._end += data
        self.events += self._end.count(b"\ndata: ")
        self._end = self._end[-6:]  # an event may begin at the end of a piece
        self._heard.set()

    async def has(self, events: int) -> None:
        """Wait until so many events have come."""
        while self.events < events:
            self._heard.clear()
            await self._heard.wait()


async def watched(server: Server, paths: Sequence[str], pages: int) -> list[Reader]:
    """The readers of so many pages, once each has what there is."""
    loop = asyncio.get_running_loop()
    readers = []
    for path in [*paths] * pages:
        _, reader = await loop.create_connection(
            lambda path=path: Reader(path), "127.0.0.1", server.port
        )  # type: ignore[misc]
        readers.append(reader)
    async with asyncio.timeout(60):
        for reader in readers:
            await reader.has(len(IDS) * pages // len(readers))
    return readers


async def cost(paths: Sequence[str], pages: int, lifetime: float, seconds: float) -> Cost:
    """What so many pages cost a gateway of their own."""
    farm = Moving()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Connection(farm), "127.0.0.1", 0)
    caps = {"RFGW_EVENTS_PER_CLIENT": "100000", "RFGW_EVENTS_MAX_STREAMS": "100000"}
    jitter = {"RFGW_TTL_JITTER": "0.1"}
    with servers.stage(lifetime=lifetime, **caps, **jitter, RFGW_MAX_REQUESTS="10000") as stage:
        stage.farm_port = listener.sockets[0].getsockname()[1]
        server = await asyncio.to_thread(stage.start, GATEWAY)
        for id in IDS:
            await asyncio.to_thread(fetch, server.port, f"/sessions/{id}")
        readers = await watched(server, paths, pages)
        await asyncio.sleep(2)
        events, calls, cpu = sum(reader.events for reader in readers), farm.calls, server.cpu()
        await asyncio.sleep(seconds)
        cpu, calls = server.cpu() - cpu, farm.calls - calls
        events = sum(reader.events for reader in readers) - events
        rss = server.rss()
    listener.close()
    return Cost(cpu, rss, events, calls)


def each(few: Cost, many: Cost, seconds: float) -> list[str]:
    """What one event costs, without the calls that brought it; what a page costs a second and in
    memory. CPU is so much a call and so much an event: two lines tell both."""
    events = few.calls * many.events - many.calls * few.events
    event = (few.calls * many.cpu - many.calls * few.cpu) / events if events else 0.0
    more = MANY - FEW
    return [
        f"{1e6 * event:.1f}" if events else "",
        "" if events else f"{1e3 * (many.cpu - few.cpu) / more / seconds:.3f}",
        f"{(many.rss - few.rss) / more / 1024:,.0f}",
    ]


async def rows(lifetime: float, seconds: float) -> list[list[str]]:
    """Two lines for each way: few pages, and many with what each one more costs."""
    table = []
    for way, paths in WAYS.items():
        few, many = [await cost(paths, pages, lifetime, seconds) for pages in (FEW, MANY)]
        for pages, found, more in ((FEW, few, [""] * 3), (MANY, many, each(few, many, seconds))):
            line = [way, str(pages), f"{seconds:g}", f"{found.events:,}", f"{found.calls:,}"]
            line += [f"{1e3 * found.cpu / seconds:.1f}", f"{found.rss / 2**20:.1f}", *more]
            table.append(line)
    return table


async def crowd(pages: int, lifetime: float, seconds: float) -> list[str]:
    """One line: so many pages at once, each one stream."""
    found = await cost(ONE, pages, lifetime, seconds)
    kind = f"{lifetime:g} s" if lifetime < FOR_EVER else "nothing changes"
    return [
        str(pages), kind, f"{seconds:g}", f"{found.events:,}", f"{found.calls:,}",
        f"{1e3 * found.cpu / seconds:.1f}", f"{found.rss / 2**20:.1f}",
    ]  # fmt: skip


def run(options: Options) -> Report:
    """Pages while everything changes each second, while nothing does, and a crowd of them."""
    report = Report("pages", "Whole pages live")
    report.parts.append(
        f"A page shows 50 sessions. What an event or a page costs is the difference between {MANY}"
        f" pages and {FEW}, which watch the same sessions: no call to the farm is in it. Readers"
        " and farm share one core."
    )
    seconds = options.fewer(20, 3)
    most = options.fewer(500, 20)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        moving = runner.run(rows(LIFETIME, seconds))
        idle = runner.run(rows(FOR_EVER, seconds))
        lines = [runner.run(crowd(most, lifetime, seconds)) for lifetime in (FOR_EVER, 5.0)]
    report.show("Each session changes every second", HEAD, moving)
    report.show("Nothing changes", HEAD, idle)
    report.show(
        f"{most} pages, each one stream",
        ("pages", "lifetime", "seconds", "events", "calls", "CPU ms a second", "RSS MiB"),
        lines,
    )
    return report
