"""Tolerant readers: what they take, what they refuse, and that nothing makes them raise."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.resources.wire import instant, integer, number, text, url


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (5, 5),
        ("5", 5),
        (" -7\n", -7),
        ("+5", 5),
        ("0005", 5),
        (2**53 - 1, 2**53 - 1),
        (2**53, None),
        (str(2**53), None),
        ("9" * 5000, None),
        (True, None),
        (5.0, None),
        ("5.0", None),
        ("1_000", None),
        ("٥", None),
        ("", None),
        (None, None),
        ([], None),
    ],
)
def test_an_integer_is_an_int_or_text_that_is_one(value: object, read: int | None) -> None:
    assert integer(value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (25, 25.0),
        (29.97, 29.97),
        ("29.97", 29.97),
        (" .5 ", 0.5),
        ("1e3", 1000.0),
        (1e301, None),
        ("1e999", None),
        ("nan", None),
        ("inf", None),
        ("1_0", None),
        (True, None),
        (None, None),
    ],
)
def test_a_number_is_finite(value: object, read: float | None) -> None:
    assert number(value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("http://example.invalid/1.png", "http://example.invalid/1.png"),
        ("HTTPS://example.invalid", "https://example.invalid"),
        ("http://example.invalid/ä b.png", "http://example.invalid/%C3%A4%20b.png"),
        ("http://example.invalid/%20", "http://example.invalid/%20"),
        ("javascript:alert(1)", None),
        ("javascript://example.invalid/%0aalert(1)", None),
        ("ftp://example.invalid/x", None),
        ("data:text/html,x", None),
        ("//example.invalid/x", None),
        ("http:///x", None),
        ("http://", None),
        ("http://[", None),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("http://example.invalid/a#b#c", "http://example.invalid/a#b%23c"),
        ("http://[::1]x/", None),
        ("http://x[::1]/", None),
        ("http://a@b@example.invalid/", None),
        (
            "http://example.invalid/[1].png?a[]#b#c",
            "http://example.invalid/%5B1%5D.png?a%5B%5D#b%23c",
        ),
        ("http://example.invalid/100%", "http://example.invalid/100%25"),
        ("https://example.invalid:99999/", None),
        (" https://example.invalid/x\n", "https://example.invalid/x"),
        ("https://example.invalid/x\n", "https://example.invalid/x"),
        ("http://@/", None),
        ("/x.png", None),
        ("http://example.invalid/" + "a" * 3000, None),
        ("", None),
        (7, None),
    ],
)
def test_a_url_is_absolute_and_http(value: object, read: str | None) -> None:
    assert url(value) == read


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (1270544373, datetime(2010, 4, 6, 8, 59, 33, tzinfo=UTC)),
        ("1270544373", datetime(2010, 4, 6, 8, 59, 33, tzinfo=UTC)),
        (0, None),
        (-1, None),
        (253_402_300_800, None),
        ("yesterday", None),
        (1.5, None),
    ],
)
def test_an_instant_is_unix_seconds(value: object, read: datetime | None) -> None:
    assert instant(value) == read


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=40)
    | st.binary(max_size=8)
    | st.datetimes(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_no_value_makes_a_reader_raise(value: object) -> None:
    for read in (integer, number, text, url, instant):
        read(value)
