"""The codec under generated values and documents: round trips, strangers, and no other error."""

import contextlib
import xmlrpc.client
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.upstream.xmlrpc.codec import (
    Fault,
    Value,
    dump_answer,
    dump_call,
    dump_fault,
    load_answer,
    load_call,
)
from fuzz import decoder

steady = settings(derandomize=True, deadline=None, max_examples=100)

characters = st.characters(codec="utf-8", exclude_characters="\ufffe\uffff").filter(
    lambda char: char >= " " or char in "\t\n\r"
)
texts = st.text(characters, max_size=20)
zones = st.one_of(
    st.none(),
    st.just(UTC),
    st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
integers = st.integers(-(2**31), 2**31 - 1)
doubles = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.one_of(
    *(st.booleans(), integers, doubles, texts, st.binary(max_size=20), st.none()),
    st.datetimes(timezones=zones),
)


def nested(leaves: st.SearchStrategy[Any], names: st.SearchStrategy[str]) -> Any:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
        max_leaves=12,
    )


values = nested(scalars, texts)
# The standard library knows dates without zone and fraction only, and loses carriage returns.
their_texts = texts.map(lambda text: text.replace("\r", ""))
their_dates = st.datetimes(min_value=datetime(1000, 1, 1)).map(  # noqa: DTZ001
    lambda date: date.replace(microsecond=0)
)
strangers = nested(
    st.one_of(
        *(st.booleans(), integers, doubles, their_texts, st.binary(max_size=20), st.none()),
        their_dates,
    ),
    their_texts,
)


def exact(value: object) -> object:
    """A form in which 1, 1.0 and True, 0.0 and -0.0, and the zones of one moment differ."""
    if isinstance(value, dict):
        return {name: exact(item) for name, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return (type(value), value.isoformat() if isinstance(value, datetime) else repr(value))


@steady
@given(values)
def test_an_answer_comes_back_as_it_was_written(value: Value) -> None:
    assert exact(load_answer(dump_answer(value))) == exact(value)


@steady
@given(st.from_regex(r"[A-Za-z0-9_.:/]+", fullmatch=True), st.lists(values, max_size=4))
def test_a_call_comes_back_as_it_was_written(method: str, args: list[Value]) -> None:
    name, read = load_call(dump_call(method, args))
    assert name == method
    assert exact(read) == exact(args)


@steady
@given(integers, texts)
def test_a_fault_comes_back_as_it_was_written(code: int, text: str) -> None:
    with pytest.raises(Fault) as caught:
        load_answer(dump_fault(code, text))
    assert (caught.value.code, caught.value.text) == (code, text)


@steady
@given(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]), values)
def test_an_answer_reads_the_same_in_every_unicode_form(charset: str, value: Value) -> None:
    assert exact(load_answer(dump_answer(value).decode().encode(charset))) == exact(value)


@steady
@given(strangers)
def test_the_standard_library_reads_what_we_write(value: Value) -> None:
    (read,), _ = xmlrpc.client.loads(dump_answer(value), use_builtin_types=True)
    assert exact(read) == exact(value)


@steady
@given(st.lists(strangers, max_size=3))
def test_we_read_what_the_standard_library_writes(args: list[Value]) -> None:
    call = xmlrpc.client.dumps(cast("Any", tuple(args)), "a.b", allow_none=True)
    name, read = load_call(call.encode())
    assert (name, exact(read)) == ("a.b", exact(args))
    for arg in args:
        answer = xmlrpc.client.dumps((cast("Any", arg),), methodresponse=True, allow_none=True)
        assert exact(load_answer(answer.encode())) == exact(arg)


def expect_no_other_error(body: bytes) -> None:
    """What every input has to hold to: the invariants of the fuzzer's target."""
    decoder.check(body)


@steady
@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_else(body: bytes) -> None:
    expect_no_other_error(body)


@steady
@given(
    st.sampled_from(["utf-8", "latin-1", "utf-16", "utf-32", "cp1252", "gb18030", "euc_jp"]),
    st.text(max_size=40),
    st.binary(max_size=20),
)
def test_arbitrary_labels_and_bytes_raise_nothing_else(label: str, text: str, raw: bytes) -> None:
    declaration = f'<?xml version="1.0" encoding="{label}"?>'.encode()
    expect_no_other_error(declaration + text.encode("utf-8", "surrogatepass") + raw)


PIECES = (
    *("methodResponse", "methodCall", "methodName", "params", "param", "fault", "value", "struct"),
    *("member", "name", "array", "data", "i4", "int", "i8", "ex:i8", "nil", "ex:nil", "boolean"),
    *("double", "string", "base64", "dateTime.iso8601", "html"),
)
snippets = st.one_of(
    st.sampled_from(PIECES).map(lambda name: f"<{name}>"),
    st.sampled_from(PIECES).map(lambda name: f"</{name}>"),
    st.sampled_from(PIECES).map(lambda name: f"<{name}/>"),
    st.sampled_from(
        ["<!-- ", "-->", "<![CDATA[", "]]>", "<?pi ", "?>", "<!DOCTYPE a>", "&amp;", "&a;"]
    ),
    st.sampled_from(
        ["1", "-", "1_0", "٣", "nan", "=", "19980717T14:08:55", " xmlns='a'", "faultCode"]
    ),
    st.text(max_size=3),
)


@settings(steady, max_examples=300)
@given(values, st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), snippets), max_size=3))
def test_mutated_documents_raise_nothing_else(
    value: Value, edits: list[tuple[float, int, str]]
) -> None:
    """Each edit replaces some characters at a place of the document with a piece of XML."""
    for document in (dump_answer(value).decode(), dump_call("a.b", [value]).decode()):
        for place, length, snippet in edits:
            at = int(place * len(document))
            document = document[:at] + snippet + document[at + length :]
        with contextlib.suppress(UnicodeEncodeError):
            expect_no_other_error(document.encode())


@st.composite
def elements(draw: st.DrawFn, depth: int = 0) -> str:
    """Well-formed XML of XML-RPC's own elements in disorder: expat takes it, the walk may not."""
    name = draw(st.sampled_from(PIECES))
    text = st.sampled_from(["", " ", "\n", "x", "1", "true", "AA==", "300", "\xa0"])
    inner = [draw(elements(depth + 1)) for _ in range(draw(st.integers(0, 2)))] if depth < 5 else []
    return f"<{name}>{draw(text)}{draw(text).join(inner)}{draw(text)}</{name}>"


@settings(steady, max_examples=300)
@given(elements(), st.booleans())
def test_xml_rpc_elements_in_disorder_raise_nothing_else(inside: str, fault: bool) -> None:
    value = f"<value>{inside}</value>"
    body = f"<fault>{value}</fault>" if fault else f"<params><param>{value}</param></params>"
    expect_no_other_error(f"<methodResponse>{body}</methodResponse>".encode())


Edit = Callable[[ET.Element, ET.Element, str], None]
"""Changes a child of an element, with a name of PIECES to use."""


def drop(parent: ET.Element, child: ET.Element, _name: str) -> None:
    parent.remove(child)


def double(parent: ET.Element, child: ET.Element, _name: str) -> None:
    parent.insert(0, child)


def move(parent: ET.Element, child: ET.Element, _name: str) -> None:
    parent.remove(child)
    parent.append(child)


def rename(_parent: ET.Element, child: ET.Element, name: str) -> None:
    child.tag = name


def wrap(parent: ET.Element, child: ET.Element, name: str) -> None:
    parent.remove(child)
    ET.SubElement(parent, name).append(child)


def insert(_parent: ET.Element, child: ET.Element, name: str) -> None:
    child.text, child.tail = f"{child.text or ''}{name}", "1"


EDITS: list[Edit] = [drop, double, move, rename, wrap, insert]


@settings(steady, max_examples=300)
@given(
    values,
    st.lists(
        st.tuples(st.floats(0, 1), st.sampled_from(EDITS), st.sampled_from(PIECES)),
        min_size=1,
        max_size=3,
    ),
)
def test_valid_documents_with_elements_changed_raise_nothing_else(
    value: Value, edits: list[tuple[float, Edit, str]]
) -> None:
    """Elements dropped, doubled, moved, renamed, wrapped, or with text where none belongs."""
    for document in (dump_answer(value), dump_call("a.b", [value]), dump_fault(1, "x")):
        root = ET.fromstring(document)
        for place, edit, name in edits:
            pairs = [(parent, child) for parent in root.iter() for child in parent]
            if pairs:
                edit(*pairs[int(place * (len(pairs) - 1))], name)
        expect_no_other_error(ET.tostring(root))
