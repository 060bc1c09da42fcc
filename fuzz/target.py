"""``python -m fuzz.target NAME CORPUS [libFuzzer's options]``: fuzzes until told to stop."""

import importlib
import sys
from pathlib import Path

import atheris


def _escaped(word: str) -> str:
    """As libFuzzer's dictionaries want it."""
    return word.replace("\\", "\\\\").replace('"', '\\"')


name, corpus = sys.argv[1:3]
with atheris.instrument_imports(include=["app"]):
    target = importlib.import_module(f"fuzz.{name}")
for number, seed in enumerate(target.SEEDS):
    (Path(corpus) / f"seed-{number}").write_bytes(seed)
words = Path(corpus).with_suffix(".words")
words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.WORDS))
atheris.Setup([sys.argv[0], corpus, f"-dict={words}", *sys.argv[3:]], target.check)
atheris.Fuzz()
