"""HMAC-SHA1 signatures of RFC 5849 and the nonces seen. Must not know where parameters travel.

Written apart from the signer and from the standard library alone, as a real farm's would be: a
mistake in either half shows as a refused signature.
"""

import base64
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from urllib.parse import quote, urlsplit

WINDOW = 300
"""Seconds that a timestamp may be off."""
NONCES = 100_000
DEFAULT_PORTS = {"http": 80, "https": 443}


def signature(
    verb: str, uri: str, signed: Iterable[tuple[str, str]], consumer_secret: str, token_secret: str
) -> str:
    """RFC 5849, sections 3.4.1 and 3.4.2, over the base string URI ``uri``."""
    pairs = sorted((_escape(name), _escape(value)) for name, value in signed)
    normalized = "&".join(f"{name}={value}" for name, value in pairs)
    text = "&".join([_escape(verb), _escape(uri), _escape(normalized)])
    key = f"{_escape(consumer_secret)}&{_escape(token_secret)}"
    digest = hmac.digest(key.encode(), text.encode(), hashlib.sha1)
    return base64.b64encode(digest).decode()


def base_string_uri(url: str) -> str:
    """RFC 5849, section 3.4.1.2: scheme and host in lower case, no default port, no query."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port in (None, DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}{parts.path or '/'}"


class Nonces:
    """The newest ``NONCES`` nonces. One is added only after its signature has been found right.

    Strangers can therefore not use nonces up.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def is_new(self, nonce: Hashable, now: float) -> bool:
        """Whether ``nonce`` has not been seen; it has from now on."""
        # Timestamps may run ahead by a window, so a nonce can come back for two of them.
        while self._seen and next(iter(self._seen.values())) < now - 2 * WINDOW:
            self._seen.popitem(last=False)
        if nonce in self._seen:
            return False
        self._seen[nonce] = now
        if len(self._seen) > NONCES:
            self._seen.popitem(last=False)
        return True


def _escape(text: str) -> str:
    return quote(text, safe="~")
