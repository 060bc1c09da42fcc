"""How cost grows: the real gateway over a farm of numbers, its clock wound by hand.

Viewers poll sessions whose popularity follows Zipf's law. What is counted is held against the
arithmetic of docs/scaling.md, and the arithmetic then goes to a million viewers.
"""

import asyncio
import itertools
import math
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from app.cache.memory import MemoryStore
from app.core import errors
from app.core.cache_entry import StaleWindows
from app.core.call import Call
from app.core.fetch_result import FetchResult
from app.core.freshness import FreshnessPolicy
from app.core.gateway import Gateway
from app.resources.sessions import GetSession
from bench.options import Options
from bench.report import Report

T = TypeVar("T")

LIFETIME = 5.0
WARM = 60.0
"""Seconds at the start that are not counted: caches fill."""
WINDOWS = StaleWindows(while_revalidate=30.0, if_error=600.0)


@dataclass
class World:
    """A farm that is up or down, and the clock of everything. Seconds."""

    now: float = 1.0
    up: bool = True
    calls: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)

    async def call(
        self, call: Call, *, read: Callable[[object], Awaitable[T]], background: bool = False
    ) -> T:
        """A session that renders, or nothing."""
        self.calls += 1
        if not self.up:
            raise errors.UpstreamUnreachable("refused")
        return await read({"id": call.arguments["sessionId"], "state": "active"})

    def count(self, outcome: str) -> None:
        """One request was answered so."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def share(self, *outcomes: str) -> float:
        """The share of requests that were answered in one of these ways."""
        return sum(self.outcomes.get(name, 0) for name in outcomes) / sum(self.outcomes.values())


def gateway_in(world: World) -> Gateway:
    """A gateway with the default windows, every answer living as a rendering session's does."""
    return Gateway(
        upstream=world,
        store=MemoryStore(max_entries=200_000, max_bytes=2**30),
        freshness=FreshnessPolicy(
            lifetimes=dict.fromkeys(("active", "queued", "waiting", "terminal"), LIFETIME),
            refusals={},
            windows=WINDOWS,
            if_slow=0.3,
            jitter=0.1,
        ),
        clock=lambda: world.now,
        uniform=random.Random(1).uniform,
    )


def popularity(ids: int) -> list[float]:
    """Each id's share of the requests, by Zipf's law with exponent 1."""
    total = sum(1 / rank for rank in range(1, ids + 1))
    return [1 / rank / total for rank in range(1, ids + 1)]


def predicted(rate: float, ids: int, groups: int = 1) -> tuple[float, float]:
    """Calls to the farm per second, and the share of requests that wait for one.

    ``groups`` processes that share no cache each see their part of the ``rate``. One that is asked
    for an id ``x`` times a second asks the farm once in a lifetime and the wait for the next
    request, ``1/x``; that request waits only if it is later than stale-while-revalidate allows.
    """
    calls = waits = 0.0
    for share in popularity(ids):
        x = rate * share / groups
        each = groups * x / (1 + x * LIFETIME)
        calls += each
        waits += each * math.exp(-x * WINDOWS.while_revalidate)
    return calls, waits / rate


async def play(rate: float, ids: int, seconds: float, outages: Iterator[float] | None) -> World:
    """``rate`` requests a second for so long; ``outages`` gives lengths of up, down, up, down."""
    world = World()
    gateway = gateway_in(world)
    dice = random.Random(2)
    cumulative = list(itertools.accumulate(popularity(ids)))
    warm = world.now + WARM
    end = warm + seconds
    turns = outages or iter([math.inf])
    turn = warm + next(turns)
    while world.now < end:
        world.now += dice.expovariate(rate)
        if world.now >= turn:
            world.up, turn = not world.up, turn + next(turns)
        if not world.outcomes and world.now >= warm:
            world.calls = 0
        (number,) = dice.choices(range(1, ids + 1), cum_weights=cumulative)
        answer = await gateway.fetch(GetSession(id=number))
        while gateway.single_flight:  # noqa: ASYNC110 - a refresh behind an answer takes no time here
            await asyncio.sleep(0)
        if world.now >= warm:
            world.count(outcome_of(answer))
    return world


def outcome_of(answer: FetchResult) -> str:
    """How one request fared: ``fresh``, ``stale`` at once, ``waited`` although one was kept, ..."""
    if answer.error:
        return "failed"
    if answer.hit:
        return "stale" if answer.detail else "fresh"
    return "waited" if answer.forward == "stale" else "asked"


def spells(up: float, down: float, seed: int) -> Iterator[float]:
    """Lengths of up and down in turn, exponential with these means."""
    dice = random.Random(seed)
    while True:
        yield dice.expovariate(1 / up)
        yield dice.expovariate(1 / down)


def growth(options: Options) -> list[list[str]]:
    """Counted against predicted."""
    seconds = options.fewer(120, 10)
    rows = []
    for viewers, ids in ((500, 100), (5_000, 100), (5_000, 2_000), (20_000, 2_000)):
        rate = viewers / LIFETIME
        world = asyncio.run(play(rate, ids, seconds, None))
        calls, waits = predicted(rate, ids)
        rows.append(
            [
                f"{viewers:,} viewers, {ids:,} ids",
                f"{rate:,.0f}",
                f"{world.calls / seconds:,.1f}",
                f"{calls:,.1f}",
                f"{1 - world.share('asked', 'waited'):.4f}",
                f"{1 - waits:.4f}",
            ]
        )
    return rows


def outages(options: Options) -> list[list[str]]:
    """The share that is answered although the farm is down so often."""
    seconds = options.fewer(6_000, 100)
    rate, ids = 100.0, 2_000
    healthy = asyncio.run(play(rate, ids, seconds / 10, None))
    fresh, no_copy = healthy.share("fresh"), healthy.share("asked")
    covered = 1 - no_copy / (1 - fresh)
    rows = []
    for up, down in ((570.0, 30.0), (270.0, 30.0), (300.0, 300.0), (600.0, 1200.0)):
        world = asyncio.run(play(rate, ids, seconds, spells(up, down, 3)))
        a = up / (up + down)
        rows.append(
            [
                f"up {up:.0f} s, down {down:.0f} s",
                f"{a:.3f}",
                f"{fresh:.3f}",
                f"{covered:.3f}",
                f"{1 - (1 - a) * (1 - fresh) * (1 - covered):.4f}",
                f"{1 - world.share('failed'):.4f}",
            ]
        )
    return rows


def toward_a_million() -> list[list[str]]:
    """The arithmetic alone."""
    rows = []
    for viewers, ids in ((10_000, 1_000), (100_000, 10_000), (1_000_000, 100_000)):
        rate = viewers / LIFETIME
        cells = [predicted(rate, ids, groups)[0] for groups in (1, 8)]
        rows.append(
            [
                f"{viewers:,} viewers, {ids:,} ids",
                f"{rate:,.0f}",
                *(f"{calls:,.0f}" for calls in cells),
                f"{1 - cells[0] / rate:.4f}",
            ]
        )
    return rows


def run(options: Options) -> Report:
    """All three."""
    report = Report("scale", "How cost grows with viewers and ids, and what outages cost")
    report.say(
        f"Viewers poll every {LIFETIME:.0f} s, which is the lifetime too; popularity by Zipf's law."
    )
    report.show(
        "Counted and predicted",
        ("crowd", "requests/s", "calls/s", "predicted", "did not wait", "predicted"),
        growth(options),
    )
    report.show(
        "With outages, 100 requests/s over 2,000 ids",
        ("farm", "a: up", "h: fresh", "c: copy of the rest", "1-(1-a)(1-h)(1-c)", "answered"),
        outages(options),
    )
    report.show(
        "Toward a million viewers, by the arithmetic",
        ("crowd", "requests/s", "calls/s, shared cache", "8 processes apart", "kept"),
        toward_a_million(),
    )
    return report
