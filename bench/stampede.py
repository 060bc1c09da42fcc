"""Crowds: a cold start, expiry under load, an outage, cache busters, a flood of unknown ids.

What counts here is how often the farm is asked, and that nobody is sent away or waits for long.
"""

from collections import Counter
from collections.abc import Iterable

from bench import servers
from bench.farm import NOT_FOUND_FROM
from bench.load import Answer, ask_all, get
from bench.options import Options
from bench.report import Report, percentile
from bench.sample import ID
from bench.servers import Target, asked

FARM_DELAY = 0.2  # seconds
ONE = get(f"/sessions/{ID}")
HEAD = (
    "server",
    "asked",
    "statuses",
    "ETags",
    "calls",
    "at once",
    "p50 ms",
    "p99 ms",
    "worst ms",
)


def row(name: str, answers: list[Answer], calls: int, at_once: int) -> list[str]:
    """One line of a table with HEAD."""
    times = [answer.seconds * 1e3 for answer in answers]
    statuses = Counter(answer.status for answer in answers)
    etags = {answer.etag for answer in answers if answer.status == 200 and answer.etag}
    return [
        name,
        f"{len(answers):,}",
        ", ".join(f"{status or 'lost'}: {n:,}" for status, n in sorted(statuses.items())),
        str(len(etags)),
        f"{calls:,}",
        f"{at_once:,}",
        *(f"{percentile(times, share):.1f}" for share in (0.5, 0.99, 1)),
    ]


def cold(target: Target, options: Options) -> list[str]:
    """Everybody at once asks for one id that nobody has asked for."""
    concurrency_limit = options.fewer(1000, 200)
    with servers.stage() as stage:
        farm, server = stage.farm(FARM_DELAY), stage.start(target)
        answers = ask_all(server.port, [ONE] * concurrency_limit, connections=concurrency_limit)
        return row(target.name, answers, *asked(farm).values())


def expiry(target: Target, options: Options, lifetime: float) -> list[str]:
    """500 requests a second for one id, over 20 seconds."""
    seconds, rate = options.fewer(20, 2), 500
    with servers.stage(lifetime=lifetime) as stage:
        farm, server = stage.farm(FARM_DELAY), stage.start(target)
        ask_all(server.port, [ONE], connections=1)
        answers = ask_all(server.port, [ONE] * (seconds * rate), connections=128, rate=rate)
        return row(f"{target.name}, lifetime {lifetime:g} s", answers, *asked(farm).values())


def outage(target: Target, options: Options) -> list[str]:
    """500 kept ids, lifetime 1 s; then the farm is gone, and 200 requests a second come."""
    seconds, rate = options.fewer(options.outage, 2), 200
    ids = [get(f"/sessions/{ID + n}") for n in range(500)]
    with servers.stage(lifetime=1) as stage:
        farm, server = stage.farm(), stage.start(target)
        ask_all(server.port, ids, connections=16)
        calls = asked(farm)
        farm.stop()
        wanted = (ids[n % len(ids)] for n in range(seconds * rate))
        answers = ask_all(server.port, wanted, connections=128, rate=rate)
        return row(target.name, answers, *calls.values())


def buster(target: Target, options: Options) -> list[str]:
    """One kept id, each time with another query."""
    with servers.stage() as stage:
        farm, server = stage.farm(), stage.start(target)
        wanted = (get(f"/sessions/{ID}?_={n}") for n in range(options.fewer(10_000, 1000)))
        answers = ask_all(server.port, wanted, connections=32)
        return row(target.name, answers, *asked(farm).values())


def flood(target: Target, options: Options) -> list[str]:
    """Ids that do not exist, each once; then a real one that was kept before."""
    amount = options.fewer(options.flood, 1000)
    with servers.stage() as stage:
        farm, server = stage.farm(), stage.start(target)
        ask_all(server.port, [ONE], connections=1)
        fresh = server.rss()
        wanted = (get(f"/sessions/{NOT_FOUND_FROM + n}") for n in range(amount))
        answers = ask_all(server.port, wanted, connections=32)
        line = row(target.name, answers, *asked(farm).values())
        grown = (server.rss() - fresh) / 2**20
        kept = ask_all(server.port, [ONE], connections=1)
        still = "yes" if kept[0].status == 200 and asked(farm)["calls"] == amount + 1 else "no"
        return [*line, f"{grown:.1f}", still]


def both(there: Iterable[Target], options: Options) -> Iterable[list[str]]:
    """Expiry, and beside it the same load on an answer that does not expire."""
    for target in there:
        for lifetime in (1, 3600):
            yield expiry(target, options, lifetime)


def run(options: Options) -> Report:
    """All of them."""
    report = Report("stampede", "Crowds")
    there, gone = servers.present(servers.GATEWAY, servers.NAIVE)
    report.parts += [f"The farm takes {FARM_DELAY:g} s for an answer in the first two.", *gone]
    report.show("Cold: all at once for one id", HEAD, [cold(t, options) for t in there])
    report.show("Expiry: 500 requests a second for one id", HEAD, both(there, options))
    title = f"Outage: {options.fewer(options.outage, 2)} s without a farm, 200 requests a second"
    report.show(title, HEAD, [outage(t, options) for t in there])
    title = "Cache busters: one id, another query each"
    report.show(title, HEAD, [buster(t, options) for t in there])
    title = "Flood: ids that do not exist, 32 at a time"
    head = (*HEAD, "RSS +MiB", "kept id still kept")
    report.show(title, head, [flood(t, options) for t in there if t is servers.GATEWAY])
    return report
