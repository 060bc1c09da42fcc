"""Live updates: many event streams of one session that changes with every answer of the farm.

What counts is how often the farm is asked, how soon everybody hears of a change, and what is left
when all have gone. The farm runs in the bench's own process: both ends share one clock.
"""

import asyncio
import re
import time

import uvloop

from bench import servers
from bench.farm import Connection, Tally
from bench.load import fetch, get
from bench.options import Options
from bench.report import Report, percentile
from bench.sample import ID
from bench.servers import GATEWAY, Server

READERS = 500
TITLE = b"The long way home"
NUMBER = re.compile(rb'"title":"(\d+):')
HEAD = (
    "readers and lifetime",
    "seconds",
    "changes",
    "events",
    "missed",
    "calls",
    "p50 ms",
    "p99 ms",
    "worst ms",
    "CPU %",
    "RSS +MiB",
    "streams left",
)


class Moving(Tally):
    """Every answer is another one. Remembers when it gave each."""

    def __init__(self) -> None:
        super().__init__(delay=0.0)
        self.given: list[float] = []

    def answer(self, call: bytes) -> bytes:
        """The next version of the session; the whole is as long as the fixed one."""
        told = super().answer(call)
        number = b"%d" % len(self.given)
        self.given.append(time.perf_counter())
        return told.replace(TITLE, number + b":" + b"x" * (len(TITLE) - len(number) - 1))


async def read(port: int, until: float, on_message: list[tuple[int, float]]) -> None:
    """One reader: which versions came, and when, from its first change on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(get(f"/sessions/{ID}/events", {"Accept": "text/event-stream"}))
    first = True
    while (left := until - time.perf_counter()) > 0:
        try:
            line = await asyncio.wait_for(reader.readline(), left)
        except TimeoutError:
            break
        if line.startswith(b"data: "):
            found = NUMBER.search(line)
            if found and not first:
                on_message.append((int(found[1]), time.perf_counter()))
            first = False
    writer.close()
    await writer.wait_closed()


async def concurrency_limit(
    server: Server, farm: Moving, readers: int, seconds: float
) -> tuple[list[float], int, int, float]:
    """Latencies in ms, changes that everybody could hear of, how many were missed, CPU seconds."""
    on_message: list[list[tuple[int, float]]] = [[] for _ in range(readers)]
    until = time.perf_counter() + seconds
    cpu = server.cpu()
    await asyncio.gather(*(read(server.port, until, one) for one in on_message))
    cpu = server.cpu() - cpu
    first = max(one[0][0] for one in on_message)  # from here on all were there
    last = min(one[-1][0] for one in on_message)
    late = [
        1e3 * (when - farm.given[n]) for one in on_message for n, when in one if first <= n <= last
    ]
    changes = last - first + 1
    return late, changes, changes * readers - len(late), cpu


async def scene(readers: int, seconds: int, lifetime: float) -> list[str]:
    """One line of the table."""
    farm = Moving()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Connection(farm), "127.0.0.1", 0)
    caps = {"RFGW_EVENTS_PER_CLIENT": str(readers), "RFGW_MAX_REQUESTS": str(2 * readers)}
    with servers.stage(lifetime=lifetime, **caps) as stage:
        stage.farm_port = listener.sockets[0].getsockname()[1]
        server = await asyncio.to_thread(stage.start, GATEWAY)
        await asyncio.to_thread(fetch, server.port, f"/sessions/{ID}")
        fresh, calls = server.rss(), farm.calls
        late, changes, missed, cpu = await concurrency_limit(server, farm, readers, seconds)
        calls, grown = farm.calls - calls, (server.rss() - fresh) / 2**20
        text = (await asyncio.to_thread(fetch, server.port, "/metrics"))[2].decode()
        left = re.findall(r"^rfgw_streams (\d+)", text, re.MULTILINE)[0]
    listener.close()
    return [
        f"{readers:,}, {lifetime:g} s",
        str(seconds),
        str(changes),
        f"{len(late):,}",
        str(missed),
        str(calls),
        *(f"{percentile(late, share):.1f}" for share in (0.5, 0.99, 1)),
        f"{100 * cpu / seconds:.0f}",
        f"{grown:.1f}",
        left,
    ]


def run(options: Options) -> Report:
    """One crowd, and an answer that lives for a second."""
    report = Report("live", "Live updates")
    report.parts.append(
        "Every answer of the farm is a change. Latency is from the farm's answer to the event at"
        " its reader. Readers, farm and load share one core."
    )
    readers, seconds = options.fewer(READERS, 50), options.fewer(60, 5)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rows = [runner.run(scene(readers, seconds, 1.0))]
    report.show(f"{readers} event streams of one session", HEAD, rows)
    return report
