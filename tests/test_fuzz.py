"""The targets of ``make fuzz`` without its coverage: seeds, inputs kept, arbitrary bytes."""

import importlib
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuzz import decoder, requests
from fuzz.__main__ import TARGETS

KEPT = Path(__file__).parent / "fuzz"
steady = settings(derandomize=True, deadline=None, max_examples=300)


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_and_every_input_that_was_kept_holds(name: str) -> None:
    target = importlib.import_module(f"fuzz.{name}")
    kept = [path.read_bytes() for path in sorted((KEPT / name).iterdir())]
    assert kept
    for data in (*target.SEEDS, *kept):
        target.check(data)


def test_inputs_are_kept_for_targets_only() -> None:
    assert {path.name for path in KEPT.iterdir()} == set(TARGETS)


def pieces(words: list[str]) -> st.SearchStrategy[bytes]:
    """Words of a target, and what may stand between them."""
    piece = st.sampled_from(words).map(str.encode) | st.binary(max_size=2)
    return st.lists(piece, max_size=12).map(b"".join)


@steady
@given(pieces(decoder.WORDS))
def test_the_decoder_holds_for_its_words_in_disorder(data: bytes) -> None:
    decoder.check(data)
    head, tail = b"<methodResponse><params><param>", b"</param></params></methodResponse>"
    decoder.check(head + data + tail)


@steady
@given(st.binary(max_size=64) | pieces(requests.WORDS))
@example(b"application/json;q=nan")
def test_the_header_readers_hold_for_anything(data: bytes) -> None:
    requests.check(data)
