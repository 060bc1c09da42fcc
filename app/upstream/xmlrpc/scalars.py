"""XML-RPC's scalar types: one text, one value, both ways. Knows the types' lexical forms; must not
know elements, structs or messages.

Python reads more than XML-RPC writes (``int`` takes 1_000 and Arabic digits, ``float`` takes nan,
``fromisoformat`` takes week dates), so that each form is compared with a pattern first.
"""

import binascii
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from xml.sax.saxutils import escape

from app.upstream.xmlrpc.document import SPACE

Scalar: TypeAlias = bool | int | float | str | bytes | datetime | None


@dataclass(frozen=True, slots=True)
class UnreadableScalar:
    """Stands for a value whose text its type does not allow, or whose type nobody knows."""

    type: str


# No two parts of one pattern match the same text, so that a misfit is found in linear time.
_INTEGER = re.compile(r"[+-]?[0-9]{1,64}")
_BOOLEAN = re.compile(r"[01]|true|false")
_DOUBLE = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DATE = re.compile(
    r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}T[0-9]{2}:?[0-9]{2}:?[0-9]{2}(?:[.,][0-9]{1,64})?"
    r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
_PLAIN = re.compile(r"[A-Za-z0-9_.:/ -]*")  # nearly every text, which needs no second look
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _fitting(pattern: re.Pattern[str], text: str) -> str:
    stripped = text.strip(SPACE)
    if not pattern.fullmatch(stripped):
        raise ValueError
    return stripped


def load_integer(text: str) -> int:
    """Within signed 64 bits, whichever integer type was named. Raises ValueError."""
    if text.isdecimal() and text.isascii() and len(text) < 19:
        return int(text)  # nearly every integer; the others are looked at closely
    number = int(_fitting(_INTEGER, text))
    if not -(2**63) <= number < 2**63:
        raise ValueError
    return number


def _load_boolean(text: str) -> bool:
    return _fitting(_BOOLEAN, text) in ("1", "true")


def _load_double(text: str) -> float:
    number = float(_fitting(_DOUBLE, text))
    if not math.isfinite(number):
        raise ValueError
    return number


def _load_date(text: str) -> datetime:
    """Naive unless the text has an offset: XML-RPC leaves the time zone to the two sides."""
    return datetime.fromisoformat(_fitting(_DATE, text))


def _load_base64(text: str) -> bytes:
    packed = text.encode("ascii").translate(None, SPACE.encode())
    data = binascii.a2b_base64(packed)
    # It skips what is not base64, and even its strict mode takes "AAAA=": the length tells.
    if len(packed) != 4 * math.ceil(len(data) / 3):
        raise ValueError
    return data


def _load_nil(text: str) -> None:
    if text.strip(SPACE):
        raise ValueError


# By type name, case-sensitive. Each raises ValueError for a text that does not fit.
LOAD: dict[str, Callable[[str], Scalar]] = {
    **dict.fromkeys(("int", "i4", "i8", "i1", "i2"), load_integer),
    **dict.fromkeys(("ex:i8", "ex:i1", "ex:i2", "ex:bigInteger", "ex:biginteger"), load_integer),
    **dict.fromkeys(("nil", "ex:nil"), _load_nil),
    "boolean": _load_boolean,
    **dict.fromkeys(("double", "ex:float", "ex:bigdecimal"), _load_double),
    "string": str,
    "base64": _load_base64,
    "dateTime.iso8601": _load_date,
}


def dump(value: object) -> str:
    """The typed element of a scalar.

    Raises ValueError for what the type cannot hold, TypeError for what has no type; their texts
    never repeat the value.
    """
    match value:
        case None:
            return "<nil/>"
        case bool():  # before int, which it also is
            return f"<boolean>{value:d}</boolean>"
        case int() if -(2**31) <= value < 2**31:
            return f"<i4>{value:d}</i4>"
        case float() if math.isfinite(value):
            return f"<double>{float(value)!r}</double>"
        case str():
            return f"<string>{dump_text(value)}</string>"
        case bytes():
            return f"<base64>{binascii.b2a_base64(value, newline=False).decode()}</base64>"
        case datetime():
            return f"<dateTime.iso8601>{_dump_date(value)}</dateTime.iso8601>"
        case int() | float():
            raise ValueError("a number that is not finite, or does not fit 32 bits")
    raise TypeError(f"XML-RPC has no type for {type(value).__name__}")


def dump_text(text: str) -> str:
    """Escaped character data. Raises ValueError for what XML 1.0 cannot hold."""
    if _PLAIN.fullmatch(text):
        return text
    if _NOT_XML.search(text):
        raise ValueError("text with a character that XML 1.0 cannot hold")
    return escape(text, {"\r": "&#13;"})  # a parser reads a bare one as a line feed


def _dump_date(value: datetime) -> str:
    text = value.isoformat().replace("-", "", 2)
    if not _DATE.fullmatch(text):
        raise ValueError("a time zone whose offset is not whole minutes")
    return text
