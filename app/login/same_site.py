"""Whether a request that changes something comes from a page that may do that.

Knows Origin (RFC 6454) and Sec-Fetch-Site (W3C Fetch Metadata). The cookie's SameSite alone is not
relied on. Must not know what is changed.
"""

from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

Field = tuple[bytes, bytes]


def origin_of(address: str) -> str:
    """The origin of a base address, as browsers write it (RFC 6454 section 6.1)."""
    parts = urlsplit(address.lower())
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port in (None, usual) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def comes_from(fields: Sequence[Field], origins: Collection[str]) -> bool:
    """Whether the request names one of ``origins``, or the browser says that it is same-origin."""
    named = [value for name, value in fields if name == b"origin"]
    sites = [value for name, value in fields if name == b"sec-fetch-site"]
    if sites == [b"same-origin"]:
        return True
    return len(named) == 1 and named[0].decode("latin-1") in origins
