"""The sockets to the farm: aiohttp's, and what aiohttp has to be kept from.

Knows proxies, pools and connections. Must not know what is posted, nor what an answer means.
"""

import asyncio
import functools
import socket
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, cast

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError
from yarl import URL

from app.upstream.tls import Trust

MAX_INTERIM = 100
"""More interim answers (RFC 9110 section 15.2) before an answer are a flood."""
MAX_FIELD = 32 * 1024
"""Bytes of one header field of an answer."""
IDLE = 15.0
"""Seconds after which a connection that no call has taken is closed."""
CHUNK = 64 * 1024
PROXY_AUTHENTICATION_REQUIRED = 407


class Proxy(NamedTuple):
    """A forward proxy: its address, and a Proxy-Authorization field or none."""

    url: str
    authorization: str = ""


class FarmConnections(httpx.AsyncBaseTransport):
    """A pool of connections, of which each takes no more calls once it is ``max_age`` seconds old.

    An httpx transport, not httpx's client: it has one method, and by construction no redirects, no
    cookies, no proxies from the environment. Its sockets are aiohttp's, which cost a fraction of
    the processor time of httpx's own pool. A connection with an unasked answer is not reused.
    ``trust`` may be None if nothing is asked by TLS.
    """

    def __init__(
        self, *, connections: int, trust: Trust | None, max_age: float, proxy: Proxy | None = None
    ) -> None:
        self._connections = connections
        self._trust = trust
        self._max_age = max_age
        self._proxy = proxy
        self._session: aiohttp.ClientSession | None = None
        self._open_transports: set[asyncio.Transport] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request, one answer. Raises aiohttp.ClientError or OSError.

        The extension ``target`` is the request's target, sent byte for byte: httpx and yarl would
        write ``%7E`` and ``..`` in their own way.
        """
        loop = asyncio.get_running_loop()
        if self._session is None:
            self._session = self._open()
        host = f"{request.url.scheme}://{request.url.netloc.decode()}"
        answer = await self._session.request(
            request.method,
            URL(host + request.extensions["target"], encoded=True),
            headers=dict(request.headers.items()) | self._authorization(request),
            data=request.read(),  # it is whole already
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(sock_connect=request.extensions["timeout"]["connect"]),
            ssl=self._trust.context(loop.time()) if self._trust else True,
            **self._by_proxy(),
        )
        if answer.status == PROXY_AUTHENTICATION_REQUIRED and self._proxy is not None:
            answer.close()
            raise aiohttp.ClientHttpProxyError(answer.request_info, (), status=answer.status)
        return httpx.Response(
            answer.status, headers=answer.raw_headers, stream=_Body(answer), request=request
        )

    def _authorization(self, request: httpx.Request) -> dict[str, str]:
        """What a proxy wants in a request that it passes on; in a tunnel it sees none."""
        if self._proxy is None or not self._proxy.authorization or request.url.scheme == "https":
            return {}
        return {"proxy-authorization": self._proxy.authorization}

    def _by_proxy(self) -> dict[str, Any]:
        if self._proxy is None:
            return {}
        fields = {"Proxy-Authorization": self._proxy.authorization}
        return {
            "proxy": URL(self._proxy.url),
            "proxy_headers": fields if self._proxy.authorization else {},
        }

    def _open(self) -> aiohttp.ClientSession:
        connector = _Connector(
            max_age=self._max_age,
            open_transports=self._open_transports,
            limit=self._connections,
            keepalive_timeout=IDLE,
            socket_factory=_socket,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_field_size=MAX_FIELD,
        )

    async def aclose(self) -> None:
        """Close the connections, also those that wait for the farm's closure alert of TLS."""
        if self._session is not None:
            await self._session.close()
        for transport in tuple(self._open_transports):
            transport.abort()
        await asyncio.sleep(0)  # until the event loop has ended them


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._answer.content.iter_chunked(CHUNK)

    async def aclose(self) -> None:
        """Give the connection back; close it if the answer has not come to its end."""
        self._answer.release()
        await self._answer.wait_for_close()


def _socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, *_ = address
    return _Socket(family, kind, protocol)


class _Socket(socket.socket):
    """Closed by the event loop alone, never as garbage.

    When a connection is reset as soon as it is made, uvloop 0.23 closes the file descriptor and
    does not tell the socket object (a cousin of MagicStack/uvloop#645). As garbage it would close
    that number once more: by then it may be a client's connection.
    """

    def __del__(self) -> None:
        self.detach()


class _Connector(aiohttp.TCPConnector):
    """aiohttp's, with connections that know their age and what nobody asked for."""

    def __init__(
        self, *, max_age: float, open_transports: set[asyncio.Transport], **options: Any
    ) -> None:
        super().__init__(**options)
        # No option leads here, and the stub knows no subclass; a test notices if it moves.
        self._factory = functools.partial(  # type: ignore[assignment]
            _Protocol, loop=self._loop, max_age=max_age, open_transports=open_transports
        )


class _Protocol(ResponseHandler):
    """One connection, in ``open_transports`` as long as it is open.

    aiohttp's gives an answer that nobody asked for to the next call, and forgets a connection that
    it closes before the other side has.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        max_age: float,
        open_transports: set[asyncio.Transport],
    ) -> None:
        super().__init__(loop)
        self._open_transports = open_transports
        self._own: asyncio.Transport | None = None  # aiohttp's is gone once it is to close
        self._begun = False  # whether bytes have come since the last call was sent
        self._ends_at = loop.time() + max_age

    def set_response_params(self, **params: Any) -> None:
        """A call begins."""
        self._begun = False
        super().set_response_params(**params)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        super().connection_made(transport)
        self._own = cast("asyncio.Transport", transport)
        self._open_transports.add(self._own)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End like any other that ends amid an answer: its reset is no reason to call again."""
        if self._own is not None:  # a handshake through a proxy may have failed before
            self._open_transports.discard(self._own)
        super().connection_lost(None if self._begun else exc)

    def is_connected(self) -> bool:
        """Whether the next call may have it: asked of each connection that has been kept.

        An old one may lead to where the farm's name led once.
        """
        young = self._loop.time() < self._ends_at
        return super().is_connected() and young and not self.should_close

    def data_received(self, data: bytes) -> None:
        """End a flood of interim answers: they are taken in unbounded, and nothing else runs."""
        self._begun = True
        super().data_received(data)
        if len(self) > MAX_INTERIM and self.transport is not None:
            self.set_exception(HttpProcessingError(message="interim answers without end"))
            self.transport.abort()
