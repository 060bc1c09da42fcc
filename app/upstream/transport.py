"""The one socket: bytes are posted, the bytes of a 200 come back, or one of our errors.

Knows the HTTP client and what HTTP says. Must not know XML, signatures or what is asked.
"""

import functools
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import aiohttp
import h11
import httpx
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError
from httpx_aiohttp import AiohttpTransport

from app import errors

TRANSPORT_ERRORS = (httpx.HTTPError, aiohttp.ClientError, OSError, UnicodeError)
"""What the transports let out: their own errors, and now and then one from below."""

CAUSES: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLError, "tls"),
    (socket.gaierror, "dns"),
    (ConnectionRefusedError, "refused"),
    (ConnectionError, "reset"),
    (aiohttp.ServerDisconnectedError, "closed"),
    (h11.RemoteProtocolError, "not_http"),
    (httpx.RemoteProtocolError, "closed"),
    (aiohttp.ConnectionTimeoutError, "connect_timeout"),
    (httpx.ConnectTimeout, "connect_timeout"),
    (aiohttp.ClientResponseError, "not_http"),
    (UnicodeError, "not_http"),
    (OSError, "network"),
)
"""Which exception behind a transport error tells its cause, the most telling one first."""

TRY_AGAIN = frozenset({"refused", "reset", "closed", "http_502", "http_504"})
"""Causes after which the same call may be made once more: it has probably not been heard."""

MAX_PAUSE = 300.0
"""Seconds: no Retry-After of the farm silences us for longer."""

MAX_INTERIM = 100
"""More interim answers (RFC 9110 section 15.2) before an answer are a flood."""

HEADERS = {
    "content-type": "text/xml",
    "accept-encoding": "identity",
    "user-agent": "renderfarm-gateway",
}


class Received(NamedTuple):
    """The body of a 200, and when the farm says that it sent it, in Unix seconds."""

    body: bytes
    date: float | None


@dataclass(slots=True)
class Transport:
    """Posts to the farm. ``now`` gives Unix seconds, ``max_body`` is in bytes."""

    http: httpx.AsyncBaseTransport
    connect_timeout: float
    max_body: int
    now: Callable[[], float]

    async def post(
        self, url: str, content: bytes, fields: Mapping[str, str] = MappingProxyType({})
    ) -> Received:
        """The answer, read to its end but never beyond the bound. Raises UpstreamError.

        ``fields`` go out beside our usual header fields. Who calls sets the deadline: every byte
        of a drip would start a timeout here anew.
        """
        request = httpx.Request(
            "POST",
            url,
            headers={**HEADERS, **fields},
            content=content,
            extensions={"timeout": {"connect": self.connect_timeout}},
        )
        try:
            response = await self.http.handle_async_request(request)
        except TRANSPORT_ERRORS as error:
            raise errors.UpstreamUnreachable(cause_of(error)) from None
        try:
            self._check(response)
            return Received(await self._read(response), http_date(response.headers.get("date")))
        except TRANSPORT_ERRORS:
            raise errors.UpstreamUnreadable("truncated") from None
        finally:
            await response.aclose()

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in (401, 403):
            raise errors.UpstreamRefusedCredentials("http_status")
        if status in (429, 503):
            wait = retry_after(response.headers.get("retry-after"), self.now())
            raise errors.UpstreamUnavailable("http_status", retry_after=wait)
        if status in (502, 504):
            raise errors.UpstreamUnreachable(f"http_{status}")
        if status != 200:
            raise errors.UpstreamUnreachable("http_status")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise errors.UpstreamUnreadable("content_coding")

    async def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self.max_body:
                raise errors.UpstreamUnreadable("too_large")
        return bytes(body)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.http.aclose()


def cause_of(error: BaseException) -> str:
    """One word for a transport error, from the exceptions behind it.

    ``closed_early`` is a connection that ended amid the head of an answer; only aiohttp can tell.
    """
    chain = list(_chain(error))
    for kind, cause in CAUSES:
        for link in chain:
            if isinstance(link, kind):
                begun = isinstance(link, aiohttp.ServerDisconnectedError) and not isinstance(
                    link.message, str
                )
                return "closed_early" if begun else cause
    return "transport"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def http_date(value: str | None) -> float | None:
    """Unix seconds of an HTTP-date (RFC 9110 section 5.6.7); None if unreadable."""
    try:
        moment = parsedate_to_datetime(value or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds of a Retry-After field (RFC 9110 section 10.2.3), 1 to 300; None if unreadable."""
    if value is not None and value.isascii() and value.isdigit():
        seconds = float(value)
    elif (moment := http_date(value)) is not None:
        seconds = moment - now
    else:
        return None
    return min(max(seconds, 1.0), MAX_PAUSE)


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """What is asked of the farm's TLS: version 1.2 or newer, a certificate that we trust."""
    verify = ssl.create_default_context(cafile=ca_file)
    verify.minimum_version = ssl.TLSVersion.TLSv1_2
    return verify


def open_http(
    *, transport: Literal["aiohttp", "httpx"], connections: int, ca_file: str | None
) -> httpx.AsyncBaseTransport:
    """The HTTP client: TLS >= 1.2, verified. No connection with an unasked answer is used again.

    An httpx transport, not httpx's client: it has one method, and by construction no redirects, no
    cookies, no proxies from the environment. By default the sockets are aiohttp's, which cost a
    fraction of the processor time of httpx's own pool.
    """
    verify = tls_context(ca_file)
    if transport == "aiohttp":
        return AiohttpTransport(client=lambda: _session(verify, connections))
    # httpx looks for unasked bytes in the socket, but not among those that it has read already.
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=0)
    return httpx.AsyncHTTPTransport(verify=verify, limits=limits, trust_env=False)


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
