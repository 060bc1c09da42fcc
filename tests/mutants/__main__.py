"""``python -m tests.mutants [WORD ...]``: put each fault into a copy, and run its tests there.

A fault that no test notices is a hole in the tests. Words choose the faults whose title or file
has one of them.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from queue import Queue
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE = "clients/typescript"
"""Its tests are in TypeScript, and run by Node.js."""
WITHIN = 300
"""Seconds that the tests of one fault may take: tests that hang have noticed it."""
NOTICED, OVERLOOKED, NOT_RUN = "noticed", "OVERLOOKED", "NOT RUN"


under_way: set[int] = set()
"""The process groups that run now."""


class Mutant(NamedTuple):
    """One fault: in ``file``, ``old``, which stands there once, becomes ``new``."""

    title: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


class NotApplicable(Exception):
    """The fault cannot be put in: the code has changed."""


def load(folder: Path = HERE) -> list[Mutant]:
    """All faults of the lists in ``folder``."""
    return [
        Mutant(one["title"], one["file"], one["old"], one["new"], tuple(one["tests"]))
        for path in sorted(folder.glob("*.toml"))
        for one in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    ]


def mutated(mutant: Mutant, root: Path = ROOT) -> str:
    """The file's text with the fault. Raises NotApplicable."""
    path = root / mutant.file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if text.count(mutant.old) != 1:
        raise NotApplicable(f"{mutant.file} has {text.count(mutant.old)} times: {mutant.old}")
    return text.replace(mutant.old, mutant.new)


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of what git knows of, to put faults into."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    with tempfile.TemporaryDirectory(prefix="rfgw-mutants-") as folder:
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, Path(folder) / name)
        for name in (".venv", f"{PACKAGE}/node_modules"):
            (Path(folder) / name).symlink_to(ROOT / name)
        yield Path(folder)


def commands(tests: Sequence[str]) -> tuple[str, list[list[str]]]:
    """The folder to run these tests in, what builds them, and last what runs them."""
    if not tests[0].endswith(".ts"):
        pytest = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        return ".", [[*pytest, *tests]]
    built = [f"build/{Path(test).stem}.js" for test in tests]
    return PACKAGE, [
        ["npm", "run", "--silent", "build"],
        ["node_modules/.bin/tsc", "--project", "tests"],
        ["node", "--test", "--test-timeout=60000", *built],
    ]


def tested(folder: Path, tests: Sequence[str]) -> tuple[str, str]:
    """What became of a fault that these tests are for, and the end of what they said."""
    home, (*builds, run) = commands(tests)
    for build in builds:
        code, said = ran(build, folder / home)
        if code:
            return NOT_RUN, said
    code, said = ran(run, folder / home)
    return {0: OVERLOOKED, 1: NOTICED}.get(code, NOT_RUN), said


def ran(command: Sequence[str], folder: Path) -> tuple[int, str]:
    """A command's exit code, 1 if it hung, and the end of what it said. Its process group ends."""
    # Bytecode is written: it makes the runs quick, and a run lasts more than the second by which
    # Python tells a file from the same file with another fault.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        under_way.add(process.pid)
        try:
            code = process.wait(WITHIN)
        except subprocess.TimeoutExpired:
            code = 1
            said.write("hung")
        finally:
            end(process.pid)  # with what a test that failed has left behind
            process.wait()
            under_way.discard(process.pid)
        said.seek(0)
        return code, said.read()[-2000:]


def end(group: int) -> None:
    """Kill all processes of a group."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def tried(mutant: Mutant, folder: Path) -> tuple[str, str]:
    """What became of one fault, and what the tests said."""
    path = folder / mutant.file
    before = path.read_text(encoding="utf-8")
    path.write_text(mutated(mutant, folder), encoding="utf-8")
    try:
        return tested(folder, mutant.tests)
    finally:
        path.write_text(before, encoding="utf-8")


def say(line: str) -> None:
    """One line on standard output, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Try the chosen faults; 1 if one was overlooked or could not be tried."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="faults whose title or file has one of these")
    parser.add_argument("--processes", type=int, default=5)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = [
        mutant
        for mutant in load()
        if not options.words
        or any(word in f"{mutant.title} {mutant.file}" for word in options.words)
    ]
    wrong = 0
    folders: Queue[Path] = Queue()

    def one(mutant: Mutant) -> tuple[Mutant, str, str]:
        folder = folders.get()
        try:
            return mutant, *tried(mutant, folder)
        except NotApplicable as error:
            return mutant, NOT_RUN, str(error)
        finally:
            folders.put(folder)

    with ThreadPoolExecutor(options.processes) as pool, ExitStack() as copies:
        for _ in range(options.processes):
            folders.put(copies.enter_context(copied()))
        try:
            for mutant, outcome, said in pool.map(one, chosen):
                say(f"{outcome:<10} {mutant.file}: {mutant.title}")
                if outcome != NOTICED:
                    wrong += 1
                    say(said)
        except KeyboardInterrupt:  # a terminal's Ctrl-C does not reach the other groups
            pool.shutdown(wait=False, cancel_futures=True)
            for group in under_way.copy():
                end(group)
            return 1
    say(f"{len(chosen) - wrong} of {len(chosen)} faults were noticed")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
