"""A hostile XML document, made a tree: bytes in, elements out. Knows XML; must not know XML-RPC.

    bytes -> text (a mark, NULs or a label tell the charset) -> UTF-8 -> expat -> tree

expat gets the whole document in one call: version 2.5 takes quadratic time over a large token that
comes in pieces. It is told that the bytes are UTF-8, so the document's own label means nothing to
it. Namespaces mean nothing either: ``ex:i8`` is a name like any other, whether declared or not.
"""

import re
from collections.abc import Set
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser
from xml.parsers.expat import ExpatError, ParserCreate

from app.core.errors import UpstreamUnreadable

SPACE = " \t\r\n"  # XML's white space; Python's own notion takes more

# Elements and attributes. One costs up to 280 bytes while it is read, so that this many stay below
# 8 MiB. A session with 4,000 thumbnails fills the largest body, and has 16,000.
MAX_MARKUP = 25_000
# A made-up name costs as much again. Above this, names are looked at one by one while reading;
# below, whoever walks the tree finds out soon enough, and reading costs a quarter less.
_FEW = 8_000

_MARK = re.compile(
    rb"(?P<utf_32>\xff\xfe\0\0|\0\0\xfe\xff|\0\0\0|.\0\0\0)"
    rb"|(?P<utf_8>\xef\xbb\xbf)"
    rb"|(?P<utf_16_le>\xff\xfe|(?=[^\0]\0[^\0]\0))"
    rb"|(?P<utf_16_be>\xfe\xff|(?=\0[^\0]\0[^\0]))",
    re.DOTALL,
)
_LABEL = re.compile(
    rb"[ \t\r\n]*<\?xml[ \t\r\n][^>]*?[ \t\r\n]encoding[ \t\r\n]*=[ \t\r\n]*"
    rb"[\"']([A-Za-z][A-Za-z0-9._-]*)[\"']"
)
# A closed list, because Python's codecs are no such thing: they hold rot13, utf-7 and
# unicode_escape, and remember for good every unknown name that they were asked for.
_CHARSETS = frozenset(
    ["utf_8", "utf8", "us_ascii", "ascii", "latin1", "latin_1", "koi8_r", "koi8_u"]
    + ["gb2312", "gbk", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"]
    + [f"{name}_{part}" for name in ("iso_8859", "iso8859") for part in range(1, 17) if part != 12]
    + [f"{name}{page}" for name in ("windows_", "cp") for page in range(1250, 1259)]
    + ["utf_16_le", "utf_16_be"]  # by their bytes only: _charset takes no label's word for it
)


def parse(body: bytes, names: Set[str], max_bytes: int) -> Element:
    """The root element. Names are as written; comments and processing instructions are gone.

    A large document may hold elements with these ``names`` only. Raises UpstreamUnreadable with
    "too_large", "encoding", "doctype", "not_xml" or "structure" (another name); nothing else.
    """
    if len(body) > max_bytes:
        raise UpstreamUnreadable("too_large")
    document = _utf8(body)
    # Every attribute has a "=". Text may hold some as well, but hardly so many.
    markup = document.count(b"<") - document.count(b"</") + document.count(b"=")
    if markup > MAX_MARKUP:
        raise UpstreamUnreadable("too_large")
    if markup > _FEW:
        return _tree(document, names)
    plain = _plain_tree(document)
    return _tree(document, frozenset()) if plain is None else plain


def _utf8(body: bytes) -> bytes:
    charset, start = _charset(body)
    if charset not in _CHARSETS:
        raise UpstreamUnreadable("encoding")
    try:
        return body[start:].decode(charset).lstrip(SPACE).encode()
    except UnicodeError:
        raise UpstreamUnreadable("encoding") from None


def _charset(body: bytes) -> tuple[str, int]:
    """The charset's name, and the length of the mark before the text."""
    if mark := _MARK.match(body):
        return str(mark.lastgroup), mark.end()
    label = _LABEL.match(body)
    name = label[1].decode("ascii").lower().replace("-", "_") if label else "utf_8"
    # The vendor labels its UTF-8 so: text that really is UTF-16 has been recognised above.
    return ("utf_8" if name.startswith("utf_16") else name), 0


def _plain_tree(document: bytes) -> Element | None:
    """The tree of a document without namespaces, built in C at half the cost; None otherwise.

    What this parser refuses (an undeclared prefix, say) the other one decides about.
    """
    if b"xmlns" in document or b"<!DOCTYPE" in document:
        return None
    parser = XMLParser(encoding="utf-8")  # noqa: S314 - bounded above, and without a DOCTYPE
    try:
        parser.feed(document)
        return parser.close()
    except ParseError:
        return None


def _tree(document: bytes, names: Set[str]) -> Element:
    """With no names, any will do."""
    builder = TreeBuilder()  # joins the text around what expat has no handler for

    def known(name: str, attributes: dict[Any, Any]) -> None:
        if name not in names:
            raise UpstreamUnreadable("structure")
        builder.start(name, attributes)

    parser = ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = known if names else builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(document, True)
    except ExpatError:
        raise UpstreamUnreadable("not_xml") from None
    return builder.close()


def _refuse_doctype(*declaration: object) -> None:
    raise UpstreamUnreadable("doctype")
