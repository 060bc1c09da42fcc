"""Numbers as tables, on the screen and in bench/results/. Must not know what was measured."""

import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = Path(__file__).with_name("results")
PACKAGES = [
    "uvicorn",
    "uvloop",
    "httptools",
    "fastapi",
    "starlette",
    "pydantic",
    "httpx",
    "aiohttp",
]
PROGRAMS = {"wrk": ["wrk", "-v"], "nginx": ["nginx", "-v"], "node": ["node", "--version"]}


def spread(values: Iterable[float], digits: int = 0) -> str:
    """`median (smallest-largest)`."""
    found = sorted(values)
    if not found:
        return "-"
    middle = statistics.median(found)
    return f"{middle:,.{digits}f} ({found[0]:,.{digits}f}-{found[-1]:,.{digits}f})"


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie; 0 if there are none."""
    found = sorted(values)
    return found[min(len(found) - 1, int(len(found) * share))] if found else 0.0


def machine() -> str:
    """Processor and cores in one line."""
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return f"{found[1] if found else 'unknown processor'}, {os.cpu_count()} cores"


def _program_version(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return "missing"
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    found = re.search(r"\d+(\.\d+)+", told.stdout + told.stderr)
    return found[0] if found else "unknown"


def versions() -> str:
    """Versions of everything that takes part, in one line."""
    told = [f"Python {sys.version.split()[0]}"]
    for package in PACKAGES:
        try:
            told.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            told.append(f"{package} missing")
    return ", ".join([*told, *(f"{n} {_program_version(c)}" for n, c in PROGRAMS.items())])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, padded so that it reads well as plain text too. Numbers to the right."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines.insert(1, rule)
    return "\n".join(
        "| "
        + " | ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        )
        + " |"
        for line in lines
    )


@dataclass
class Report:
    """What one bench found: paragraphs and tables under a title."""

    name: str
    title: str
    parts: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Add a paragraph."""
        self.parts.append(text)

    def show(self, title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Add a table with its own heading."""
        self.parts += [f"## {title}", table(head, rows)]

    def finish(self, *, keep: bool) -> None:
        """Print all of it; `keep` writes it to bench/results/ as well."""
        text = "\n\n".join([f"# {self.title}", f"{machine()}\n{versions()}", *self.parts]) + "\n"
        print(text)
        if keep:
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"{self.name}.md").write_text(text, encoding="utf-8")
