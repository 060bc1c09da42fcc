"""What the guides say is so: series, events, settings, codes and links."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.error_codes import Code
from app.config.environment import FILES, NAMES
from app.core.fetch_result import OUTCOMES
from app.telemetry.metrics import Metrics
from app.upstream import transport
from app.upstream.refusals import PROBLEMS, UNNAMED
from app.upstream.retry import TRY_AGAIN
from app.upstream.xmlrpc import codec as xmlrpc

ROOT = Path(__file__).parents[1]
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OPERATING = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
FRONTEND = (ROOT / "docs" / "frontend.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The rows of the table under a heading of the operator's guide, each a list of cells."""
    section = OPERATING.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in rows]


def names(cell: str) -> list[str]:
    """The words of a cell that stand in backticks."""
    return re.findall(r"`(\w+)`", cell)


def test_every_series_is_documented_with_its_labels_and_no_other_is() -> None:
    counted = {}
    metrics = Metrics()
    collectors: list[Any] = [*vars(metrics).values(), *vars(metrics.shared).values()]
    for collector in collectors:
        for family in collector.describe() if hasattr(collector, "describe") else ():
            names_of = collector if hasattr(collector, "_labelnames") else family
            states = [family.name] if family.type == "stateset" else []
            suffix = "_total" if family.type == "counter" else ""
            counted[family.name + suffix] = [*names_of._labelnames, *states]
    told = {names(row[0])[0]: names(row[1]) for row in table("Metrics")}
    assert {name: labels for name, labels in told.items() if name not in OUTCOMES} == counted


def test_every_outcome_of_the_cache_is_documented_and_no_other_is() -> None:
    section = OPERATING.split("`outcome` of `rfgw_cache_answers_total`")[1]
    assert re.findall(r"^\| `(\w+)` \|", section.split("\n\n")[1], re.MULTILINE) == [*OUTCOMES]


def test_every_event_is_documented_and_no_other_is() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "app").rglob("*.py"))
    logged = set(re.findall(r"(?:logs\.event|StateLog|EVENTS\.\w+)\(\s*\"(\w+)\"", sources))
    assert {names(row[0])[0] for row in table("Logs")} == logged


def test_every_cause_of_a_failed_attempt_is_explained_and_no_other_is() -> None:
    folder = ROOT / "app" / "upstream"
    sources = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    raised = {*re.findall(r"errors\.Upstream\w+\(\s*\"(\w+)\"", sources), "deadline", "aborted"}
    of_transport = (folder / "transport.py").read_text(encoding="utf-8")
    found = {cause for _, cause in transport.CAUSES}.union(
        re.findall(r"return \"(\w+)\"", of_transport),
        TRY_AGAIN,
        {transport.SHORTAGE},
        xmlrpc.CAUSES,
        PROBLEMS,
        {UNNAMED},
        raised,
    )
    rows = [names(row[0].partition(";")[0]) for row in table("What to do when")]
    told = {name for head, *causes in rows if head == "outcome" for name in causes}
    assert told - {"fault", "fault_code"} == found


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_every_setting_that_a_guide_names_is_one(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    assert set(re.findall(r"RFGW_[A-Z_]*[A-Z]\b", text)) - NAMES.keys() - FILES.keys() <= {
        "RFGW_PROT"  # the typing mistake that the configuration's page shows
    }


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_every_link_of_a_guide_leads_somewhere(guide: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", guide.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (guide.parent / target).exists(), target


def test_the_codes_in_the_snippets_are_codes() -> None:
    snippets = "".join(re.findall(r"```[jt]s\n(.*?)```", FRONTEND, re.DOTALL))
    told = set(re.findall(r"\"((?:session|upstream|invalid|not|rate)_\w+)\"", snippets))
    assert told
    assert told <= set(Code)


def test_the_function_names_are_those_of_the_document(gateway: httpx.Client) -> None:
    paths = gateway.get("/openapi.json").json()["paths"].values()
    ids = {operation["operationId"] for path in paths for operation in path.values()}
    assert ids == set(names(FRONTEND.split("The function names")[1]))


def test_what_a_guide_says_is_in_a_file_is_there() -> None:
    told = re.compile(r"`(\w+)`,? (?:\(|in |of )`((?:app|tests)/[a-z_/]+\.py)`")
    pages = "\n".join(path.read_text(encoding="utf-8") for path in GUIDES)
    named = set(told.findall(pages))
    assert named
    wrong = [(name, file) for name, file in named if not defines(ROOT / file, name)]
    assert wrong == []


def defines(path: Path, name: str) -> bool:
    """Whether a module defines something by this name."""
    code = path.read_text(encoding="utf-8")
    return re.search(rf"^ *(?:class |def |async def )?{name}\b", code, re.MULTILINE) is not None
