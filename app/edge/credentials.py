"""The API key that a request brings, in one of two ways. Must not know which keys are valid."""

from collections.abc import Mapping, Sequence

from app.api.field_lists import Header

AUTHORIZATION, API_KEY = b"authorization", b"x-api-key"
SEVERAL = b""
"""Stands for different keys, or one field twice, in one request; it is nobody's key."""


def key_of(fields: Sequence[Header], given: Mapping[bytes, bytes]) -> bytes | None:
    """The key that a request brings: as bearer token (RFC 6750 section 2.1) or by its own field.

    Another scheme of Authorization is another's business: a proxy's, for instance.
    """
    named, authorization = given.get(API_KEY), given.get(AUTHORIZATION)
    if authorization is None and named is None:
        return None
    if len(given) != len(fields):
        names = [name for name, _ in fields]
        if names.count(API_KEY) > 1 or names.count(AUTHORIZATION) > 1:
            return SEVERAL
    if authorization is None:
        return named
    scheme, _, token = authorization.partition(b" ")
    bearer = token.strip(b" ") if scheme.lower() == b"bearer" else None
    if bearer is None or named is None:
        return named if bearer is None else bearer
    return bearer if bearer == named else SEVERAL
