"""An OpenAPI 3.1 document as OpenAPI 3.0.3, for tools that read nothing newer. Pure.

Knows the two dialects. Must not know what a document describes. What 3.0 cannot say is refused
with a ValueError, so the older document never says less than it means.
"""

import json
import re
from collections.abc import Callable
from typing import Any

Node = dict[str, Any]

SCHEMAS = "#/components/schemas/"
OR_NULL = "OrNull"
"""Ends the name of what is nullable in one place and not in another: in 3.0, ``nullable`` stands
beside ``type``, in the schema itself."""

LISTS = ("allOf", "anyOf", "oneOf")
KEYWORDS = {
    *LISTS, "additionalProperties", "default", "description", "enum", "example", "format", "items",
    "maximum", "maxItems", "maxLength", "minimum", "minItems", "minLength", "minProperties",
    "multipleOf", "not", "nullable", "pattern", "properties", "required", "title", "type",
    "uniqueItems", "exclusiveMinimum", "exclusiveMaximum",
}  # fmt: skip
"""Of the Schema Object of 3.0.3, those that may come out of a translation."""


def as_3_0(document: Node) -> Node:
    """The document in the words of OpenAPI 3.0.3; the given one is left as it is.

    Raises ValueError for a schema that 3.0 has no words for.
    """
    converted: Node = _walk(document)
    converted["openapi"] = "3.0.3"
    _info(converted["info"])
    converted = _named(converted, converted.get("components", {}).get("schemas", {}))
    schemas = converted.get("components", {}).get("schemas", {})
    used = _referenced(converted)
    for name in schemas.keys() - used:
        del schemas[name]
    if schemas:
        converted["components"]["schemas"] = dict(sorted(schemas.items()))
    return converted


def _named(document: Node, schemas: Node) -> Node:
    """The document with a schema for each nullable reference.

    What is never referred to but so is nullable itself, and keeps its name.
    """
    wanted = _referenced(document)
    for name in sorted(wanted - schemas.keys()):
        plain = name.removesuffix(OR_NULL)
        schemas[name] = _or_null(schemas[plain])
        if plain not in wanted:
            schemas[plain] = schemas.pop(name)
            text = json.dumps(document).replace(f'"{SCHEMAS}{name}"', f'"{SCHEMAS}{plain}"')
            document = json.loads(text)
            schemas = document["components"]["schemas"]
    return document


def _walk(node: Any, key: str = "") -> Any:
    """Everything around the schemas is the same in both; examples are never looked into."""
    if key == "schema":
        return _schema(node)
    if key == "schemas":
        return _each(_schema, node)
    if isinstance(node, dict) and key not in ("example", "examples"):
        return {name: _walk(child, name) for name, child in node.items()}
    return [_walk(child) for child in node] if isinstance(node, list) else node


def _info(info: Node) -> None:
    info.pop("summary", None)
    license = info.get("license", {})
    if "identifier" in license:
        license["url"] = f"https://spdx.org/licenses/{license.pop('identifier')}.html"


def _referenced(document: Node) -> set[str]:
    return set(re.findall(f'"{SCHEMAS}([^"/]+)"', json.dumps(document)))


def _each(translate: Callable[[Node], Node], nodes: Node) -> Node:
    return {name: translate(node) for name, node in nodes.items()}


def _schema(schema: Any) -> Any:
    if isinstance(schema, bool):
        return schema  # of additionalProperties
    schema = dict(schema)
    if "$ref" in schema:
        return _beside(schema, {"$ref": schema.pop("$ref")})
    for word in ("anyOf", "oneOf"):
        if {"type": "null"} in schema.get(word, ()):
            return _beside(schema, _choice(word, schema.pop(word)))
    _values(schema)
    _bounds(schema)
    _children(schema)
    if foreign := schema.keys() - KEYWORDS:
        raise ValueError(f"OpenAPI 3.0 has no {', '.join(sorted(foreign))} in a schema")
    return _typed(schema)


def _beside(siblings: Node, schema: Node) -> Node:
    """In 3.0 nothing may stand beside a reference."""
    if siblings and "$ref" in schema:
        return {**_schema(siblings), "allOf": [schema]}
    return {**schema, **_schema(siblings)}


def _choice(word: str, options: list[Node]) -> Node:
    """One of the options or null: it is enough that the first of them may be null."""
    first, *others = (_schema(option) for option in options if option != {"type": "null"})
    return {word: [_or_null(first), *others]} if others else _or_null(first)


def _or_null(schema: Node) -> Node:
    """The same, or null."""
    if "$ref" in schema:
        return {"$ref": schema["$ref"] + OR_NULL}
    if "type" not in schema:
        raise ValueError("OpenAPI 3.0 has no nullable without a type")
    choices = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, **choices, "nullable": True}


def _typed(schema: Node) -> Node:
    if "type" not in schema:
        return schema
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    others = [kind for kind in kinds if kind != "null"]
    if len(others) != 1:
        raise ValueError("OpenAPI 3.0 has no lists of types, and no null alone")
    single = {**schema, "type": others[0]}
    return _or_null(single) if "null" in kinds else single


def _values(schema: Node) -> None:
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if "examples" in schema:
        schema["example"] = schema.pop("examples")[0]


def _bounds(schema: Node) -> None:
    """A bound that is not itself allowed: a number in 3.1, a mark beside the bound in 3.0."""
    for side, stricter in (("Minimum", max), ("Maximum", min)):
        beyond = schema.pop(f"exclusive{side}", None)
        if beyond is not None:
            bound = schema.get(side.lower())
            if bound is None or stricter(bound, beyond) == beyond:
                schema |= {side.lower(): beyond, f"exclusive{side}": True}


def _children(schema: Node) -> None:
    if "properties" in schema:
        schema["properties"] = _each(_schema, schema["properties"])
    for word in LISTS:
        if word in schema:
            schema[word] = [_schema(option) for option in schema[word]]
    for word in ("items", "not", "additionalProperties"):
        if word in schema:
            schema[word] = _schema(schema[word])
