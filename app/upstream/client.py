"""The one socket: a signed call goes out, a value or one of our errors comes back.

Knows the HTTP client, the codec, the signer and what the farm's codes mean. Must not know caching,
models or JSON.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from app import errors
from app.upstream.guard import Bulkhead
from app.upstream.oauth import Signer, new_nonce
from app.upstream.xmlrpc import Fault, Value, dump_call, load_answer

FAULTS: dict[int, type[errors.GatewayError]] = {
    100: errors.UpstreamRejectedCall,
    101: errors.UpstreamRejectedParameters,
    103: errors.SessionForbidden,
    104: errors.UpstreamRefusedCredentials,
    300: errors.SessionNotFound,
    301: errors.SessionNotAttached,
    400: errors.UpstreamRefusedCredentials,
}
"""The documented faults of community.getSession; every other code is an UpstreamFault."""

TRANSPORT_ERRORS = (httpx.HTTPError, aiohttp.ClientError, OSError, UnicodeError)
"""What the transports let out: their own errors, and now and then one from below."""

CAUSES: tuple[tuple[type[BaseException], str], ...] = (
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

HEADERS = {
    "content-type": "text/xml",
    "accept-encoding": "identity",
    "user-agent": "renderfarm-gateway",
}

DECODE_IN_THREAD = 64 * 1024
"""Bytes: a larger answer is decoded beside the event loop, not in it."""


class Attempt(NamedTuple):
    """One attempt to call the farm, as logs and metrics see it."""

    method: str
    arguments: Mapping[str, object]
    outcome: str  # ok, fault, or the cause of the failure
    fault_code: int | None
    seconds: float


@dataclass(slots=True)
class Farm:
    """The farm at ``base``. ``now`` gives Unix seconds; ``observe`` hears of every attempt."""

    http: httpx.AsyncBaseTransport
    base: str
    signer: Signer
    bulkhead: Bulkhead
    deadline: float
    connect_timeout: float
    max_body: int
    now: Callable[[], float]
    observe: Callable[[Attempt], None]
    drift: Callable[[str], None] = field(default=lambda field: None)

    async def call(self, method: str, arguments: Mapping[str, int | str]) -> Value:
        """The decoded answer. Raises errors.Refused or errors.UpstreamError, nothing else.

        The deadline is absolute: it covers the wait for a place, and a farm that drips.
        """
        started = asyncio.get_running_loop().time()
        outcome, fault_code = "bug", None
        try:
            async with asyncio.timeout(self.deadline), self.bulkhead.place():
                value = await self._attempt(method, arguments)
            outcome = "ok"
            return value
        except TimeoutError:
            outcome = "deadline"
            raise errors.UpstreamTimeout(outcome, method=method, arguments=arguments) from None
        except Fault as fault:
            outcome, fault_code = "fault", fault.code
            kind = FAULTS.get(fault.code, errors.UpstreamFault)
            raise kind(outcome, method=method, arguments=arguments, fault_code=fault.code) from None
        except errors.UpstreamError as error:
            outcome = error.cause
            error.method, error.arguments = method, arguments
            raise
        finally:
            seconds = asyncio.get_running_loop().time() - started
            self.observe(Attempt(method, arguments, outcome, fault_code, seconds))

    async def _attempt(self, method: str, arguments: Mapping[str, int | str]) -> Value:
        body = await self._post(*self._signed(method, arguments))
        if len(body) > DECODE_IN_THREAD:
            return await asyncio.to_thread(load_answer, body, on_duplicate=self._duplicate)
        return load_answer(body, on_duplicate=self._duplicate)

    def _signed(self, method: str, arguments: Mapping[str, int | str]) -> tuple[str, bytes]:
        parameters = self.signer.sign(
            self.base, method, arguments, timestamp=int(self.now()), nonce=new_nonce()
        )
        struct: dict[str, Value] = {**parameters}
        url = self.signer.url(self.base, method)
        return url, dump_call(method, [struct, *arguments.values()])

    async def _post(self, url: str, content: bytes) -> bytes:
        """The body of a 200, read to its end but never beyond the bound."""
        request = httpx.Request(
            "POST",
            url,
            headers=HEADERS,
            content=content,
            extensions={"timeout": {"connect": self.connect_timeout}},
        )
        try:
            response = await self.http.handle_async_request(request)
        except TRANSPORT_ERRORS as error:
            raise errors.UpstreamUnreachable(cause_of(error)) from None
        try:
            self._check(response)
            return await self._read(response)
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

    def _duplicate(self, _name: str) -> None:
        self.drift("duplicate_member")

    async def aclose(self) -> None:
        """Close the connections."""
        await self.http.aclose()


def cause_of(error: BaseException) -> str:
    """One word of CAUSES for a transport error, from the exceptions behind it."""
    chain = list(_chain(error))
    for kind, cause in CAUSES:
        if any(isinstance(link, kind) for link in chain):
            return cause
    return "transport"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds of a Retry-After field (RFC 9110 section 10.2.3), 1 to 300; None if unreadable."""
    if value is None:
        return None
    try:
        seconds = (
            float(value)
            if value.isascii() and value.isdigit()
            else (parsedate_to_datetime(value).timestamp() - now)
        )
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 1.0), 300.0)


def open_http(
    *, transport: Literal["aiohttp", "httpx"], connections: int, ca_file: str | None
) -> httpx.AsyncBaseTransport:
    """The HTTP client: TLS >= 1.2, verified.

    An httpx transport, not httpx's client: it has one method, and by construction no redirects, no
    cookies, no proxies from the environment. By default the sockets are aiohttp's, which cost a
    fraction of the processor time of httpx's own pool.
    """
    verify = ssl.create_default_context(cafile=ca_file)
    verify.minimum_version = ssl.TLSVersion.TLSv1_2
    if transport == "aiohttp":
        return AiohttpTransport(client=lambda: _session(verify, connections))
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.AsyncHTTPTransport(verify=verify, limits=limits, trust_env=False)


def _session(verify: ssl.SSLContext, connections: int) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(ssl=verify, limit=connections, keepalive_timeout=15)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
