"""The list of faults does not rot: each can still be put in, and its tests are still there."""

import pytest

from tests.mutants.__main__ import ROOT, Mutant, load, mutated

MUTANTS = load()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.title)
def test_a_fault_can_be_put_in(mutant: Mutant) -> None:
    assert mutated(mutant) != (ROOT / mutant.file).read_text(encoding="utf-8")
    for test in mutant.tests:
        assert (ROOT / test.partition("::")[0]).is_file()


def test_there_are_enough_and_none_stands_twice() -> None:
    assert len(MUTANTS) >= 60
    assert len({mutant.title for mutant in MUTANTS}) == len(MUTANTS)
