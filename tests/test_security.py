"""docs/security.md: every row has a place that enforces it and a test that holds it."""

import re

import pytest

from tests.programs import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| resource")
]
TESTS = {
    name
    for path in (ROOT / "tests").glob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.M)
}


def test_the_page_has_rows() -> None:
    assert len(ROWS) > 40


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_names_a_file_and_a_test_that_are_there(row: list[str]) -> None:
    _, _, place, test = row
    assert place == "everywhere" or (ROOT / place.strip("`")).is_file()
    assert test.strip("`") in TESTS
