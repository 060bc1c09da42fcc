"""What can go wrong, as clients see it: the closed list of codes and what each one means.

The only status table. Must not know our exceptions, requests or responses.
"""

from enum import StrEnum
from typing import NamedTuple


class Code(StrEnum):
    """What went wrong, in one word that never changes its meaning. Branch on this."""

    MALFORMED_REQUEST = "malformed_request"
    INVALID_REQUEST = "invalid_request"
    UPSTREAM_REJECTED_PARAMETERS = "upstream_rejected_parameters"
    UNAUTHORIZED = "unauthorized"
    SESSION_FORBIDDEN = "session_forbidden"
    SESSION_NOT_FOUND = "session_not_found"
    ROUTE_NOT_FOUND = "route_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    NOT_ACCEPTABLE = "not_acceptable"
    SESSION_NOT_ATTACHED = "session_not_attached"
    REQUEST_TOO_LARGE = "request_too_large"
    RATE_LIMITED = "rate_limited"
    TOO_MANY_STREAMS = "too_many_streams"
    INTERNAL_ERROR = "internal_error"
    UPSTREAM_REJECTED_CALL = "upstream_rejected_call"
    UPSTREAM_REFUSED_CREDENTIALS = "upstream_refused_credentials"
    UPSTREAM_FAULT = "upstream_fault"
    UPSTREAM_UNREADABLE = "upstream_unreadable"
    UPSTREAM_MISMATCH = "upstream_mismatch"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    OVERLOADED = "overloaded"
    SHUTTING_DOWN = "shutting_down"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    NOT_CACHED = "not_cached"


class Meaning(NamedTuple):
    """One row of the status table: what is sent, and ``when``, which the code's page tells.

    ``{braces}`` are filled from the call's own arguments.
    """

    status: int
    title: str
    detail: str
    when: str
    remedy: str
    retry_after: float | None = None  # seconds after which asking again makes sense; None: never


MEANINGS: dict[Code, Meaning] = {
    Code.MALFORMED_REQUEST: Meaning(
        400,
        "Malformed request",
        "What came is not a request in HTTP/1.1 or HTTP/1.0, or could be read in two ways.",
        "The request line, a header field or the framing is wrong: no Host or two of them, for "
        "example. The connection is closed.",
        "Send a valid request, on a new connection.",
    ),
    Code.INVALID_REQUEST: Meaning(
        422,
        "Invalid request",
        "A part of the request is not as this route takes it; see errors.",
        "The id, a query parameter or a header field does not fit its schema. Nothing was asked.",
        "Correct what errors names.",
    ),
    Code.UPSTREAM_REJECTED_PARAMETERS: Meaning(
        400,
        "Parameters rejected by the farm",
        "The render farm does not take these parameters.",
        "The request fits its schema, yet the farm calls a parameter invalid.",
        "Check the id.",
    ),
    Code.UNAUTHORIZED: Meaning(
        401,
        "API key missing or wrong",
        "This gateway answers only requests that carry one of its API keys.",
        "The gateway asks for API keys, and the request carries none or a wrong one.",
        "Send a valid key, as Authorization: Bearer or as X-API-Key.",
    ),
    Code.SESSION_FORBIDDEN: Meaning(
        403,
        "Session not readable",
        "The render farm does not let this site read session {sessionId}.",
        "The session exists, but others only may read it. The answer is kept for a few seconds.",
        "Ask the session's owner, or the farm, for the right to read it.",
    ),
    Code.SESSION_NOT_FOUND: Meaning(
        404,
        "Session not found",
        "No render session has id {sessionId}.",
        "It was never made, or is gone. A new one can be missing for the seconds this is kept.",
        "Check the id.",
    ),
    Code.ROUTE_NOT_FOUND: Meaning(
        404,
        "No such path",
        "Nothing is served at this path.",
        "The path is misspelt, or ends with a slash, or names a problem that does not exist.",
        "See /docs for the paths that are served. A path has no slash at its end.",
    ),
    Code.METHOD_NOT_ALLOWED: Meaning(
        405,
        "Method not allowed",
        "This path does not take this method; see the Allow header.",
        "The path is served, but not for this method. Sessions are read by GET and HEAD only.",
        "Use one of the methods that Allow names.",
    ),
    Code.NOT_ACCEPTABLE: Meaning(
        406,
        "Not acceptable",
        "The Accept header excludes what this path sends.",
        "Every media type that the path can send is excluded by Accept, or has q=0.",
        "Send no Accept header, or application/json; for live updates, text/event-stream.",
    ),
    Code.SESSION_NOT_ATTACHED: Meaning(
        409,
        "Session not attached yet",
        "Session {sessionId} exists, but its owner has not attached it to this site yet.",
        "The session is new to this site. The answer is kept for a few seconds.",
        "Ask the owner to attach the session, then try again.",
        retry_after=5,
    ),
    Code.REQUEST_TOO_LARGE: Meaning(
        413,
        "Request too large",
        "The request is larger than this gateway takes.",
        "A body over the limit is status 413, header fields over the limit are status 431.",
        "Send a smaller request.",
    ),
    Code.RATE_LIMITED: Meaning(
        429,
        "Too many requests",
        "This client has used up its share of requests.",
        "More requests came from one client than its share.",
        "Wait as long as Retry-After says.",
        retry_after=1,
    ),
    Code.TOO_MANY_STREAMS: Meaning(
        429,
        "Too many streams",
        "This client has as many streams open, or requests waiting, as it may.",
        "One client may watch so much at once: streams, and requests that wait (Prefer: wait).",
        "Close one, or poll a list of sessions.",
        retry_after=5,
    ),
    Code.INTERNAL_ERROR: Meaning(
        500,
        "Internal error",
        "The gateway has a bug.",
        "Never by intent. Other requests are answered as before; the log tells what happened.",
        "Report it with the requestId.",
    ),
    Code.UPSTREAM_REJECTED_CALL: Meaning(
        502,
        "Call rejected by the farm",
        "The render farm says that the gateway's call lacks parameters.",
        "The farm has changed, or the gateway is wrong. No request of yours can mend it.",
        "Report it to the operator of the gateway with the requestId.",
    ),
    Code.UPSTREAM_REFUSED_CREDENTIALS: Meaning(
        502,
        "Credentials refused by the farm",
        "The render farm refused the gateway's own key or signature. Yours are not concerned.",
        "The gateway's key is wrong, expired or blocked, or its clock is minutes off.",
        "Report it to the operator of the gateway with the requestId.",
    ),
    Code.UPSTREAM_FAULT: Meaning(
        502,
        "Fault in the farm",
        "The render farm reported a fault of its own.",
        "The farm answers with a fault that it does not document; upstream.faultCode tells it.",
        "Try again later.",
        retry_after=5,
    ),
    Code.UPSTREAM_UNREADABLE: Meaning(
        502,
        "Unreadable answer from the farm",
        "The render farm's answer could not be read.",
        "The answer is cut short, too large, or not XML-RPC: an error page, for example.",
        "Try again later.",
        retry_after=5,
    ),
    Code.UPSTREAM_MISMATCH: Meaning(
        502,
        "Wrong answer from the farm",
        "The render farm's answer was not about what was asked.",
        "The answer names another id than the one asked for, or none. Nothing of it is kept.",
        "Try again.",
        retry_after=1,
    ),
    Code.UPSTREAM_UNREACHABLE: Meaning(
        502,
        "Farm not reachable",
        "The render farm could not be reached, or did not answer as it should.",
        "No connection, a broken one, or an HTTP status that XML-RPC does not know.",
        "Try again later.",
        retry_after=5,
    ),
    Code.UPSTREAM_UNAVAILABLE: Meaning(
        503,
        "Farm not available",
        "The render farm is taking a pause.",
        "The farm asked for a pause, or failed so often that it is left alone for a while.",
        "Wait as long as Retry-After says.",
        retry_after=5,
    ),
    Code.OVERLOADED: Meaning(
        503,
        "Overloaded",
        "The gateway has too much under way.",
        "More requests, streams or answers of the farm are under way than the gateway takes on.",
        "Wait as long as Retry-After says.",
        retry_after=1,
    ),
    Code.SHUTTING_DOWN: Meaning(
        503,
        "Shutting down",
        "This gateway process is about to end.",
        "The process was told to end. It finishes what it has begun; another one takes over.",
        "Ask again: another process answers.",
        retry_after=1,
    ),
    Code.UPSTREAM_TIMEOUT: Meaning(
        504,
        "Farm too slow",
        "The render farm did not answer in time.",
        "The deadline of the call passed, 5 seconds unless the operator has set another.",
        "Try again.",
        retry_after=5,
    ),
    Code.NOT_CACHED: Meaning(
        504,
        "Nothing kept",
        "The request allowed a kept answer only, and none is kept.",
        "The request says Cache-Control: only-if-cached, and no usable answer is kept.",
        "Ask without Cache-Control: only-if-cached.",
        retry_after=0,
    ),
}
