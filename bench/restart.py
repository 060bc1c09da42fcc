"""Rolling restarts under load: does any request fail, and how much of what was kept is kept?

Two workers are replaced again and again while clients ask over connections that they keep, and
close when an answer tells them to.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench import servers
from bench.load import Answer, ask_all, fetch, get
from bench.options import Options
from bench.report import Report, percentile
from bench.sample import ID
from bench.servers import Server, asked, counted
from bench.shared import valkey

RATE, CONNECTIONS, IDS = 500, 16, 100
GRACE = 0.5
TOLD = 2.0
"""Seconds after which any worker tells what another has counted."""
WITHIN = 60.0
"""Seconds that one restart of all workers may take."""


def workers(server: Server) -> set[int]:
    """The pids of a gateway's workers."""
    pid = server.process.pid
    told = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = set()
    for child in told:
        try:
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.add(int(child))
        except OSError:
            pass  # it has just ended
    return found


def await_workers(server: Server, old: set[int]) -> None:
    """Wait until there are two, and none of the old."""
    end = time.monotonic() + WITHIN
    while len(now := workers(server)) != 2 or now & old:
        if time.monotonic() > end:
            raise RuntimeError("a restart does not come to its end")
        time.sleep(0.05)


class Restarts(threading.Thread):
    """So many of them, one after the other."""

    def __init__(self, server: Server, times: int) -> None:
        super().__init__(daemon=True)
        self.server, self.times = server, times
        self.took: list[float] = []

    def run(self) -> None:
        for _ in range(self.times):
            old, began = workers(self.server), time.monotonic()
            os.kill(self.server.process.pid, signal.SIGHUP)
            await_workers(self.server, old)
            self.took.append(time.monotonic() - began)


def requests_during(restarts: Restarts) -> Iterator[bytes]:
    """One id after the other, for as long as it takes."""
    ids = [get(f"/sessions/{ID + number}") for number in range(IDS)]
    number = 0
    while restarts.is_alive():
        yield ids[number % IDS]
        number += 1


def row(name: str, times: int, *, shared: bool) -> list[str]:
    """One gateway, restarted so often."""
    with servers.stage(RFGW_WORKERS="2", RFGW_SHUTDOWN_GRACE=f"{GRACE:g}") as stage:
        farm, folder = stage.farm(), stage.folder()
        if shared:
            valkey(stage, folder)
        more = {"RFGW_CACHE_URL": f"unix://{folder / 's'}"} if shared else {}
        server = stage.start(servers.GATEWAY_ON_ALL_CORES, **more)
        await_workers(server, set())
        fetch(server.port, "/health/live")
        ask_all(server.port, [get(f"/sessions/{ID + n}") for n in range(IDS)], connections=8)
        time.sleep(TOLD)
        before, calls = counted(server, "rfgw_cache_answers_total"), asked(farm)["calls"]
        restarts = Restarts(server, times)
        restarts.start()
        wanted = requests_during(restarts)
        answers = ask_all(server.port, wanted, connections=CONNECTIONS, rate=RATE)
        if len(restarts.took) != times:
            raise RuntimeError("not all restarts came to their end")
        time.sleep(TOLD)
        after = counted(server, "rfgw_cache_answers_total")
        moved = {label: after[label] - before.get(label, 0.0) for label in after}
        return told(name, answers, restarts, moved, asked(farm)["calls"] - calls)


def told(
    name: str, answers: list[Answer], restarts: Restarts, moved: dict[str, float], calls: int
) -> list[str]:
    """The cells of a row."""
    times = [answer.seconds * 1e3 for answer in answers]
    kept = sum(moved.get(f'outcome="{outcome}"', 0.0) for outcome in ("hit", "shared"))
    return [
        name,
        str(restarts.times),
        f"{sum(restarts.took) / restarts.times:.1f}",
        f"{len(answers):,}",
        f"{sum(answer.status != 200 for answer in answers):,}",
        f"{sum(moved.values()):,.0f}",
        f"{kept / sum(moved.values()):.5f}",
        f"{calls:,}",
        *(f"{percentile(times, share):.1f}" for share in (0.5, 0.99, 1)),
    ]


def run(options: Options) -> Report:
    """Without and with a shared cache."""
    times = options.fewer(20, 1)
    report = Report("restart", "Rolling restarts of two workers under load")
    report.say(
        f"{RATE} requests a second for {IDS} finished sessions, over {CONNECTIONS} connections that"
        f" are closed when an answer says so; `RFGW_SHUTDOWN_GRACE={GRACE:g}`. Servers and load"
        " share all cores, starting workers too: that is where the slow answers come from."
    )
    head = (
        "gateway",
        "restarts",
        "s each",
        "requests",
        "failed",
        "counted by /metrics",
        "kept",
        "calls",
        "p50 ms",
        "p99 ms",
        "worst ms",
    )
    rows = [row("2 workers", times, shared=False), row("and Valkey", times, shared=True)]
    report.show("20 restarts of both workers", head, rows)
    return report
