"""A change that breaks clients is found, and told with what broke and for whom."""

import json
import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from openapi.breaking import CURRENT, REDOCLY, breakages

pytestmark = pytest.mark.slow  # each starts the linter

Node = dict[str, Any]

if not REDOCLY.exists() and os.environ.get("CI") != "true":
    pytest.skip("Redocly is not installed: make contract does it", allow_module_level=True)

DOCUMENT: Node = json.loads(CURRENT.read_text(encoding="utf-8"))
SESSION = ("components", "schemas", "Session")


def at(document: Node, *path: str) -> Any:
    node: Any = document
    for name in path:
        node = node[name]
    return node


def remove_field(document: Node) -> None:
    del at(document, *SESSION, "properties")["title"]
    at(document, *SESSION, "required").remove("title")


def drop_answered_value(document: Node) -> None:
    at(document, "components", "schemas", "Phase", "enum").remove("encoding")


def drop_code(document: Node) -> None:
    at(document, "components", "schemas", "Code", "enum").remove("overloaded")


def forget_status(document: Node) -> None:
    del at(document, "paths", "/sessions/{id}", "get", "responses")["409"]


def forget_header(document: Node) -> None:
    del at(document, "paths", "/sessions/{id}", "get", "responses", "200", "headers")["ETag"]


def rename_operation(document: Node) -> None:
    at(document, "paths", "/sessions/{id}", "get")["operationId"] = "readSession"


def remove_path(document: Node) -> None:
    del document["paths"]["/health/live"]


def take_fewer_ids(document: Node) -> None:
    at(document, "paths", "/sessions/{id}", "get")["parameters"][0]["schema"]["maximum"] = 9


def allow_null(document: Node) -> None:
    at(document, *SESSION, "properties")["id"] = {"anyOf": [{"type": "integer"}, {"type": "null"}]}


CHANGES: list[tuple[Callable[[Node], None], str, str, str]] = [
    (remove_field, "getSession", "Property `title` of `Session` was removed", "read it"),
    (drop_answered_value, "getSession", "Enum of `Phase` lost values: 'encoding'", "wait for the"),
    (drop_code, "getLiveness", "Enum of `Code` lost values: 'overloaded'", "wait for the value"),
    (forget_status, "getSession", "Response `409` was removed", "tell this status apart"),
    (forget_header, "getSession", "Response header `ETag` was removed", "read the header"),
    (rename_operation, "getSession", "changed from 'getSession' to 'readSession'", "another name"),
    (remove_path, "getLiveness", "Path `/health/live` was removed", "everyone who calls it"),
    (take_fewer_ids, "getSession", "Upper bound changed", "rely on it as it was"),
    (allow_null, "getSession", "Type of `id` widened", "read it as it was"),
]


@pytest.mark.parametrize(("change", "operation", "what", "whom"), CHANGES)
def test_what_breaks_is_told_with_what_and_for_whom(
    tmp_path: Path, change: Callable[[Node], None], operation: str, what: str, whom: str
) -> None:
    changed = deepcopy(DOCUMENT)
    change(changed)
    current = tmp_path / "openapi.json"
    current.write_text(json.dumps(changed))
    told = [entry for entry in breakages(CURRENT, current) if what in entry]
    assert len(told) == 1
    users, _, rest = told[0].partition(": ")
    assert operation in users.split(", ")
    assert whom in rest.partition("Breaks for: ")[2]


def test_what_is_new_breaks_nothing(tmp_path: Path) -> None:
    older = deepcopy(DOCUMENT)
    remove_field(older)
    remove_path(older)
    at(older, "paths", "/sessions/{id}", "get")["summary"] = "Other words"
    released = tmp_path / "openapi.json"
    released.write_text(json.dumps(older))
    assert breakages(released, CURRENT) == []
