"""Faults of the farm: how long after the deadline is a client answered, at worst?

Plays the rows of ``tests/hostile_faults.py`` as the tests do, but one at a time: a play that waits
for another one's processor time would tell nothing of the gateway.
"""

import tempfile
from pathlib import Path

from bench.options import Options
from bench.report import Report, percentile
from tests.test_hostile import COLD, PLAYS, STALE, RoutedRequest, staged

WORST = 12
HEAD = ("fault", "kept before", "status", "deadline s", "answered after s", "beyond ms")


def late(seen: RoutedRequest) -> float:
    """Milliseconds after the deadline; below zero for what was answered in time."""
    return (seen.seconds - seen.deadline) * 1e3


def play(options: Options) -> list[RoutedRequest]:
    """Every row with nothing kept, and with a kept answer that is stale."""
    with tempfile.TemporaryDirectory() as folder, staged(Path(folder)) as stage:
        return [
            stage.play(row, (STALE if stale else COLD) + index, stale=stale)
            for index, (row, stale) in enumerate(PLAYS)
            if index % options.fewer(1, 20) == 0
        ]


def run(options: Options) -> Report:
    """The latest of all."""
    report = Report("late", "A farm that goes wrong: how late is the answer?")
    plays = sorted(play(options), key=late, reverse=True)
    beyond = [late(seen) for seen in plays if late(seen) > 0] or [0.0]
    report.say(
        f"{len(plays)} plays of faults. {len(beyond)} of them had to be ended by "
        f"the deadline: median {percentile(beyond, 0.5):.0f} ms beyond it, worst "
        f"{max(beyond):.0f} ms. Farm, gateway and client are threads of one process."
    )
    rows = [
        [
            seen.row.name,
            "yes" if seen.kept else "no",
            str(seen.answer.status_code),
            f"{seen.deadline:g}",
            f"{seen.seconds:.3f}",
            f"{late(seen):.0f}",
        ]
        for seen in plays[:WORST]
    ]
    report.show(f"The latest {WORST}", HEAD, rows)
    return report
