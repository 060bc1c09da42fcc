"""The OpenAPI document, and the document as text.

Knows OpenAPI 3.1, the catalogue and the framework's own document. Must not know any resource.
Headers and examples of answers are not written here: they are recorded from runs against the
sandbox farm (``examples.json``, by ``make openapi``).
"""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path

from fastapi import FastAPI

from app.api.error_codes import Code
from app.api.openapi_prose import HEADERS, INFO, LOCAL, LOGIN, PARAMETERS, SECURITY, TAGS, Node
from app.api.problems import PROBLEM_JSON, Problem
from app.api.response_docs import problem_responses
from app.api.route_path import is_keyless, is_open
from app.api.sse import StreamEnd

FIELD, PART = "Field", "Part"
"""End the names of schemas: the names of a model's fields, and some of its members."""

EXAMPLES = Path(__file__).with_name("examples.json")


def document(app: FastAPI, server: Mapping[str, str] = LOCAL) -> Node:
    """The framework's document with what it cannot know: headers, examples, links, one server."""
    made = deepcopy(app.openapi())
    recorded: Node = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    names = {operation["operationId"] for operation in operations(made)}
    for path, operation in _placed(made):
        admission = {} if is_open(path) else _at_the_gate(keyless=is_keyless(path))
        takes_body = "requestBody" in operation
        body = "Its body is larger than 4 KiB." if takes_body else "It brings a body."
        operation["responses"] = _with_anywhere({**admission, **operation["responses"]}, body)
        if not (is_open(path) or is_keyless(path)):
            visitor: Node = {"login": []} if "login_required" in str(operation) else {}
            keys = [{**visitor, name: []} for name in SECURITY]
            needs_key = "account_forbidden" in str(operation)
            operation["security"] = keys if needs_key else [visitor, *keys]
        _ask(operation)
        for status, response in operation["responses"].items():
            _show(response, recorded.get(operation["operationId"], {}).get(status, {}))
            _link(operation, response, names)
        _say_part(operation)
    tags = {tag for operation in operations(made) for tag in operation.get("tags", ())}
    schemas = _schemas(made["components"]["schemas"])
    return {
        "openapi": made["openapi"],
        "info": {**made["info"], **INFO},
        "servers": [dict(server)],
        "security": [],
        "tags": [{"name": tag, "description": TAGS[tag]} for tag in TAGS if tag in tags],
        # Of one tag, what is asked first comes first: the router has to try streams before.
        "paths": dict(sorted(made["paths"].items(), key=lambda item: _place(*item))),
        "components": {
            "schemas": dict(sorted({**schemas, **_parts(schemas)}.items())),
            "headers": _headers(recorded),
            "securitySchemes": deepcopy({**SECURITY, **LOGIN}),
        },
    }


def operations(document: Node) -> Iterator[Node]:
    """Every operation of a document."""
    for _, operation in _placed(document):
        yield operation


def _place(path: str, methods: Node) -> tuple[int, bool]:
    known = [*TAGS]
    tags = [tag for operation in methods.values() for tag in operation["tags"]]
    places = [known.index(tag) if tag in known else len(known) for tag in tags]
    return min(places, default=len(known)), path.endswith("/events")


def _placed(document: Node) -> Iterator[tuple[str, Node]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def _with_anywhere(own: Node, why_body: str) -> Node:
    """An operation's responses, and what the edge may answer with, whatever is asked."""
    malformed, large, crash = problem_responses(
        Code.MALFORMED_REQUEST, Code.REQUEST_TOO_LARGE, Code.INTERNAL_ERROR
    ).values()
    body, fields = (
        {**deepcopy(large), "description": f"{large['description']} {which}"}
        for which in (why_body, "Its header fields are too many or too long.")
    )
    anywhere = {"400": malformed, "413": body, "431": fields, "500": crash}
    if "400" in own:
        malformed["description"] += f" {own['400']['description']}"
    return dict(sorted({**own, **anywhere}.items()))


def _at_the_gate(*, keyless: bool) -> Node:
    """What a path that is not open may answer with, before its route is asked."""
    codes = [*([] if keyless else [Code.UNAUTHORIZED]), Code.RATE_LIMITED, Code.OVERLOADED]
    return {str(status): response for status, response in problem_responses(*codes).items()}


def _ask(operation: Node) -> None:
    """What a request may carry besides what its route reads."""
    parameters = operation.setdefault("parameters", [])
    parameters += [PARAMETERS[status] for status in operation["responses"] if status in PARAMETERS]
    for parameter in parameters:
        for word in ("title", "description"):  # the parameter itself says it
            parameter["schema"].pop(word, None)
        if parameter["schema"].get("type") == "array":  # one parameter, comma-separated
            parameter |= {"style": "form", "explode": False}
            parameter["schema"].pop("default", None)
    if not parameters:
        del operation["parameters"]


def _show(response: Node, recorded: Node) -> None:
    """The header fields that recorded answers carry, and their bodies as examples."""
    carried = {name for run in recorded.values() for name in run["headers"]}
    if carried:
        response["headers"] = {
            name: {"$ref": f"#/components/headers/{name}"} for name in HEADERS if name in carried
        }
    for name, run in recorded.items():
        if run["media_type"]:
            examples = response["content"][run["media_type"]].setdefault("examples", {})
            examples[name] = {"summary": run["summary"], "value": run["body"]}


def _link(operation: Node, response: Node, names: set[str]) -> None:
    """Where an answer leads: a problem to its page, what has a tag to its next version."""
    if PROBLEM_JSON in response.get("content", {}) and "getProblem" in names:
        response["links"] = {
            "page": {
                "operationId": "getProblem",
                "description": "What the problem's code means, and what to do.",
                "parameters": {"code": "$response.body#/code"},
            }
        }
    elif "ETag" in response.get("headers", {}) and "content" in response:
        asked = (given for given in operation["parameters"] if given.get("required"))
        places = (f"{given['in']}.{given['name']}" for given in asked)
        same = {place: f"$request.{place}" for place in places}
        response["links"] = {
            "again": {
                "operationId": operation["operationId"],
                "description": "The same again: 304 as long as nothing has changed.",
                "parameters": {**same, "header.If-None-Match": "$response.header.ETag"},
            }
        }


def _say_part(operation: Node) -> None:
    """What ``fields`` makes of the answer: ``x-fields`` names the schema of what is left.

    OpenAPI has no words for an answer that depends on a parameter. One of two schemas would take
    the types away from all who ask for the whole.
    """
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == "fields":
            part = {"$ref": parameter["schema"]["items"]["$ref"].removesuffix(FIELD) + PART}
            for media in operation["responses"]["200"]["content"].values():
                media["x-fields"] = part


def _parts(schemas: Node) -> Node:
    """For each model whose fields can be chosen: any of its members, none of them sure."""
    found = {}
    for model in [name.removesuffix(FIELD) for name in schemas if name.endswith(FIELD)]:
        part = {word: value for word, value in schemas[model].items() if word != "required"}
        part["description"] = f"Those members of {model} that `fields` names, each as there."
        found[model + PART] = {**deepcopy(part), "minProperties": 1}
    return found


def _headers(recorded: Node) -> Node:
    """The header fields with every value that was recorded, named by the first that had it."""
    headers = deepcopy(HEADERS)
    runs = (run for answers in recorded.values() for by in answers.values() for run in by.items())
    for name, run in runs:
        for field, value in run["headers"].items():
            examples = headers[field].setdefault("examples", {})
            number = headers[field]["schema"]["type"] == "integer"
            example = {"value": int(value) if number else value}
            if example not in examples.values():
                examples[name] = example
    return headers


def _schemas(schemas: Node) -> Node:
    """Every schema by its name: ours for problems, and none of the framework's own."""
    problem = Problem.model_json_schema(
        mode="serialization", ref_template="#/components/schemas/{model}"
    )
    end = StreamEnd.model_json_schema(mode="serialization")
    own = {**schemas, **problem.pop("$defs"), "Problem": problem, "StreamEnd": end}
    return {
        name: _tidy(own[name])
        for name in sorted(own.keys() - {"HTTPValidationError", "ValidationError"})
    }


def _tidy(schema: Node) -> Node:
    """Without titles that repeat a name, and without defaults: every field is sent."""
    for word in ("title", "default", "readOnly"):
        schema.pop(word, None)
    if schema.get("type") == "integer":
        schema |= {word: int(schema[word]) for word in ("minimum", "maximum") if word in schema}
        if "maximum" not in schema:
            schema["format"] = "int64"  # what the farm counts may be larger than 32 bits
    fields = schema.get("properties", {})
    if fields:
        schema["required"] = list(fields)
    for child in (*fields.values(), *schema.get("anyOf", ())):
        _tidy(child)
    return schema


def text(app: FastAPI) -> str:
    """The document as committed: the same bytes for the same code."""
    return as_text(document(app))


def as_text(node: Node) -> str:
    """A file of ours: two spaces deep, letters as they are."""
    return json.dumps(node, indent=2, ensure_ascii=False) + "\n"
