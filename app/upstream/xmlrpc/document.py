"""A hostile XML document, made a tree: bytes in, elements out. Knows XML; must not know XML-RPC.

    bytes -> text -> UTF-8 -> expat -> tree

The charset by one rule: a mark, or NULs that show UTF-16; else UTF-8 wherever the bytes are UTF-8,
since a text in another charset hardly ever is; else what Content-Type says (RFC 7303 section 3.2),
else what the declaration says. Labels that the bytes refute (``us-ascii`` above é) say nothing.

expat is told that the bytes are UTF-8, so the document's own label means nothing to it. Namespaces
mean nothing either: ``ex:i8`` is a name like any other, whether declared or not.
"""

import codecs
import re
from collections.abc import Callable, Iterator, Set
from itertools import islice
from typing import Any, TypeAlias
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser
from xml.parsers.expat import ExpatError, ParserCreate, XMLParserType

from app.core.errors import UpstreamUnreadable

SPACE = " \t\r\n"  # XML's white space; Python's own notion takes more

OnDrift: TypeAlias = Callable[[str], object]
"""Told one word for whatever was read although it was not as it should be."""

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
_LEGACY = frozenset(
    ["latin1", "latin_1", "koi8_r", "koi8_u"]
    + ["gb2312", "gbk", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"]
    + [f"{name}_{part}" for name in ("iso_8859", "iso8859") for part in range(1, 17) if part != 12]
    + [f"{name}{page}" for name in ("windows_", "cp") for page in range(1250, 1259)]
)
_READ = _LEGACY.union(("us_ascii", "ascii", "utf_8", "utf8"))
_HIGH = (
    rb"&#(?P<high>0*(?:5529[6-9]|55[3-9][0-9]{2}|56[0-2][0-9]{2}|563[01][0-9])"
    rb"|x0*[dD][89abAB][0-9a-fA-F]{2});"
)
_LOW = (
    rb"&#(?P<low>0*(?:563[2-9][0-9]|56[4-9][0-9]{2}|57[0-2][0-9]{2}|573[0-3][0-9]|5734[0-3])"
    rb"|x0*[dD][c-fC-F][0-9a-fA-F]{2});"
)
_PAIR = re.compile(_HIGH + _LOW)
_PAIR_IN_MARKUP = re.compile(
    # What holds no references is passed over, up to the document's end if it has none of its own,
    # so that every byte is read once.
    rb"<!--.*?(?:-->|\Z)|<!\[CDATA\[.*?(?:\]\]>|\Z)|<\?.*?(?:\?>|\Z)|" + _HIGH + _LOW,
    re.DOTALL,
)

MAX_BODY = 512 * 1024  # bytes
# Elements and attributes. One costs up to 280 bytes while it is read, so that this many stay below
# 8 MiB. A session with 4,000 thumbnails fills MAX_BODY, and has 16,000. Where a larger body is
# allowed, more are in proportion.
MAX_MARKUP = 25_000
# A made-up name costs as much again. Above this, names are looked at one by one while reading;
# below, whoever walks the tree finds out soon enough, and reading costs a quarter less.
_FEW = 8_000
_MADE_UP = 64  # names that a large document may hold besides
_SLICE = 64 * 1024  # bytes


def parse(
    body: bytes, names: Set[str], max_bytes: int, charset: str | None, on_drift: OnDrift
) -> Element:
    """The root element. Names are as written; comments and processing instructions are gone.

    A large document may hold few others than these ``names``. Raises UpstreamUnreadable with
    "too_large", "encoding", "doctype", "not_xml" or "structure" (other names); nothing else.
    """
    if len(body) > max_bytes:
        raise UpstreamUnreadable("too_large")
    document = to_utf8(body, charset, on_drift)
    if len(document) > _FEW:  # else it cannot hold more
        # Every attribute has a "=". Text may hold some as well, but hardly so many.
        markup = document.count(b"<") - document.count(b"</") + document.count(b"=")
        if markup > max(MAX_MARKUP, MAX_MARKUP * max_bytes // MAX_BODY):
            raise UpstreamUnreadable("too_large")
        if markup > _FEW or len(document) > _SLICE:
            return _tree(document, names)
    plain = _plain_tree(document)
    return _tree(document, frozenset()) if plain is None else plain


def to_utf8(body: bytes, charset: str | None, on_drift: OnDrift) -> bytes:
    """The document in UTF-8, without mark and leading blanks; pairs of surrogates are characters.

    ``charset`` is the parameter of Content-Type. ``on_drift`` is told ``encoding_label`` if a label
    was not followed, and ``surrogate_pair``. Raises UpstreamUnreadable with "encoding" for bytes
    that do not fit their charset, or one that we do not read.
    """
    mark = _MARK.match(body)
    start = mark.end() if mark else 0
    declared = _LABEL.match(body, start)
    labels = [
        name.lower().replace("-", "_")
        for name in (charset, declared and declared[1].decode("ascii"))
        if name
    ]
    used, text = _decoded(body[start:], mark and mark.lastgroup, labels)
    if not all(_fits(label, used, text) for label in labels):
        on_drift("encoding_label")
    document = text.lstrip(SPACE).encode()
    return _mended(document, on_drift) if _PAIR.search(document) else document


def _decoded(body: bytes, marked: str | None, labels: list[str]) -> tuple[str, str]:
    """The name of the charset that was used, and the text."""
    try:
        if marked == "utf_32":
            raise UpstreamUnreadable("encoding")
        if marked:
            return marked, body.decode(marked)
        try:
            return "utf_8", body.decode()
        except UnicodeDecodeError:
            name = next((label for label in labels if not _refuted(label)), None)
            if name not in _LEGACY:
                raise UpstreamUnreadable("encoding") from None
            return name, body.decode(name)
    except UnicodeError:
        raise UpstreamUnreadable("encoding") from None


def _refuted(label: str) -> bool:
    """By bytes that are neither UTF-8 nor UTF-16."""
    return label in _READ - _LEGACY or label.startswith("utf_16")


def _fits(label: str, used: str, text: str) -> bool:
    """Whether the label says what the bytes are."""
    if label.startswith("utf_16"):
        return used.startswith("utf")  # the vendor documents that label above its UTF-8
    if label not in _READ:
        return False
    same = codecs.lookup(label) == codecs.lookup(used)
    return same or (text.isascii() and not used.startswith("utf_16"))


def _mended(document: bytes, on_drift: OnDrift) -> bytes:
    """Exact pairs of references to surrogates, as old Java and JavaScript write an emoji."""
    mended = _PAIR_IN_MARKUP.sub(_character, document)
    if mended != document:
        on_drift("surrogate_pair")
    return mended


def _character(found: re.Match[bytes]) -> bytes:
    if found["high"] is None:
        return found[0]
    high, low = (
        int(number[-4:], 16) if number[:1] == b"x" else int(number[-5:])
        for number in (found["high"], found["low"])
    )
    return chr(0x10000 + ((high - 0xD800) << 10) + low - 0xDC00).encode()


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
    made_up: set[str] = set()

    def known(name: str, attributes: dict[Any, Any]) -> None:
        if name not in names:
            made_up.add(name)
            if len(made_up) > _MADE_UP:
                raise UpstreamUnreadable("structure")
        builder.start(name, attributes)

    parser = ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = known if names else builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        _feed(parser, document)
    except ExpatError:
        raise UpstreamUnreadable("not_xml") from None
    return builder.close()


def _feed(parser: XMLParserType, document: bytes) -> None:
    """Slice by slice, so that other threads have their turn.

    expat 2.5 reads a token from its start again with every slice that does not end it: as long as
    one goes on, slices double, and the time stays linear.
    """
    start, size = 0, _SLICE
    while len(document) - start > size:
        parser.Parse(document[start : start + size], False)
        start += size
        size = max(_SLICE, start - parser.CurrentByteIndex)
    parser.Parse(document[start:], True)


def _refuse_doctype(*declaration: object) -> None:
    raise UpstreamUnreadable("doctype")


def weight(texts: Iterator[str]) -> int:
    """How many bytes are not blanks. By thousands, so that other threads have their turn."""
    weight = 0
    while some := list(islice(texts, 10_000)):
        weight += len("".join(some).encode().translate(None, SPACE.encode()))
    return weight


def every(node: Element, tag: str) -> Element:
    """The element, all its children having this tag."""
    if any(child.tag != tag for child in node):
        raise UpstreamUnreadable("structure")
    return node


def only(node: Element, tag: str | None = None) -> Element:
    """The element's one child, which has this tag."""
    if len(node) != 1 or (tag is not None and node[0].tag != tag):
        raise UpstreamUnreadable("structure")
    return node[0]
