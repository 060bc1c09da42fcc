"""The XML-RPC codec: bytes and values. Knows the specification; must not know HTTP, which of the
two roles it plays, or what the values mean.

Strict about structure, tolerant about labels, bounded before anything large is built. Pure.

Source: http://xmlrpc.com/spec.md and its known extensions: ``i8``, ``i1``, ``i2`` and ``nil``, with
or without the prefix ``ex:``, and the other numbers of https://ws.apache.org/xmlrpc/types.html.
"""

import re
from collections.abc import Sequence
from typing import TypeAlias
from xml.etree.ElementTree import Element

from app.core.errors import UpstreamUnreadable as UpstreamUnreadable
from app.upstream.xmlrpc import scalars
from app.upstream.xmlrpc.document import MAX_BODY as MAX_BODY
from app.upstream.xmlrpc.document import MAX_MARKUP as MAX_MARKUP
from app.upstream.xmlrpc.document import SPACE, OnDrift, every, only, parse, weight
from app.upstream.xmlrpc.scalars import Scalar
from app.upstream.xmlrpc.scalars import UnreadableScalar as UnreadableScalar

Value: TypeAlias = Scalar | UnreadableScalar | list["Value"] | dict[str, "Value"]

MAX_DEPTH = 64  # values within values

# Why a document is unreadable: the closed list of UpstreamUnreadable's causes.
CAUSES = (
    "too_large",  # more bytes than allowed, or more elements and attributes than such may have
    "encoding",  # bytes that do not fit their charset, or a charset that we do not read
    "doctype",  # a document type declaration, however harmless
    "not_xml",  # not well-formed: cut short, junk around the root
    "structure",  # well-formed, but not the elements of an XML-RPC message
    "depth",  # values nested deeper than MAX_DEPTH
    "type",  # text that does not fit its type, where it is the answer itself or in a fault
)

_METHOD = re.compile(r"[A-Za-z0-9_.:/]+")
_STRUCTURE = frozenset(  # the elements that are no types of scalars
    ["methodCall", "methodName", "methodResponse", "params", "param", "fault", "value"]
).union(["struct", "member", "name", "array", "data"])
_NAMES = _STRUCTURE.union(scalars.LOAD)


class Fault(Exception):
    """The other side answered with a fault. ``text`` is its words: not for logs or clients."""

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.text = text


def _unheard(what: str) -> None:
    """Drift that nobody asked about."""


def load_answer(
    body: bytes,
    *,
    charset: str | None = None,
    max_bytes: int = MAX_BODY,
    on_drift: OnDrift = _unheard,
) -> Value:
    """The one value of a methodResponse. ``charset`` is the parameter of its Content-Type.

    A member or an item that is not as its type wants is an UnreadableScalar. The last of the
    members with one name wins. ``on_drift`` is told ``duplicate_member``, ``encoding_label`` and
    ``surrogate_pair``. Raises Fault, or UpstreamUnreadable with a cause from CAUSES; nothing else.
    """
    root = _root(body, "methodResponse", max_bytes, charset, on_drift)
    part = only(root)
    if part.tag not in ("params", "fault"):
        raise UpstreamUnreadable("structure")
    is_fault = part.tag == "fault"
    reader = _Reader(root, on_drift, strict=is_fault)
    value = reader.value(only(part if is_fault else only(part, "param"), "value"))
    reader.end()
    if is_fault:
        raise _fault(value)
    return value


def load_call(
    body: bytes, *, max_bytes: int = MAX_BODY, on_drift: OnDrift = _unheard
) -> tuple[str, list[Value]]:
    """The method's name and the arguments of a methodCall. Raises UpstreamUnreadable as above."""
    root = _root(body, "methodCall", max_bytes, None, on_drift)
    reader = _Reader(root, on_drift, strict=True)
    if [part.tag for part in root] not in (["methodName"], ["methodName", "params"]):
        raise UpstreamUnreadable("structure")
    method = reader.text(root[0]).strip(SPACE)
    if not _METHOD.fullmatch(method):
        raise UpstreamUnreadable("type")
    params = every(root[1], "param") if len(root) == 2 else ()
    arguments = [reader.value(only(param, "value")) for param in params]
    reader.end()
    return method, arguments


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


class _Reader:
    """Walks one tree. Whatever text it has not taken as content at the end must be blank.

    A scalar that is not as its type wants reads as an UnreadableScalar, or ends a ``strict``
    reading. The element of an unknown type counts as a scalar, as long as it holds no others.
    """

    def __init__(self, root: Element, on_drift: OnDrift, *, strict: bool) -> None:
        self._root = root
        self._on_drift = on_drift
        self._strict = strict
        self._taken: list[str] = []

    def end(self) -> None:
        """Refuse text beside the elements, all at once: looking everywhere costs twice the time."""
        if weight(self._root.itertext()) != weight(iter(self._taken)):
            raise UpstreamUnreadable("structure")

    def text(self, node: Element) -> str:
        """The text of an element that holds no others."""
        if len(node):
            raise UpstreamUnreadable("structure")
        text = node.text or ""
        self._taken.append(text)
        return text

    def value(self, node: Element, depth: int = 1) -> Value:
        """What a value element holds."""
        if depth > MAX_DEPTH:
            raise UpstreamUnreadable("depth")
        count = len(node)
        if count == 0:
            return self.text(node)
        if count > 1:
            raise UpstreamUnreadable("structure")
        typed = node[0]
        load = scalars.LOAD.get(typed.tag)
        if load is None:
            return self._compound(typed, depth + 1)
        try:
            return load(self.text(typed))
        except ValueError:
            if self._strict or depth == 1:
                raise UpstreamUnreadable("type") from None
            return UnreadableScalar(typed.tag)

    def _compound(self, node: Element, depth: int) -> Value:
        if node.tag == "struct":
            return self._struct(node, depth)
        if node.tag == "array":
            return self._array(node, depth)
        if self._strict or depth == 2 or node.tag in _STRUCTURE:
            raise UpstreamUnreadable("structure")
        self.text(node)
        return UnreadableScalar(node.tag)

    def _struct(self, node: Element, depth: int) -> dict[str, Value]:
        members: dict[str, Value] = {}
        for member in node:
            if member.tag != "member" or len(member) != 2:
                raise UpstreamUnreadable("structure")
            named, value = member
            if named.tag == "value":
                named, value = value, named
            if named.tag != "name" or value.tag != "value":
                raise UpstreamUnreadable("structure")
            name = self.text(named)
            if name in members:
                self._on_drift("duplicate_member")
            members[name] = self.value(value, depth)
        return members

    def _array(self, node: Element, depth: int) -> list[Value]:
        if not len(node):
            return []
        return [self.value(item, depth) for item in every(only(node, "data"), "value")]


def _root(body: bytes, tag: str, max_bytes: int, charset: str | None, on_drift: OnDrift) -> Element:
    root = parse(body, _NAMES, max_bytes, charset, on_drift)
    if root.tag != tag:
        raise UpstreamUnreadable("structure")
    return root


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
