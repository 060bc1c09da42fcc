"""How a route's answers are described in the OpenAPI document: its responses, by status.

Knows OpenAPI 3.1 and the catalogue. Must not know any resource, nor what answers look like in full.
"""

from typing import Any

from app.api.error_codes import Code
from app.api.error_meanings import MEANINGS
from app.api.openapi_prose import ITEM_STREAM, STREAM
from app.api.problems import PROBLEM_JSON
from app.api.replies import JSON
from app.api.sse import EVENT_STREAM

FETCH_CODES = (
    Code.INVALID_REQUEST,
    Code.UPSTREAM_REJECTED_PARAMETERS,
    Code.NOT_ACCEPTABLE,
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
    """The OpenAPI responses of these codes, by status.

    In two forms: a request whose Accept likes plain JSON better gets that.
    """
    responses: dict[int | str, dict[str, Any]] = {}
    for code in sorted(codes, key=lambda code: MEANINGS[code].status):
        response = responses.setdefault(
            MEANINGS[code].status,
            {
                "description": "",
                "content": {
                    form: {"schema": {"$ref": "#/components/schemas/Problem"}}
                    for form in (PROBLEM_JSON, JSON)
                },
            },
        )
        joined = [response["description"], f"{MEANINGS[code].title} (`{code}`)."]
        response["description"] = " ".join(filter(None, joined))
    return responses


UNCHANGED = {"description": "Not modified: what If-None-Match names is still right."}


def reply_responses(*codes: Code) -> dict[int | str, dict[str, Any]]:
    """The responses of a route that answers by Reply, with the route's own codes."""
    return {304: UNCHANGED, **problem_responses(*codes, *FETCH_CODES)}


def list_responses() -> dict[int | str, dict[str, Any]]:
    """The responses of a route that answers by ReplyAll: whatever else happens is an item's."""
    return {304: UNCHANGED, **problem_responses(Code.INVALID_REQUEST, Code.NOT_ACCEPTABLE)}


def stream_responses(event: str, schema: str, *codes: Code) -> dict[int | str, dict[str, Any]]:
    """The responses of a route that streams one call: ``event`` carries the named ``schema``."""
    return _stream(STREAM, event, schema, *codes, *FETCH_CODES)


def item_stream_responses(schema: str) -> dict[int | str, dict[str, Any]]:
    """The responses of a route that streams several calls: ``schema`` is that of each item."""
    codes = Code.INVALID_REQUEST, Code.NOT_ACCEPTABLE, Code.OVERLOADED, Code.NOT_CACHED
    return _stream(ITEM_STREAM, "item", schema, *codes)


def _stream(words: str, event: str, schema: str, *codes: Code) -> dict[int | str, dict[str, Any]]:
    """OpenAPI 3.1 has no words for a stream's items: ``x-events`` names the schema of each."""
    data = {event: schema, "problem": "Problem", "end": "StreamEnd"}
    stream = {
        "schema": {"type": "string", "description": words.format(event=event, schema=schema)},
        "x-events": {name: {"$ref": f"#/components/schemas/{kind}"} for name, kind in data.items()},
    }
    return {
        200: {
            "description": "The events, until there are no more.",
            "content": {EVENT_STREAM: stream},
        },
        204: {"description": "There will be no more events: do not come again."},
        **problem_responses(*codes, Code.RATE_LIMITED, Code.TOO_MANY_STREAMS),
    }
