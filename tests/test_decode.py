"""``rfgw decode``: what is read in a file, or where and why it cannot be."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli import main as cli
from app.upstream.xmlrpc.codec import (
    MAX_DEPTH,
    Fault,
    UpstreamUnreadable,
    dump_answer,
    dump_fault,
    load_answer,
)
from app.upstream.xmlrpc.diagnosis import diagnose
from tests.conftest import Farm
from tests.programs import DEMO, run

HEAD = "<methodResponse>\n <params>\n  <param>"
TAIL = "</param>\n </params>\n</methodResponse>\n"
DEEP = "<value><array><data>" * (MAX_DEPTH + 1)


def whole(value: str) -> bytes:
    """A document whose value begins in line 3, column 10."""
    return f"{HEAD}{value}{TAIL}".encode()


def member(value: str, name: str = "a") -> str:
    return f"\n<member><name>{name}</name>\n<value>{value}</value></member>"


def struct(*members: str) -> str:
    return f"<value><struct>{''.join(members)}</struct></value>"


@pytest.mark.parametrize(
    ("document", "cause", "place", "says"),
    [
        (whole("<value><i4>7</i5></value>"), "not_xml", (3, 24), "mismatched tag"),
        (b"", "not_xml", (1, 1), "no element found"),
        (b"\n\n<!doctype html><title>x</title>", "not_xml", (3, 1), "syntax error"),
        (b'\n <?xml version="1.0"?>\n<!DOCTYPE a []><a/>', "doctype", (3, 1), "declaration"),
        (b"<a>\n x\xff</a>", "encoding", (2, 3), "charset"),
        (whole("<value><i4>x</i4></value>"), "type", (3, 10), "in <i4>x"),
        (whole("<v/>"), "structure", (1, 1), "in <methodResponse>"),
        (whole(struct(member("b"), "\n junk")), "structure", (3, 10), "in <struct>"),
        (whole(struct(*map(member, "bcd"), member("<i4>1</i4><i4>2</i4>"), member("e"))),
         "structure", (11, 1), "in <value>"),
        (whole(struct(member("b"), member(struct(member("<array><x/></array>"))[7:-8]))),
         "structure", (9, 1), "in <array>"),
        (b"<methodCall/>", "structure", (1, 1), "in <methodCall>"),
        (whole("<value>one</value><value>two</value>"),
         "structure", (1, 1), "in <methodResponse>"),
        (whole(f"{DEEP}<value/>{'</data></array></value>' * (MAX_DEPTH + 1)}"),
         "depth", (3, 10 + 20 * (MAX_DEPTH - 1)), "nested deeper than 64"),
    ],
)  # fmt: skip
def test_a_refusal_tells_line_column_and_why(
    document: bytes, cause: str, place: tuple[int, int], says: str
) -> None:
    refusal = diagnose(document)
    assert refusal is not None
    assert (refusal.cause, says in refusal.says) == (cause, True), refusal
    assert (refusal.line, refusal.column) == place


def test_the_first_of_many_is_found_in_a_large_answer() -> None:
    good = [member("<i4>1</i4>", f"m{number}") for number in range(2000)]
    good[1234] = member("<i4>1</i4>x", "m1234")
    good[1900] = member("<i4>1</i4>x", "m1900")
    refusal = diagnose(whole(struct(*good)))
    assert refusal is not None
    assert (refusal.cause, refusal.line) == ("structure", 3 + 2 * 1235)


def test_what_nests_too_deep_to_be_written_again_is_told_all_the_same() -> None:
    refusal = diagnose(b"<methodResponse>" + b"<a>" * 3000 + b"</a>" * 3000 + b"</methodResponse>")
    assert refusal is not None
    assert (refusal.cause, refusal.line) == ("structure", 1)


def test_an_answer_and_a_fault_are_no_refusals() -> None:
    assert diagnose(dump_answer({"id": 1})) is None
    assert diagnose(dump_fault(300, "none")) is None


def test_a_large_one_is_told() -> None:
    refusal = diagnose(b" " * 2000, max_bytes=1000)
    assert refusal is not None
    assert refusal.says.endswith("are read: 2000 bytes")
    assert (refusal.cause, refusal.line) == ("too_large", 0)


PIECES = st.lists(
    st.sampled_from(
        ["<value>", "</value>", "<struct>", "</struct>", "<member>", "</member>", "<name>", "x",
         "</name>", "<i4>", "</i4>", "<array><data>", "</data></array>", "&#7;", "\n", "<nil/>"]
    ),
    max_size=14,
)  # fmt: skip


@given(PIECES)
def test_whatever_the_codec_refuses_has_a_place_and_the_same_cause(pieces: list[str]) -> None:
    document = whole(f"<value>{''.join(pieces)}</value>")
    refusal = diagnose(document)
    cause = ""
    try:
        load_answer(document)
    except Fault:
        pass
    except UpstreamUnreadable as error:
        cause = error.cause
    assert (refusal.cause if refusal else "") == cause
    assert refusal is None or 1 <= refusal.line <= document.count(b"\n") + 1


# The command


def test_an_answer_is_shown_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "answer.xml"
    path.write_bytes(
        whole(
            struct(
                member("<i4>x</i4>", "bad"), member("<base64>AAE=</base64>", "bytes"),
                member("<dateTime.iso8601>20110101T00:00:00</dateTime.iso8601>", "date"),
                member("1", "twice"), member("2", "twice"),
            )
        )
    )  # fmt: skip
    assert cli.main(["decode", str(path)]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {
        "bad": {"unreadable": "i4"}, "bytes": "AAE=", "date": "2011-01-01 00:00:00", "twice": "2"
    }  # fmt: skip
    assert shown.err == f"{path}: not as documented: duplicate_member\n"
    path.write_bytes(dump_fault(300, "No such session"))
    assert cli.main(["decode", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "fault": {"code": 300, "text": "No such session"}
    }


def test_a_refusal_is_told_as_compilers_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "answer.xml"
    path.write_bytes(whole("<value><i4>\x9b2J</i4></value>"))
    assert cli.main(["decode", str(path)]) == 12
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"{path}:3:10: type: text that does not fit its type, in <i4>?2J\n"
    assert cli.main(["decode", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.endswith("No such file or directory\n")


def test_a_recording_is_read_too(
    tmp_path: Path, farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**DEMO, "RFGW_UPSTREAM_URL": farm.url}
    for number, code in ((1008, 0), (706001, 0), (707001, 12)):
        run(tmp_path, "get", str(number), "--save", f"{number}.json", settings=settings)
        path = tmp_path / f"{number}.json"
        assert cli.main(["decode", str(path)]) == code
        shown = capsys.readouterr()
        told = shown.err.splitlines()
        assert told[0].startswith(f"{path}: community.getSession({number}), status 200, ")
        if number == 706001:
            assert told[1] == f"{path}: recorded as other_id"
        if number == 707001:
            assert told[1:] == [f"{path}: recorded as not_xml", told[2]]
            assert told[2].startswith(f"{path}:2:")
            assert told[2].endswith("not_xml: mismatched tag")
        if code == 0:
            assert json.loads(shown.out)["id"] in (1, 1008)


def recorded(folder: Path, text: str, cause: str, **more: object) -> Path:
    """A recording of an answer that is ``text``."""
    answer = {"body": text, "charset": "utf-8", "omitted": 0,
              "content_type": "text/xml", "status": 200, **more}  # fmt: skip
    question = {"method": "m", "arguments": [1]}
    told = {"recorded": "2026-01-01", "cause": cause, "withheld": False}
    path = folder / "recording.json"
    path.write_text(json.dumps({"question": question, "answer": answer, **told}))
    return path


def test_a_recording_is_read_in_the_charset_of_its_content_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "<methodResponse><params><param><value>\u0436</value></param></params></methodResponse>"
    told = {"charset": "koi8-r", "content_type": "text/xml; charset=koi8-r"}
    path = recorded(tmp_path, text, "", **told)
    assert cli.main(["decode", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == "\u0436"


def test_what_a_recording_has_omitted_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recorded(tmp_path, dump_answer(1).decode(), "too_large", omitted=2000)
    assert cli.main(["decode", str(path), "--max-body", "1024"]) == 12
    assert f"{path}: too_large: " in capsys.readouterr().err
    assert cli.main(["decode", str(path)]) == 0
