"""How the farm refuses: by faults, and visitors' requests by words, too.

Knows the farm's fault codes, the Problem Reporting extension of OAuth 1.0, in the three ways that
it comes, and the forms that answer the steps of a login (RFC 5849 section 2). Nothing of the farm's
text gets out: words are looked up in a table.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import parse_qsl

from app.core import errors
from app.core.call import Call, Faults, OAuthStep, VisitorCall
from app.upstream.xmlrpc.codec import Fault

MAX_FORM = 4096
"""Bytes of a form."""

PROBLEMS: Mapping[str, type[errors.GatewayError]] = MappingProxyType(
    {
        "token_rejected": errors.LoginExpired,
        "token_expired": errors.LoginExpired,
        "token_revoked": errors.LoginExpired,
        "token_used": errors.LoginExpired,
        "permission_denied": errors.LoginDenied,
        "user_refused": errors.LoginDenied,
        "consumer_key_unknown": errors.UpstreamRefusedCredentials,
        "consumer_key_rejected": errors.UpstreamRefusedCredentials,
        "consumer_key_refused": errors.UpstreamRefusedCredentials,
        "signature_invalid": errors.UpstreamRefusedCredentials,
        "signature_method_rejected": errors.UpstreamRefusedCredentials,
        "nonce_used": errors.UpstreamRefusedCredentials,
        "timestamp_refused": errors.UpstreamRefusedCredentials,
        "version_rejected": errors.UpstreamRejectedCall,
        "parameter_absent": errors.UpstreamRejectedCall,
        "parameter_rejected": errors.UpstreamRejectedCall,
    }
)
"""What the words of the Problem Reporting extension mean. Any other word is a refusal without a
name of its own."""

FAULTS: Faults = MappingProxyType(
    {
        100: errors.UpstreamRejectedCall,
        101: errors.UpstreamRejectedParameters,
        104: errors.UpstreamRefusedCredentials,
        400: errors.UpstreamRefusedCredentials,
    }
)
"""What every method may answer. A call brings its own; all other codes are UpstreamFault."""

INVALID_SIGNATURE = 104
TIMESTAMP_REFUSED = "timestamp_refused"
UNNAMED = "oauth_problem"
"""The word of a refusal whose own word is not in the table, or that has none."""

_CHALLENGED = re.compile(r'\boauth_problem\s*=\s*"?([A-Za-z0-9_.~%-]{1,64})')
_SAID = re.compile(r"\boauth_problem\s*[=:]\s*\"?([a-z_]{0,64})")


class OAuthRefusal(Exception):
    """The farm refuses: with a word of PROBLEMS, or with another one (UNNAMED).

    ``status`` is that of an answer without any word.
    """

    def __init__(self, word: str = UNNAMED, status: int = 0) -> None:
        super().__init__(word)
        self.word = word if word in PROBLEMS else UNNAMED
        self.status = status


def error_of(refusal: Fault | OAuthRefusal, call: Call) -> errors.GatewayError:
    """What a fault or a refusal means as the answer to this call."""
    is_visitors = isinstance(call, VisitorCall | OAuthStep)
    if is_visitors and isinstance(refusal, Fault) and (word := _said(refusal.text)) is not None:
        refusal = OAuthRefusal(word)  # beside a word, the code may be any number
    if isinstance(refusal, OAuthRefusal):
        return _meaning(refusal, call)(refusal.word)
    kind = {**FAULTS, **call.faults}.get(refusal.code, errors.UpstreamFault)
    return kind("fault", fault_code=refusal.code)


def _meaning(refusal: OAuthRefusal, call: Call) -> type[errors.GatewayError]:
    """What the refusal of this call means.

    401 without a word says that the visitor's token is not good any more, if there is one. What
    a visitor may not do, and why, the call knows.
    """
    if refusal.status == 401:
        token = getattr(call, "token", None)
        return errors.LoginExpired if token else errors.UpstreamRefusedCredentials
    kind = PROBLEMS.get(refusal.word, call.refused)
    return call.refused if kind is errors.LoginDenied and isinstance(call, VisitorCall) else kind


def check_refusal(status: int, body: bytes, challenge: str) -> None:
    """Raises OAuthRefusal if an answer is one, whatever its status."""
    word = _word(body, challenge if status != 200 else "")
    if word is not None:
        raise OAuthRefusal(word)
    if status in (401, 403):
        raise OAuthRefusal(status=status)
    if status != 200:
        raise errors.UpstreamNoAnswer("http_status")


def is_form(body: bytes) -> bool:
    """Whether the answer to a step of a login is a form, and not XML-RPC."""
    return not body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def read_form(body: bytes) -> dict[str, str]:
    """The fields of a form, each name once, all printable. Raises UpstreamUnreadable for others."""
    if len(body) > MAX_FORM:
        raise errors.UpstreamUnreadable("form")
    try:
        text = body.decode("ascii").strip("\r\n")
        pairs = parse_qsl(text, strict_parsing=bool(text), keep_blank_values=True, errors="strict")
    except ValueError:  # what is not ASCII or UTF-8 is one, too
        raise errors.UpstreamUnreadable("form") from None
    fields = dict(pairs)
    is_plain = all(name.isprintable() and value.isprintable() for name, value in pairs)
    if len(fields) != len(pairs) or not is_plain:
        raise errors.UpstreamUnreadable("form")
    return fields


def _word(body: bytes, challenge: str) -> str | None:
    """The word of a refusal, from its form or from its WWW-Authenticate field."""
    try:
        word = read_form(body).get("oauth_problem") if is_form(body) else None
    except errors.UpstreamUnreadable:
        word = None
    if word is None and challenge[:6].lower() == "oauth ":
        found = _CHALLENGED.search(challenge[:MAX_FORM])
        word = found[1] if found else None
    return word


def _said(text: str) -> str | None:
    """The word of PROBLEMS, or another, in the text of a fault; None if it has none."""
    found = _SAID.search(text[:MAX_FORM])
    if found:
        return found[1]
    return text if text in PROBLEMS else None
