"""The farm's endpoints of OAuth 1.0 but for the page that users see. Must not know HTTP, sessions.

RFC 5849 (1.0a) wants a callback with the request token and a verifier with the access token.
OAuth Core 1.0, as the vendor's pages describe it, takes the callback in the authorize step and
knows no verifier.
"""

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from app.sandbox.outcomes import ReportedProblem
from app.sandbox.request_verifier import RequestVerifier, SignedRequest, Verified
from app.sandbox.tokens import Tokens

MAX_CALLBACK = 2000
Members = dict[str, str]


class Authorization:
    """Hands out tokens, takes them back, and says whose a request is."""

    def __init__(self, verifier: RequestVerifier, tokens: Tokens, *, core_1_0: bool) -> None:
        self._verifier = verifier
        self._tokens = tokens
        self._core_1_0 = core_1_0
        self._endpoints: Mapping[
            str, tuple[Callable[[str], str], Callable[[Verified, float], Members]]
        ] = {
            "oauth.requestToken": (_no_token, self._request_token),
            "oauth.accessToken": (lambda token: tokens.requested(token).secret, self._access_token),
            "oauth.logout": (lambda token: tokens.access(token).secret, self._logout),
        }

    def answer(self, path: str, request: SignedRequest, now: float) -> tuple[Verified, Members]:
        """What the endpoint at ``path``, one of ``ENDPOINTS``, answers. Raises ReportedProblem."""
        secret_of, endpoint = self._endpoints[path]
        verified = self._verifier.verify(request, secret_of, now)
        return verified, endpoint(verified, now)

    def user_of(self, request: SignedRequest, now: float) -> tuple[Verified, str]:
        """The user that a request acts for. Raises ReportedProblem."""
        verified = self._verifier.verify(
            request, lambda token: self._tokens.access(token).secret, now
        )
        return verified, self._tokens.access(verified.token).user

    def _request_token(self, verified: Verified, now: float) -> Members:
        if self._core_1_0:
            issued = self._tokens.issue("", now)
            return {"oauth_token": issued.token, "oauth_token_secret": issued.secret}
        callback = verified.parameters.get("oauth_callback", "")
        check_callback(callback)
        issued = self._tokens.issue(callback, now)
        return {
            "oauth_token": issued.token,
            "oauth_token_secret": issued.secret,
            "oauth_callback_confirmed": "true",
        }

    def _access_token(self, verified: Verified, now: float) -> Members:
        verifier = None if self._core_1_0 else verified.parameters.get("oauth_verifier", "")
        granted = self._tokens.exchange(verified.token, verifier, now)
        return {"oauth_token": granted.token, "oauth_token_secret": granted.secret}

    def _logout(self, verified: Verified, now: float) -> Members:
        self._tokens.revoke(verified.token)
        return {}


ENDPOINTS = frozenset(("oauth.requestToken", "oauth.accessToken", "oauth.logout"))


def check_callback(callback: str) -> None:
    """Raises ReportedProblem unless ``callback`` is an absolute http address in visible ASCII."""
    if not callback:
        raise ReportedProblem("parameter_absent")
    visible = callback.isascii() and callback.isprintable() and " " not in callback
    if not visible or "#" in callback or len(callback) > MAX_CALLBACK:
        raise ReportedProblem("parameter_rejected")
    try:
        parts = urlsplit(callback)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise ReportedProblem("parameter_rejected")


def _no_token(token: str) -> str:
    if token:
        raise ReportedProblem("token_rejected")
    return ""
