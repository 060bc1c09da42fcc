"""Where and why an answer cannot be read: for people. Slow, and never on the way of an answer.

Of a document that is well-formed, it looks for the first value without which the rest can be read,
so that nothing of the codec's rules stands here a second time.
"""

import re
from typing import NamedTuple
from xml.etree.ElementTree import Element, TreeBuilder, tostring
from xml.parsers.expat import ErrorString, ExpatError, ParserCreate

from app.core.errors import UpstreamUnreadable
from app.upstream.xmlrpc.codec import MAX_BODY, MAX_DEPTH, Fault, load_answer
from app.upstream.xmlrpc.document import to_utf8

WHY = {
    "doctype": "a document type declaration, which is refused however harmless it is",
    "encoding": "bytes that do not fit their charset, or a charset that is not read",
    "depth": f"values nested deeper than {MAX_DEPTH}",
    "structure": "not the elements of an XML-RPC answer",
    "type": "text that does not fit its type",
    "too_large": "more bytes, or more elements and attributes, than are read",
}
_BEFORE = re.compile(rb"[\xef\xbb\xbf\xfe\xff\0 \t\r\n]*")
_SHOWN = 60

Place = tuple[int, int]
Content = tuple[str | None, list[Element]]


class Refusal(NamedTuple):
    """``cause`` as in codec.CAUSES; ``line`` and ``column`` from 1 on, 0 if it is nowhere."""

    cause: str
    line: int
    column: int
    says: str


def diagnose(
    body: bytes, *, charset: str | None = None, max_bytes: int = MAX_BODY
) -> Refusal | None:
    """Why ``load_answer`` refuses this; None if it reads it, or finds a fault there."""
    try:
        load_answer(body, charset=charset, max_bytes=max_bytes)
    except Fault:
        return None
    except UpstreamUnreadable as error:
        (line, column), says = _place(body, charset, error.cause)
        above = _BEFORE.match(body)
        skipped = above[0].count(b"\n") if above and line and error.cause != "encoding" else 0
        return Refusal(error.cause, line + skipped, column, says)
    return None


def _place(body: bytes, charset: str | None, cause: str) -> tuple[Place, str]:
    says = WHY.get(cause, "not well-formed")
    if cause == "too_large":
        return (0, 0), f"{says}: {len(body)} bytes"
    if cause == "encoding":
        return _undecodable(body), says
    document = to_utf8(body, charset, lambda word: None)
    if cause == "doctype":
        return _doctype(document), says
    try:
        root, places = _located(document)
    except ExpatError as error:
        return (error.lineno, error.offset + 1), ErrorString(error.code)
    node = _culprit(root)
    return places[node], f"{says}, in {_shown(node)}"


def _undecodable(body: bytes) -> Place:
    """The first byte that is no UTF-8."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        before = body[: error.start].decode()
        return before.count("\n") + 1, len(before) - before.rfind("\n")
    return 0, 0


def _doctype(document: bytes) -> Place:
    """Its beginning. Where the codec refused it, nothing but comments can be before."""
    before = document[: document.find(b"<!DOCTYPE")].decode()
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _located(document: bytes) -> tuple[Element, dict[Element, Place]]:
    """The tree, and where each element begins. Raises ExpatError."""
    builder = TreeBuilder()
    parser = ParserCreate("utf-8")
    places: dict[Element, Place] = {}

    def start(name: str, attributes: dict[str, str]) -> None:
        place = parser.CurrentLineNumber, parser.CurrentColumnNumber + 1
        places[builder.start(name, attributes)] = place

    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.Parse(document, True)
    return builder.close(), places


def _culprit(root: Element) -> Element:
    """The innermost value without whose content the answer can be read, or what is around it."""
    node = root
    try:
        while values := _nearest(node):
            contents = [(value.text, list(value)) for value in values]
            first = _first_refused(root, values, contents)
            if first is None:
                return node
            node = values[first]
    except RecursionError:  # nested too deep to be written again
        return node
    return node


def _first_refused(root: Element, values: list[Element], contents: list[Content]) -> int | None:
    """The index of the first of the values that is the reason; those after it are left empty.

    None if it is none of them.
    """

    def is_refused(kept: int) -> bool:
        for index, (value, (text, children)) in enumerate(zip(values, contents, strict=True)):
            value.text, value[:] = (text, children) if index < kept else ("", [])
        return _is_refused(root)

    if is_refused(0):
        is_refused(len(values))
        return None
    least, most = 0, len(values)  # the first so many are read, and are refused
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if is_refused(middle) else (middle, most)
    is_refused(most)
    return most - 1


def _nearest(node: Element) -> list[Element]:
    """The values in an element that are in no other value of it, in their order."""
    found: list[Element] = []
    waiting = list(reversed(node))
    while waiting:
        inner = waiting.pop()
        if inner.tag == "value":
            found.append(inner)
        else:
            waiting.extend(reversed(inner))
    return found


def _is_refused(root: Element) -> bool:
    document = tostring(root)
    try:
        load_answer(document, max_bytes=max(len(document), MAX_BODY))
    except Fault:
        return False
    except UpstreamUnreadable:
        return True
    return False


def _shown(node: Element) -> str:
    """An element's beginning: nothing in it can steer a terminal."""
    inner = node[0] if node.tag == "value" and len(node) == 1 else node
    text = f"<{inner.tag}>{(inner.text or '').strip()}"
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
