"""A kept answer, asked for at full speed: the gateway beside what one would use instead.

Every variant is asked in turn for one slice, and again, round after round, so that all of them see
the same machine. A ratio is taken within a round. A slice in which other programs took more than a
tenth of the machine is taken again once; if it is noisy still, it counts only if all are.
"""

import os
import resource
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import NamedTuple

from bench import servers
from bench.load import CHROME, Blast, ask_all, fetch, get, wrk, wrk_missing
from bench.options import Options
from bench.report import Report, spread
from bench.sample import ID, answer_json
from bench.servers import Server, Stage, Target

NOISY = 0.1
PATH = f"/sessions/{ID}"
TARGETS = (
    servers.GATEWAY,
    servers.GATEWAY_WITH_KEYS,
    servers.NAIVE,
    servers.MIDDLEWARE,
    servers.FLASK,
    servers.EXPRESS,
    servers.NGINX,
    servers.NGINX_LIKE_US,
    servers.NGINX_GZIP,
)
CLOSE = {servers.BARE.name, servers.GATEWAY.name, servers.NGINX_LIKE_US.name}
"""Who is asked in every way; the others over 32 connections, with plain headers."""
CODED = {servers.GATEWAY.name, servers.NGINX_GZIP.name}
"""Who is asked for gzip, too."""
MANY = {servers.GATEWAY.name, servers.NGINX.name}
"""Who is asked for many ids in turn, too."""
KEY = "rfgw_bench"
AT_ONCE = 8
"""Requests that a client who pipelines sends at once."""


class Case(NamedTuple):
    """What is asked, and how."""

    status: int
    browser: bool
    pipelined: int
    connections: int
    coded: bool

    @property
    def title(self) -> str:
        kind = "a browser's" if self.browser else "plain"
        coded = ", in gzip" if self.coded else ""
        at_once = f", {self.pipelined} requests at once" if self.pipelined > 1 else ""
        return f"{self.status}, {kind} headers, {self.connections} connections{at_once}{coded}"


class Variant(NamedTuple):
    """One way of asking one server; `paths` names a file of paths to ask for in turn."""

    name: str
    server: Server
    status: int
    browser: bool
    headers: dict[str, str]
    paths: Path | None = None
    pipelined: int = 1
    coded: bool = False

    def joins(self, connections: int) -> bool:
        """Whether it is asked over so many connections."""
        return connections == 32 or (self.server.name in CLOSE and self.pipelined == 1)


class Slice(NamedTuple):
    """What one slice showed: wrk's view, CPU microseconds a request, and others' share."""

    blast: Blast
    cpu: float
    others: float

    @property
    def rate(self) -> float:
        return self.blast.requests / self.blast.seconds


def busy() -> float:
    """CPU seconds that all programs together have used, stolen time included."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / servers.TICK


def children() -> float:
    """CPU seconds of the load generators that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def take_once(variant: Variant, connections: int, seconds: int) -> Slice:
    """One slice."""
    before = busy(), children(), variant.server.cpu()
    blast = wrk(
        variant.server.port,
        PATH,
        connections=connections,
        seconds=seconds,
        headers=variant.headers,
        paths=variant.paths,
        pipelined=variant.pipelined,
    )
    everyone, generator, server = (
        after - since
        for after, since in zip((busy(), children(), variant.server.cpu()), before, strict=True)
    )
    if blast.bad or not blast.requests:
        raise RuntimeError(f"{variant.server.name}: {blast}")
    others = max(0.0, everyone - generator - server) / (blast.seconds * (os.cpu_count() or 1))
    return Slice(blast, server / blast.requests * 1e6, others)


def take(variant: Variant, connections: int, seconds: int) -> Slice:
    """One slice, taken twice if the machine was noisy."""
    first = take_once(variant, connections, seconds)
    if first.others <= NOISY:
        return first
    return min(first, take_once(variant, connections, seconds), key=lambda taken: taken.others)


def variants_of(server: Server, options: Options) -> Iterator[Variant]:
    """As 200 and, if the server can, as 304; who is close to us with a browser's headers, too."""
    key = {"X-API-Key": KEY} if server.name == servers.GATEWAY_WITH_KEYS.name else {}
    is_close = server.name in CLOSE
    if is_close:
        yield Variant(server.name, server, 200, False, {}, pipelined=AT_ONCE)
    if server.name in CODED:
        yield Variant(server.name, server, 200, False, {"Accept-Encoding": "gzip"}, coded=True)
    for browser, headers in ((False, key), (True, CHROME))[: options.fewer(1 + is_close, 1)]:
        yield Variant(server.name, server, 200, browser, headers)
        _, told, _ = fetch(server.port, PATH, headers)
        conditional = headers | {"If-None-Match": told.get("etag", '"none"')}
        if fetch(server.port, PATH, conditional)[0] == 304:
            yield Variant(server.name, server, 304, browser, conditional)


def many_ids(stage: Stage, server: Server, many: int) -> Iterator[Variant]:
    """One id and `many` ids, both through wrk's slower way of choosing paths."""
    for kept in (1, many):
        listed = [f"/sessions/{ID + n}" for n in range(kept)]
        paths = stage.folder() / "paths"
        paths.write_text("\n".join(listed))
        ask_all(server.port, map(get, listed), connections=32)
        yield Variant(f"{server.name}, {kept:,} ids", server, 200, False, {}, paths)


TO_BARE = ("to bare 200", "CPU to it", "p99 to it")
HEAD = ("req/s", "CPU us/request", "p50 us", "p99 us", "lost", "others")
Slices = list[Slice]
Taken = dict[Case, dict[str, Slices]]


def measure(variants: list[Variant], connections: tuple[int, ...], options: Options) -> Taken:
    """All slices, interleaved."""
    taken: Taken = defaultdict(lambda: defaultdict(list))
    rounds = product(connections, range(options.fewer(options.rounds, 1)), variants)
    for at_once, _, v in rounds:
        if not v.joins(at_once):
            continue
        slices = taken[Case(v.status, v.browser, v.pipelined, at_once, v.coded)][v.name]
        slices.append(take(v, at_once, options.fewer(options.slice, 1)))
    return taken


def quiet(slices: Slices) -> Slices:
    """The slices that nobody disturbed, or all if there are none."""
    return [s for s in slices if s.others <= NOISY] or slices


def rate(slices: Slices) -> float:
    """The median of requests a second."""
    return statistics.median(s.rate for s in quiet(slices))


def rate_of(taken: Slice) -> float:
    """Requests a second of one slice."""
    return taken.rate


def cpu_of(taken: Slice) -> float:
    """CPU microseconds a request of one slice."""
    return taken.cpu


def p99_of(taken: Slice) -> float:
    """The latency, in microseconds, that one request of a hundred exceeds in one slice."""
    return taken.blast.p99


def ratio(ours: Slices, theirs: Slices, of: Callable[[Slice], float] = rate_of) -> str:
    """The median of the ratios within each round in which both were quiet.

    With a tilde if no such round was quiet, a dash if either is missing.
    """
    pairs = list(zip(ours, theirs, strict=False))
    clean = [pair for pair in pairs if max(one.others for one in pair) <= NOISY]
    ratios = [of(mine) / of(other) for mine, other in clean or pairs if of(other)]
    doubt = "" if clean else "~"
    return f"{doubt}{statistics.median(ratios):.2f}" if ratios else "-"


def numbers(slices: Slices) -> list[str]:
    """Rate, CPU, latencies and noise, to go under HEAD; of the quiet slices, if there are any."""
    slices = quiet(slices)
    return [
        spread(s.rate for s in slices),
        spread((s.cpu for s in slices), 1),
        spread(s.blast.p50 for s in slices),
        spread(s.blast.p99 for s in slices),
        f"{sum(s.blast.lost for s in slices):,}",
        f"{statistics.median(s.others for s in slices):.0%}",
    ]


def show(report: Report, taken: Taken) -> None:
    """One table for each case, the fastest variant first."""
    for case, found in taken.items():
        own = taken.get(case._replace(status=200, coded=False), {})
        bare, gateway = own.get(servers.BARE.name, []), found.get(servers.GATEWAY.name, [])
        ranked = sorted(found.items(), key=lambda pair: -rate(pair[1]))
        rows = (
            [
                name,
                ratio(s, bare),
                ratio(s, bare, cpu_of),
                ratio(s, bare, p99_of),
                ratio(gateway, s),
                ratio(s, own.get(name, [])),
                *numbers(s),
            ]
            for name, s in ranked
        )
        head = ("variant", *TO_BARE, "gateway to it", "to own 200", *HEAD)
        report.show(case.title, head, rows)


def start_all(stage: Stage, targets: list[Target]) -> list[Server]:
    """Bare uvicorn, which is the others' origin where they need one, and the targets."""
    body = stage.folder() / "body.json"
    body.write_bytes(answer_json())
    stage.farm()
    bare = stage.start(servers.BARE, BENCH_BODY_FILE=str(body))
    keys = stage.folder() / "keys"
    keys.write_text(f"bench sha256:{sha256(KEY.encode()).hexdigest()}\n")
    keyed = {"RFGW_API_KEYS_FILE": str(keys), "RFGW_RATE_LIMIT": "999999/1"}
    started = [bare]
    for target in targets:
        settings = keyed if target is servers.GATEWAY_WITH_KEYS else {}
        started.append(stage.start(target, bare.port, **settings))
    return started


def run(options: Options) -> Report:
    """Start everything, measure, stop everything."""
    report = Report("hit", "A kept answer at full speed")
    if wrk_missing():
        report.say(f"Not measured: {wrk_missing()}.")
        return report
    there, gone = servers.present(*TARGETS)
    connections = (32,) if options.quick else (1, 32, 256)
    ids: Taken = {}
    with servers.stage() as stage:
        started = start_all(stage, there)
        key = {"X-API-Key": KEY}
        sizes = [f"{s.name} {len(fetch(s.port, PATH, key)[2]):,}" for s in started]
        taken = measure([v for s in started for v in variants_of(s, options)], connections, options)
        many = options.fewer(10_000, 1000)
        listed = [v for s in started if s.name in MANY for v in many_ids(stage, s, many)]
        ids = measure(listed, (32,), options)
    report.parts += [f"Bytes of the body: {', '.join(sizes)}.", *gone]
    show(report, taken)
    for found in ids.values():
        ones = [slices for slices in list(found.values())[::2] for _ in (1, many)]
        rows = (
            [name, ratio(slices, one), *numbers(slices)]
            for (name, slices), one in zip(found.items(), ones, strict=True)
        )
        report.show("One kept id, and many, 32 connections", ("asked for", "to one", *HEAD), rows)
    return report
