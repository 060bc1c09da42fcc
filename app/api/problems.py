"""Errors become problem documents (RFC 9457).

Knows our error tree, the catalogue and the document's shape. Must not know where errors come
from. Nothing of the farm's text, of secrets or of rejected input is ever in a problem.
"""

import math
from collections.abc import Mapping, Sequence

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from app.api.error_codes import Code
from app.api.error_meanings import MEANINGS
from app.api.negotiation import quality
from app.api.route_path import route_path
from app.core import errors
from app.telemetry.request_context import current_request

PROBLEM_JSON = "application/problem+json"
COOKIE_CHALLENGE = 'Cookie realm="rfgw"'
"""For visitors: 401 has to say how a request can do better (RFC 9110 section 15.5.2)."""

CODES: dict[type[errors.GatewayError], Code] = {
    errors.SessionNotFound: Code.SESSION_NOT_FOUND,
    errors.SessionNotAttached: Code.SESSION_NOT_ATTACHED,
    errors.SessionForbidden: Code.SESSION_FORBIDDEN,
    errors.SessionNotYours: Code.SESSION_NOT_YOURS,
    errors.LoginExpired: Code.LOGIN_EXPIRED,
    errors.LoginDenied: Code.LOGIN_DENIED,
    errors.AccountForbidden: Code.ACCOUNT_FORBIDDEN,
    errors.AccountExists: Code.ACCOUNT_EXISTS,
    errors.NameTaken: Code.NAME_TAKEN,
    errors.EmailRefused: Code.EMAIL_REFUSED,
    errors.AccountNotCreated: Code.ACCOUNT_NOT_CREATED,
    errors.UpstreamRejectedParameters: Code.UPSTREAM_REJECTED_PARAMETERS,
    errors.UpstreamRejectedCall: Code.UPSTREAM_REJECTED_CALL,
    errors.UpstreamRefusedCredentials: Code.UPSTREAM_REFUSED_CREDENTIALS,
    errors.UpstreamCallbackUnconfirmed: Code.UPSTREAM_CALLBACK_UNCONFIRMED,
    errors.UpstreamFault: Code.UPSTREAM_FAULT,
    errors.UpstreamUnreadable: Code.UPSTREAM_UNREADABLE,
    errors.UpstreamMismatch: Code.UPSTREAM_MISMATCH,
    errors.UpstreamUnreachable: Code.UPSTREAM_UNREACHABLE,
    errors.UpstreamNoAnswer: Code.UPSTREAM_UNREACHABLE,
    errors.UpstreamUnavailable: Code.UPSTREAM_UNAVAILABLE,
    errors.UpstreamTimeout: Code.UPSTREAM_TIMEOUT,
    errors.Overloaded: Code.OVERLOADED,
    errors.Crashed: Code.INTERNAL_ERROR,
    errors.Unauthorized: Code.UNAUTHORIZED,
    errors.LoginRequired: Code.LOGIN_REQUIRED,
    errors.CrossSiteRequest: Code.CROSS_SITE_REQUEST,
    errors.RateLimited: Code.RATE_LIMITED,
    errors.TooManyStreams: Code.TOO_MANY_STREAMS,
    errors.ShuttingDown: Code.SHUTTING_DOWN,
    errors.NotCached: Code.NOT_CACHED,
    errors.NotAcceptable: Code.NOT_ACCEPTABLE,
}
"""Every leaf of the error tree; a test holds it complete."""


class InvalidPart(BaseModel):
    """A part of the request that is not as it should be."""

    parameter: str = Field(description="Its name in the path, the query or the header fields.")
    code: str = Field(description="What is wrong, in one word.")
    message: str = Field(description="What is wrong, for people.")


class UpstreamCall(BaseModel):
    """The call to the farm that the problem is about."""

    method: str = Field(description="The XML-RPC method.")
    faultCode: int | None = Field(description="The farm's fault code, null if there was none.")


class Problem(BaseModel):
    """A problem document (RFC 9457), sent with every answer outside 2xx and 304."""

    type: str = Field(
        description="Address of a page about this code.",
        json_schema_extra={"format": "uri-reference"},
    )
    title: str = Field(description="The code, for people.")
    status: int = Field(
        description="The HTTP status.", json_schema_extra={"minimum": 400, "maximum": 599}
    )
    code: Code = Field(description="What went wrong, for programs: branch on this.")
    detail: str = Field(description="What happened, for people.")
    instance: str | None = Field(description="The path asked for; null if it was not valid.")
    requestId: str = Field(description="The X-Request-ID of this request, for reports.")
    retryable: bool = Field(description="Whether the same request may succeed later.")
    retryAfterMs: int | None = Field(description="Milliseconds to wait before; null: do not.")
    remedy: str = Field(description="What to do.")
    upstream: UpstreamCall | None = Field(description="Null if the farm had no part in it.")
    errors: list[InvalidPart] = Field(description="For invalid_request: what is not valid.")


class Problems:
    """Makes problem documents whose types point at ``public_url`` (or are relative to it)."""

    def __init__(self, public_url: str) -> None:
        self._base = public_url.rstrip("/")

    def document(
        self,
        code: Code,
        request_id: str,
        *,
        error: errors.GatewayError | None = None,
        path: str | None = None,
        parts: Sequence[InvalidPart] = (),
        status: int | None = None,
    ) -> Problem:
        """The document for one code. ``path`` is the request's, if its route took it."""
        meaning = MEANINGS[code]
        root_path = current_request().scope.get("root_path", "")
        wait = meaning.retry_after
        if wait is not None and error is not None and error.retry_after is not None:
            wait = error.retry_after
        method = error.method if error else None
        return Problem(
            type=f"{self._base or root_path}/problems/{code}",
            title=meaning.title,
            status=status or meaning.status,
            code=code,
            detail=meaning.detail.format_map(_Words(error.arguments if error else {})),
            instance=path,
            requestId=request_id,
            retryable=wait is not None,
            retryAfterMs=None if wait is None else math.ceil(wait * 1000),
            remedy=meaning.remedy,
            upstream=(
                UpstreamCall(method=method, faultCode=error.fault_code)
                if error and method
                else None
            ),
            errors=list(parts),
        )

    def response(
        self,
        code: Code,
        scope: Scope,
        *,
        error: errors.GatewayError | None = None,
        path: str | None = None,
        parts: Sequence[InvalidPart] = (),
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """The answer to the request of ``scope``: not to be stored unless ``headers`` say so."""
        problem = self.document(
            code, current_request().id, error=error, path=path, parts=parts, status=status
        )
        sent = {"cache-control": "no-store", "vary": "Accept", **(headers or {})}
        if code in (Code.LOGIN_REQUIRED, Code.LOGIN_EXPIRED):
            sent.setdefault("www-authenticate", COOKIE_CHALLENGE)
        if problem.retryAfterMs:
            sent["retry-after"] = str(math.ceil(problem.retryAfterMs / 1000))
        return Response(
            problem.model_dump_json(),
            problem.status,
            sent,
            media_type=_media_type(",".join(Request(scope).headers.getlist("accept"))),
        )

    def of(
        self, error: errors.GatewayError, scope: Scope, headers: Mapping[str, str] | None = None
    ) -> Response:
        """The answer for one of our errors, raised while serving a valid path."""
        return self.response(
            CODES[type(error)], scope, error=error, path=scope["path"], headers=headers
        )

    def install(self, app: FastAPI) -> None:
        """Let the framework's own refusals and every error leave as problem documents."""

        async def ours(request: Request, error: Exception) -> Response:
            assert isinstance(error, errors.GatewayError)  # noqa: S101 - registered for it alone
            return self.of(error, request.scope)

        async def invalid(request: Request, error: Exception) -> Response:
            assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it alone
            return self.response(Code.INVALID_REQUEST, request.scope, parts=_parts(error))

        async def refused(request: Request, error: Exception) -> Response:
            assert isinstance(error, HTTPException)  # noqa: S101 - registered for it alone
            if error.status_code == 405:
                headers = {"allow": allowed_methods(app, route_path(request.scope))}
                return self.response(Code.METHOD_NOT_ALLOWED, request.scope, headers=headers)
            if error.status_code == 400:  # a body that is no text, or nested without end
                part = InvalidPart(parameter="body", code="json_invalid", message="is no JSON")
                return self.response(Code.INVALID_REQUEST, request.scope, parts=[part])
            return self.response(Code.ROUTE_NOT_FOUND, request.scope)

        async def crashed(request: Request, error: Exception) -> Response:
            return self.response(Code.INTERNAL_ERROR, request.scope)

        app.add_exception_handler(errors.GatewayError, ours)
        app.add_exception_handler(RequestValidationError, invalid)
        app.add_exception_handler(HTTPException, refused)
        app.add_exception_handler(Exception, crashed)


class _Words(dict[str, object]):
    """What fills the braces of a detail; a call that has no such argument is told vaguely."""

    def __missing__(self, name: str) -> str:
        return "that was asked for"


def allowed_methods(app: FastAPI, path: str) -> str:
    """The Allow field of a path: the methods of all its routes, HEAD with every GET."""
    methods: set[str] = set()
    for route in iter_route_contexts(app.routes):
        if route.path_regex.match(path):
            methods |= route.methods or set()
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))


def _parts(error: RequestValidationError) -> list[InvalidPart]:
    """One part for each error. An item of a list is told by its place, which is no input."""
    parts = []
    for told in error.errors():
        where, *place = told["loc"]
        if where == "body" and not (place and isinstance(place[0], str)):
            place = ["body"]  # the whole of it: it is no JSON, or no object
        parameter = place.pop(0)
        words = "is missing" if told["type"] == "missing" else told["msg"]
        message = f"number {place[0] + 1} of the list {words}" if place else words
        parts.append(InvalidPart(parameter=str(parameter), code=told["type"], message=message))
    return parts


def _media_type(accept: str | None) -> str:
    """problem+json, unless the request likes plain JSON better (as some generated clients do)."""
    plain = quality(accept, "application/json") > quality(accept, PROBLEM_JSON)
    return "application/json" if plain else PROBLEM_JSON
