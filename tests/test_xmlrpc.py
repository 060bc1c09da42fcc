"""The codec against tables of bytes, the wire corpus, and the standard library."""

import base64
import json
import pickle
import xmlrpc.client
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from xml.parsers.expat import ParserCreate

import pytest

from app.upstream.xmlrpc.codec import (
    CAUSES,
    MAX_BODY,
    MAX_DEPTH,
    MAX_MARKUP,
    Fault,
    UnreadableScalar,
    UpstreamUnreadable,
    Value,
    dump_answer,
    dump_call,
    dump_fault,
    load_answer,
    load_call,
)
from app.upstream.xmlrpc.document import _feed

WIRE = Path(__file__).parent / "wire" / "xmlrpc"
EXPECTED: dict[str, Any] = json.loads((WIRE / "expected.json").read_text("utf-8"))["cases"]


def answer(value: str) -> str:
    """A methodResponse around the inside of its value element."""
    return (
        f"<methodResponse><params><param><value>{value}</value></param></params></methodResponse>"
    )


def fault(members: str) -> bytes:
    value = f"<value><struct>{members}</struct></value>"
    return f"<methodResponse><fault>{value}</fault></methodResponse>".encode()


def member(name: str, value: str) -> str:
    return f"<member><name>{name}</name><value>{value}</value></member>"


def cause_of(body: bytes) -> str:
    with pytest.raises(UpstreamUnreadable) as caught:
        load_answer(body)
    assert caught.value.cause in CAUSES
    return caught.value.cause


def same(left: object, right: object) -> bool:
    """Equal in type too: 1 is not 1.0 and not True."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


# --- the corpus -----------------------------------------------------------------------------------


def plain(value: Value) -> object:
    """A value in the corpus's notation."""
    if isinstance(value, bytes):
        return {"$base64": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return {"$dateTime": value.isoformat()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return value


def test_the_corpus_is_listed_in_full() -> None:
    assert {path.name for path in WIRE.glob("*.xml")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_corpus_document_has_its_expected_outcome(name: str) -> None:
    body, case = (WIRE / name).read_bytes(), EXPECTED[name]
    if case["outcome"] == "value":
        assert same(plain(load_answer(body)), case["value"])
    elif case["outcome"] == "fault":
        with pytest.raises(Fault) as caught:
            load_answer(body)
        assert same(caught.value.code, case["fault"]["code"])
        assert caught.value.text == case["fault"]["string"]
    else:
        cause_of(body)


def vendor_sample() -> str:
    return (WIRE / "vendor_sample.txt").read_text("utf-8")


def test_the_vendors_printed_sample_is_not_well_formed() -> None:
    assert cause_of(vendor_sample().encode()) == "not_xml"


def test_the_vendors_sample_decodes_once_its_hand_edits_are_mended() -> None:
    mended = vendor_sample()
    for broken, whole in (
        ("<!—", "<!--"),
        ("(...)", ""),
        ("<value>\n</struct>", "<value><struct/>"),
    ):
        assert mended.count(broken) == 1
        mended = mended.replace(broken, whole)
    assert 'encoding="utf-16"' in mended
    timestamps = {"register": 1270544373, "submit": 1270544374, "test_end": 1270544384}
    licence = {
        "name": "CC by-nc-sa",
        "url": "http://creativecommons.org/licenses/by-nc-sa/3.0/",
    }
    numbers = {"endFrame": 250, "cpuRendered": 0, "cpuTimeRendered": 0, "partsTotal": 250}
    more = {"yResolution": 1080, "userid": 881, "partsRendered": 0, "partsPerFrame": 1}
    rest = {"timestamps": timestamps, "attachments": {}, "inputLicence": licence}
    assert same(load_answer(mended.encode()), {**numbers, **more, **rest})


# --- from bytes to text ---------------------------------------------------------------------------

HELLO = answer("<string>é</string>")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(HELLO.encode(), id="UTF-8, no label"),
        pytest.param(b"\xef\xbb\xbf" + HELLO.encode(), id="UTF-8 with a mark"),
        pytest.param(HELLO.encode("utf-16"), id="UTF-16 with a mark"),
        pytest.param(b"\xfe\xff" + HELLO.encode("utf-16-be"), id="UTF-16BE with a mark"),
        pytest.param(HELLO.encode("utf-16-le"), id="UTF-16LE without a mark"),
        pytest.param(HELLO.encode("utf-16-be"), id="UTF-16BE without a mark"),
        pytest.param(("\r\n " + HELLO).encode("utf-16-le"), id="UTF-16 after blank lines"),
        *[
            pytest.param(f'<?xml version="1.0" encoding={label}?>{HELLO}'.encode(codec), id=label)
            for label, codec in (
                ('"UTF-8"', "utf-8"),
                ("'utf8'", "utf-8"),
                ('"utf-16"', "utf-8"),
                ('"UTF-16LE"', "utf-8"),
                ('"iso-8859-1"', "latin-1"),
                ('"ISO-8859-15"', "iso-8859-15"),
                ('"windows-1252"', "cp1252"),
                ('"GB18030"', "gb18030"),
                ('"iso-8859-1" standalone="yes"', "utf-16"),
                ('"utf-16"', "utf-8-sig"),
                ('"us-ascii"', "utf-8-sig"),
                ('"us-ascii"', "utf-8"),
                ('"iso-8859-1"', "utf-8"),
                ('"utf-7"', "utf-8"),
                ('"nonsense"', "utf-8"),
            )
        ],
    ],
)
def test_a_text_is_read_in_its_charset(body: bytes) -> None:
    assert load_answer(body) == "é"


def test_blank_lines_before_a_labelled_declaration_are_tolerated() -> None:
    declared = f'\r\n\t <?xml version="1.0" encoding="latin1"?>{HELLO}'
    assert load_answer(declared.encode("latin-1")) == "é"


def declared(label: str, codec: str) -> bytes:
    return f'<?xml version="1.0" encoding="{label}"?>{HELLO}'.encode(codec)


@pytest.mark.parametrize(
    ("charset", "body", "told"),
    [
        ("utf-8", declared("iso-8859-1", "utf-8"), ["encoding_label"]),
        ("iso-8859-1", declared("utf-8", "utf-8"), ["encoding_label"]),
        ("ISO-8859-1", HELLO.encode("latin-1"), []),
        ("latin1", declared("ISO-8859-1", "latin-1"), []),
        ("windows-1252", declared("utf-8", "cp1252"), ["encoding_label"]),
        ("utf-8", declared("iso-8859-1", "latin-1"), ["encoding_label"]),
        ("us-ascii", declared("iso-8859-1", "latin-1"), ["encoding_label"]),
        ("utf-16", declared("iso-8859-1", "latin-1"), ["encoding_label"]),
        ("utf-16", HELLO.encode("utf-16"), []),
        ("utf-8", HELLO.encode("utf-16-be"), ["encoding_label"]),
        ("utf-8", declared("us-ascii", "utf-8"), ["encoding_label"]),
        (None, declared("iso-8859-1", "utf-8-sig"), ["encoding_label"]),
        (None, declared("nonsense", "utf-8"), ["encoding_label"]),
        (None, declared("utf-16", "utf-8"), []),  # as the vendor documents it
        (None, declared("utf8", "utf-8"), []),
    ],
)
def test_content_type_goes_before_the_declaration_and_bytes_before_both(
    charset: str | None, body: bytes, told: list[str]
) -> None:
    heard: list[str] = []
    assert load_answer(body, charset=charset, on_drift=heard.append) == "é"
    assert heard == told


@pytest.mark.parametrize("label", ["us-ascii", "iso-8859-1", "gb18030", "utf-16"])
def test_a_label_that_ascii_fits_is_followed(label: str) -> None:
    heard: list[str] = []
    body = f'<?xml version="1.0" encoding="{label}"?>{answer("x")}'.encode()
    assert load_answer(body, charset="utf-8", on_drift=heard.append) == "x"
    assert heard == []


@pytest.mark.parametrize(
    ("charset", "body"),
    [
        ("utf-8", HELLO.encode("latin-1")),
        ("us-ascii", HELLO.encode("latin-1")),
        ("utf-16", HELLO.encode("latin-1")),
        ("utf-7", declared("iso-8859-1", "latin-1")),
        ("rot13", HELLO.encode("latin-1")),
        ("windows-1252", HELLO.encode() + b"<!-- \x81 -->"),
        ("gb18030", answer("é").encode("latin-1")),
    ],
)
def test_bytes_that_do_not_fit_what_content_type_says_are_refused(
    charset: str, body: bytes
) -> None:
    with pytest.raises(UpstreamUnreadable, match=r"^encoding$"):
        load_answer(body, charset=charset)


PAIR = "&#55357;&#56832;"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (PAIR, "😀"),
        (f"a{PAIR}{PAIR}b", "a😀😀b"),
        ("&#xD83D;&#xde00;", "😀"),
        ("&#x00D83D;&#056832;", "😀"),
        ("&#xD800;&#xDC00;&#56319;&#57343;", "\U00010000\U0010ffff"),
        (f"&#65;{PAIR}&#x42;", "A😀B"),
        (f"{PAIR}<![CDATA[{PAIR}]]>", f"😀{PAIR}"),
        (f"{PAIR}<!-- {PAIR} --><?pi {PAIR}?>", "😀"),
    ],
)
def test_an_exact_pair_of_surrogate_references_is_the_character_that_was_meant(
    text: str, value: str
) -> None:
    for charset in ("utf-8", "utf-16"):
        heard: list[str] = []
        assert load_answer(answer(text).encode(charset), on_drift=heard.append) == value
        assert heard == ["surrogate_pair"]


@pytest.mark.parametrize("text", [f"<![CDATA[{PAIR}]]>", f"<![CDATA[<!--]]><![CDATA[{PAIR}-->]]>"])
def test_what_only_looks_like_a_surrogate_reference_stays_as_it_is(text: str) -> None:
    heard: list[str] = []
    assert PAIR in str(load_answer(answer(text).encode(), on_drift=heard.append))
    assert heard == []


@pytest.mark.parametrize(
    "text",
    [
        "&#55357;",
        "&#56832;",
        "&#56832;&#55357;",
        "&#55357;&#55357;",
        "&#55357; &#56832;",
        "&#55357;<!-- -->&#56832;",
        f"&#55357;{PAIR}",
        f"{PAIR}&#56832;",
        "&#55295;&#56832;",
        "&#55357;&#57344;",
        "&#xD83D;&#xE000;",
        "&#XD83D;&#XDE00;",
        f"<!-- {PAIR}",
    ],
)
def test_any_other_surrogate_reference_is_refused(text: str) -> None:
    assert cause_of(answer(text).encode()) == "not_xml"


NO_CHARSETS = (
    *("utf-7", "utf-32", "utf-8-sig", "idna", "punycode", "unicode_escape", "raw_unicode_escape"),
    *("rot13", "base64", "hex", "zlib", "mbcs", "undefined", "palmos", "cp037", "ebcdic", "hz"),
    *("iso-2022-jp", "iso-8859-12", "nonsense"),
)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(HELLO.encode("latin-1"), id="latin-1 bytes without a label"),
        pytest.param(answer("\xff\xfe").encode("latin-1"), id="no UTF-8"),
        pytest.param(b"<a>\xed\xa0\x80</a>", id="surrogate in UTF-8"),
        pytest.param(b"<a>\xc0\xbc</a>", id="overlong UTF-8"),
        pytest.param(HELLO.encode("utf-16")[:-1], id="half a UTF-16 unit"),
        pytest.param("<a>\ud800</a>".encode("utf-16-le", "surrogatepass"), id="lone surrogate"),
        pytest.param(answer("x").encode("utf-32"), id="UTF-32 with a mark"),
        pytest.param(b"\0\0\xfe\xff" + answer("x").encode("utf-32-be"), id="UTF-32BE with a mark"),
        pytest.param(answer("x").encode("utf-32-le"), id="UTF-32LE"),
        pytest.param(answer("x").encode("utf-32-be"), id="UTF-32BE"),
        *[
            pytest.param(
                f'<?xml version="1.0" encoding="{label}"?>{HELLO}'.encode("latin-1"), id=label
            )
            for label in (*NO_CHARSETS, "us-ascii", "utf-8", "utf-16")
        ],
        pytest.param(b'<?xml version="1.0" encoding="cp1252"?><a>\x81</a>', id="no such character"),
    ],
)
def test_bytes_that_do_not_fit_a_known_charset_are_refused(body: bytes) -> None:
    assert cause_of(body) == "encoding"


@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "utf-16-be"])
@pytest.mark.parametrize(
    "prologue",
    [
        "<!DOCTYPE methodResponse>",
        '<?xml version="1.0" encoding="utf-8"?>\n<!-- c --><?pi?><!DOCTYPE a SYSTEM "x">',
        "<!-- --><!DOCTYPE a [<!ENTITY a 'b'>]>",
        "<!DOCTYPE a [<!ENTITY % a SYSTEM 'file:///etc/hostname'> %a;]>",
        "\n<!-- > <methodResponse> -->\n<!DOCTYPE\ta>",
    ],
)
def test_a_doctype_is_refused_in_every_charset(prologue: str, charset: str) -> None:
    assert cause_of((prologue + answer("x")).encode(charset)) == "doctype"


def test_an_encoding_label_cannot_hide_a_doctype() -> None:
    hidden = '<?xml version="1.0" encoding="utf-7"?>+ADwAIQ-DOCTYPE a+AD4-' + answer("x")
    assert cause_of(hidden.encode()) == "not_xml"


@pytest.mark.parametrize(
    "body",
    [
        "<!-- <!DOCTYPE a> -->" + answer("x"),
        "<?pi <!DOCTYPE a> ?>" + answer("x"),
        answer("<!-- <!DOCTYPE a> -->x"),
    ],
)
def test_a_doctype_in_a_comment_is_only_text(body: str) -> None:
    assert load_answer(body.encode()) == "x"


def test_a_doctype_in_character_data_is_only_text() -> None:
    assert load_answer(answer("<![CDATA[<!DOCTYPE a>]]>").encode()) == "<!DOCTYPE a>"


@pytest.mark.parametrize(
    "body",
    [
        "",
        " \n",
        "x",
        "<",
        "<!DOCTYPE",
        "<!-- only a comment -->",
        answer("x") + "x",
        answer("x") + answer("x"),
        answer("x") + "\0",
        "x" + answer("x"),
        answer("x")[:-1],
        answer("&nbsp;"),
        answer("&#0;"),
        answer("&#xD800;"),
        answer("a & b"),
        answer("\x01"),
        answer("\uffff"),
        answer("]]>"),
        answer("<string>x</value>"),
        answer('<string a="1" a="2">x</string>'),
        answer("<!-- a -- b -->x"),
        " <!-- c -->" + '<?xml version="1.0"?>' + answer("x"),
    ],
)
def test_what_is_not_well_formed_is_refused(body: str) -> None:
    assert cause_of(body.encode()) == "not_xml"


@pytest.mark.parametrize("end", range(len(HELLO.encode())))
def test_a_truncated_document_is_refused(end: int) -> None:
    assert cause_of(HELLO.encode()[:end]) in ("not_xml", "encoding")


# --- types ----------------------------------------------------------------------------------------

INT = "<{0}>{1}</{0}>"


@pytest.mark.parametrize(
    ("inside", "value"),
    [
        ("", ""),
        ("  a \n", "  a \n"),
        ("a&lt;&amp;&gt;&apos;&quot;&#65;&#x1F600;", "a<&>'\"A😀"),
        ("a\r\nb&#13;", "a\nb\r"),
        ("a<!-- c -->b<![CDATA[<c>]]>d<?pi x?>e", "ab<c>de"),
        ("<!-- c -->", ""),
        ("<string/>", ""),
        (" \n<string> a </string>\t", " a "),
        ("<string>a<!-- c -->b<![CDATA[ & ]]><?pi?>c</string>", "ab & c"),
        ("<!-- c --><i4>1<!-- c -->2<?pi?>3</i4><!-- c -->", 123),
        *[(INT.format(name, "7"), 7) for name in ("i4", "int", "i8", "i1", "i2", "ex:i8")],
        *[(INT.format(f"ex:{name}", "7"), 7) for name in ("i1", "i2", "bigInteger", "biginteger")],
        *[(INT.format(f"ex:{name}", "7.5"), 7.5) for name in ("float", "bigdecimal")],
        ('<ex:i8 xmlns:ex="http://ws.apache.org/xmlrpc/namespaces/extensions">7</ex:i8>', 7),
        ("<i4>\n -007\t</i4>", -7),
        ("<i4>+0</i4>", 0),
        ("<i1>9223372036854775807</i1>", 2**63 - 1),
        ("<i8>-9223372036854775808</i8>", -(2**63)),
        ("<boolean>0</boolean>", False),
        ("<boolean> 1\n</boolean>", True),
        ("<boolean>true</boolean>", True),
        ("<boolean> false </boolean>", False),
        ("<double>1</double>", 1.0),
        ("<double> -1.5 </double>", -1.5),
        ("<double>.5</double>", 0.5),
        ("<double>1.</double>", 1.0),
        ("<double>+1.e3</double>", 1000.0),
        ("<double>25E-1</double>", 2.5),
        ("<base64/>", b""),
        ("<base64>\n AA\r\n\t== </base64>", b"\0"),
        ("<base64>+/+/</base64>", b"\xfb\xff\xbf"),
        ("<nil/>", None),
        ("<ex:nil/>", None),
        ("<nil> \n</nil>", None),
        ("<struct/>", {}),
        ("<struct> \n</struct>", {}),
        ("<array/>", []),
        ("<array> <data/> </array>", []),
        ("<array><data>\n<value/>\n<value><i4>1</i4></value></data></array>", ["", 1]),
        ("<array><data><value><array/></value></data></array>", [[]]),
        (f"<struct>{member(' a ', 'x')}{member('', 'y')}</struct>", {" a ": "x", "": "y"}),
        (f"<struct>\n<!-- c -->{member('1', 'x')}\n</struct>", {"1": "x"}),
        ("<struct><member>\n<value>x</value>\n<name>a</name></member></struct>", {"a": "x"}),
        ("<struct><member><name>a<!-- c -->b</name><value/></member></struct>", {"ab": ""}),
    ],
)
def test_a_value_is_read(inside: str, value: object) -> None:
    assert same(load_answer(answer(inside).encode()), value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("19980717T14:08:55", datetime(1998, 7, 17, 14, 8, 55)),  # noqa: DTZ001
        (" 1998-07-17T14:08:55\n", datetime(1998, 7, 17, 14, 8, 55)),  # noqa: DTZ001
        ("19980717T140855Z", datetime(1998, 7, 17, 14, 8, 55, tzinfo=UTC)),
        ("1998-07-17T14:08:55.5Z", datetime(1998, 7, 17, 14, 8, 55, 500000, UTC)),
        ("19980717T14:08:55,123456789Z", datetime(1998, 7, 17, 14, 8, 55, 123456, UTC)),
        ("19980717T14:08:55+02:00", datetime(1998, 7, 17, 12, 8, 55, tzinfo=UTC)),
        ("19980717T14:08:55-0130", datetime(1998, 7, 17, 15, 38, 55, tzinfo=UTC)),
        ("19980717T14:08:55+02", datetime(1998, 7, 17, 12, 8, 55, tzinfo=UTC)),
    ],
)
def test_a_date_is_read_and_is_naive_without_an_offset(text: str, value: datetime) -> None:
    date = load_answer(answer(f"<dateTime.iso8601>{text}</dateTime.iso8601>").encode())
    assert isinstance(date, datetime)
    assert date == value
    assert (date.tzinfo is None) is (value.tzinfo is None)


MISFITS = {
    "i4": (
        *("", " ", "+", "1 2", "1.0", "1_000", "0x10", "1e3", "--1", "x", "٣", "\xa01", "1L"),
        *("9223372036854775808", "-9223372036854775809", "9" * 5000, "0" * 65),
    ),
    "boolean": ("", "2", "True", "FALSE", "yes", "01", "-1", "１"),
    "double": (
        *("", ".", "nan", "NaN", "inf", "-Infinity", "1,5", "1_0.5", "1e", "e5", "1e999", "0x1p3"),
        *("1.2.3", "٣", "1d", "1" * 400, "1" * 100_000 + "x"),
    ),
    "base64": (
        *("A", "AA", "AAA", "AA=", "AAAA=", "AAAA====", "A===", "=", "AA==AAAA", "AA-_", "AA=A"),
        *("A=A=", "=AA=", "é", "AA\xa0=="),
    ),
    "dateTime.iso8601": (
        *("", "x", "00000000T00:00:00", "0000-00-00T00:00:00", "19980717", "19980717T14:08"),
        *("19980717 14:08:55", "19980717t14:08:55", "19980717T14:08:55z", "19980717T14:08:55."),
        *("19981317T14:08:55", "19980230T00:00:00", "19980717T24:08:55", "19980717T14:60:00"),
        *("19980717T14:08:60", "1998-W29-5T14:08:55", "1998-0717T14:08:55", "-9980717T14:08:55"),
        *("19980717T14:08:55+24:00", "19980717T14:08:55+2", "٣9980717T14:08:55"),
    ),
    "nil": ("x", "0", "\xa0"),
}


@pytest.mark.parametrize(
    ("name", "text"),
    [(name, text) for name, texts in MISFITS.items() for text in texts],
    ids=lambda text: repr(text[:30]),
)
def test_text_that_does_not_fit_its_type_is_refused(name: str, text: str) -> None:
    scalar = f"<{name}>{text}</{name}>"
    assert cause_of(answer(scalar).encode()) == "type"
    assert cause_of(fault(member("faultCode", "1") + member("more", scalar))) == "type"
    with pytest.raises(UpstreamUnreadable, match=r"^type$"):
        load_call(call_with(scalar).encode())


def call_with(inside: str) -> str:
    value = answer(f"<struct>{member('a', inside)}</struct>")
    return (
        value.replace("methodResponse>", "methodCall>", 1)
        .replace("<params>", "<methodName>a</methodName><params>")
        .replace("</methodResponse>", "</methodCall>")
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *[(name, text) for name, texts in MISFITS.items() for text in texts],
        *[(f"ex:{name}", "x") for name in ("i1", "i2", "i8", "float", "bigdecimal", "bigInteger")],
        *[(name, "1.5") for name in ("float", "ex:int", "Int", "i16", "ex:serializable", "foo:i8")],
    ],
    ids=lambda text: repr(text[:30]),
)
def test_a_scalar_within_an_answer_costs_itself_alone(name: str, text: str) -> None:
    scalar = f"<{name}>{text}</{name}>"
    inside = member("a", scalar) + member("b", "<i4>1</i4>")
    array = f"<array><data><value>{scalar}</value><value>x</value></data></array>"
    value = load_answer(answer(f"<struct>{inside}{member('c', array)}</struct>").encode())
    assert value == {"a": UnreadableScalar(name), "b": 1, "c": [UnreadableScalar(name), "x"]}


@pytest.mark.parametrize(
    "inside",
    [
        "<float><i4>1</i4></float>",
        "<float>1</float>x",
        "<float>1</float><i4>1</i4>",
        "<i4>x</i4>x",
        "<value>1</value>",
        "<name>1</name>",
        "<params/>",
        "<struct><i4>1</i4></struct>",
    ],
)
def test_structure_stays_strict_around_what_cannot_be_read(inside: str) -> None:
    assert cause_of(answer(f"<struct>{member('a', inside)}</struct>").encode()) == "structure"


def test_what_cannot_be_read_keeps_none_of_its_text_and_is_not_written() -> None:
    inside = member("a", "<i4>secret words</i4>")
    value = load_answer(answer(f"<struct>{inside}</struct>").encode())
    assert "secret" not in repr(value)
    with pytest.raises(TypeError, match="no type for UnreadableScalar"):
        dump_answer(value)


PARAMS = "<params><param><value>x</value></param></params>"


@pytest.mark.parametrize(
    "body",
    [
        "<html><body>Maintenance</body></html>",
        "<methodCall><methodName>a</methodName></methodCall>",
        f"<methodCall>{PARAMS}</methodCall>",
        "<x:methodResponse xmlns:x='y'/>",
        "<methodResponse/>",
        "<methodResponse>x</methodResponse>",
        f"<methodResponse>x{PARAMS}</methodResponse>",
        f"<methodResponse>{PARAMS}\xa0</methodResponse>",
        f"<methodResponse>{PARAMS}{PARAMS}</methodResponse>",
        f"<methodResponse>{PARAMS}<fault><value/></fault></methodResponse>",
        f"<methodResponse><fault/>{PARAMS}</methodResponse>",
        "<methodResponse><params/></methodResponse>",
        "<methodResponse><params><param/></params></methodResponse>",
        "<methodResponse><params><value/></params></methodResponse>",
        "<methodResponse><params><param><value/><value/></param></params></methodResponse>",
        "<methodResponse><params><param>x<value/></param></params></methodResponse>",
        "<methodResponse><params><param><value/></param><param/></params></methodResponse>",
        "<methodResponse><fault/></methodResponse>",
        "<methodResponse><fault><value/><value/></fault></methodResponse>",
        *map(
            answer,
            [
                "x<i4>1</i4>",
                "<i4>1</i4>x",
                "\xa0<i4>1</i4>",
                "<i4>1</i4><i4>1</i4>",
                "<i4><i4>1</i4></i4>",
                "<string>a<b/></string>",
                "<nil><nil/></nil>",
                "<value/>",
                "<Int>1</Int>",
                "<ex:int>1</ex:int>",
                "<foo:i8>1</foo:i8>",
                "<i16>1</i16>",
                "<xi:include href='file:///etc/hostname'/>",
                "<struct>x</struct>",
                f"<struct>{member('a', 'x')}x</struct>",
                "<struct>\xa0</struct>",
                "<struct><value/></struct>",
                "<struct><member/></struct>",
                "<struct><member><name>a</name></member></struct>",
                "<struct><member><value/></member></struct>",
                "<struct><member><name>a</name><name>b</name></member></struct>",
                "<struct><member><value/><value/></member></struct>",
                "<struct><member><name>a</name><value/><value/></member></struct>",
                "<struct><member><name>a</name>x<value/></member></struct>",
                "<struct><member><name>a<b/></name><value/></member></struct>",
                "<array>x</array>",
                "<array><value/></array>",
                "<array><data/><data/></array>",
                "<array><data/><value/></array>",
                "<array><data>x</data></array>",
                "<array><data><value/>x</data></array>",
                "<array><data><i4>1</i4></data></array>",
            ],
        ),
    ],
)
def test_elements_that_are_no_xml_rpc_answer_are_refused(body: str) -> None:
    assert cause_of(body.encode()) == "structure"


def test_attributes_and_a_default_namespace_are_ignored() -> None:
    body = answer("<i4>1</i4>").replace("<value>", '<value xmlns="urn:x" a="b">')
    assert load_answer(body.replace("<methodResponse>", '<methodResponse xmlns="y">').encode()) == 1


def test_the_last_of_duplicate_names_wins_and_every_duplicate_is_told() -> None:
    inner = f"<struct>{member('b', '1')}{member('b', '2')}</struct>"
    members = member("a", "1") + member("a", "2") + member("a", inner) + member("c", "3")
    told: list[str] = []
    value = load_answer(answer(f"<struct>{members}</struct>").encode(), on_drift=told.append)
    assert value == {"a": {"b": "2"}, "c": "3"}
    assert told == ["duplicate_member"] * 3


# --- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("<int>300</int>", "x", (300, "x")),
        ("<i8>-1</i8>", "<string> x </string>", (-1, " x ")),
        ("<string> 300 </string>", "", (300, "")),
        ("300", "<nil/>", (300, "")),
        ("<i4>9000000000</i4>", "x", (9000000000, "x")),
    ],
)
def test_a_fault_is_raised_with_its_code_and_text(
    code: str, text: str, expected: tuple[int, str]
) -> None:
    with pytest.raises(Fault) as caught:
        load_answer(fault(member("faultCode", code) + member("faultString", text)))
    assert (caught.value.code, caught.value.text) == expected


def test_a_fault_needs_no_text_and_may_have_other_members() -> None:
    with pytest.raises(Fault) as caught:
        load_answer(fault(member("more", "<array/>") + member("faultCode", "<i4>1</i4>")))
    assert (caught.value.code, caught.value.text) == (1, "")


@pytest.mark.parametrize(
    ("members", "cause"),
    [
        ("", "structure"),
        (member("faultString", "x"), "structure"),
        (member("faultcode", "<i4>1</i4>"), "structure"),
        (member("faultCode", "<double>1.0</double>"), "type"),
        (member("faultCode", "<boolean>1</boolean>"), "type"),
        (member("faultCode", "<nil/>"), "type"),
        (member("faultCode", "<struct/>"), "type"),
        (member("faultCode", "1.0"), "type"),
        (member("faultCode", ""), "type"),
        (member("faultCode", "1") + member("faultString", "<i4>1</i4>"), "type"),
        (member("faultCode", "1") + member("faultString", "<boolean>0</boolean>"), "type"),
        (member("faultCode", "1") + member("faultString", "<struct/>"), "type"),
    ],
)
def test_a_fault_without_an_integer_code_or_with_another_text_is_unreadable(
    members: str, cause: str
) -> None:
    assert cause_of(fault(members)) == cause


def test_a_fault_that_is_no_struct_is_unreadable() -> None:
    body = "<methodResponse><fault><value>300</value></fault></methodResponse>"
    assert cause_of(body.encode()) == "structure"


def test_a_fault_shows_its_code_and_never_its_text() -> None:
    shown = Fault(300, "secret words")
    assert (str(shown), repr(shown)) == ("300", "Fault(300)")
    copy = pickle.loads(pickle.dumps(shown))
    assert (copy.code, copy.text) == (300, "secret words")


def test_an_unreadable_answer_keeps_none_of_its_text() -> None:
    with pytest.raises(UpstreamUnreadable) as caught:
        load_answer(answer("<i4>secret words</i4>").encode())
    assert "secret" not in repr(caught.value)
    assert caught.value.__suppress_context__


# --- bounds ---------------------------------------------------------------------------------------


def test_a_body_may_be_as_large_as_the_limit_and_no_larger() -> None:
    room = MAX_BODY - len(answer(""))
    assert load_answer(answer("x" * room).encode()) == "x" * room
    assert cause_of(answer("x" * (room + 1)).encode()) == "too_large"
    with pytest.raises(UpstreamUnreadable, match="too_large"):
        load_answer(HELLO.encode(), max_bytes=len(HELLO.encode()) - 1)
    assert load_answer(HELLO.encode(), max_bytes=len(HELLO.encode())) == "é"


OPEN = {"array": "<array><data><value>", "struct": "<struct><member><name>a</name><value>"}
CLOSE = {"array": "</value></data></array>", "struct": "</value></member></struct>"}


@pytest.mark.parametrize("kind", OPEN)
def test_values_nest_to_the_limit_and_no_deeper(kind: str) -> None:
    def nested(depth: int) -> bytes:
        return answer(OPEN[kind] * (depth - 1) + CLOSE[kind] * (depth - 1)).encode()

    value = load_answer(nested(MAX_DEPTH))
    assert load_answer(dump_answer(value)) == value
    assert cause_of(nested(MAX_DEPTH + 1)) == "depth"
    assert cause_of(nested(3000)) == "depth"


def test_a_fault_is_as_bounded_as_an_answer() -> None:
    deep = OPEN["array"] * MAX_DEPTH + CLOSE["array"] * MAX_DEPTH
    assert cause_of(fault(member("faultCode", "1") + member("more", deep))) == "depth"


def test_a_session_that_fills_the_largest_body_is_read() -> None:
    thumbnails: Value = {
        str(i): f"http://example.invalid/thumbnails/{i:026}.png" for i in range(3900)
    }
    body = dump_answer({"id": 1, "thumbnails": thumbnails})
    assert MAX_BODY * 0.95 < len(body) <= MAX_BODY
    assert load_answer(body) == {"id": 1, "thumbnails": thumbnails}


FLOODS = {
    "elements": "<value/>" * (MAX_MARKUP + 1),
    "unclosed elements": "<value>" * (MAX_MARKUP + 1),
    "attributes": "<i4 " + " ".join(f"a{i}=''" for i in range(MAX_MARKUP)) + ">1</i4>",
}


@pytest.mark.parametrize("flood", FLOODS)
def test_more_markup_than_any_answer_needs_is_refused_unread(flood: str) -> None:
    assert cause_of(answer(FLOODS[flood]).encode()) == "too_large"


def test_a_large_tree_of_unknown_elements_is_refused() -> None:
    assert cause_of(answer("<a/>" * 20_000).encode()) == "structure"
    made_up = "".join(member("a", f"<a{i}/>") for i in range(65))
    crowd = f"<struct>{made_up}{member('b', '<i4>1</i4>') * 2000}</struct>"
    assert cause_of(answer(crowd).encode()) == "structure"
    assert cause_of(answer(crowd).encode()[:-1]) == "structure"  # before it is found cut short


def test_a_large_answer_may_hold_a_few_types_that_nobody_knows() -> None:
    made_up = "".join(member(f"a{i}", f"<a{i}/>") for i in range(64))
    rest = "".join(member(f"b{i}", "<i4>1</i4>") for i in range(2100))
    value = load_answer(answer(f"<struct>{made_up}{rest}</struct>").encode())
    assert isinstance(value, dict)
    assert value["a63"] == UnreadableScalar("a63")
    assert value["b2099"] == 1


def test_a_larger_bound_of_the_body_allows_for_more_elements() -> None:
    items = "<value/>" * MAX_MARKUP * 3
    body = answer(f"<array><data>{items}</data></array>").encode()
    assert load_answer(body, max_bytes=4 * MAX_BODY) == [""] * MAX_MARKUP * 3
    with pytest.raises(UpstreamUnreadable, match=r"^too_large$"):
        load_answer(body, max_bytes=3 * MAX_BODY)
    with pytest.raises(UpstreamUnreadable, match=r"^too_large$"):
        load_answer(answer("<value/>" * MAX_MARKUP).encode(), max_bytes=MAX_BODY // 2)


def test_ten_thousand_empty_values_hide_no_text() -> None:
    items = "<value/>" * 10_000 + "<value>x</value>"
    body = answer(f"<array><data>{items}</data></array>").encode()
    assert load_answer(body) == [""] * 10_000 + ["x"]


class Slices:
    """An expat parser that tells how often it was fed."""

    def __init__(self) -> None:
        self._parser = ParserCreate("utf-8")
        self.fed: list[int] = []

    @property
    def CurrentByteIndex(self) -> int:
        return self._parser.CurrentByteIndex

    def Parse(self, data: bytes, final: bool) -> None:
        self.fed.append(len(data))
        self._parser.Parse(data, final)


HUGE = 8 * 2**20


@pytest.mark.parametrize(
    "token", ["<!--{}-->", "<a b='{}'/>", "<?pi {}?>"], ids=["comment", "attribute", "instruction"]
)
def test_a_large_token_is_begun_again_a_few_times_only(token: str) -> None:
    parser = Slices()
    _feed(parser, f"<x>{token.format('y' * HUGE)}</x>".encode())  # type: ignore[arg-type]
    assert len(parser.fed) <= 12


@pytest.mark.parametrize("text", ["{}", "<![CDATA[{}]]>"], ids=["text", "CDATA"])
def test_a_large_text_is_read_in_small_slices(text: str) -> None:
    parser = Slices()
    _feed(parser, f"<x>{text.format('y' * HUGE)}</x>".encode())  # type: ignore[arg-type]
    assert max(parser.fed) <= 2 * 64 * 1024


def test_many_large_tokens_are_read_like_small_ones() -> None:
    texts = ["x" * size for size in (10, 70_000, 200_000, 5, 1_000_000)]
    body = answer("".join(f"<!--{text}-->{text}" for text in texts)).encode()
    assert load_answer(body, max_bytes=len(body)) == "".join(texts)


def test_a_deep_tree_of_known_elements_is_refused() -> None:
    assert cause_of(answer("<i4>" * 24_000 + "</i4>" * 24_000).encode()) == "structure"


# --- the other role -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "args"),
    [
        ("", []),
        ("<params/>", []),
        ("<params> </params>", []),
        (f"\n{PARAMS}\n", ["x"]),
        (
            "<params><param><value/></param><param><value><i4>1</i4></value></param></params>",
            ["", 1],
        ),
    ],
)
def test_a_call_is_read(params: str, args: list[Value]) -> None:
    body = f"<methodCall>\n<methodName> a.b_C:/9 </methodName>{params}</methodCall>"
    method, values = load_call(body.encode())
    assert method == "a.b_C:/9"
    assert same(values, args)


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("<methodCall/>", "structure"),
        (f"<methodCall>{PARAMS}</methodCall>", "structure"),
        (f"<methodCall>{PARAMS}<methodName>a</methodName></methodCall>", "structure"),
        ("<methodCall><methodName>a</methodName><methodName/></methodCall>", "structure"),
        ("<methodCall><methodName>a<b/></methodName></methodCall>", "structure"),
        (f"<methodCall><methodName>a</methodName>{PARAMS}{PARAMS}</methodCall>", "structure"),
        ("<methodCall><methodName>a</methodName>x</methodCall>", "structure"),
        (answer("x"), "structure"),
        ("<methodResponse><methodName>a</methodName></methodResponse>", "structure"),
        ("<methodCall><methodName/></methodCall>", "type"),
        ("<methodCall><methodName>a b</methodName></methodCall>", "type"),
        ("<methodCall><methodName>é</methodName></methodCall>", "type"),
    ],
)
def test_what_is_no_call_is_refused(body: str, cause: str) -> None:
    with pytest.raises(UpstreamUnreadable, match=f"^{cause}$"):
        load_call(body.encode())


def test_a_call_is_bounded_and_its_duplicates_are_told() -> None:
    struct: Value = {"a": 1}
    body = dump_call("m", [struct]).replace(b"</struct>", member("a", "x").encode() + b"</struct>")
    told: list[str] = []
    assert load_call(body, on_drift=told.append) == ("m", [{"a": "x"}])
    assert told == ["duplicate_member"]
    with pytest.raises(UpstreamUnreadable, match="too_large"):
        load_call(body, max_bytes=len(body) - 1)


# --- writing --------------------------------------------------------------------------------------


def test_a_call_is_written_to_the_byte() -> None:
    when = datetime(1998, 7, 17, 14, 8, 55)  # noqa: DTZ001
    struct: Value = {"b": True, "a<": None, "": [1.5, -1, b"\0"]}
    assert (
        dump_call("community.getSession", [struct, 413, "a&\r\n<é>", when, []])
        == (
            '<?xml version="1.0" encoding="utf-8"?>\n'
            "<methodCall><methodName>community.getSession</methodName><params>"
            "<param><value><struct>"
            "<member><name>b</name><value><boolean>1</boolean></value></member>"
            "<member><name>a&lt;</name><value><nil/></value></member>"
            "<member><name></name><value><array><data>"
            "<value><double>1.5</double></value><value><i4>-1</i4></value>"
            "<value><base64>AA==</base64></value>"
            "</data></array></value></member>"
            "</struct></value></param>"
            "<param><value><i4>413</i4></value></param>"
            "<param><value><string>a&amp;&#13;\n&lt;é&gt;</string></value></param>"
            "<param><value><dateTime.iso8601>19980717T14:08:55</dateTime.iso8601></value></param>"
            "<param><value><array><data></data></array></value></param>"
            "</params></methodCall>\n"
        ).encode()
    )


def test_an_answer_and_a_fault_carry_the_label_asked_for_and_stay_utf_8() -> None:
    written = dump_answer("é", encoding_label="utf-16")
    assert written.startswith(b'<?xml version="1.0" encoding="utf-16"?>')
    assert load_answer(written) == "é"
    written = dump_fault(300, "é", encoding_label="utf-16")
    assert written.startswith(b'<?xml version="1.0" encoding="utf-16"?>')
    with pytest.raises(Fault) as caught:
        load_answer(written)
    assert (caught.value.code, caught.value.text) == (300, "é")


def endless() -> list[Value]:
    items: list[Value] = []
    items.append(items)
    return items


HALF_MINUTE = timezone(timedelta(hours=1, seconds=30))


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (2**31, ValueError, "32 bits"),
        (-(2**31) - 1, ValueError, "32 bits"),
        pytest.param(10**6000, ValueError, "32 bits", id="more digits than str takes"),
        (float("nan"), ValueError, "not finite"),
        (float("-inf"), ValueError, "not finite"),
        *[(f"secret{char}", ValueError, "XML 1.0") for char in "\0\x08\x0b\x1f\ud800\udfff\ufffe"],
        ({"secret\0": 1}, ValueError, "XML 1.0"),
        ({1: "secret"}, TypeError, "int"),
        (("secret",), TypeError, "tuple"),
        ({"secret"}, TypeError, "set"),
        ([object()], TypeError, "object"),
        (1j, TypeError, "complex"),
        (bytearray(b"secret"), TypeError, "bytearray"),
        (datetime(2020, 1, 1, tzinfo=HALF_MINUTE), ValueError, "whole minutes"),
        (endless(), ValueError, "deeper than 64"),
    ],
)
def test_a_value_that_the_wire_cannot_hold_is_refused_without_repeating_it(
    value: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        dump_call("a", ["x", [value]])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("method", ["", "a b", "a<b", "é", "a\n", "a\0"])
def test_a_bad_method_name_is_refused(method: str) -> None:
    with pytest.raises(ValueError, match="method name"):
        dump_call(method, [])


@pytest.mark.parametrize("number", [2**31 - 1, -(2**31), 0, True, False])
def test_numbers_at_the_edges_are_written_and_keep_their_type(number: int) -> None:
    assert same(load_answer(dump_answer(number)), number)


# --- strangers ------------------------------------------------------------------------------------


def test_the_standard_library_reads_our_fault() -> None:
    with pytest.raises(xmlrpc.client.Fault) as caught:
        xmlrpc.client.loads(dump_fault(301, "a<é"))
    assert (caught.value.faultCode, caught.value.faultString) == (301, "a<é")


def test_we_read_the_standard_librarys_fault() -> None:
    written = xmlrpc.client.dumps(xmlrpc.client.Fault(301, "a<é"), methodresponse=True)
    with pytest.raises(Fault) as caught:
        load_answer(written.encode())
    assert (caught.value.code, caught.value.text) == (301, "a<é")
