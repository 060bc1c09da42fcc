"""Which texts are addresses that we take: base addresses, origins, networks.

Knows no setting by name.
"""

import base64
import ipaddress
import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

VISIBLE = re.compile(r"[!-~]+")
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")
DEFAULT_PORT = re.compile(r"http:.*:80|https:.*:443")
DATABASE = re.compile(r"/?|/[0-9]{1,3}")
ENCODED = re.compile(r"([^%]|%[0-9A-Fa-f]{2})*")
ANY = "*"
UNIX = "unix:"
"""Stands among networks for the peers of a Unix domain socket, as in nginx."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def base_address(text: str) -> str:
    """An absolute http or https address to which paths are added, without slashes at its end.

    Raises ValueError, whose message quotes nothing: the text may hold a password.
    """
    try:
        parts = urlsplit(text)
        absolute = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        absolute = False
    # urlsplit drops some control characters without a word.
    if not absolute or not VISIBLE.fullmatch(text) or "\\" in text:
        raise ValueError("must be an absolute http or https address, like https://farm.example")
    if parts.username is not None or "?" in text or "#" in text:
        raise ValueError("must have no user name, query or fragment")
    return text.rstrip("/")


def cache_address(text: str) -> None:
    """See that this is the address of a Redis or Valkey server.

    ``redis://``, ``rediss://`` (TLS) with user, password, host, port and number of the database;
    or ``unix://`` with the path of a socket. Raises ValueError, whose message quotes nothing.
    """
    try:
        parts = urlsplit(text)
        if parts.scheme == "unix":
            leads = bool(parts.path) and not parts.hostname
        else:
            leads = (
                bool(parts.hostname) and parts.port != 0 and bool(DATABASE.fullmatch(parts.path))
            )
        leads = leads and parts.scheme in ("redis", "rediss", "unix")
    except ValueError:
        leads = False
    if text[:1] in ("'", '"'):
        raise ValueError("must be like redis://:password@cache.example:6379/0, without quotes")
    if not leads or not VISIBLE.fullmatch(text) or "?" in text or "#" in text:
        raise ValueError(
            "must be like redis://:password@cache.example:6379/0, rediss:// for TLS, or "
            "unix:///path/of/socket"
        )
    if not _is_encoded(text):
        raise ValueError("must be percent-encoded UTF-8: a % itself is %25")


class ForwardProxy(NamedTuple):
    """Where a proxy is, and what its Proxy-Authorization field (RFC 9110 section 11.7.2) says."""

    host: str
    port: int
    authorization: str  # empty: it wants none

    @property
    def url(self) -> str:
        """Its address without user and password."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def forward_proxy(text: str) -> ForwardProxy:
    """A proxy's address, like ``http://user:password@proxy.example:3128``.

    Raises ValueError, whose message quotes nothing.
    """
    try:
        parts = urlsplit(text)
        leads = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
        leads = leads and parts.path in ("", "/") and bool(VISIBLE.fullmatch(text))
    except ValueError:
        leads = False
    if not leads or "?" in text or "#" in text or "\\" in text:
        raise ValueError("must be like http://user:password@proxy.example:3128")
    if not _is_encoded(text):
        raise ValueError("must be percent-encoded UTF-8: a % itself is %25")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if ":" in user:
        raise ValueError("must have a user name without a colon (RFC 7617)")
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    return ForwardProxy(
        parts.hostname or "",
        parts.port or 80,
        f"Basic {credentials}" if parts.username is not None else "",
    )


def _is_encoded(text: str) -> bool:
    """Whether every percent-encoding (RFC 3986 section 2.1) can be read, as UTF-8."""
    try:
        unquote(text, errors="strict")
    except UnicodeDecodeError:
        return False
    return bool(ENCODED.fullmatch(text))


def is_local(address: str) -> bool:
    """Whether a base address leads to this machine alone, by its host's spelling."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def origins(text: str) -> frozenset[str]:
    """Origins as browsers send them (RFC 6454 section 6.2), comma-separated; or ``*``, alone.

    Raises ValueError for what no browser would ever send.
    """
    found = frozenset(part.strip() for part in text.split(","))
    if found != {ANY} and not all(map(_is_origin, found)):
        raise ValueError("must be * or origins like https://site.example, comma-separated")
    return found


def hosts(text: str) -> tuple[str, ...]:
    """Addresses to listen on, comma-separated; an empty one is an empty text."""
    return tuple(part.strip() for part in text.split(","))


def networks(text: str) -> tuple[Network, ...]:
    """IP addresses and networks (``10.0.0.0/8``), comma-separated; ``unix:`` is passed over.

    Raises ValueError for anything else, and for a network whose address has bits of a host.
    """
    try:
        parts = (part.strip() for part in text.split(","))
        return tuple(ipaddress.ip_network(part) for part in parts if part != UNIX)
    except ValueError:
        wanted = "must be IP addresses, networks like 10.0.0.0/8, or unix:, comma-separated"
        raise ValueError(wanted) from None


def _is_origin(text: str) -> bool:
    return bool(ORIGIN.fullmatch(text)) and not DEFAULT_PORT.fullmatch(text)
