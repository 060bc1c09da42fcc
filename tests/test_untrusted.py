"""What operators and the farm may get wrong: settings and sessions of any shape."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator, oas31_format_checker

from app.config.base import env_name
from app.config.environment import FILES, NAMES, SettingsError, load_settings
from app.config.settings import SECRETS
from app.core.errors import UpstreamMismatch, UpstreamUnreadable
from app.resources.sessions import GetSession
from tests.test_xmlrpc_properties import values

DOCUMENT = json.loads((Path(__file__).parents[1] / "openapi" / "openapi.json").read_text())
VALID = OAS31Validator(
    {"$ref": "#/components/schemas/Session", "components": DOCUMENT["components"]},
    format_checker=oas31_format_checker,
)
CANARY = "c4nary"
steady = settings(derandomize=True, deadline=None, max_examples=100)

near = st.sampled_from(
    [
        *("", "\0", "0", "1", "-1", "nan", "inf", "1e999", "true", "*", "A", "/", ".", "600/60"),
        *("http://127.0.0.1:1", "https://farm.example", "http://[::1", "10.0.0.0/8", "redis://h"),
    ]
)
texts = near | st.text(st.characters(), max_size=20)


def complaints(environ: dict[str, str]) -> str:
    """What is wrong with these settings; empty if nothing is."""
    try:
        load_settings(environ, Path("no-such-file"))
    except SettingsError as error:
        return str(error)
    return ""


@steady
@given(st.dictionaries(st.sampled_from([*NAMES, *FILES, "RFGW_NONE"]), texts, max_size=5))
def test_settings_of_any_text_are_taken_or_refused_by_name(changed: dict[str, str]) -> None:
    told = complaints({env_name(name): "-" for name in SECRETS[:2]} | changed)
    named = {line.partition(":")[0] for line in told.splitlines()}
    assert named <= NAMES.keys() | changed.keys()


@steady
@given(
    st.dictionaries(
        st.sampled_from([*NAMES, *FILES]),
        st.tuples(near | st.text(max_size=5), near | st.text(max_size=5)).map(CANARY.join),
        min_size=1,
        max_size=5,
    )
)
def test_no_complaint_about_settings_quotes_what_was_given(environ: dict[str, str]) -> None:
    assert CANARY not in complaints(environ)


MEMBERS = [
    *("title", "state", "userid", "startFrame", "endFrame", "xResolution", "yResolution"),
    *("partsPerFrame", "partsTotal", "partsRendered", "framesRendered", "frameRate"),
    *("cpuTimeRendered", "cpuRendered", "streamURL", "thumbnails", "inputLicence", "outputLicence"),
    *("timestamps", "attachments", "blendFiles", "whatever"),
]
NUMBERS = [0, -1, 2**31 - 1, 2**53 - 1, 2**53, 2**63 - 1, -(2**63), 1e308, -0.0, 0.1]
TEXTS = [
    *("7", "1e300", " 12 ", "٣", "NaN", "9" * 400, "253402300799", "completed", "ACTIVE", "sumit"),
    *("http://[", "https://h:99999/", "https://é.example/ \n", "\ud7ff\U0010ffff", ""),
]
tricky: st.SearchStrategy[Any] = st.sampled_from([*NUMBERS, *TEXTS, {}, [], None, True, b"\xff"])
ids = st.sampled_from(["0", "1", "-1", "10", "9" * 30, "x", "", "__proto__", "id", "url", "size"])
stamps = st.sampled_from(["register", "submit", "render_begin", "render_end", "encode_end", "id"])
members = st.one_of(
    *(tricky, values),
    st.dictionaries(ids | stamps, tricky | st.dictionaries(ids, tricky, max_size=3), max_size=4),
    st.lists(tricky, max_size=3),
)
sessions = st.fixed_dictionaries(
    {"id": st.sampled_from([42, "42"])},
    optional={**dict.fromkeys(MEMBERS, members), "timestamps": st.dictionaries(stamps, tricky)},
)


@settings(steady, max_examples=300)
@given(sessions)
def test_a_struct_with_the_right_id_is_always_a_session_of_the_document(value: Any) -> None:
    session = GetSession(id=42).read(value, lambda field: None)
    VALID.validate(json.loads(session.model_dump_json(by_alias=True)))


@steady
@given(sessions, values, st.booleans())
def test_anything_else_is_a_known_error(value: Any, other: Any, whole: bool) -> None:
    wrong = other if whole else {**value, "id": other}
    with pytest.raises((UpstreamMismatch, UpstreamUnreadable)):
        GetSession(id=42).read(wrong, lambda field: None)
