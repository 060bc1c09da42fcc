"""What stands between a connection and the ASGI application that answers one of its requests.

Knows ASGI and uvicorn's framing of answers. Must not know sockets.
"""

from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.server.application import IS_GONE
from app.server.lingering_close import Asgi


def without_chunks(cycle: RequestResponseCycle, application: Asgi) -> Asgi:
    """The application for a client of HTTP/1.0, which does not know chunks (RFC 9112 section 6.1).

    What has no length ends with its connection. uvicorn chunks it whatever the client's version.
    """

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        cycle.chunked_encoding = False

        async def unframed(message: Any) -> None:
            cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await application(scope, receive, unframed)

    return answer


def told_of_its_end(cycle: RequestResponseCycle, app: Asgi, is_ended: Callable[[], bool]) -> Asgi:
    """The application, told when its client has left, or sends no more (``is_ended``)."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        known = False  # whether the whole request has been handed over

        async def heard() -> Any:
            nonlocal known
            message = None if known and is_ended() else await receive()
            if known and is_ended():
                return {"type": "http.disconnect"}
            known = True
            return message

        scope[IS_GONE] = lambda: cycle.disconnected
        await app(scope, heard, send)

    return answer
