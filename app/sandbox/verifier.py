"""Checks calls that carry OAuth as a struct. Must not know HTTP, XML, what is asked, or our signer.

Order and faults of the checks:

1. every required member is there, as text: fault 100
2. ``oauth_consumer_key`` is known: fault 400
3. ``oauth_signature_method`` is HMAC-SHA1, ``oauth_version`` 1.0 if sent, ``oauth_timestamp`` a
   number: fault 101
4. ``oauth_token`` is the farm's, the timestamp is within 300 s, one of the readings fits the
   signature, the nonce is new: fault 104

Readings A to D of what is signed: see ``docs/sandbox.md``.
"""

import hmac
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from app.sandbox.faults import refusal
from app.sandbox.signatures import WINDOW, Nonces, base_string_uri, signature
from app.upstream.xmlrpc.codec import Value

READINGS = ("A", "B", "C", "D")
REQUIRED = ("consumer_key", "nonce", "signature", "signature_method", "timestamp")


@dataclass
class Verifier:
    """Checks the calls of one consumer; remembers their nonces."""

    consumer_key: str
    consumer_secret: str = field(repr=False)
    token: str = ""
    token_secret: str = field(default="", repr=False)
    readings: Collection[str] = READINGS
    _nonces: Nonces = field(default_factory=Nonces, init=False, repr=False)

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
        sent_signature = sent.pop("oauth_signature").encode()
        if sent.get("oauth_token", "") != self.token or abs(now - timestamp) > WINDOW:
            raise refusal(104)
        secrets = self.consumer_secret, self.token_secret
        for reading, uri, signed in _candidates(url, sent, arguments):
            expected = signature("POST", uri, signed.items(), *secrets).encode()
            if reading in self.readings and hmac.compare_digest(sent_signature, expected):
                if self._nonces.is_new((timestamp, sent["oauth_nonce"]), now):
                    return reading
                break
        raise refusal(104)


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
    uri = base_string_uri(url)
    if "." not in uri.rpartition("/")[2]:  # a handler's address, not a method's
        yield "C", uri, sent
        return
    yield "A", uri, sent
    yield "B", uri, {name: str(value) for name, value in arguments.items()} | sent
    yield "D", "http:" + uri.partition(":")[2], sent
