"""All that clients and farms send is read in linear time: no field, path or text costs seconds."""

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from xml.sax.saxutils import escape

import pytest
from pydantic import TypeAdapter

from app.api.client_address import client_address
from app.api.conditional_request import MAX_TAG, digests_in, matches
from app.api.field_lists import MAX_MEMBERS, members
from app.api.item_stream import read_marks
from app.api.negotiation import quality
from app.api.prefer import wait_of
from app.api.projection import fields_of
from app.api.replies import wish_of
from app.config.addresses import networks
from app.core.errors import UpstreamUnreadable
from app.edge.admission import _ids
from app.edge.common_fields import REQUEST_ID
from app.edge.credentials import key_of
from app.resources.session_model import Session
from app.resources.sessions import GetSession, session_id
from app.resources.wire import instant, integer, number, url
from app.server.request_head import RequestRejected, check_host, origin_form
from app.telemetry.request_context import trace_of
from app.upstream.transport import http_date, retry_after
from app.upstream.xmlrpc.codec import load_answer
from app.upstream.xmlrpc.scalars import LOAD

pytestmark = pytest.mark.slow

SMALL, LARGE = 2048, 16_384
STEPS = LARGE / SMALL
ALLOWED = 3.0
"""A quadratic reader grows by the square of the sizes' ratio, 64 to 8: far beyond this factor."""

PATIENT_PROXIES = networks("10.0.0.0/8")

FIELDS: TypeAdapter[Any] = TypeAdapter(fields_of(Session))


def of_text(read: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """A reader of text as one of bytes."""
    return lambda text: read(text.decode("latin-1"))


def session_with(name: str) -> Any:
    """A session whose structs have a member of this name."""
    structs = {"thumbnails": {name: "x"}, "blendFiles": {name: {}}, "timestamps": {name: 1}}
    return GetSession(id=42).read({"id": 42, name: 1, **structs}, lambda field: None)


READERS: dict[str, Callable[[bytes], Any]] = {
    "Cache-Control": wish_of,
    "Accept": lambda text: quality(text.decode("latin-1"), "application/json"),
    "Prefer": wait_of,
    "If-None-Match": lambda text: matches(text, "0123456789abcdef"),
    "a list": members,
    "X-Forwarded-For": lambda text: client_address("10.0.0.1", text, PATIENT_PROXIES),
    "X-Request-ID": REQUEST_ID.fullmatch,
    "Authorization": lambda text: key_of(
        [(b"authorization", b"Bearer " + text)], {b"authorization": b"Bearer " + text}
    ),
    "the ids of a list": lambda text: _ids(text, "ids"),
    "traceparent": trace_of,
    "Host": check_host,
    "a target in absolute form": lambda text: origin_form(b"http://a/" + text, [(b"host", b"a")]),
    "an id": lambda text: session_id(text.decode("latin-1")),
    "Date of the farm": lambda text: http_date(text.decode("latin-1")),
    "Retry-After of the farm": lambda text: retry_after(text.decode("latin-1"), 0.0),
    "Last-Event-ID": lambda text: read_marks(text.decode("latin-1")),
    "Last-Event-ID of one session": lambda text: matches(text, "0123456789abcdef"),
    "the fields of a query": lambda text: FIELDS.validate_python([text.decode("latin-1")]),
    "an address of the farm": lambda text: url(text.decode("latin-1")),
    "an address with a host": lambda text: url("http://" + text.decode("latin-1")),
    "a moment of the farm": lambda text: instant(text.decode("latin-1")),
    "names of members of a session": lambda text: session_with(text.decode("latin-1")),
    **{f"XML-RPC by {load.__name__}": of_text(load) for load in LOAD.values() if load is not str},
    "a member's name of XML-RPC": lambda text: load_answer(
        b"<methodResponse><params><param><value><struct><member><name>"
        + escape(text.decode("latin-1")).encode()
        + b"</name><value>1</value></member></struct></value></param></params></methodResponse>",
        max_bytes=2**20,
    ),
    "an integer of the farm": lambda text: integer(text.decode("latin-1")),
    "a number of the farm": lambda text: number(text.decode("latin-1")),
    "an encoding label of the farm": lambda text: load_answer(b"<?xml " + text, max_bytes=2**20),
    "text of the farm": lambda text: load_answer(text, max_bytes=2**20),
}

SHAPES: dict[str, bytes] = {
    "unclosed quotes": b'"',
    "escaped quotes": b'\\"',
    "quotes and escapes": b'"\\"',
    "backslashes": b"\\",
    "commas": b",",
    "semicolons": b";",
    "blanks": b" ",
    "tabs and commas": b"\t,",
    "any range": b"*/*,",
    "weights": b"a/b;q=0.1,",
    "parameters": b";q=",
    "weak tags": b'W/"a",',
    "half tags": b'W/"',
    "digits": b"1",
    "waits": b"wait = ",
    "encodings": b" encoding = ",
    "percent signs": b"%",
    "escapes of percent": b"%25",
    "brackets": b"[",
    "closed brackets": b"[]",
    "colons": b":",
    "dots": b"1.",
    "slashes": b"/",
    "at signs": b"@",
    "equals signs": b"=",
    "angle brackets": b"<",
    "elements": b"<a>",
    "ampersands": b"&",
    "no ASCII": b"\xff",
}


def filled(shape: bytes, size: int) -> bytes:
    """So many bytes of a shape, with an end that fits nothing."""
    return (shape * size)[:size] + b"!"


def work(read: Callable[[bytes], Any], text: bytes, times: int, enough: float = 0.0) -> float:
    """Processor seconds of so many readings: the least of several rounds, or the first that took
    no more than ``enough``."""
    least = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(times):
            with suppress(ValueError, RequestRejected, UpstreamUnreadable):
                read(text)
        least = min(least, time.process_time() - began)
        if least <= enough:
            break
    return least


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("reader", READERS)
def test_the_work_of_a_reader_grows_no_faster_than_the_text(reader: str, shape: bytes) -> None:
    read = READERS[reader]
    small, large = filled(shape, SMALL), filled(shape, LARGE)
    gc.disable()
    try:
        times = max(1, min(200, int(0.002 / max(work(read, small, 1), 1e-6))))
        base = max(work(read, small, times), times * 2e-6)
        allowed = base * STEPS * ALLOWED
        assert work(read, large, times, allowed) <= allowed
    finally:
        gc.enable()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_of_a_list_no_more_than_the_first_members_are_read(shape: bytes) -> None:
    assert len(members(filled(shape, LARGE))) <= MAX_MEMBERS


@pytest.mark.parametrize(
    ("field", "found"),
    [
        (b"", [b""]),
        (b"a,b", [b"a", b"b"]),
        (b"a,", [b"a", b""]),
        (b'a="x,y",b', [b'a="x,y"', b"b"]),
        (b'a="x\\",y",b', [b'a="x\\",y"', b"b"]),
        (b'a="x,b', [b'a="x', b"b"]),
        (b'"a,b",c="d,e', [b'"a,b"', b'c="d', b"e"]),
    ],
)
def test_a_comma_in_a_quoted_string_separates_nothing_if_the_string_ends(
    field: bytes, found: list[bytes]
) -> None:
    assert members(field) == found


def test_of_tags_too_long_to_be_ours_nothing_is_kept() -> None:
    longest = b"x" * (MAX_TAG - 2)
    assert digests_in(b'"%b"' % longest) == {longest.decode()}
    assert not digests_in(b",".join(b'W/"%d%b"' % (number, longest) for number in range(64)))


def test_a_directive_behind_a_quote_without_an_end_is_one() -> None:
    assert wish_of(b'x="a, no-cache').no_cache
    assert not wish_of(b'x="a, no-cache"').no_cache


def test_directives_behind_the_last_that_is_read_are_as_if_absent() -> None:
    assert wish_of(b"x," * (MAX_MEMBERS - 1) + b"no-cache").no_cache
    assert not wish_of(b"x," * MAX_MEMBERS + b"no-cache").no_cache
