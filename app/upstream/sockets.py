"""The sockets to the farm: aiohttp's, and what aiohttp has to be kept from.

Knows TLS, pools and connections. Must not know what is posted, nor what an answer means.
"""

import functools
import socket
import ssl
from typing import Any

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError
from httpx_aiohttp import AiohttpTransport

MAX_INTERIM = 100
"""More interim answers (RFC 9110 section 15.2) before an answer are a flood."""


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """What is asked of the farm's TLS: version 1.2 or newer, a certificate that we trust."""
    verify = ssl.create_default_context(cafile=ca_file)
    verify.minimum_version = ssl.TLSVersion.TLSv1_2
    return verify


def open_http(*, connections: int, ca_file: str | None) -> httpx.AsyncBaseTransport:
    """The HTTP client: TLS >= 1.2, verified. A connection with an unasked answer is not reused.

    An httpx transport, not httpx's client: it has one method, and by construction no redirects, no
    cookies, no proxies from the environment. Its sockets are aiohttp's, which cost a fraction of
    the processor time of httpx's own pool.
    """
    verify = tls_context(ca_file)
    return AiohttpTransport(client=lambda: _session(verify, connections))


def _session(verify: ssl.SSLContext, connections: int) -> aiohttp.ClientSession:
    connector = _Connector(
        ssl=verify, limit=connections, keepalive_timeout=15, socket_factory=_socket
    )
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


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
    """aiohttp's, with connections that know what nobody asked for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # No option leads here, and the stub knows no subclass; a test notices if it moves.
        self._factory = functools.partial(_Protocol, loop=self._loop)  # type: ignore[assignment]


class _Protocol(ResponseHandler):
    """One connection. aiohttp's gives an answer that nobody asked for to the next call."""

    _begun = False  # whether bytes have come since the last call was sent

    def set_response_params(self, **params: Any) -> None:
        """A call begins."""
        self._begun = False
        super().set_response_params(**params)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End like any other that ends amid an answer: its reset is no reason to call again."""
        super().connection_lost(None if self._begun else exc)

    def is_connected(self) -> bool:
        """Whether the next call may have it: asked of each connection that has been kept."""
        return super().is_connected() and not self.should_close

    def data_received(self, data: bytes) -> None:
        """End a flood of interim answers: they are taken in unbounded, and nothing else runs."""
        self._begun = True
        super().data_received(data)
        if len(self) > MAX_INTERIM and self.transport is not None:
            self.set_exception(HttpProcessingError(message="interim answers without end"))
            self.transport.abort()
