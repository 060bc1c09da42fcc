"""One process or two, apart or sharing a cache: the cost of a hit, and what the farm is asked.

The load generator runs on the same cores. So requests a second say little about two cores that are
free; processor time of a hit, and calls to the farm, carry over.
"""

import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from bench import servers
from bench.load import Answer, ask_all, fetch, get, wrk, wrk_missing
from bench.options import Options
from bench.report import Report, spread
from bench.sample import ID
from bench.servers import Server, Stage, asked, counted
from bench.shared import valkey

RATE, IDS, LIFETIME, CONNECTIONS = 500, 100, 5.0, 16
FULL = 32
"""Connections at full speed."""


@dataclass
class Variant:
    """Gateways that serve together, and the farm that only they ask."""

    name: str
    farm: Server
    gateways: list[Server]

    def cpu(self) -> float:
        """Processor seconds used so far."""
        return sum(gateway.cpu() for gateway in self.gateways)


def variant(stage: Stage, name: str, processes: int, workers: int, *, shared: bool) -> Variant:
    """Start one."""
    farm, folder = stage.farm(), stage.folder()
    more = {"RFGW_WORKERS": str(workers)}
    if shared:
        valkey(stage, folder)
        more["RFGW_CACHE_URL"] = f"unix://{folder / 's'}"
    gateways = [stage.start(servers.GATEWAY_ON_ALL_CORES, **more) for _ in range(processes)]
    for gateway in gateways:
        fetch(gateway.port, "/health/live")
    time.sleep(2.0)  # the second worker, too
    return Variant(name, farm, gateways)


def variants(stage: Stage) -> list[Variant]:
    """All that are compared."""
    return [
        variant(stage, "1 worker", 1, 1, shared=False),
        variant(stage, "2 workers", 1, 2, shared=False),
        variant(stage, "2 workers, Valkey", 1, 2, shared=True),
        variant(stage, "1 process, Valkey", 1, 1, shared=True),
        variant(stage, "2 processes, Valkey", 2, 1, shared=True),
        variant(stage, "2 processes apart", 2, 1, shared=False),
    ]


def blast(variant: Variant, seconds: int) -> tuple[float, float]:
    """Requests a second, and CPU microseconds of one: the load is spread over the gateways."""
    before = variant.cpu()
    each = FULL // len(variant.gateways)
    with ThreadPoolExecutor(len(variant.gateways)) as pool:
        seen = [
            pool.submit(
                wrk, gateway.port, f"/sessions/{ID}", connections=each, seconds=seconds, headers={}
            )
            for gateway in variant.gateways
        ]
        blasts = [one.result() for one in seen]
    if any(one.bad or one.lost for one in blasts):
        raise RuntimeError(f"{variant.name}: {blasts}")
    rate = sum(one.requests / one.seconds for one in blasts)
    return rate, (variant.cpu() - before) / sum(one.requests for one in blasts) * 1e6


def hits(options: Options) -> list[list[str]]:
    """One kept answer at full speed, all variants in turn."""
    with servers.stage(lifetime=3600) as stage:
        taken = {found.name: (found, []) for found in variants(stage)}
        for found, _ in taken.values():
            for gateway in found.gateways:
                ask_all(gateway.port, [get(f"/sessions/{ID}")] * FULL, connections=FULL)
        for _ in range(options.fewer(options.rounds, 1)):
            for found, slices in taken.values():
                slices.append(blast(found, options.fewer(options.slice, 1)))
    one = [cpu for _, cpu in next(iter(taken.values()))[1]]
    return [
        [
            name,
            spread(rate for rate, _ in slices),
            spread((cpu for _, cpu in slices), 1),
            f"{statistics.median(a / b for (_, a), b in zip(slices, one, strict=True)):.2f}",
        ]
        for name, (_, slices) in taken.items()
    ]


def concurrency_limit(variant: Variant, seconds: int) -> list[Answer]:
    """So many requests a second for all ids in turn, over all gateways."""
    each = RATE // len(variant.gateways)

    def asking(number: int) -> list[Answer]:
        # Each begins elsewhere, or all would ask for the same id at the same moment.
        wanted = (
            get(f"/sessions/{ID + (n + number * IDS // 2) % IDS}") for n in range(each * seconds)
        )
        port = variant.gateways[number].port
        return ask_all(port, wanted, connections=CONNECTIONS, rate=each)

    with ThreadPoolExecutor(len(variant.gateways)) as pool:
        found = pool.map(asking, range(len(variant.gateways)))
        return [answer for answers in found for answer in answers]


def asked_alone(variant: Variant) -> float:
    """Questions of which a shared cache was not told in time."""
    questions = (counted(one, "rfgw_shared_cache_questions_total") for one in variant.gateways)
    return sum(told.get('how="alone"', 0.0) for told in questions)


def calls(options: Options) -> list[list[str]]:
    """What a minute of the same crowd costs each farm. All variants run at the same time."""
    seconds = options.fewer(60, 5)
    with servers.stage(lifetime=LIFETIME) as stage, ExitStack() as stack:
        found = variants(stage)
        pool = stack.enter_context(ThreadPoolExecutor(len(found)))
        seen = [pool.submit(concurrency_limit, one, seconds) for one in found]
        answers = [one.result() for one in seen]
        rows = []
        for one, mine in zip(found, answers, strict=True):
            number = asked(one.farm)["calls"]
            failed = Counter(answer.status for answer in mine if answer.status != 200)
            rows.append(
                [
                    one.name,
                    f"{len(mine):,}",
                    ", ".join(f"{status or 'lost'}: {n}" for status, n in failed.items()) or "0",
                    f"{number:,}",
                    f"{number / seconds:.1f}",
                    f"{asked_alone(one):,.0f}",
                    f"{1 - number / len(mine):.4f}",
                ]
            )
    return rows


def run(options: Options) -> Report:
    """Both."""
    report = Report("workers", "Several processes: what a hit costs, and what the farm is asked")
    report.say("Gateways, farms, Valkey and the load share the cores of this machine.")
    if wrk_missing():
        report.say(f"Hits not measured: {wrk_missing()}.")
    else:
        head = ("gateways", "requests/s", "CPU us/request", "to one worker")
        report.show(f"A hit at full speed, {FULL} connections", head, hits(options))
    head = ("gateways", "requests", "failed", "calls", "calls/s", "asked alone", "not asked for")
    title = f"{RATE} requests/s over {IDS} ids for a minute, lifetime {LIFETIME:g} s"
    report.show(title, head, calls(options))
    at_most = IDS / LIFETIME
    report.say(
        f"{at_most:g} calls a second are one for each id and lifetime; by the arithmetic of"
        f" docs/scaling.md it is {IDS / (LIFETIME + IDS / RATE):.1f}, and for two apart"
        f" {2 * IDS / (LIFETIME + 2 * IDS / RATE):.1f}."
    )
    return report
