"""What of a request's head is refused although the parser lets it through.

Knows RFC 9112, bytes and ASGI's scope. Must not know deadlines, nor what the refusal says.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import chain
from urllib.parse import urlsplit

from uvicorn._types import HTTPScope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Field = tuple[bytes, bytes]

MAX_FIELDS = 100
MAX_HEAD = 16 * 1024
"""Bytes of a request's target and of its header fields' names and values, all together."""

MALFORMED, CONTENT_TOO_LARGE, TOO_LARGE = 400, 413, 431
"""The statuses of what is refused (RFC 9112 section 2.2, RFC 9110 section 15.5.14, RFC 6585)."""

HOST = re.compile(
    rb"(?:(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?"
)
"""A host with or without a port, or nothing (RFC 9110 section 7.2, RFC 3986 section 3.2)."""
DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}


class RequestRejected(Exception):
    """Raised amid the parsing of a head that is to be answered with ``status``."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class LastRequest(Exception):
    """Raised amid the parsing of a request with a body: nothing after it is read."""


GUARDED = frozenset({b"host", b"content-length", b"transfer-encoding"})
"""The fields that ``Framing`` reads."""


class Framing:
    """What a head says of its host and its body (RFC 9112 sections 3.2 and 6)."""

    def __init__(self) -> None:
        self.has_body = False  # once announced, nothing after it is read
        self.is_chunked = False
        self._hosts = 0
        self._host: bytes | None = None  # the last one, which was good

    def begin(self) -> None:
        """Another head begins."""
        self.is_chunked = False
        self._hosts = 0

    def read(self, name: bytes, value: bytes) -> None:
        """Read one of the guarded fields. Raises RequestRejected."""
        if name == b"host":
            self._hosts += 1
            if value != self._host:
                check_host(value)
                self._host = value
        elif name == b"content-length":
            self.has_body = self.has_body or value.strip(b"0") != b""
        else:
            self.has_body = self.is_chunked = True
            if value.lower() != b"chunked":  # the parser takes any coding before it
                raise RequestRejected(MALFORMED)

    def check(self, version: str) -> None:
        """The head is whole. Raises RequestRejected if it has not one host, as HTTP/1.1 wants."""
        hosts_wrong = self._hosts != 1 and (self._hosts or version == "1.1")
        if hosts_wrong or version not in ("1.1", "1.0"):
            raise RequestRejected(MALFORMED)


def check_size(target: bytes, fields: Sequence[Field], *, bulk: bool) -> None:
    """Raises RequestRejected if there is too much; of bytes, only ``bulk`` can be."""
    if len(fields) > MAX_FIELDS or (bulk and size(target, fields) > MAX_HEAD):
        raise RequestRejected(TOO_LARGE)


def size(target: bytes, fields: Iterable[Field]) -> int:
    """Bytes, as MAX_HEAD counts them."""
    return len(target) + sum(map(len, chain.from_iterable(fields)))


def check_host(value: bytes) -> None:
    """Refuse what is no host (RFC 9112 section 3.2). Raises Refused."""
    if not HOST.fullmatch(value):
        raise RequestRejected(MALFORMED)


def origin_form(target: bytes, fields: Iterable[Field]) -> bytes:
    """The path and query of a target in absolute form.

    It must name the Host's own authority (RFC 9112 section 3.2); a default port and an empty path
    are as good as none and "/" (RFC 9110 section 4.2.3). Raises Refused.
    """
    host = next((value for name, value in fields if name == b"host"), b"")
    try:
        parts = urlsplit(target)
    except ValueError:
        raise RequestRejected(MALFORMED) from None
    port = DEFAULT_PORTS.get(parts.scheme)
    if b"#" in target or port is None or not parts.netloc:
        raise RequestRejected(MALFORMED)
    if _authority(parts.netloc, port) != _authority(host, port):
        raise RequestRejected(MALFORMED)
    return (parts.path or b"/") + (b"?" + parts.query if parts.query else b"")


def _authority(text: bytes, port: bytes) -> bytes:
    return text.lower().removesuffix(port).removesuffix(b":")


def unread(connection: HttpToolsProtocol) -> HTTPScope:
    """The scope of a request whose target has not been read: the fields so far."""
    return {
        "type": "http",
        "asgi": {"version": connection.asgi_version, "spec_version": "2.3"},
        "http_version": "1.1",
        "server": connection.server,
        "client": connection.client,
        "scheme": connection.scheme or "http",
        "method": "HEAD" if connection.parser.get_method() == b"HEAD" else "GET",
        "root_path": "",
        "path": "",
        "raw_path": b"",
        "query_string": b"",
        "headers": list[Field](connection.headers or ()),
        "state": connection.app_state.copy(),
    }
