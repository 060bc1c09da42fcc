"""Compares the OpenAPI document with the last released one: what breaks, and for whom.

``python -m openapi.breaking`` exits with 1 if anything does. Redocly finds the changes; this says
who suffers from them, and adds the one that Redocly lets pass: a value that is answered no more.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Node = dict[str, Any]

HERE = Path(__file__).parent
CURRENT = HERE / "openapi.json"
RELEASED = HERE / "released" / "openapi.json"
REDOCLY = HERE / "node_modules" / ".bin" / "redocly"

LOST = "enum-values-removed"
SUFFERS = {
    "property-removed": "programs that read it; generated clients no longer compile where they do",
    "required-properties-removed": "programs that read it without looking whether it is there",
    "schema-type-changed": "programs that read it as it was",
    "response-removed": "programs that tell this status apart; generated clients lose its type",
    "response-header-removed": "programs that read the header",
    "enum-values-added": "programs that handle every value; generated clients raise on a new one",
    LOST: "programs that wait for the value; generated clients no longer compile",
    "operation-id-changed": "every caller of a generated client: its function has another name",
    "operation-removed": "everyone who calls it",
    "path-removed": "everyone who calls it",
}
ANYONE = "programs that rely on it as it was"

IF_MEANT = """
If this is meant: raise the version in app/version.py, tell it in CHANGELOG.md, and copy
openapi/openapi.json to openapi/released/openapi.json with the release.
"""


def breakages(released: Path, current: Path) -> list[str]:
    """What clients of the released document cannot rely on any more, in two lines each."""
    document: Node = json.loads(released.read_text(encoding="utf-8"))
    files = [str(released.resolve()), str(current.resolve())]
    command = [str(REDOCLY), "diff", *files, "--format=json", "--fail-on=none"]
    told = subprocess.run(command, cwd=HERE, capture_output=True, check=True)
    return [
        f"{_users(document, change)}: {message}\n    Breaks for: {SUFFERS.get(rule, ANYONE)}."
        for change in json.loads(told.stdout)["changes"]
        for rule, message in _verdicts(change)
    ]


def _verdicts(change: Node) -> Iterator[tuple[str, str]]:
    """What is bad about a change: Redocly's name for it, and its message."""
    found = [(v["ruleId"], v["message"]) for v in change["verdicts"] if v["impact"] == "major"]
    yield from found
    if change.get("property") == "enum" and "base" in change and "revision" in change:
        lost = [v for v in change["base"]["value"] if v not in change["revision"]["value"]]
        if lost and LOST not in dict(found):
            owner = change["base"]["pointer"].split("/")[-2]
            yield LOST, f"Enum of `{owner}` lost values: {', '.join(map(repr, lost))}."


def _users(document: Node, change: Node) -> str:
    """The operations that a change reaches, by name."""
    pointer = (change.get("base") or change["revision"])["pointer"]
    names = [
        operation["operationId"]
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if f"{pointer}/".startswith(f"#/paths/{_escaped(path)}/{method}/")
        or f"#/paths/{_escaped(path)}" == pointer
        or any(f"{pointer}/".startswith(f"{target}/") for target in _reached(document, operation))
    ]
    return ", ".join(names) or "every operation"


def _escaped(path: str) -> str:
    return path.replace("~", "~0").replace("/", "~1")


def _reached(document: Node, node: object) -> set[str]:
    """The components that a part of the document refers to, and those that they refer to."""
    found: set[str] = set()
    new = _references(node)
    while new:
        found |= new
        targets = (target.split("/")[2:4] for target in new)
        new = set().union(*(_references(document["components"][k][n]) for k, n in targets)) - found
    return found


def _references(node: object) -> set[str]:
    return set(re.findall(r'"\$ref": "(#/components/[^"]+)"', json.dumps(node)))


def main() -> int:
    """Print what breaks; 1 if anything does."""
    found = breakages(RELEASED, CURRENT)
    if not found:
        print("Nothing breaks for clients of the released document.")
        return 0
    print(f"The OpenAPI document breaks what {RELEASED.relative_to(HERE.parent)} promises:\n")
    print("\n".join(found))
    print(IF_MEANT)
    return 1


if __name__ == "__main__":
    sys.exit(main())
