"""`python -m bench [NAME ...]`: run the benches and keep their tables; `all` stands for all."""

import argparse
import os
import signal
import sys
from importlib import import_module

from bench.options import Options
from bench.servers import LOAD_CORE

NAMES = (
    "hit",
    "inprocess",
    "pipeline",
    "miss",
    "stampede",
    "late",
    "live",
    "pages",
    "memory",
    "slow",
    "scale",
    "shared",
    "workers",
    "restart",
)
TABLES = ("hit", "inprocess", "pipeline", "miss", "memory")
"""What the README tells of; within ten minutes."""


def main() -> None:
    """Run the benches that were named, or those for the README's table."""
    plain = Options()
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"all, or any of {', '.join(NAMES)}"
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run; keeps no tables")
    parser.add_argument("--slice", type=int, default=plain.slice, help="seconds of a slice of hit")
    parser.add_argument("--rounds", type=int, default=plain.rounds, help="how often to measure")
    parser.add_argument("--outage", type=int, default=plain.outage, help="seconds without a farm")
    parser.add_argument("--flood", type=int, default=plain.flood, help="ids in a flood")
    chosen = vars(parser.parse_args())
    names = chosen.pop("names") or TABLES
    if "all" in names:
        names = NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"no such bench: {', '.join(sorted(unknown))}")
    # An end from outside must unwind too, so that no server is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    os.sched_setaffinity(0, {LOAD_CORE})
    options = Options(**chosen)
    for name in names:
        import_module(f"bench.{name}").run(options).finish(keep=not options.quick)


if __name__ == "__main__":
    main()
