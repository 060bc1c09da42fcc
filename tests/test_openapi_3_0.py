"""The older dialect says the same: what changed its words, and what is refused."""

from copy import deepcopy
from typing import Any

import pytest

from app.docs.openapi_3_0 import as_3_0

Node = dict[str, Any]


def converted(*schemas: Node, **named: Node) -> list[Node]:
    """The schemas as they stand in a 3.0 document, then the named ones that it keeps."""
    responses = {str(i): {"content": {"x": {"schema": s}}} for i, s in enumerate(schemas)}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "paths": {"/": {"get": {"responses": responses}}},
        "components": {"schemas": named},
    }
    before = deepcopy(document)
    made = as_3_0(document)
    assert document == before
    assert made["openapi"] == "3.0.3"
    answered = made["paths"]["/"]["get"]["responses"].values()
    return [a["content"]["x"]["schema"] for a in answered] + [made["components"]["schemas"]]


WORDS: list[tuple[Node, Node]] = [
    ({"type": "string"}, {"type": "string"}),
    ({"type": ["string", "null"]}, {"type": "string", "nullable": True}),
    ({"type": ["integer"]}, {"type": "integer"}),
    (
        {"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}], "description": "d"},
        {"type": "string", "format": "uri", "nullable": True, "description": "d"},
    ),
    (
        {"oneOf": [{"type": "string"}, {"type": "null"}, {"type": "integer"}]},
        {"oneOf": [{"type": "string", "nullable": True}, {"type": "integer"}]},
    ),
    (
        {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]},
        {"type": "string", "enum": ["a", None], "nullable": True},
    ),
    ({"const": "ok", "type": "string"}, {"enum": ["ok"], "type": "string"}),
    ({"type": "string", "examples": ["a", "b"]}, {"type": "string", "example": "a"}),
    (
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 9},
        {
            "type": "number",
            "minimum": 0,
            "exclusiveMinimum": True,
            "maximum": 9,
            "exclusiveMaximum": True,
        },
    ),
    ({"type": "number", "minimum": 5, "exclusiveMinimum": 1}, {"type": "number", "minimum": 5}),
    (
        {"type": "number", "maximum": 5, "exclusiveMaximum": 1},
        {"type": "number", "maximum": 1, "exclusiveMaximum": True},
    ),
    (
        {"type": "array", "items": {"type": ["string", "null"]}},
        {"type": "array", "items": {"type": "string", "nullable": True}},
    ),
    (
        {"type": "object", "additionalProperties": {"const": 1}},
        {"type": "object", "additionalProperties": {"enum": [1]}},
    ),
    (
        {"type": "object", "additionalProperties": False},
        {"type": "object", "additionalProperties": False},
    ),
    (
        {"type": "object", "properties": {"title": {"const": 1}, "examples": {"const": 2}}},
        {"type": "object", "properties": {"title": {"enum": [1]}, "examples": {"enum": [2]}}},
    ),
]


@pytest.mark.parametrize(("new", "old"), WORDS)
def test_a_schema_has_other_words_and_the_same_meaning(new: Node, old: Node) -> None:
    assert converted(new)[0] == old


def test_nothing_stands_beside_a_reference() -> None:
    a = "#/components/schemas/A"
    alone, described, _ = converted(
        {"$ref": a}, {"$ref": a, "description": "d"}, A={"type": "string"}
    )
    assert alone == {"$ref": a}
    assert described == {"allOf": [{"$ref": a}], "description": "d"}


def test_what_is_only_referred_to_as_nullable_is_nullable_itself() -> None:
    nullable = {"anyOf": [{"$ref": "#/components/schemas/A"}, {"type": "null"}]}
    schema, described, named = converted(
        nullable, {**nullable, "description": "d"}, A={"type": "object"}, B={"type": "string"}
    )
    assert schema == {"$ref": "#/components/schemas/A"}
    assert described == {"allOf": [schema], "description": "d"}
    assert named == {"A": {"type": "object", "nullable": True}}, "what is unused is left out"


def test_a_schema_that_is_used_both_ways_is_kept_twice() -> None:
    plain = {"$ref": "#/components/schemas/A"}
    *_, named = converted(plain, {"anyOf": [plain, {"type": "null"}]}, A={"type": "object"})
    assert list(named) == ["A", "AOrNull"]


def test_an_example_is_data_and_never_translated() -> None:
    example = {"const": 1, "schema": {"type": ["a", "null"]}, "$ref": "#/x"}
    media = {"schema": {"type": "object"}, "examples": {"e": {"value": example}}}
    document = {"openapi": "3.1.0", "info": {}, "paths": {"/": {"get": {"x": media}}}}
    assert as_3_0(document)["paths"]["/"]["get"]["x"] == media


def test_the_licence_is_named_by_an_address() -> None:
    info = {"summary": "s", "license": {"name": "n", "identifier": "Apache-2.0"}}
    assert as_3_0({"openapi": "3.1.0", "info": info, "paths": {}})["info"] == {
        "license": {"name": "n", "url": "https://spdx.org/licenses/Apache-2.0.html"}
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["string", "integer"]},
        {"type": "null"},
        {"type": ["null"]},
        {"type": "array", "prefixItems": []},
        {"type": "object", "properties": {"a": {"patternProperties": {}}}},
        {"anyOf": [{"enum": ["a"]}, {"type": "null"}]},
        {"if": {"type": "string"}},
    ],
)
def test_what_the_older_dialect_cannot_say_is_refused(schema: Node) -> None:
    with pytest.raises(ValueError, match="has no"):
        converted(schema)
