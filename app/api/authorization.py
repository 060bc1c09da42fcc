"""What the edge says of a request to whoever answers it: its client, and whether its key holds.

Must not know where keys are kept.
"""

from collections.abc import Callable

from starlette.types import Scope

from app.api.client_address import NOBODY

KEY_WANTED = b'Bearer realm="rfgw"'
"""The WWW-Authenticate field (RFC 6750 section 3) of a request without a key."""
KEY_INVALID = KEY_WANTED + b', error="invalid_token"'
"""The same of one whose key is not valid, or no longer."""


def client_of(scope: Scope) -> str:
    """Whose request it is: the name that the edge gave it, or the address that it came from."""
    return str(scope.get("rfgw.client") or (scope.get("client") or (NOBODY,))[0])


def is_authorized(scope: Scope) -> bool:
    """Whether the request's API key is still valid: asked again by answers that last for long."""
    check: Callable[[], bool] | None = scope.get("rfgw.is_authorized")
    return check is None or check()
