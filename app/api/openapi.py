"""The OpenAPI document: how answers are described, and the document as text.

Knows OpenAPI 3.1, the catalogue and the framework's own document. Must not know any resource.
"""

import json
from functools import cache
from typing import Any

from fastapi import APIRouter, FastAPI, Response

from app import errors
from app.api.catalogue import MEANINGS, Code
from app.api.problems import PROBLEM_JSON, Problem, Problems

REPLY_HEADERS = (
    ("ETag", "string", "Strong entity tag of the body: send it back in If-None-Match."),
    ("Cache-Control", "string", "max-age: seconds the answer is fresh after it was fetched."),
    ("Age", "integer", "Seconds since the answer was fetched from the farm."),
    ("Cache-Status", "string", "How the gateway's cache took part (RFC 9211)."),
    ("X-Request-ID", "string", "The request's id: taken from the request if valid, else made."),
)

FETCH_CODES = (
    Code.INVALID_REQUEST,
    Code.UPSTREAM_REJECTED_PARAMETERS,
    Code.NOT_ACCEPTABLE,
    Code.INTERNAL_ERROR,
    Code.UPSTREAM_REJECTED_CALL,
    Code.UPSTREAM_REFUSED_CREDENTIALS,
    Code.UPSTREAM_FAULT,
    Code.UPSTREAM_UNREADABLE,
    Code.UPSTREAM_MISMATCH,
    Code.UPSTREAM_UNREACHABLE,
    Code.UPSTREAM_UNAVAILABLE,
    Code.OVERLOADED,
    Code.UPSTREAM_TIMEOUT,
    Code.NOT_CACHED,
)
"""What any route that fetches from the farm may answer with, besides its own codes."""


def problem_responses(*codes: Code) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of these codes: by status, with one example for each code."""
    responses: dict[int | str, dict[str, Any]] = {}
    sample = errors.GatewayError(method="community.getSession", arguments={"sessionId": 4711})
    for code in codes:
        document = Problems("").document(code, "5e1f0c2a9b7d4e36-1", error=sample, path=None)
        response = responses.setdefault(
            MEANINGS[code].status,
            {
                "description": "",
                "content": {
                    PROBLEM_JSON: {
                        "schema": {"$ref": "#/components/schemas/Problem"},
                        "examples": {},
                    }
                },
            },
        )
        joined = [response["description"], f"{MEANINGS[code].title} (`{code}`)."]
        response["description"] = " ".join(filter(None, joined))
        response["content"][PROBLEM_JSON]["examples"][code.value] = {
            "summary": MEANINGS[code].title,
            "value": document.model_dump(mode="json"),
        }
    return dict(sorted(responses.items(), key=lambda pair: int(pair[0])))


def reply_responses(*codes: Code) -> dict[int | str, dict[str, Any]]:
    """The responses of a route that answers by Reply, with the route's own codes."""
    headers = {
        name: {"description": text, "schema": {"type": kind}, "required": True}
        for name, kind, text in REPLY_HEADERS
    }
    return {
        200: {"headers": headers},
        304: {
            "description": "Not modified: what If-None-Match names is still right.",
            "headers": headers,
        },
        **problem_responses(*codes, *FETCH_CODES),
    }


def document(app: FastAPI, public_url: str = "") -> dict[str, Any]:
    """The framework's document, tidied: every schema named, no derived titles, no defaults.

    Its server is ``public_url``, or else whatever address it is read from.
    """
    schema = app.openapi()
    schema["servers"] = [{"url": public_url or ".", "description": "This gateway"}]
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(
        mode="serialization", ref_template="#/components/schemas/{model}"
    )
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem
    for name in ("HTTPValidationError", "ValidationError"):  # the framework's own, never sent
        schemas.pop(name, None)
    for path in schema["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                parameter["schema"].pop("title", None)
    schema["components"]["schemas"] = {name: _tidy(schemas[name]) for name in sorted(schemas)}
    return schema


def _tidy(schema: dict[str, Any]) -> dict[str, Any]:
    """Drop titles that only repeat a property's name, and defaults: every field is sent."""
    schema.pop("title", None)
    properties = schema.get("properties", {})
    for node in properties.values():
        for word in ("title", "default", "readOnly"):
            node.pop(word, None)
    if properties:
        schema["required"] = list(properties)
    return schema


def text(app: FastAPI) -> str:
    """The document as committed: the same bytes for the same code."""
    return json.dumps(document(app), indent=2, ensure_ascii=False) + "\n"


def document_router(app: FastAPI, public_url: str) -> APIRouter:
    """/openapi.json, made at the first request."""
    router = APIRouter(include_in_schema=False)

    @cache
    def body() -> bytes:
        schema = document(app, public_url)
        return json.dumps(schema, ensure_ascii=False).encode()

    @router.get("/openapi.json")
    async def get_document() -> Response:
        """The OpenAPI document."""
        return Response(
            body(), media_type="application/json", headers={"cache-control": "public, max-age=60"}
        )

    return router
