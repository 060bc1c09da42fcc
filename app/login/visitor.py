"""Who asks, of a request: the dependencies of routes for visitors.

Knows requests. Must not know what a visitor asks for.
"""

from typing import Annotated

from fastapi import Depends, Request, Response

from app.api.replies import Replies
from app.core import errors
from app.core.call import Token
from app.core.performer import Performer
from app.login.logins import Logins
from app.login.same_site import comes_from


class Visits:
    """What routes for visitors need of one process.

    ``replies`` are kept apart, for this process and its visitors alone. ``origins`` are those of
    pages that may change something: the gateway's own, and the listed ones.
    """

    def __init__(
        self, logins: Logins, replies: Replies, performer: Performer, origins: frozenset[str]
    ) -> None:
        self.logins = logins
        self.replies = replies
        self.performer = performer
        self._origins = origins

    def check_origin(self, request: Request) -> None:
        """Raises errors.CrossSiteRequest for a request that a foreign page may have sent."""
        if not comes_from(request.scope["headers"], self._origins):
            raise errors.CrossSiteRequest

    def token(self, request: Request) -> Token:
        """The visitor's token. Raises errors.LoginRequired."""
        token = self.logins.cookies.user(cookies_of(request))
        if token is None:
            raise errors.LoginRequired
        return token

    def private(self, response: Response) -> Response:
        """The response, for this visitor alone; it forgets the login if it says that it is over."""
        headers = response.headers
        headers["vary"] += ", Cookie"
        directives = headers.get("cache-control", "").split(", ")
        headers["cache-control"] = ", ".join(directives[:2])  # it is never used past its age
        if response.status_code == 401:
            headers.append("set-cookie", self.logins.cookies.log_out())
        return response

    async def aclose(self) -> None:
        """Let what is under way come to its end."""
        await self.replies.gateway.aclose()
        await self.performer.aclose()


def cookies_of(request: Request) -> str:
    """The Cookie field; HTTP/2 may bring it in several lines (RFC 9113 section 8.2.3)."""
    return "; ".join(request.headers.getlist("cookie"))


async def _visits(request: Request) -> Visits:
    visits: Visits = request.app.state.services.visits
    return visits


async def _from_a_page_of_ours(
    request: Request, visits: Annotated[Visits, Depends(_visits)]
) -> None:
    visits.check_origin(request)


async def _visitor(request: Request, visits: Annotated[Visits, Depends(_visits)]) -> Token:
    return visits.token(request)


Visiting = Annotated[Visits, Depends(_visits)]
"""What routes for visitors need of the process."""
FromOurPages = Depends(_from_a_page_of_ours)
"""A dependency of routes that change something: refuses what foreign pages send."""
Visitor = Annotated[Token, Depends(_visitor)]
"""The token of who is logged in; without one, 401."""
