"""The session model: every documented field, and every sloppiness that senders show."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.errors import UpstreamMismatch, UpstreamUnreadable
from app.resources.progress import Phase
from app.resources.session_model import Session
from app.resources.sessions import PACES, GetSession, session_id
from app.upstream.xmlrpc.codec import load_answer
from tests.test_wire import VALUES

WIRE = Path(__file__).parent / "wire" / "xmlrpc"


def read(value: object, id: int = 881) -> tuple[dict[str, Any], Counter[str]]:
    """The public JSON of an answer, and the drift that reading it told."""
    drift: Counter[str] = Counter()
    answer = GetSession(id=id).read(value, lambda field: drift.update([field]))
    return json.loads(answer.model_dump_json(by_alias=True)), drift


def test_a_full_answer_fills_every_field() -> None:
    session, drift = read(load_answer((WIRE / "219_session_full_utf16_label.xml").read_bytes()))
    assert drift == {}
    assert session == {
        "id": 881,
        "title": "Elephants & Dreams",
        "state": "active",
        "upstreamState": "active",
        "userId": 881,
        "startFrame": 1,
        "endFrame": 250,
        "xResolution": 1920,
        "yResolution": 1080,
        "partsPerFrame": 1,
        "partsTotal": 250,
        "partsRendered": 0,
        "framesRendered": 0,
        "frameRate": 25.0,
        "cpuTimeRendered": 0.0,
        "cpuRendered": 0.0,
        "streamURL": None,
        "thumbnails": [{"id": "1", "url": "http://example.invalid/t/1.png"}],
        "inputLicense": {
            "name": "CC by-nc-sa",
            "url": "http://creativecommons.org/licenses/by-nc-sa/3.0/",
        },
        "outputLicense": {
            "name": "CC by",
            "url": "http://creativecommons.org/licenses/by/3.0/",
        },
        "timestamps": {
            "register": "2010-04-06T08:59:33Z",
            "submit": "2010-04-06T08:59:34Z",
            "test_begin": None,
            "test_end": "2010-04-06T08:59:44Z",
            "accept": None,
            "preprocessing_begin": None,
            "preprocessing_end": None,
            "render_begin": None,
            "render_end": None,
            "postprocessing_begin": None,
            "postprocessing_end": None,
            "encode_begin": None,
            "encode_end": None,
        },
        "attachments": [],
        "blendFiles": [
            {
                "id": "7",
                "url": "http://example.invalid/b.blend",
                "size": 1024,
                "md5": "d41d8cd98f00b204e9800998ecf8427e",
            }
        ],
        "progress": {
            "phase": "queued",
            "percent": 0,
            "framesTotal": 250,
            "framesRendered": 0,
            "partsTotal": 250,
            "partsRendered": 0,
        },
    }


def test_a_sloppy_answer_is_read_all_the_same() -> None:
    session, drift = read(load_answer((WIRE / "220_session_php_sloppy.xml").read_bytes()))
    assert drift == {}
    assert session["id"] == 881
    assert session["title"] == "   "
    assert session["state"] == "submit"
    assert session["upstreamState"] == "sumit"
    assert session["frameRate"] == 29.97
    assert session["thumbnails"] == [{"id": "0", "url": "http://example.invalid/t/1.png"}]
    assert session["attachments"] == []
    assert set(session["timestamps"].values()) == {None}


def test_every_field_is_there_when_the_farm_sends_only_the_id() -> None:
    session, drift = read({"id": 881})
    assert drift == {}
    assert list(session) == [*Session.model_fields, "progress"]
    assert session["state"] == "unknown"
    assert session["progress"]["phase"] == "unknown"
    assert [name for name in session if session[name] == []] == [
        "thumbnails",
        "attachments",
        "blendFiles",
    ]


FIELDS = [
    # wire member, wire value, public field, public value, drift
    ("title", 7, "title", None, {"title": 1}),
    ("startFrame", "12", "startFrame", 12, {}),
    ("startFrame", True, "startFrame", None, {"startFrame": 1}),
    ("endFrame", 2**60, "endFrame", None, {"endFrame": 1}),
    ("frameRate", "fast", "frameRate", None, {"frameRate": 1}),
    ("userID", 9, "userId", 9, {}),
    ("userid", 9, "userId", 9, {}),
    ("userId", "9", "userId", 9, {}),
    ("streamURL", "", "streamURL", None, {}),
    ("streamURL", "javascript:alert(1)", "streamURL", None, {"streamURL": 1}),
    ("state", " Cancelled ", "state", "cancelled", {}),
    ("state", "paused", "state", "unknown", {"state": 1}),
    ("state", 3, "state", "unknown", {"upstreamState": 1}),
    ("inputLicense", {"name": "CC by"}, "inputLicense", {"name": "CC by", "url": None}, {}),
    ("inputLicence", "", "inputLicense", None, {}),
    ("outputLicence", {}, "outputLicense", None, {}),
    *(
        (f"{side}Licen{letter}e", {"name": "BY"}, f"{side}License", {"name": "BY", "url": None}, {})
        for side in ("input", "output")
        for letter in "cs"
    ),
    ("outputLicence", "CC by", "outputLicense", None, {"outputLicense": 1}),
    ("thumbnails", "", "thumbnails", [], {}),
    ("thumbnails", 5, "thumbnails", [], {"thumbnails": 1}),
    ("thumbnails", {"1": 5}, "thumbnails", [], {"thumbnails": 1}),
    ("attachments", {"1": "x"}, "attachments", [], {"attachments": 1}),
    ("attachments", [], "attachments", [], {}),
    (
        "attachments",
        {"3": {"size": "big", "path": "a.txt", "id": "not mine"}},
        "attachments",
        [{"id": "3", "url": None, "path": "a.txt", "size": None, "description": None}],
        {"size": 1},
    ),
    ("__proto__", {"polluted": True}, "title", None, {"unknown_member": 1}),
    ("progress", {"percent": 99}, "title", None, {"unknown_member": 1}),
    ("upstreamState", "x", "upstreamState", None, {"unknown_member": 1}),
]


@pytest.mark.parametrize(("member", "value", "field", "public", "told"), FIELDS)
def test_one_sloppy_field_never_costs_the_session(
    member: str, value: object, field: str, public: object, told: dict[str, int]
) -> None:
    session, drift = read({"id": 881, member: value})
    assert session[field] == public
    assert drift == told
    assert "polluted" not in json.dumps(session)


def test_the_licence_spelling_of_the_wire_comes_first() -> None:
    session, _ = read(
        {"id": 881, "inputLicense": {"name": "second"}, "inputLicence": {"name": "first"}}
    )
    assert session["inputLicense"]["name"] == "first"


def test_timestamps_drift_one_by_one() -> None:
    session, drift = read({"id": 881, "timestamps": {"submit": "soon", "accept": 5, "x": 1}})
    assert session["timestamps"]["submit"] is None
    assert session["timestamps"]["accept"] == "1970-01-01T00:00:05Z"
    assert drift == {"submit": 1, "unknown_member": 1}


def test_thumbnails_come_in_the_order_of_their_numbers_then_of_their_names() -> None:
    names = ["10", "9", "b", "a", "-1", "02"]
    address = "http://example.invalid/x.png"
    session, _ = read({"id": 881, "thumbnails": dict.fromkeys(names, address)})
    assert [thumbnail["id"] for thumbnail in session["thumbnails"]] == [
        "-1",
        "02",
        "9",
        "10",
        "a",
        "b",
    ]


def test_member_order_changes_no_byte() -> None:
    value = load_answer((WIRE / "219_session_full_utf16_label.xml").read_bytes())
    assert isinstance(value, dict)
    turned = dict(reversed(value.items()))
    call = GetSession(id=881)
    bodies = {call.read(v, lambda _: None).model_dump_json() for v in (value, turned)}
    assert len(bodies) == 1


@pytest.mark.parametrize("id", [882, "882", None, "", "x", 881.0, True, [881], {"id": 881}])
def test_another_or_unreadable_id_is_a_mismatch(id: object) -> None:
    with pytest.raises(UpstreamMismatch):
        read({"id": id, "title": "x"})


def test_a_missing_id_is_a_mismatch() -> None:
    with pytest.raises(UpstreamMismatch):
        read({"title": "x"})


@pytest.mark.parametrize("value", ["", 5, None, True, [], [{"id": 881}], b"x"])
def test_an_answer_that_is_no_struct_is_unreadable(value: object) -> None:
    with pytest.raises(UpstreamUnreadable):
        read(value)


WIRE_NAMES = st.sampled_from(
    ["title", "state", "startFrame", "thumbnails", "timestamps", "attachments", "blendFiles",
     "inputLicence", "outputLicense", "streamURL", "frameRate", "userid", "x"]
)  # fmt: skip


@given(st.dictionaries(WIRE_NAMES, VALUES))
@settings(max_examples=200, deadline=None)
def test_no_answer_with_the_right_id_is_refused(members: dict[str, object]) -> None:
    session, _ = read({**members, "id": 881})
    assert session["id"] == 881
    assert list(session) == [*Session.model_fields, "progress"]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("submit", ["sumit", "submit", "submitted", " Submit\n"]),
        ("accept", ["accept"]),
        ("active", ["active", "ACTIVE"]),
        ("completed", ["completed"]),
        ("cancelled", ["cancel", "canceled", "cancelled"]),
        ("rejected", ["rejected"]),
        ("unknown", ["", "paused", "unknown"]),
    ],
)
def test_each_word_of_the_farm_is_a_state(state: str, words: list[str]) -> None:
    told = [read({"id": 881, "state": word})[0] for word in words]
    assert [session["state"] for session in told] == [state] * len(words)
    assert [session["upstreamState"] for session in told] == words


@pytest.mark.parametrize(
    ("pace", "phases"),
    [
        ("active", "preprocessing rendering postprocessing encoding unknown"),
        ("queued", "queued"),
        ("waiting", "submitted testing awaiting_approval"),
        ("terminal", "completed cancelled rejected"),
    ],
)
def test_a_session_is_expected_to_change_as_soon_as_its_phase_is(pace: str, phases: str) -> None:
    of_phase = {phase.value: PACES.get(phase, "active") for phase in Phase}
    assert {phase for phase, known in of_phase.items() if known == pace} == set(phases.split())


def test_of_an_unknown_phase_a_session_is_expected_to_change_soon() -> None:
    assert GetSession(id=881).pace(Session.model_validate({"id": 881})) == "active"


@pytest.mark.parametrize("text", ["1", "42", "2147483647"])
def test_a_plain_whole_number_is_an_id(text: str) -> None:
    assert session_id(text) == int(text)


@pytest.mark.parametrize(
    "text",
    ["0", "007", "+5", "-1", "1.0", "1_000", " 1", "1\n", "٤٢", "1e3", "0x1", "", "2147483648",
     "9" * 5000, 42, None],
)  # fmt: skip
def test_nothing_else_is_an_id(text: object) -> None:
    with pytest.raises(ValueError, match="whole number"):
        session_id(text)


def test_a_call_has_one_key_and_its_arguments_by_their_documented_names() -> None:
    call = GetSession(id=42)
    assert call.key == "community.getSession(42)"
    assert call.arguments == {"sessionId": 42}
