"""Resident memory: fresh, for each kept session, and under a flood of ids. Linux only."""

from bench import servers
from bench.load import ask_all, get
from bench.options import Options
from bench.report import Report
from bench.servers import Server, Target

KEPT = 10_000
MIB = 2**20


def fill(server: Server, first: int, amount: int) -> int:
    """Have each id kept; resident bytes afterwards."""
    wanted = (get(f"/sessions/{first + n}") for n in range(amount))
    answers = ask_all(server.port, wanted, connections=32)
    if any(answer.status != 200 for answer in answers):
        raise RuntimeError(f"{server.name} failed to answer")
    return server.rss()


def measure(target: Target, options: Options, flood: int) -> list[str]:
    """One line: fresh, after some use, for each kept session, and after `flood` more ids."""
    kept = options.fewer(KEPT, 500)
    with servers.stage(max_entries=kept + 100) as stage:
        stage.farm()
        server = stage.start(target)
        fresh = server.rss()
        used = fill(server, 10_000, 100)
        full = fill(server, 100_000, kept)
        flooded = fill(server, 1_000_000, flood)
        body = ask_all(server.port, [get("/sessions/100000")], connections=1)[0].size
    sizes = (fresh / MIB, used / MIB, full / MIB, flooded / MIB)
    each = (full - used) / kept
    return [
        target.name,
        *(f"{size:.1f}" for size in sizes),
        f"{each:,.0f}",
        f"{body:,}",
        f"{1.6 * body + 500:,.0f}",
        f"{flood:,}",
    ]


HEAD = (
    "server",
    "fresh MiB",
    "in use MiB",
    "full MiB",
    "flooded MiB",
    "bytes a kept session",
    "body bytes",
    "1.6 body + 500",
    "ids in the flood",
)


def run(options: Options) -> Report:
    """The gateway and the typical stack, which is spared most of the flood: it is slow."""
    report = Report("memory", "Resident memory")
    there, gone = servers.present(servers.GATEWAY, servers.NAIVE)
    amount = options.fewer(options.flood, 1000)
    report.parts += [f"{options.fewer(KEPT, 500):,} sessions fill the cache.", *gone]
    share = {servers.GATEWAY: amount, servers.NAIVE: amount // 10}
    report.show("RSS", HEAD, [measure(target, options, share[target]) for target in there])
    return report
