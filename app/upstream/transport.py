"""Bytes are posted, the bytes of a 200 come back, or one of our errors.

Knows the HTTP client and what HTTP says. Must not know whose sockets they are, XML, signatures or
what is asked.
"""

import errno
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple, cast

import aiohttp
import httpx
from aiohttp.http_exceptions import LineTooLong

from app.core import errors

TRANSPORT_ERRORS = (httpx.HTTPError, aiohttp.ClientError, OSError, UnicodeError)
"""What the transports let out: their own errors, and now and then one from below."""

CAUSES: tuple[tuple[type[BaseException], str], ...] = (
    (aiohttp.ClientProxyConnectionError, "proxy"),
    (aiohttp.ClientHttpProxyError, "proxy"),
    (LineTooLong, "head_too_large"),
    (ssl.SSLError, "tls"),
    (socket.gaierror, "dns"),
    (ConnectionRefusedError, "refused"),
    (ConnectionError, "reset"),
    (aiohttp.ServerDisconnectedError, "closed"),
    (httpx.RemoteProtocolError, "closed"),
    (aiohttp.ConnectionTimeoutError, "connect_timeout"),
    (httpx.ConnectTimeout, "connect_timeout"),
    (aiohttp.ClientResponseError, "not_http"),
    (UnicodeError, "not_http"),
    (OSError, "network"),
)
"""Which exception behind a transport error tells its cause, the most telling one first."""

NO_CONNECTION = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
)
"""What says that the call was not sent. httpx's own kinds do not: its adapter for aiohttp calls a
connection that broke later a ConnectTimeout, too."""

SHORTAGE = "local_shortage"
SHORTAGES = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)
)
"""What this machine has run out of, not the farm: files, buffers, memory, local ports."""

MAX_PAUSE = 300.0
"""Seconds: no Retry-After of the farm silences us for longer."""

EMPTY_HEADERS = httpx.Headers({"accept-encoding": "identity", "user-agent": "renderfarm-gateway"})
HEADERS = httpx.Headers({"content-type": "text/xml", **EMPTY_HEADERS})

_CHARSET = re.compile(r";[ \t]*charset=\"?([A-Za-z0-9._-]{1,40})\"?[ \t]*(?:;|$)", re.IGNORECASE)

MAX_DATE = 64
"""Characters of a date that is read; the longest form of the three has 33."""


Hear = Callable[[int, Mapping[str, str], bytes], None]

REFUSALS = frozenset({400, 401, 403})
"""Statuses of answers in which a farm may say why it refuses a request (RFC 5849 section 3.2)."""
MAX_REFUSAL = 4096
"""Bytes of such an answer that are read."""


class Message(NamedTuple):
    """What is posted; ``fields`` go out beside our usual header fields."""

    url: str
    body: bytes
    fields: Mapping[str, str] = MappingProxyType({})


class Received(NamedTuple):
    """The body of an answer, its charset, and when it was sent, in Unix seconds, as the farm says.

    ``challenge`` is its WWW-Authenticate field.
    """

    body: bytes
    date: float | None
    charset: str | None
    status: int = 200
    challenge: str = ""


@dataclass(slots=True)
class Transport:
    """Posts to the farm. ``now`` gives Unix seconds, ``max_body`` is in bytes."""

    http: httpx.AsyncBaseTransport
    connect_timeout: float
    max_body: int
    now: Callable[[], float]

    async def post(
        self, message: Message, hear: Hear | None = None, *, refusals: bool = False
    ) -> Received:
        """The answer, read to its end but never beyond the bound. Raises UpstreamError.

        ``hear`` is told the status, the fields and the bytes of an answer, as far as they came,
        whatever is wrong with them. With ``refusals``, an answer with one of those statuses is one
        to read, else an error. Who calls sets the deadline: every byte of a drip would start a
        timeout here anew.
        """
        request = httpx.Request(
            "POST",
            _url(message.url),
            headers=HEADERS if message.body else EMPTY_HEADERS,
            stream=httpx.ByteStream(message.body),  # ``content`` would cost twice the time
            extensions={
                "target": f"/{message.url.split('/', 3)[3]}",  # as it was signed
                "timeout": {"connect": self.connect_timeout},
            },
        )
        if message.fields:
            request.headers.update(message.fields)
        try:
            response = await self.http.handle_async_request(request)
        except TRANSPORT_ERRORS as error:
            cause = cause_of(error)
            if cause == SHORTAGE:
                raise errors.Overloaded(cause) from None
            raise kind_of(error)(cause) from None
        body, status = bytearray(), response.status_code
        fields = dict(response.headers.items())  # joined and decoded once
        stream = cast("httpx.AsyncByteStream", response.stream)
        try:
            if refusals and status in REFUSALS:
                with suppress(errors.UpstreamUnreadable):  # a longer one is not worth reading
                    await self._read(stream, body, MAX_REFUSAL)
            else:
                self._check(status, fields)
                await self._read(stream, body, self.max_body)
            date = http_date(fields.get("date"))
            charset = charset_of(fields.get("content-type", ""))
            challenge = fields.get("www-authenticate", "")
            return Received(bytes(body), date, charset, status, challenge)
        except TRANSPORT_ERRORS:
            raise errors.UpstreamUnreadable("truncated") from None
        finally:
            if hear is not None:
                hear(status, fields, bytes(body))
            await stream.aclose()

    def _check(self, status: int, fields: Mapping[str, str]) -> None:
        if status in (401, 403):
            raise errors.UpstreamRefusedCredentials("http_status")
        if status in (429, 503):
            wait = retry_after(fields.get("retry-after"), self.now())
            raise errors.UpstreamUnavailable("http_status", retry_after=wait)
        if status in (502, 504):
            raise errors.UpstreamNoAnswer(f"http_{status}")
        if status != 200:
            raise errors.UpstreamNoAnswer("http_status")
        if fields.get("content-encoding", "").strip().lower() not in ("", "identity"):
            raise errors.UpstreamUnreadable("content_coding")
        if int(fields.get("content-length", "0")[:19]) > self.max_body:
            raise errors.UpstreamUnreadable("too_large")

    async def _read(self, stream: httpx.AsyncByteStream, body: bytearray, most: int) -> None:
        async for chunk in stream:
            body += chunk
            if len(body) > most:
                raise errors.UpstreamUnreadable("too_large")

    async def aclose(self) -> None:
        """Close the connections."""
        await self.http.aclose()


_url = lru_cache(256)(httpx.URL)
"""Methods are few, and their addresses the same each time."""


def cause_of(error: BaseException) -> str:
    """One word for a transport error, from the exceptions behind it.

    ``closed_early`` is a connection that ended amid the head of an answer; only aiohttp can tell.
    """
    chain = list(_chain(error))
    if any(isinstance(link, OSError) and link.errno in SHORTAGES for link in chain):
        return SHORTAGE
    for kind, cause in CAUSES:
        for link in chain:
            if isinstance(link, kind):
                begun = isinstance(link, aiohttp.ServerDisconnectedError) and not isinstance(
                    link.message, str
                )
                return "closed_early" if begun else cause
    return "transport"


def kind_of(error: BaseException) -> type[errors.UpstreamError]:
    """Whether there was no connection, or what came after the call was sent was no answer."""
    if any(isinstance(link, NO_CONNECTION) for link in _chain(error)):
        return errors.UpstreamUnreachable
    return errors.UpstreamNoAnswer


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def charset_of(content_type: str) -> str | None:
    """The charset parameter of a Content-Type field (RFC 9110 section 8.3.2), if there is one."""
    found = _CHARSET.search(content_type)
    return found[1] if found else None


@lru_cache(4)  # the answers of one second have the same
def http_date(value: str | None) -> float | None:
    """Unix seconds of an HTTP-date (RFC 9110 section 5.6.7); None if unreadable."""
    if value is not None and len(value) > MAX_DATE:
        return None
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
