"""``python -m fuzz [SECONDS]``: each target in a process of its own; exits with 1 if any fails."""

import re
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

TARGETS = ("decoder", "requests")
HERE = Path(__file__).parent
FOUND = HERE / "found"
MOST_BYTES = 4096
SLOWEST = 5  # seconds for one input
MOST_MEMORY = 1024  # MiB

KEEP = """\
  To make it a test: copy that file into tests/fuzz/{target}/, under a name that says what is in it.
  `python -m pytest tests/test_fuzz.py` tries every file there."""


def run(target: str, seconds: int) -> str:
    """Fuzz one target; gives what was wrong, or nothing."""
    FOUND.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        command = [
            *(sys.executable, "-m", "fuzz.target", target, str(corpus)),
            *(f"-max_total_time={seconds}", f"-max_len={MOST_BYTES}", f"-timeout={SLOWEST}"),
            *(f"-rss_limit_mb={MOST_MEMORY}", f"-artifact_prefix={FOUND / target}-"),
        ]
        done = subprocess.run(
            command, cwd=HERE.parent, stderr=subprocess.PIPE, text=True, errors="replace"
        )
    if done.returncode != 0:
        print(done.stderr[-6000:])
        kept = re.findall(r"Test unit written to (\S+)", done.stderr)
        return f"failed on {kept[-1]}\n{KEEP.format(target=target)}" if kept else "did not run"
    covered = max(map(int, re.findall(r" cov: (\d+)", done.stderr)), default=0)
    runs = re.search(r"Done (\d+) runs", done.stderr)
    needed = runpy.run_path(str(HERE / f"{target}.py"))["REACHES"]
    print(f"{target}: {runs[1] if runs else 0} inputs, {covered} branches reached")
    return f"reached {covered} branches, of at least {needed}" if covered < needed else ""


def main() -> int:
    """Fuzz every target, one after the other."""
    seconds = int((sys.argv[1:] or ["60"])[0])
    failed = {target: wrong for target in TARGETS if (wrong := run(target, seconds))}
    for target, wrong in failed.items():
        print(f"{target}: {wrong}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
