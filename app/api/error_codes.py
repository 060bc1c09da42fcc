"""What can go wrong, as clients see it: the closed list of codes, and the form of what each means.

Must not know our exceptions, requests or responses.
"""

from enum import StrEnum
from typing import NamedTuple


class Code(StrEnum):
    """What went wrong, in one word that never changes its meaning. Branch on this."""

    MALFORMED_REQUEST = "malformed_request"
    INVALID_REQUEST = "invalid_request"
    UPSTREAM_REJECTED_PARAMETERS = "upstream_rejected_parameters"
    UNAUTHORIZED = "unauthorized"
    LOGIN_REQUIRED = "login_required"
    LOGIN_EXPIRED = "login_expired"
    LOGIN_DENIED = "login_denied"
    CROSS_SITE_REQUEST = "cross_site_request"
    SESSION_FORBIDDEN = "session_forbidden"
    SESSION_NOT_YOURS = "session_not_yours"
    ACCOUNT_FORBIDDEN = "account_forbidden"
    SESSION_NOT_FOUND = "session_not_found"
    ROUTE_NOT_FOUND = "route_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    NOT_ACCEPTABLE = "not_acceptable"
    SESSION_NOT_ATTACHED = "session_not_attached"
    ACCOUNT_EXISTS = "account_exists"
    NAME_TAKEN = "name_taken"
    EMAIL_REFUSED = "email_refused"
    REQUEST_TOO_LARGE = "request_too_large"
    RATE_LIMITED = "rate_limited"
    TOO_MANY_STREAMS = "too_many_streams"
    INTERNAL_ERROR = "internal_error"
    UPSTREAM_REJECTED_CALL = "upstream_rejected_call"
    UPSTREAM_REFUSED_CREDENTIALS = "upstream_refused_credentials"
    UPSTREAM_CALLBACK_UNCONFIRMED = "upstream_callback_unconfirmed"
    ACCOUNT_NOT_CREATED = "account_not_created"
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
