"""Checks requests signed as RFC 5849 says, with a user's token or none. Must not know XML, users.

The parameters travel in one place (section 3.5): the ``Authorization`` header, a form-encoded
body, the query, or a struct. In this order, with the ``oauth_problem`` of what fails:

1. one place, each name once, none missing: ``parameter_rejected``, ``parameter_absent``
2. the consumer key: ``consumer_key_unknown``
3. HMAC-SHA1, version 1.0 if sent: ``signature_method_rejected``, ``version_rejected``
4. the timestamp, a number within 300 s: ``parameter_rejected``, ``timestamp_refused``
5. the token: what ``secret_of`` says
6. the signature, then the nonce: ``signature_invalid``, ``nonce_used``
"""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote
from urllib.request import parse_http_list

from app.sandbox.outcomes import ReportedProblem
from app.sandbox.signatures import WINDOW, Nonces, base_string_uri, signature
from app.sandbox.verifier import REQUIRED
from app.upstream.xmlrpc.codec import Value

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class SignedRequest:
    """What of a POST its signature may cover. ``url`` is without its query.

    ``arguments`` are those behind a ``struct``, by their documented names.
    """

    url: str
    authorization: str = ""
    query: str = ""
    form: str = ""
    struct: Mapping[str, Value] = field(default_factory=dict)
    arguments: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Verified:
    """The ``oauth_*`` parameters of a request that is genuine, and the place they travelled in."""

    place: str
    parameters: Mapping[str, str]

    @property
    def token(self) -> str:
        return self.parameters.get("oauth_token", "")


@dataclass
class RequestVerifier:
    """Checks the requests of one consumer; remembers their nonces."""

    consumer_key: str
    consumer_secret: str = field(repr=False)
    _nonces: Nonces = field(default_factory=Nonces, init=False, repr=False)

    def verify(
        self, request: SignedRequest, secret_of: Callable[[str], str], now: float
    ) -> Verified:
        """Raises ReportedProblem unless ``request`` is genuine. ``now`` is in Unix seconds.

        ``secret_of`` gives a token's secret, and raises for one that does not count; a request
        without a token has the token "".
        """
        place, pairs = _collected(request)
        sent = _unique([pair for pair in pairs if pair[0].startswith("oauth_")])
        timestamp = self._check_values(sent, now)
        secret = secret_of(sent.get("oauth_token", ""))
        signed = [pair for pair in pairs if pair[0] != "oauth_signature"]
        if not self._fits(sent["oauth_signature"], request, signed, secret):
            raise ReportedProblem("signature_invalid")
        nonce = (timestamp, sent["oauth_nonce"], sent.get("oauth_token", ""))
        if not self._nonces.is_new(nonce, now):
            raise ReportedProblem("nonce_used")
        return Verified(place, sent)

    def _fits(self, sent: str, request: SignedRequest, signed: Pairs, secret: str) -> bool:
        """Whether a reading of the vendor's pages fits: A, B (with arguments) or D (with http)."""
        uri = base_string_uri(request.url)
        arguments = [(name, str(value)) for name, value in request.arguments.items()]
        expected = [
            signature("POST", each, pairs, self.consumer_secret, secret).encode()
            for each in (uri, "http:" + uri.partition(":")[2])
            for pairs in (signed, signed + arguments)
        ]
        return any(hmac.compare_digest(sent.encode(), each) for each in expected)

    def _check_values(self, sent: Mapping[str, str], now: float) -> int:
        """The timestamp of parameters that are well-formed, current and this consumer's."""
        if any(not sent.get(f"oauth_{name}") for name in REQUIRED):
            raise ReportedProblem("parameter_absent")
        if sent["oauth_consumer_key"] != self.consumer_key:
            raise ReportedProblem("consumer_key_unknown")
        if sent["oauth_signature_method"] != "HMAC-SHA1":
            raise ReportedProblem("signature_method_rejected")
        if sent.get("oauth_version", "1.0") != "1.0":
            raise ReportedProblem("version_rejected")
        number = sent["oauth_timestamp"]
        if not (number.isascii() and number.isdigit() and len(number) <= 10):
            raise ReportedProblem("parameter_rejected")
        if abs(now - int(number)) > WINDOW:
            raise ReportedProblem("timestamp_refused")
        return int(number)


def _collected(request: SignedRequest) -> tuple[str, Pairs]:
    """The place of the ``oauth_*`` parameters, and all that is signed (section 3.4.1.3.1)."""
    places: dict[str, Pairs] = {
        "header": _header_pairs(request.authorization),
        "query": parse_qsl(request.query, keep_blank_values=True),
        "form": parse_qsl(request.form, keep_blank_values=True),
        "struct": [(name, value) for name, value in request.struct.items() if type(value) is str],
    }
    carrying = [
        place
        for place, pairs in places.items()
        if any(name.startswith("oauth_") for name, _ in pairs)
    ]
    if not carrying:
        raise ReportedProblem("parameter_absent")
    if len(carrying) > 1:
        raise ReportedProblem("parameter_rejected")
    return carrying[0], [pair for pairs in places.values() for pair in pairs]


def _header_pairs(authorization: str) -> Pairs:
    """Section 3.5.1, without the realm, which is not signed."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() != "oauth":
        return []
    pairs = Pairs()
    for item in parse_http_list(rest):
        name, equals, value = item.strip().partition("=")
        if not equals or len(value) < 2 or value[0] + value[-1] != '""':
            raise ReportedProblem("parameter_rejected")
        if name.lower() != "realm":
            pairs.append((unquote(name), unquote(value[1:-1])))
    return pairs


def _unique(pairs: Pairs) -> dict[str, str]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ReportedProblem("parameter_rejected")
    return dict(pairs)
