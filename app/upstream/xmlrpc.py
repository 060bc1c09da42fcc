"""The XML-RPC codec: bytes and values. Knows the specification; must not know HTTP, which of the
two roles it plays, or what the values mean.

Strict about structure, tolerant about labels, bounded before anything large is built. Pure: no
I/O, no state. ``docs/`` has the page of what is read, and what is not.

Source: http://xmlrpc.com/spec.md and its known extensions: ``i8``, ``i1``, ``i2`` and ``nil``, with
or without the prefix ``ex:``.
"""

import re
from collections.abc import Callable, Container, Sequence
from datetime import datetime
from typing import TypeAlias
from xml.etree.ElementTree import Element

from app.errors import UpstreamUnreadable
from app.upstream import xmlrpc_scalars as scalars
from app.upstream.xml_document import MAX_MARKUP, SPACE, parse

__all__ = [
    "CAUSES",
    "MAX_BODY",
    "MAX_DEPTH",
    "MAX_MARKUP",
    "Fault",
    "UpstreamUnreadable",
    "Value",
    "dump_answer",
    "dump_call",
    "dump_fault",
    "load_answer",
    "load_call",
]

Value: TypeAlias = (
    bool | int | float | str | bytes | datetime | list["Value"] | dict[str, "Value"] | None
)

MAX_BODY = 512 * 1024  # bytes
MAX_DEPTH = 64  # values within values

# Why a document is unreadable: the closed list of UpstreamUnreadable's causes.
CAUSES = (
    "too_large",  # more bytes than allowed, or more elements and attributes than MAX_MARKUP
    "encoding",  # bytes that do not fit their charset, or a charset that we do not read
    "doctype",  # a document type declaration, however harmless
    "not_xml",  # not well-formed: cut short, junk around the root, an unknown entity
    "structure",  # well-formed, but not the elements of an XML-RPC message
    "depth",  # values nested deeper than MAX_DEPTH
    "type",  # text that does not fit its type
)

_METHOD = re.compile(r"[A-Za-z0-9_.:/]+")
_TYPES = frozenset(scalars.LOAD) | {"struct", "array"}
_NAMES = _TYPES.union(
    ("methodCall", "methodName", "methodResponse", "params", "param", "fault", "value"),
    ("member", "name", "data"),
)
_OnDuplicate: TypeAlias = Callable[[str], object]


class Fault(Exception):
    """The other side answered with a fault. ``text`` is its words: not for logs or clients."""

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.text = text


def _unheard(name: str) -> None:
    """Duplicates that nobody asked about."""


def load_answer(
    body: bytes, *, max_bytes: int = MAX_BODY, on_duplicate: _OnDuplicate = _unheard
) -> Value:
    """The one value of a methodResponse.

    The last of the members with one name wins; ``on_duplicate`` is told the name each time.
    Raises Fault, or UpstreamUnreadable with a cause from CAUSES; nothing else.
    """
    child = _only(_root(body, "methodResponse", max_bytes), ("params", "fault"))
    if child.tag == "fault":
        raise _fault(_value(_only(child, ("value",)), on_duplicate))
    return _value(_only(_only(child, ("param",)), ("value",)), on_duplicate)


def load_call(
    body: bytes, *, max_bytes: int = MAX_BODY, on_duplicate: _OnDuplicate = _unheard
) -> tuple[str, list[Value]]:
    """The method's name and the arguments of a methodCall. Raises UpstreamUnreadable as above."""
    parts = _inside(_root(body, "methodCall", max_bytes), ("methodName", "params"))
    if [part.tag for part in parts] not in (["methodName"], ["methodName", "params"]):
        raise UpstreamUnreadable("structure")
    method = _text(parts[0]).strip(SPACE)
    if not _METHOD.fullmatch(method):
        raise UpstreamUnreadable("type")
    params = [param for part in parts[1:] for param in _inside(part, ("param",))]
    return method, [_value(_only(param, ("value",)), on_duplicate) for param in params]


def dump_call(method: str, args: Sequence[Value]) -> bytes:
    """A methodCall in UTF-8.

    Raises ValueError or TypeError for what XML-RPC or XML 1.0 cannot hold; their texts say what
    was wrong and never repeat the value.
    """
    if not _METHOD.fullmatch(method):
        raise ValueError("a method name is made of ASCII letters, digits and _ . : / only")
    params = "".join(f"<param>{_element(arg)}</param>" for arg in args)
    call = f"<methodName>{method}</methodName><params>{params}</params>"
    return _message(f"<methodCall>{call}</methodCall>", "utf-8")


def dump_answer(value: Value, *, encoding_label: str = "utf-8") -> bytes:
    """A methodResponse; in UTF-8 whatever its label says, as the vendor's. Raises as dump_call."""
    params = f"<params><param>{_element(value)}</param></params>"
    return _message(f"<methodResponse>{params}</methodResponse>", encoding_label)


def dump_fault(code: int, text: str, *, encoding_label: str = "utf-8") -> bytes:
    """A methodResponse that is a fault; otherwise as dump_answer."""
    fault = f"<fault>{_element({'faultCode': code, 'faultString': text})}</fault>"
    return _message(f"<methodResponse>{fault}</methodResponse>", encoding_label)


def _root(body: bytes, tag: str, max_bytes: int) -> Element:
    root = parse(body, _NAMES, max_bytes)
    if root.tag != tag:
        raise UpstreamUnreadable("structure")
    return root


def _inside(node: Element, tags: Container[str]) -> list[Element]:
    """The children of an element that holds these and blanks only."""
    children = node[:]
    text = node.text
    for child in children:
        if child.tag not in tags or (text and text.strip(SPACE)):
            raise UpstreamUnreadable("structure")
        text = child.tail
    if text and text.strip(SPACE):
        raise UpstreamUnreadable("structure")
    return children


def _only(node: Element, tags: Container[str]) -> Element:
    children = _inside(node, tags)
    if len(children) != 1:
        raise UpstreamUnreadable("structure")
    return children[0]


def _text(node: Element) -> str:
    if len(node):
        raise UpstreamUnreadable("structure")
    return node.text or ""


def _value(node: Element, on_duplicate: _OnDuplicate, depth: int = 1) -> Value:
    if depth > MAX_DEPTH:
        raise UpstreamUnreadable("depth")
    if not len(node):
        return node.text or ""
    typed = _only(node, _TYPES)
    if typed.tag == "struct":
        return _struct(typed, on_duplicate, depth + 1)
    if typed.tag == "array":
        return _array(typed, on_duplicate, depth + 1)
    try:
        return scalars.LOAD[typed.tag](_text(typed))
    except ValueError:
        raise UpstreamUnreadable("type") from None


def _struct(node: Element, on_duplicate: _OnDuplicate, depth: int) -> dict[str, Value]:
    members: dict[str, Value] = {}
    for member in _inside(node, ("member",)):
        parts = _inside(member, ("name", "value"))
        if len(parts) != 2 or parts[0].tag == parts[1].tag:
            raise UpstreamUnreadable("structure")
        named, value = parts if parts[0].tag == "name" else reversed(parts)
        name = _text(named)
        if name in members:
            on_duplicate(name)
        members[name] = _value(value, on_duplicate, depth)
    return members


def _array(node: Element, on_duplicate: _OnDuplicate, depth: int) -> list[Value]:
    data = _inside(node, ("data",))
    if len(data) > 1:
        raise UpstreamUnreadable("structure")
    items = [item for part in data for item in _inside(part, ("value",))]
    return [_value(item, on_duplicate, depth) for item in items]


def _fault(value: Value) -> Exception:
    if not isinstance(value, dict) or "faultCode" not in value:
        return UpstreamUnreadable("structure")
    code, text = value["faultCode"], value.get("faultString")
    if isinstance(code, str):
        try:
            code = scalars.load_integer(code)
        except ValueError:
            return UpstreamUnreadable("type")
    if not isinstance(code, int) or isinstance(code, bool) or not isinstance(text, str | None):
        return UpstreamUnreadable("type")
    return Fault(code, text or "")


def _message(root: str, encoding_label: str) -> bytes:
    return f'<?xml version="1.0" encoding="{encoding_label}"?>\n{root}\n'.encode()


def _element(value: Value, depth: int = 1) -> str:
    if depth > MAX_DEPTH:
        raise ValueError(f"values nest deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        members = "".join(
            f"<member><name>{_name(name)}</name>{_element(item, depth + 1)}</member>"
            for name, item in value.items()
        )
        return f"<value><struct>{members}</struct></value>"
    if isinstance(value, list):
        items = "".join(_element(item, depth + 1) for item in value)
        return f"<value><array><data>{items}</data></array></value>"
    return f"<value>{scalars.dump(value)}</value>"


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a struct's names are str, not {type(name).__name__}")
    return scalars.dump_text(name)
