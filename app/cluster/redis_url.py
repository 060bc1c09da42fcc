"""A Redis or Valkey server by its address: connections to be made, why one was not, and whether
the address leads elsewhere by now.

Knows redis-py and TLS. Must not know what connections are for.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from redis._parsers import _AsyncRESP2Parser
from redis.asyncio.connection import Connection, SSLConnection, parse_url
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    RedisError,
    ResponseError,
)

from app.cache.codec import MAX_SIZE
from app.cluster.refusals import refusal_of

CONNECT = 1.0
"""Seconds for making a connection, TLS and password included."""
LOOKUP = 2.0
"""Seconds that a look-up of the server's name may take."""

CAUSES: tuple[tuple[type[Exception], str], ...] = (
    (ssl.SSLError, "tls"),
    (AuthenticationError, "auth"),
    (ResponseError, "auth"),
    (InvalidResponse, "odd"),
)
"""What an error is called that ended a try to connect, or that is behind the one which did."""


MAX_REPLY = MAX_SIZE + 65_536
"""Bytes of the largest reply that is read: the largest record, and what stands around it."""


class BoundedParser(_AsyncRESP2Parser):
    """redis-py's parser of replies, which reads no more of one than ``MAX_REPLY`` bytes.

    Its own reads whatever length a server announces. What is larger raises InvalidResponse.
    """

    _left = MAX_REPLY

    async def read_response(self, disable_decoding: bool = False) -> Any:
        """The next reply."""
        self._left = MAX_REPLY
        return await super().read_response(disable_decoding=disable_decoding)

    async def _read(self, length: int) -> bytes:
        self._spend(length)
        return await super()._read(length)

    async def _readline(self) -> bytes:
        line = await super()._readline()
        self._spend(len(line))
        return line

    def _spend(self, length: int) -> None:
        self._left -= length
        if self._left < 0:
            raise InvalidResponse("a reply beyond the bound")


class RedisServer:
    """The server at ``url``."""

    def __init__(self, url: str) -> None:
        self._options: dict[str, Any] = dict(parse_url(url))
        self._kind: Callable[..., Any] = self._options.pop("connection_class", Connection)
        self._tls: Any = None

    def connection(self) -> Any:
        """One that is not made yet."""
        limits: dict[str, Any] = {"socket_timeout": None, "socket_connect_timeout": CONNECT}
        limits["parser_class"] = BoundedParser
        fresh = self._kind(**{**self._options, **limits}, protocol=2, driver_info=None)
        if isinstance(fresh, SSLConnection):
            # One for all: to read the system's authorities holds everything up for a while.
            self._tls = fresh.ssl_context = self._tls or fresh.ssl_context
        return fresh

    async def has_moved(self, connection: Any) -> bool:
        """Whether the server's name leads to other addresses than that of this connection."""
        host = str(self._options.get("host", ""))
        writer = connection._writer  # noqa: SLF001 - redis-py does not tell the address
        peer = writer.get_extra_info("peername") if writer is not None else None
        if not peer or not _is_name(host):
            return False
        try:
            async with asyncio.timeout(LOOKUP):
                found = await asyncio.get_running_loop().getaddrinfo(
                    host, None, type=socket.SOCK_STREAM
                )
        except (OSError, UnicodeError):
            return False  # a resolver that fails says nothing of the server
        return peer[0] not in {address[0] for *_, address in found}


def _is_name(host: str) -> bool:
    """Whether it takes a look-up to find the address of this host; a socket's path has none."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return bool(host)
    return False


async def drop(connection: Any) -> None:
    """End a connection without a word: TLS would wait for the other side's goodbye."""
    writer = connection._writer  # noqa: SLF001 - redis-py can only close politely
    if writer is not None:
        writer.transport.abort()
    with suppress(RedisError, OSError):
        await connection.disconnect(nowait=True)


def cause_of(error: Exception) -> str:
    """Why a connection could not be made, in a word: refused, tls, auth, odd or of a refusal."""
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, (ResponseError, BusyLoadingError)) and (word := refusal_of(behind)):
            return word
        for kind, word in CAUSES:
            if isinstance(behind, kind):
                return word
        behind = behind.__cause__ or behind.__context__
    return "refused" if isinstance(error, (RedisError, OSError)) else "odd"
