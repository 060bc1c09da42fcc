"""Tolerant readers of upstream values: one sloppy field never costs the whole answer.

Knows the types that the farm sends and the forms it has been seen to send instead. Must not know
any resource. A value of the wrong type reads as ``None`` (or ``[]``) and is told to the drift
counter that the caller passes as validation context.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationInfo,
    model_validator,
)

MAX_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly (RFC 8259 section 6)."""

MAX_NUMBER = 1e300
"""Beyond this a sender's counter has gone wrong; infinity is no JSON."""

MAX_UNIX_SECONDS = 253_402_300_799
"""9999-12-31T23:59:59Z, the last second that RFC 3339 can write."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_IN_URL = r"(?:[A-Za-z0-9/?:@!$&'()*+,;=~._-]++|%[0-9A-Fa-f]{2})*+"
_PLAIN_URL = re.compile(rf"https?://[A-Za-z0-9.-]+(?:[/?]{_IN_URL})?(?:#{_IN_URL})?")
"""What nearly every URL looks like, once it is quoted if not before, and needs no second look."""
_AUTHORITY = re.compile(r"(?:[^@\[\]]*@)?(?:[^@:\[\]]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ONLY_BETWEEN_PARTS = str.maketrans({"[": "%5B", "]": "%5D", "#": "%23"})


def drifted(info: ValidationInfo, name: str | None = None) -> None:
    """Tell that a field was not as documented."""
    if info.context is not None:
        info.context(name or info.field_name)


def integer(value: object) -> int | None:
    """An int, or text that is one; anything else is no integer."""
    if type(value) is str and _INTEGER.fullmatch(value.strip()):
        value = int(value)
    return value if type(value) is int and -MAX_INTEGER <= value <= MAX_INTEGER else None


def number(value: object) -> float | None:
    """An int, a double, or text that is one."""
    if type(value) is str and len(value) < 64 and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if type(value) is int or type(value) is float:
        return float(value) if abs(value) <= MAX_NUMBER else None
    return None


def text(value: object) -> str | None:
    """A string, kept exactly."""
    return value if type(value) is str else None


def url(value: object) -> str | None:
    """An absolute http(s) URL, with what RFC 3986 does not allow percent-encoded.

    Other schemes are refused: frontends put these into href and src.
    """
    if type(value) is not str or len(value) > 2048:
        return None
    if _PLAIN_URL.fullmatch(value):
        return value
    address = quote(_STRAY_PERCENT.sub("%25", value.strip()), safe="%/:?#[]@!$&'()*+,;=~")
    if _PLAIN_URL.fullmatch(address):
        return address
    try:
        parts = urlsplit(address)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # half an IPv6 address, or a port beyond 65535
        return None
    if not valid or not _AUTHORITY.fullmatch(parts.netloc):
        return None
    return urlunsplit((*parts[:2], *(part.translate(_ONLY_BETWEEN_PARTS) for part in parts[2:])))


def instant(value: object) -> datetime | None:
    """Unix seconds, as an int or as text; in UTC."""
    seconds = integer(value)
    if seconds is None or not 0 < seconds <= MAX_UNIX_SECONDS:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def _tolerant(
    read: Callable[[object], Any], *, absent: tuple[object, ...] = (None,)
) -> BeforeValidator:
    """A validator that reads what it can, and tells drift what it cannot."""

    def validate(value: object, info: ValidationInfo) -> Any:
        result = read(value)
        if result is None and value not in absent:
            drifted(info)
        return result

    return BeforeValidator(validate)


Integer = Annotated[int | None, _tolerant(integer)]
Number = Annotated[float | None, _tolerant(number)]
Text = Annotated[str | None, _tolerant(text)]
Url = Annotated[
    str | None,
    _tolerant(url, absent=(None, "")),
    Field(json_schema_extra={"anyOf": [{"type": "string", "format": "uri"}, {"type": "null"}]}),
]
Instant = Annotated[datetime | None, _tolerant(instant, absent=(None, 0, "0", ""))]


def _integer_or_fail(value: object) -> int:
    found = integer(value)
    if found is None:
        raise ValueError("no integer")
    return found


Id = Annotated[int, BeforeValidator(_integer_or_fail)]
"""The one field that has to be right: what is no integer fails the whole answer."""


def _items(value: object, info: ValidationInfo) -> list[tuple[str, object]]:
    """The members of a struct used as a map, in the order of their ids.

    Ids that are numbers come first, in numeric order. An array stands for a struct whose ids count
    from 0: that is what PHP makes of one. Empty text stands for an empty struct.
    """
    if isinstance(value, list):
        value = {str(index): item for index, item in enumerate(value)}
    if isinstance(value, dict):
        return sorted(value.items(), key=_by_number)
    if value is not None and value != "":
        drifted(info)
    return []


def _by_number(item: tuple[str, object]) -> tuple[bool, int, str]:
    name = item[0]
    is_number = bool(_INTEGER.fullmatch(name))
    return not is_number, int(name) if is_number else 0, name


def keyed_urls(value: object, info: ValidationInfo) -> list[dict[str, str]]:
    """A struct of URLs by id, as a list of ``{id, url}``."""
    found = []
    for name, item in _items(value, info):
        address = url(item)
        if address is None:
            drifted(info)
        else:
            found.append({"id": name, "url": address})
    return found


def keyed_structs(value: object, info: ValidationInfo) -> list[dict[str, object]]:
    """A struct of structs by id, as a list of those structs, each with its id."""
    found = []
    for name, item in _items(value, info):
        if isinstance(item, dict):
            found.append({**item, "id": name})
        else:
            drifted(info)
    return found


def struct_or(default: Callable[[], Any]) -> BeforeValidator:
    """A struct; what senders make of an empty one (or none) reads as the default."""

    def validate(value: object, info: ValidationInfo) -> Any:
        if isinstance(value, dict) and value:
            return value
        if value not in (None, "", [], {}):
            drifted(info)
        return default()

    return BeforeValidator(validate)


class Struct(BaseModel):
    """A struct of the farm's. Members that no field reads are counted and never passed on."""

    @model_validator(mode="before")
    @classmethod
    def _count_unknown_members(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, dict):
            for _ in value.keys() - _wire_names(cls):
                drifted(info, "unknown_member")
        return value


@cache
def _wire_names(model: type[BaseModel]) -> frozenset[str]:
    names: set[str] = set()
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            names.update(str(choice) for choice in alias.choices)
        else:
            names.add(str(alias or name))
    return frozenset(names)
