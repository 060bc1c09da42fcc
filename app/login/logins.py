"""A visitor's login, from its beginning to its end: the three steps of RFC 5849 section 2.

Knows the steps, the cookies and where to lead back to. Must not know requests and responses.
"""

import hmac
import logging
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from app.api.error_codes import Code
from app.api.problems import CODES
from app.core import errors
from app.core.call import Token
from app.core.performer import Performer
from app.login.return_address import is_return_address, with_outcome
from app.login.steps import AccessToken, EndLogin, RequestToken, TokenAnswer
from app.login.visitor_cookies import Begun, VisitorCookies
from app.telemetry import logs

HOME = "/"
REFUSED_WORDS = frozenset({"user_refused", "permission_denied", "access_denied"})
"""What a farm sends a visitor back with who said no, as ``oauth_problem`` or as ``error``."""

CountLogin = Callable[[str], None]
"""Called with what became of a login: ``begun``, ``done``, ``denied``, ``failed`` or ``ended``."""


class Sent(NamedTuple):
    """Where a browser is sent, with which Set-Cookie fields."""

    location: str
    cookies: list[str]


class Logins:
    """Logs visitors in at the farm at ``farm_url``, and back at ``callback``.

    ``core_1_0`` speaks OAuth Core 1.0, which gives the callback to the page where visitors say yes
    and knows no verifier: whoever begins a login can take over what a visitor allows.
    """

    def __init__(
        self,
        performer: Performer,
        cookies: VisitorCookies,
        *,
        farm_url: str,
        callback: str,
        origins: Collection[str],
        core_1_0: bool,
        count: CountLogin,
    ) -> None:
        self._performer = performer
        self.cookies = cookies
        self._authorize = f"{farm_url}/oauth.authorize"
        self._callback = callback
        self._path = urlsplit(callback).path.removesuffix("/callback")
        self._origins = origins
        self._core_1_0 = core_1_0
        self._count = count

    def may_return_to(self, address: str) -> bool:
        """Whether a login may lead back to this address."""
        return is_return_address(address, self._origins, self._path)

    async def begin(self, cookies: str, return_to: str) -> Sent:
        """The first step: to the farm's page, or back if the farm does not want to."""
        callback = "" if self._core_1_0 else self._callback
        try:
            answer = await self._performer.perform(RequestToken(callback=callback))
            assert isinstance(answer, TokenAnswer)  # noqa: S101 - the step's own kind
            fields = self.cookies.begin(cookies, answer.token, return_to)
        except errors.GatewayError as error:
            if isinstance(error, errors.UpstreamCallbackUnconfirmed):
                logs.event("login_unsafe", level=logging.ERROR)
            return self._failed(return_to, CODES[type(error)], [])
        except ValueError:  # more than a cookie holds
            return self._failed(return_to, Code.UPSTREAM_UNREADABLE, [])
        self._record("begun")
        asked = {"oauth_token": answer.key}
        if self._core_1_0:
            asked["oauth_callback"] = self._callback
        return Sent(f"{self._authorize}?{urlencode(asked)}", fields)

    async def finish(self, cookies: str, query: Mapping[str, str]) -> Sent:
        """The visitor is back: the last step, if this is the browser that began."""
        begun = self.cookies.begun(cookies)
        token = query.get("oauth_token") or query.get("denied")
        if token is None:
            # Some farms say nothing at all of a no. It is that of the youngest login here.
            if not begun:
                return self._failed(HOME, Code.LOGIN_EXPIRED, [])
            return self._denied(begun[0])
        mine = next((one for one in begun if _same(one.token.key, token)), None)
        if mine is None:
            return self._failed(HOME, Code.LOGIN_EXPIRED, [])
        said = query.get("oauth_problem") or query.get("error")
        verifier = query.get("oauth_verifier", "")
        if said in REFUSED_WORDS or "denied" in query:
            return self._denied(mine)
        if said:
            return self._failed(mine.return_to, Code.UPSTREAM_FAULT, [self.cookies.end(mine)])
        if not (verifier or self._core_1_0):
            return self._denied(mine)
        return await self._exchange(mine, verifier)

    async def _exchange(self, begun: Begun, verifier: str) -> Sent:
        """One use: whatever comes of it, this login is over."""
        over = self.cookies.end(begun)
        try:
            answer = await self._performer.perform(
                AccessToken(token=begun.token, verifier=verifier)
            )
            assert isinstance(answer, TokenAnswer)  # noqa: S101 - the step's own kind
            user = self.cookies.log_in(answer.token)
        except errors.LoginDenied:
            return self._denied(begun)
        except errors.GatewayError as error:
            return self._failed(begun.return_to, CODES[type(error)], [over])
        except ValueError:  # more than a cookie holds
            return self._failed(begun.return_to, Code.UPSTREAM_UNREADABLE, [over])
        self._record("done")
        return Sent(begun.return_to, [over, user])

    async def end(self, token: Token) -> None:
        """The farm forgets the token, if it can be reached."""
        self._record("ended")
        try:
            await self._performer.perform(EndLogin(token=token))
        except errors.GatewayError:
            return  # told as an attempt; the browser forgets it in any case

    def _denied(self, begun: Begun) -> Sent:
        self._record("denied")
        return Sent(with_outcome(begun.return_to, "denied"), [self.cookies.end(begun)])

    def _failed(self, return_to: str, code: Code, fields: list[str]) -> Sent:
        self._record("failed", code)
        return Sent(with_outcome(return_to, "failed", code), fields)

    def _record(self, outcome: str, code: str | None = None) -> None:
        self._count(outcome)
        logs.event("login", outcome=outcome, code=code)


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode("utf-8", "replace"))
