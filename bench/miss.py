"""Distinct cold ids: what one miss costs the whole server, the gateway beside the typical stack.

The caches hold fewer answers than are asked for, so every miss also evicts. "Added" is the median
over that of asking the same farm directly on a warm connection.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import count, islice
from typing import NamedTuple

from bench import servers
from bench.load import Answer, ask_all, get
from bench.options import Options
from bench.peers.signing import METHOD, request_body
from bench.report import Report, percentile, spread
from bench.servers import Server, asked
from bench.timing import median_ratio

KEPT = 500
AT_ONCE = (1, 32)
DIRECT = "the farm, asked directly"


class Round(NamedTuple):
    """One round: CPU microseconds a miss, misses a second, and latencies in milliseconds."""

    cpu: float
    rate: float
    p50: float
    p99: float

    @property
    def tail(self) -> float:
        return self.p99 / self.p50


def posts(farm: Server, ids: list[int]) -> list[bytes]:
    """The farm's own calls, ready to be sent."""
    url = f"http://127.0.0.1:{farm.port}/{METHOD}"
    made = []
    for session_id in ids:
        body = request_body(url, session_id)
        head = f"POST /{METHOD} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/xml\r\n"
        made.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return made


def take(server: Server, requests: list[bytes], at_once: int) -> Round:
    """Send all requests; every one must be answered with 200."""
    cpu, began = server.cpu(), time.perf_counter()
    answers: list[Answer] = ask_all(server.port, requests, connections=at_once)
    seconds, used = time.perf_counter() - began, server.cpu() - cpu
    if bad := [answer.status for answer in answers if answer.status != 200]:
        raise RuntimeError(f"{server.name}: {len(bad)} of {len(answers)} failed, first {bad[0]}")
    latencies = [answer.seconds * 1e3 for answer in answers]
    n = len(answers)
    return Round(
        used / n * 1e6, n / seconds, statistics.median(latencies), percentile(latencies, 0.99)
    )


def measure(
    farm: Server, started: list[Server], at_once: int, ids: Iterator[int], options: Options
) -> dict[str, list[Round]]:
    """Rounds of every server by name, interleaved, after one that does not count."""
    taken: dict[str, list[Round]] = defaultdict(list)
    for turn in range(options.fewer(options.rounds, 1) + 1):
        for server in started:
            fresh = list(islice(ids, options.fewer(1000, 100)))
            before = asked(farm)["calls"]
            found = take(server, [get(f"/sessions/{n}") for n in fresh], at_once)
            if (calls := asked(farm)["calls"] - before) != len(fresh):
                raise RuntimeError(f"{server.name}: {len(fresh)} misses were {calls} calls")
            if turn:
                taken[server.name].append(found)
        direct = take(farm, posts(farm, list(islice(ids, options.fewer(1000, 100)))), at_once)
        if turn:
            taken[DIRECT].append(direct)
    return taken


def rows(taken: dict[str, list[Round]]) -> list[list[str]]:
    """One line a server."""
    direct = statistics.median(found.p50 for found in taken[DIRECT])
    typical = [found.cpu for found in taken[servers.NAIVE.name]]
    lines = []
    for name, found in taken.items():
        cpu = [one.cpu for one in found]
        added = statistics.median(one.p50 for one in found) - direct
        lines.append(
            [
                name,
                f"{median_ratio(cpu, typical):.2f}",
                spread(cpu),
                spread(one.rate for one in found),
                spread((one.p50 for one in found), 2),
                f"{added:.2f}",
                spread((one.p99 for one in found), 1),
                spread((one.tail for one in found), 1),
            ]
        )
    return lines


HEAD = (
    "server",
    "CPU to typical",
    "CPU us/miss",
    "misses/s",
    "p50 ms",
    "added ms",
    "p99 ms",
    "p99/p50",
)


def run(options: Options) -> Report:
    """Measure alone and 32 at a time."""
    report = Report("miss", "Distinct cold ids")
    there, gone = servers.present(servers.GATEWAY, servers.NAIVE)
    report.parts += gone
    ids = count(1000)
    with servers.stage(max_entries=KEPT) as stage:
        farm = stage.farm()
        started = [stage.start(target) for target in there]
        for at_once in AT_ONCE:
            taken = measure(farm, started, at_once, ids, options)
            report.show(f"{at_once} at a time", HEAD, rows(taken))
    return report
