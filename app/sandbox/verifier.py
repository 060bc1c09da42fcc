"""The half of RFC 5849 that checks. Must not know HTTP, XML, what is asked, or our signer.

Written apart from the signer and from the standard library alone, as a real farm's would be: a
mistake in either half shows as a refused signature. Order and faults of the checks:

1. every required member is there, as text: fault 100
2. ``oauth_consumer_key`` is known: fault 400
3. ``oauth_signature_method`` is HMAC-SHA1, ``oauth_version`` 1.0 if sent, ``oauth_timestamp`` a
   number: fault 101
4. ``oauth_token`` is the farm's, the timestamp is within 300 s, one of the readings fits the
   signature, the nonce is new: fault 104

A nonce is remembered only after its signature has been found right, so that strangers cannot use
nonces up. Readings A to D of what is signed: see ``docs/sandbox.md``.
"""

import base64
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from app.sandbox.faults import refusal
from app.upstream.xmlrpc.codec import Value

READINGS = ("A", "B", "C", "D")
WINDOW = 300
NONCES = 100_000
REQUIRED = ("consumer_key", "nonce", "signature", "signature_method", "timestamp")
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass
class Verifier:
    """Checks the calls of one consumer; remembers at most ``NONCES`` nonces, the newest."""

    consumer_key: str
    consumer_secret: str = field(repr=False)
    token: str = ""
    token_secret: str = field(default="", repr=False)
    readings: Collection[str] = READINGS
    _seen: OrderedDict[tuple[int, str], float] = field(
        default_factory=OrderedDict, init=False, repr=False
    )

    def verify(
        self, url: str, parameters: Value, arguments: Mapping[str, Value], now: float
    ) -> str:
        """The reading, A to D, that fits a call posted to ``url``; raises Fault if none does.

        ``parameters`` is the call's first argument, ``arguments`` the others by their documented
        names. ``now`` is in Unix seconds.
        """
        sent = _texts(parameters)
        if sent["oauth_consumer_key"] != self.consumer_key:
            raise refusal(400)
        timestamp = _timestamp(sent)
        signature = sent.pop("oauth_signature").encode()
        if sent.get("oauth_token", "") != self.token or abs(now - timestamp) > WINDOW:
            raise refusal(104)
        for reading, uri, signed in _candidates(url, sent, arguments):
            expected = self._signature(uri, signed).encode()
            if reading in self.readings and hmac.compare_digest(signature, expected):
                self._remember((timestamp, sent["oauth_nonce"]), now)
                return reading
        raise refusal(104)

    def _signature(self, uri: str, signed: Mapping[str, str]) -> str:
        """RFC 5849, sections 3.4.1 and 3.4.2."""
        pairs = sorted((_escape(name), _escape(value)) for name, value in signed.items())
        normalized = "&".join(f"{name}={value}" for name, value in pairs)
        text = "&".join(["POST", _escape(uri), _escape(normalized)])
        key = f"{_escape(self.consumer_secret)}&{_escape(self.token_secret)}"
        digest = hmac.digest(key.encode(), text.encode(), hashlib.sha1)
        return base64.b64encode(digest).decode()

    def _remember(self, nonce: tuple[int, str], now: float) -> None:
        # Timestamps may run ahead by a window, so a nonce can come back for two of them.
        while self._seen and next(iter(self._seen.values())) < now - 2 * WINDOW:
            self._seen.popitem(last=False)
        if nonce in self._seen:
            raise refusal(104)
        self._seen[nonce] = now
        if len(self._seen) > NONCES:
            self._seen.popitem(last=False)


def _texts(parameters: Value) -> dict[str, str]:
    if not isinstance(parameters, dict):
        raise refusal(100)
    sent = {name: value for name, value in parameters.items() if isinstance(value, str)}
    if any(f"oauth_{name}" not in sent for name in REQUIRED):
        raise refusal(100)
    return sent


def _timestamp(sent: Mapping[str, str]) -> int:
    number = sent["oauth_timestamp"]
    if (
        sent["oauth_signature_method"] != "HMAC-SHA1"
        or sent.get("oauth_version", "1.0") != "1.0"
        or not (number.isascii() and number.isdigit() and len(number) <= 10)
    ):
        raise refusal(101)
    return int(number)


def _candidates(
    url: str, sent: dict[str, str], arguments: Mapping[str, Value]
) -> Iterator[tuple[str, str, dict[str, str]]]:
    """What each reading signs: its name, an address and parameters."""
    uri = _base_string_uri(url)
    if "." not in uri.rpartition("/")[2]:  # a handler's address, not a method's
        yield "C", uri, sent
        return
    yield "A", uri, sent
    yield "B", uri, {name: str(value) for name, value in arguments.items()} | sent
    yield "D", "http:" + uri.partition(":")[2], sent


def _base_string_uri(url: str) -> str:
    """RFC 5849, section 3.4.1.2: scheme and host in lower case, no default port, no query."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port in (None, DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}{parts.path or '/'}"


def _escape(text: str) -> str:
    return quote(text, safe="~")
