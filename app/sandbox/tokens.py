"""Request tokens and access tokens of the farm (RFC 5849, section 2). Must not know HTTP.

A token that does not count any more has a ``problem``, the word of ``oauth_problem`` that says
why; one that nobody knows is ``token_rejected``.
"""

import hmac
import secrets
from dataclasses import dataclass, field
from typing import TypeVar

from app.sandbox.outcomes import ReportedProblem

T = TypeVar("T")
REQUEST_TOKEN_LIFETIME = 600
MOST = 10_000
"""Tokens of each kind that are kept; the oldest are forgotten first."""


@dataclass
class IssuedRequestToken:
    """A site's wish to act for a user, who has decided (``user`` is set), or has not yet."""

    token: str
    secret: str = field(repr=False)
    callback: str
    """Where the user returns; empty if the authorize step says it (OAuth Core 1.0)."""
    expires: float
    verifier: str = field(default="", repr=False)
    user: str = ""
    problem: str = "permission_unknown"
    """Why it cannot be exchanged; empty once a user has allowed it."""


@dataclass
class IssuedAccessToken:
    """A site may act for ``user``."""

    token: str
    secret: str = field(repr=False)
    user: str
    problem: str = ""


class Tokens:
    """All of them, in memory."""

    def __init__(self) -> None:
        self._requested: dict[str, IssuedRequestToken] = {}
        self._granted: dict[str, IssuedAccessToken] = {}

    def forget(self) -> None:
        """As if none had ever been issued."""
        self._requested.clear()
        self._granted.clear()

    def revoke_all(self, problem: str) -> None:
        """From now on every token is refused as ``problem``."""
        for requested in self._requested.values():
            requested.problem = problem
        for granted in self._granted.values():
            granted.problem = problem

    def granted(self) -> int:
        """How many access tokens count."""
        return sum(not token.problem for token in self._granted.values())

    def issue(self, callback: str, now: float) -> IssuedRequestToken:
        """A new request token."""
        expires = now + REQUEST_TOKEN_LIFETIME
        issued = IssuedRequestToken(_random(), _random(), callback, expires)
        _keep(self._requested, issued.token, issued)
        return issued

    def requested(self, token: str) -> IssuedRequestToken:
        """The request token, whatever has become of it. Raises if there is none."""
        issued = self._requested.get(token)
        if issued is None:
            raise ReportedProblem("token_rejected")
        return issued

    def undecided(self, token: str, now: float) -> IssuedRequestToken:
        """The request token that a user has still to decide on. Raises if there is none."""
        issued = self.requested(token)
        if issued.problem != "permission_unknown":
            raise ReportedProblem(issued.problem or "token_used")
        if now >= issued.expires:
            raise ReportedProblem("token_expired")
        return issued

    def allow(self, issued: IssuedRequestToken, user: str) -> None:
        """The user has said yes: who brings the new verifier may exchange the token."""
        issued.user, issued.verifier, issued.problem = user, _random(), ""

    def deny(self, issued: IssuedRequestToken) -> None:
        """The user has said no."""
        issued.problem = "permission_denied"

    def exchange(self, token: str, verifier: str | None, now: float) -> IssuedAccessToken:
        """The access token for an allowed request token, once; ``verifier`` None: not asked for."""
        issued = self.requested(token)
        if issued.problem:
            raise ReportedProblem(issued.problem)
        if now >= issued.expires:
            raise ReportedProblem("token_expired")
        if verifier == "":
            raise ReportedProblem("parameter_absent")
        if verifier is not None and not hmac.compare_digest(
            verifier.encode(), issued.verifier.encode()
        ):
            raise ReportedProblem("parameter_rejected")
        issued.problem = "token_used"
        granted = IssuedAccessToken(_random(), _random(), issued.user)
        _keep(self._granted, granted.token, granted)
        return granted

    def access(self, token: str) -> IssuedAccessToken:
        """The access token, as long as it counts. Raises if it does not."""
        granted = self._granted.get(token)
        if granted is None:
            raise ReportedProblem("token_rejected")
        if granted.problem:
            raise ReportedProblem(granted.problem)
        return granted

    def revoke(self, token: str) -> None:
        """The user has logged out."""
        self.access(token).problem = "token_revoked"


def _random() -> str:
    return secrets.token_urlsafe(16)


def _keep(kept: dict[str, T], token: str, issued: T) -> None:
    kept[token] = issued
    if len(kept) > MOST:
        del kept[next(iter(kept))]
