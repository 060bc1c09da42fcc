"""A kept answer beside clients that ask for large ones, many at once, and read none of them."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Thread

from bench import hit, servers
from bench.farm import LARGE_FROM
from bench.load import fetch, get, wrk_missing
from bench.options import Options
from bench.report import Report
from bench.servers import GATEWAY, Server

READERS, REQUESTS = 500, 20
"""So many clients send so many requests at once."""
LARGE_PATH = f"/sessions/{LARGE_FROM}"
ALONE, COMING, STANDING = "alone", "while they come", "beside them"
HEAD = ("a hit", "to alone", "CPU to it", "p99 to it", *hit.HEAD, "RSS MiB")


def come(server: Server, clients: list[socket.socket]) -> None:
    """Connect and ask; no answer is ever read."""
    for client in clients:
        client.settimeout(10)
        client.connect(("127.0.0.1", server.port))
        client.sendall(get(LARGE_PATH) * REQUESTS)


@contextmanager
def sockets(amount: int) -> Iterator[list[socket.socket]]:
    """Sockets that are not connected yet, closed at the end."""
    with ExitStack() as stack:
        yield [stack.enter_context(socket.socket()) for _ in range(amount)]


def measure(server: Server, options: Options) -> tuple[dict[str, hit.Slices], dict[str, float]]:
    """Slices by case, and the most resident bytes after one."""
    variant = hit.Variant(server.name, server, 200, False, {})
    seconds = options.fewer(5 * options.slice, 1)
    taken: dict[str, hit.Slices] = {ALONE: [], COMING: [], STANDING: []}
    resident = dict.fromkeys(taken, 0.0)

    def take(case: str) -> None:
        taken[case].append(hit.take_once(variant, 32, seconds))
        resident[case] = max(resident[case], server.rss() / 2**20)

    for _ in range(options.fewer(options.rounds, 1)):
        take(ALONE)
        with sockets(options.fewer(READERS, 20)) as clients:
            begin = Thread(target=come, args=(server, clients))
            begin.start()
            take(COMING)
            begin.join()
            take(STANDING)
    return taken, resident


def run(options: Options) -> Report:
    """One gateway, round after round."""
    report = Report("slow", "A kept answer beside clients that do not read")
    if wrk_missing():
        report.say(f"Not measured: {wrk_missing()}.")
        return report
    with servers.stage() as stage:
        stage.farm()
        server = stage.start(GATEWAY)
        fetch(server.port, hit.PATH)  # and it is kept
        size = len(fetch(server.port, LARGE_PATH)[2])
        taken, resident = measure(server, options)
    report.say(
        f"{options.fewer(READERS, 20)} clients send {REQUESTS} requests each for an answer of"
        f" {size:,} bytes, and read nothing; 32 connections ask for a usual one meanwhile."
    )
    rows = (
        [
            case,
            *(hit.ratio(found, taken[ALONE], of) for of in (hit.rate_of, hit.cpu_of, hit.p99_of)),
            *hit.numbers(found),
            f"{resident[case]:.0f}",
        ]
        for case, found in taken.items()
    )
    report.show("Beside slow readers", HEAD, rows)
    return report
