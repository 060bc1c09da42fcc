"""Takes secrets out of bytes, in whatever usual form they stand there. Pure.

A value is replaced by as many ``x`` as it is long, so that a document keeps its shape. Whoever
answers for the farm may hide a value in more ways than can be listed: a text in which one shows up
once it is decoded is withheld as a whole.
"""

import base64
import binascii
import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus, unquote_to_bytes
from xml.sax.saxutils import escape

LEAST = 4
"""Bytes: a shorter value hides nothing, and would be found everywhere."""

_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{8,}")
_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2}){4,}")
_BLANK = re.compile(rb"[ \t\r\n]+")


def redacted(text: bytes, values: Iterable[str]) -> bytes | None:
    """The text without these values; None if one is hidden in it too well to be taken out."""
    wanted = {value for value in values if len(value.encode()) >= LEAST}
    forms = {form for value in wanted for form in _forms(value)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, b"x" * len(form))
    plain = [value.encode() for value in wanted]
    if any(value in decoded for decoded in _decoded(text) for value in plain):
        return None
    return text


def _forms(value: str) -> Iterator[bytes]:
    """A value plain, escaped, and encoded in the usual ways."""
    raw = value.encode()
    plain = {value, value.rstrip("=") or value, escape(value), html.escape(value)}
    plain |= {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    plain |= {repr(value)[1:-1], repr(raw)[2:-1]}
    for text in list(plain):
        once = quote(text, safe="")
        plain |= {once, once.lower(), quote(text), quote_plus(text), quote(once, safe="")}
    for text in plain:
        yield text.encode()
    yield value.encode("utf-16-le")
    yield value.encode("utf-16-be")
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(raw).rstrip(b"=")


def _decoded(text: bytes) -> Iterator[bytes]:
    """What the text says to whoever decodes it once: where a value must not show up."""
    yield text
    yield html.unescape(text.decode("latin-1")).encode("utf-8", "replace")
    yield html.unescape(text.decode("utf-8", "replace")).encode()
    yield unquote_to_bytes(text)
    yield text.replace(b"\0", b"")
    packed = _BLANK.sub(b"", text)
    for run in _BASE64.findall(packed):
        run = run.translate(bytes.maketrans(b"-_", b"+/"))
        for start in range(4):
            part = run[start:]
            yield base64.b64decode(part[: len(part) // 4 * 4] + _rest(part))
    for run in _HEX.findall(packed):
        for start in (0, 1):
            part = run[start:]
            yield binascii.unhexlify(part[: len(part) // 2 * 2])


def _rest(part: bytes) -> bytes:
    """The last characters of a base64 text, padded."""
    rest = part[len(part) // 4 * 4 :]
    return rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""
