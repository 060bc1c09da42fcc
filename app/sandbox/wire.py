"""How a reply travels, the broken ones too. Must not know what it says, or why it breaks."""

import asyncio
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time
XML = {"content-type": "text/xml"}


@dataclass(frozen=True)
class WireReply:
    """An answer and how it travels."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: XML)
    chunked: bool = False
    wait: float | None = 0.0
    """Seconds before the first byte; None: until the client hangs up."""
    pace: float = 0.0
    """Seconds before each byte of the body; 0: all at once."""
    keep: int | None = None
    """Bytes of the body that are sent before the connection is cut; None: all, and no cut."""
    reset: bool = False
    """Instead of an answer, a TCP reset."""
    stray: bytes = b""
    """What nobody asked for: written to the same connection behind the answer."""


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with the connection within reach of those who are to break it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}

    def shutdown(self) -> None:
        # A call that hangs would keep the server from stopping.
        self.transport.abort()


async def perform(reply: WireReply, date: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Sends ``reply``, under the farm's ``date``, over a connection that ``Protocol`` made."""
    transport: asyncio.Transport = scope["state"]["transport"]
    if reply.wait != 0 and await _hung_up(receive, reply.wait):
        return
    if reply.reset:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        transport.abort()
        await _hung_up(receive, None)
        return
    headers = {**reply.headers, "date": date}
    if not reply.chunked:
        headers["content-length"] = str(len(reply.body))
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": raw})
    if reply.keep is None and not reply.pace:
        await send({"type": "http.response.body", "body": reply.body})
        transport.write(reply.stray)
        return
    for piece in _pieces(reply):
        if reply.pace and await _hung_up(receive, reply.pace):
            return
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    if reply.keep is None:
        await send({"type": "http.response.body"})
    else:
        transport.close()
        await _hung_up(receive, None)


def _pieces(reply: WireReply) -> Iterable[bytes]:
    kept = reply.body[: reply.keep]
    return (kept[at : at + 1] for at in range(len(kept))) if reply.pace else [kept]


async def _hung_up(receive: Receive, seconds: float | None) -> bool:
    """Whether the client, or the server's end, closed the connection within ``seconds``."""
    # The call's body is read: nothing else can come.
    gone = asyncio.ensure_future(receive())
    done, _ = await asyncio.wait([gone], timeout=seconds)
    gone.cancel()
    return bool(done)
