"""How many requests are answered at once; one more is refused at once.

Must not know who asks, nor what is answered.
"""

from functools import partial

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.error_codes import Code
from app.api.problems import Problems
from app.api.route_path import is_open, route_path
from app.edge.admission import OnRefused


class ConcurrencyLimit:
    """At most ``most`` requests at once. A stream counts until it begins."""

    def __init__(self, most: int, problems: Problems, refused: OnRefused) -> None:
        self._most = most
        self._problems = problems
        self._refused = refused
        self._under_way = 0

    def around(self, app: ASGIApp) -> ASGIApp:
        """``app`` for as many as there are places."""
        return partial(self._answer, app)

    async def _answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if is_open(route_path(scope)):
            await app(scope, receive, send)
            return
        if self._under_way >= self._most:
            self._refused("crowd")
            full = self._problems.response(Code.OVERLOADED, scope)
            await full(scope, receive, send)
            return
        self._under_way += 1
        inside = True

        async def leaving(message: Message) -> None:
            nonlocal inside
            if inside and _begins_stream(message):
                inside = False
                self._under_way -= 1
            await send(message)

        try:
            await app(scope, receive, leaving)
        finally:
            if inside:
                self._under_way -= 1


def _begins_stream(message: Message) -> bool:
    """Whether an answer begins that lasts as long as somebody listens."""
    return message["type"] == "http.response.start" and any(
        name == b"content-type" and text.startswith(b"text/event-stream")
        for name, text in message["headers"]
    )
