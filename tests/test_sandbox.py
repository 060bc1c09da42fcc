"""The sandbox farm over a real port: what it answers, what it does wrong, what it tells of it."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from app.sandbox.data import LIVES, PARTS, get_session
from app.sandbox.farm import MAX_CALL
from app.sandbox.outcomes import honest
from app.sandbox.records import KEPT, CallRecord, Records
from app.sandbox.script import MAGIC, SCRIPT, Late, Step
from app.sandbox.server import (
    DEMO_CONSUMER_KEY,
    DEMO_CONSUMER_SECRET,
    create_farm,
    farm_server,
    serve_farm,
)
from app.upstream.oauth import Reading, Signer, new_nonce
from app.upstream.xmlrpc.codec import Fault, UpstreamUnreadable, Value, dump_call, load_answer
from tests.programs import free_port
from tests.running import running

METHOD = "community.getSession"
DEMO = Signer(DEMO_CONSUMER_KEY, DEMO_CONSUMER_SECRET)
XML = {"Content-Type": "text/xml"}


@dataclass
class Client:
    """One caller of a farm at ``url``: signs, posts, and looks into the farm's books."""

    url: str
    server: uvicorn.Server | None = None
    sent: list[dict[str, str]] = field(default_factory=list)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)

    def send(
        self, verb: str, path: str, body: bytes | None = None, headers: dict[str, str] = XML
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = self.connect()
        try:
            connection.request(verb, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def call(
        self, *arguments: Value, signer: Signer = DEMO, base: str = "", now: float | None = None
    ) -> bytes:
        """A signed call's body."""
        timestamp = int(time.time() if now is None else now)
        named = dict(zip(["sessionId"], arguments, strict=False))
        struct = signer.sign(
            base or self.url, METHOD, named, timestamp=timestamp, nonce=new_nonce()
        )
        self.sent.append(struct)
        return dump_call(METHOD, [{**struct}, *arguments])

    def ask(
        self, *arguments: Value, signer: Signer = DEMO, **changes: Any
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        path = urlsplit(signer.url(self.url, METHOD)).path
        return self.send("POST", path, self.call(*arguments, signer=signer, **changes))

    def session(self, *arguments: Value, **changes: Any) -> dict[str, Any]:
        value = load_answer(self.ask(*arguments, **changes)[2])
        assert isinstance(value, dict)
        return value

    def fault(self, *arguments: Value, **changes: Any) -> Fault:
        with pytest.raises(Fault) as caught:
            self.session(*arguments, **changes)
        return caught.value

    def books(self) -> Any:
        return json.loads(self.send("GET", "/__records")[2])

    def script(self, *steps: dict[str, object]) -> None:
        status, _, body = self.send("PUT", "/__script", json.dumps(steps).encode())
        assert (status, json.loads(body)) == (200, {"queued": len(steps)})

    @contextmanager
    def open_call(self, session_id: int) -> Iterator[socket.socket]:
        """A call that has been sent, and whose answer has not been waited for."""
        body = self.call(session_id)
        head = f"POST /{METHOD} HTTP/1.1\r\nHost: {urlsplit(self.url).netloc}\r\n"
        head += f"Content-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
        port = urlsplit(self.url).port
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(head.encode() + body)
            yield connection

    def wait_for_calls(self, number: int) -> None:
        while self.books()["in_flight"] != number:
            pass  # bounded by the test's own time limit


@contextmanager
def farm_with(**settings: Any) -> Iterator[Client]:
    server = farm_server(create_farm(**settings))
    with running(server) as url:
        yield Client(url, server)


@pytest.fixture(scope="module")
def shared_farm() -> Iterator[Client]:
    with farm_with() as client:
        yield client


@pytest.fixture
def farm(shared_farm: Client) -> Client:
    shared_farm.send("DELETE", "/__script")
    shared_farm.send("DELETE", "/__records")
    return shared_farm


def phase(session: dict[str, Any]) -> str:
    """A session's phase, told from its wire names: the first rule that holds."""
    at, state, parts = session["timestamps"], session["state"], int(session["partsRendered"])
    done = parts == int(session["partsTotal"])
    rules = [
        ("rejected", state == "rejected"),
        ("cancelled", state == "cancelled"),
        ("completed", state == "completed" or "encode_end" in at),
        ("encoding", "encode_begin" in at),
        ("postprocessing", "postprocessing_begin" in at or "render_end" in at or done),
        ("rendering", "render_begin" in at or (state == "active" and parts > 0)),
        ("preprocessing", "preprocessing_begin" in at),
        ("queued", state == "active"),
        ("awaiting_approval", state == "accept"),
        ("testing", "test_begin" in at and "test_end" not in at),
        ("submitted", state in ("submit", "sumit")),
    ]
    return next((name for name, holds in rules if holds), "unknown")


# What it answers


@pytest.mark.parametrize(
    ("session_id", "expected"),
    [
        (42, "completed"),
        (1001, "submitted"),
        (1002, "testing"),
        (1003, "awaiting_approval"),
        (1004, "preprocessing"),
        (1005, "rendering"),
        (1006, "postprocessing"),
        (1007, "encoding"),
        (1008, "completed"),
        (1009, "cancelled"),
        (1010, "rejected"),
        (1011, "queued"),
        (1012, "unknown"),
    ],
)
def test_each_session_stands_in_its_phase(farm: Client, session_id: int, expected: str) -> None:
    session = farm.session(session_id)
    assert (session["id"], phase(session)) == (session_id, expected)


def test_every_phase_has_a_session() -> None:
    sessions = [get_session(number, started=0, now=0) for number in LIVES if number > 1000]
    assert len({phase(session) for session in sessions}) == 12


@pytest.mark.parametrize(
    ("elapsed", "parts", "expected"),
    [
        (0, 0, "rendering"),
        (100.9, 100, "rendering"),
        (249, 249, "rendering"),
        (250, PARTS, "postprocessing"),
        (265, PARTS, "encoding"),
        (275, PARTS, "completed"),
        (300, 0, "rendering"),
        (3000 + 12, 12, "rendering"),
    ],
)
def test_session_1005_renders_while_the_clock_is_wound(
    elapsed: float, parts: int, expected: str
) -> None:
    now = 1_800_000_000.0
    with farm_with(clock=lambda: now) as client:
        started, now = now, now + elapsed
        session = client.session(1005, now=now)
    assert (session["partsRendered"], phase(session)) == (parts, expected)
    assert all(at <= now for at in session["timestamps"].values())
    assert session["timestamps"]["render_begin"] == started + elapsed // 300 * 300


def test_sessions_live_as_many_times_as_fast_as_asked() -> None:
    now = 1_800_000_000.0
    with farm_with(clock=lambda: now, speed=10) as client:
        now += 12
        assert client.session(1005, now=now)["partsRendered"] == 120


@pytest.mark.parametrize("session_id", [1, 43, 1000, 1013, 401_123, 999_999_999, -1, 0])
def test_an_unknown_id_is_fault_300(farm: Client, session_id: int) -> None:
    fault = farm.fault(session_id)
    assert fault.code == 300
    assert fault.text == "fi.renderfarm.api.ApiException: Session doesn't exist"


def test_an_answer_is_labelled_utf_16_and_is_utf_8(farm: Client) -> None:
    for session_id in (1001, 300_000):
        status, headers, body = farm.ask(session_id)
        assert (status, headers["content-type"]) == (200, "text/xml")
        assert body.startswith(b'<?xml version="1.0" encoding="utf-16"?>')
        assert body.decode("utf-8").isascii()


def test_the_standard_librarys_reader_agrees_once_the_label_is_mended(farm: Client) -> None:
    body = farm.ask(1008)[2]
    ((theirs,), _) = xmlrpc.client.loads(body.replace(b"utf-16", b"utf-8"))
    assert theirs == load_answer(body)
    assert b"<i4>1008</i4>" in body


def test_members_come_in_the_order_of_a_java_hash_map(farm: Client) -> None:
    order = "timestamps endFrame cpuRendered cpuTimeRendered partsTotal userid outputLicence "
    order += "thumbnails blendFiles framesRendered title startFrame streamURL xResolution "
    order += "frameRate partsRendered inputLicence"
    session, accepted = farm.session(42), farm.session(1003)
    assert [name for name in session if name in order.split()] == order.split()
    assert list(accepted["timestamps"]) == ["register", "test_begin", "submit", "test_end"]


def test_the_vendors_sloppiness_is_kept(farm: Client) -> None:
    submitted, cancelled, unknown = (farm.session(number) for number in (1001, 1009, 1012))
    assert submitted["state"] == "sumit"
    assert submitted["inputLicence"]["name"] == "CC by-nc-sa"
    assert "inputLicense" not in submitted
    assert "streamURL" not in submitted
    assert (cancelled["partsTotal"], cancelled["attachments"]) == ("250", "")
    assert unknown["timestamps"].keys() == {"register"}
    assert "thumbnails" not in unknown


def test_every_address_in_the_data_is_reserved_or_the_licences() -> None:
    def texts(value: Value) -> Iterator[str]:
        if isinstance(value, dict):
            for member in value.values():
                yield from texts(member)
        elif isinstance(value, str) and "://" in value:
            yield value

    hosts = {
        urlsplit(text).hostname
        for number in LIVES
        for text in texts(get_session(number, started=0, now=0))
    }
    assert hosts == {"files.example.invalid", "creativecommons.org"}


# Whom it answers


@pytest.mark.parametrize("reading", ["A", "B", "C"])
def test_the_readings_pass_over_http(farm: Client, reading: Reading) -> None:
    signer = Signer(DEMO_CONSUMER_KEY, DEMO_CONSUMER_SECRET, reading=reading)
    assert farm.session(42, signer=signer)["id"] == 42
    assert farm.books()["records"][-1]["reading"] == reading


@pytest.mark.parametrize("reading", ["A", "B", "C", "D"])
def test_a_farm_behind_a_front_end_verifies_its_public_address(reading: Reading) -> None:
    signer = Signer(DEMO_CONSUMER_KEY, DEMO_CONSUMER_SECRET, reading=reading)
    with farm_with(public_url="https://xmlrpc.renderfarm.fi/") as client:
        base = "https://xmlrpc.renderfarm.fi"
        assert client.session(42, signer=signer, base=base)["id"] == 42
        assert client.books()["records"][-1]["reading"] == reading
        assert client.fault(42).code == 104


@pytest.mark.parametrize(
    ("signer", "code"),
    [
        (Signer("someone", DEMO_CONSUMER_SECRET), 400),
        (Signer(DEMO_CONSUMER_KEY, "wrong"), 104),
        (Signer(DEMO_CONSUMER_KEY, DEMO_CONSUMER_SECRET, token="t"), 104),
    ],
)
def test_a_stranger_is_refused(farm: Client, signer: Signer, code: int) -> None:
    assert farm.fault(42, signer=signer).code == code


def test_a_call_sent_twice_is_refused_the_second_time(farm: Client) -> None:
    body = farm.call(42)
    answers = [farm.send("POST", f"/{METHOD}", body)[2] for _ in range(2)]
    assert load_answer(answers[0])
    with pytest.raises(Fault) as caught:
        load_answer(answers[1])
    assert caught.value.code == 104


def test_the_farms_clock_decides_on_timestamps_and_tells_the_date() -> None:
    with farm_with(clock=lambda: 1277815385.0) as client:
        _, headers, _ = client.ask(42)
        assert client.books()["records"][-1]["fault"] == 104
        assert headers["date"] == formatdate(1277815385, usegmt=True)
        assert client.session(42, now=1277815385)["id"] == 42


@pytest.mark.parametrize(
    ("verb", "path", "headers", "status"),
    [
        ("GET", f"/{METHOD}", XML, 405),
        ("POST", "/session.cancel", XML, 404),
        ("POST", f"/{METHOD}/", XML, 404),
        ("POST", "/", XML, 404),
        ("POST", f"/{METHOD}", {"Content-Type": "application/json"}, 415),
        ("POST", f"/{METHOD}", {}, 415),
    ],
)
def test_only_posts_of_xml_to_a_method_or_handler_are_calls(
    farm: Client, verb: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer, answer_headers, _ = farm.send(verb, path, farm.call(42), headers)
    assert answer == status
    assert farm.books()["total"] == 0
    if status == 405:
        assert answer_headers["allow"] == "POST"


def test_an_oversized_call_is_refused(farm: Client) -> None:
    assert farm.send("POST", f"/{METHOD}", b"x" * (MAX_CALL + 1))[0] == 413


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"not xml", -1),
        (dump_call("community.unknown", [{}, 42]), -1),
        (dump_call(METHOD, []), 100),
        (dump_call(METHOD, [42]), 100),
        (dump_call(METHOD, [{}, 42]), 100),
    ],
)
def test_a_call_that_is_none_is_a_fault_as_the_vendors_library_says_it(
    farm: Client, body: bytes, code: int
) -> None:
    status, _, answer = farm.send("POST", f"/{METHOD}", body)
    with pytest.raises(Fault) as caught:
        load_answer(answer)
    assert (status, caught.value.code) == (200, code)
    assert caught.value.text.partition(": ")[0].endswith("Exception")


@pytest.mark.parametrize("arguments", [(), ("42",), (True,), (42, 43), (42.0,)])
def test_arguments_of_other_types_find_no_method(farm: Client, arguments: tuple[Value]) -> None:
    assert farm.fault(*arguments).code == -1


# What it does wrong


@pytest.mark.parametrize("code", [100, 101, 103, 104, 300, 301, 400, 999])
@pytest.mark.parametrize("rest", [0, 123, 999])
def test_a_magic_id_is_its_fault(farm: Client, code: int, rest: int) -> None:
    assert farm.fault(code * 1000 + rest).code == code
    assert farm.books()["records"][-1]["did"] == "fault"


def test_magic_ids_are_http_errors(farm: Client) -> None:
    assert farm.ask(501_123)[0] == 500
    status, headers, _ = farm.ask(503_123)
    assert (status, headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize("session_id", [703_123, 707_123, 708_123])
def test_magic_ids_are_unreadable_answers(farm: Client, session_id: int) -> None:
    status, headers, body = farm.ask(session_id)
    assert status == 200
    assert headers["content-length"] == str(len(body))
    with pytest.raises(UpstreamUnreadable):
        load_answer(body)


def test_a_magic_id_is_another_sessions_answer(farm: Client) -> None:
    assert farm.session(706_123)["id"] == 1


def test_a_magic_id_is_an_answer_too_large(farm: Client) -> None:
    body = farm.ask(705_123)[2]
    assert len(body) > 2**20
    value = load_answer(body, max_bytes=2**22)
    assert isinstance(value, dict)
    assert value["id"] == 705_123


def test_a_magic_id_is_a_reset(farm: Client) -> None:
    with farm.open_call(701_123) as connection, pytest.raises(ConnectionResetError):
        connection.recv(1)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_truncated_answer_breaks_off_in_the_middle(farm: Client, chunked: bool) -> None:
    farm.script({"do": "truncated", "chunked": chunked})
    with pytest.raises(http.client.IncompleteRead) as caught:
        farm.ask(42)
    assert 0 < len(caught.value.partial) < len(farm.ask(42)[2])


def test_a_magic_id_is_truncated_behind_its_declared_length(farm: Client) -> None:
    with pytest.raises(http.client.IncompleteRead) as caught:
        farm.ask(702_123)
    assert caught.value.expected


@pytest.mark.parametrize("session_id", [700_123, 704_123])
def test_what_never_ends_ends_when_the_client_hangs_up(farm: Client, session_id: int) -> None:
    with farm.open_call(session_id):
        farm.wait_for_calls(1)
    farm.wait_for_calls(0)


def test_a_reply_that_waits_ends_when_the_client_hangs_up(farm: Client) -> None:
    farm.script({"do": "late", "seconds": 600})
    with farm.open_call(42):
        farm.wait_for_calls(1)
    farm.wait_for_calls(0)


@pytest.mark.parametrize("session_id", [700_123, 704_123])
def test_what_never_ends_ends_when_the_farm_stops(
    session_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    with farm_with() as client, client.open_call(session_id) as connection:
        client.wait_for_calls(1)
        assert client.server
        client.server.config.timeout_graceful_shutdown = 10  # in vain, if it does not end by itself
        client.server.should_exit = True
        with suppress(ConnectionResetError):
            while connection.recv(4096):
                pass
    assert not caplog.records, "uvicorn had to cancel the call"


def test_a_drip_brings_the_whole_answer(farm: Client) -> None:
    farm.script({"do": "drip", "seconds": 0.0001})
    assert farm.session(1001) == farm.session(1001)


def test_a_late_answer_is_the_right_one(farm: Client) -> None:
    farm.script({"do": "late", "seconds": 0.001})
    assert farm.session(42)["id"] == 42
    assert farm.books()["records"][-1]["did"] == "late"


def test_a_magic_id_is_two_seconds_late() -> None:
    assert MAGIC[709] == Late(seconds=2)
    assert MAGIC[709].reply({}).wait == 2


def test_an_answer_can_be_followed_by_one_that_nobody_asked_for(farm: Client) -> None:
    farm.script({"do": "twice", "id": 7})
    with farm.open_call(42) as connection:
        received = b""
        while received.count(b"</methodResponse>") < 2:
            received += connection.recv(65536)
    first, second = received.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert b"<i4>42</i4>" in first
    assert b"<i4>7</i4>" in second


def test_an_oversized_answer_may_hide_its_length(farm: Client) -> None:
    farm.script({"do": "oversize", "bytes": 5000, "chunked": True})
    _, headers, body = farm.ask(42)
    assert headers["content-length"] is None
    assert len(body) > 5000


@pytest.mark.parametrize(
    ("step", "status", "kind", "body"),
    [
        ({"do": "raw", "body": "ö"}, 200, "text/xml", "ö".encode()),
        ({"do": "raw", "body": "ö", "charset": "latin-1"}, 200, "text/xml", b"\xf6"),
        ({"do": "raw", "body": "ö", "charset": "utf-16"}, 200, "text/xml", "ö".encode("utf-16")),
        ({"do": "raw", "status": 204, "content_type": "text/plain"}, 204, "text/plain", b""),
    ],
)
def test_a_raw_body_is_sent_as_it_is(
    farm: Client, step: dict[str, object], status: int, kind: str, body: bytes
) -> None:
    farm.script(step)
    answer, headers, received = farm.ask(42)
    assert (answer, headers["content-type"], received) == (status, kind, body)


def test_a_scripted_status_carries_its_headers(farm: Client) -> None:
    farm.script({"do": "status", "status": 301, "headers": {"Location": "/elsewhere"}})
    status, headers, _ = farm.ask(42)
    assert (status, headers["location"]) == (301, "/elsewhere")


def test_a_scripted_fault_may_have_words_of_its_own(farm: Client) -> None:
    farm.script({"do": "fault", "code": -1, "text": "java.lang.NullPointerException: null"})
    fault = farm.fault(42)
    assert (fault.code, fault.text) == (-1, "java.lang.NullPointerException: null")


def test_the_script_is_used_up_one_step_a_call(farm: Client) -> None:
    farm.script({"do": "fault", "code": 300}, {"do": "answer"}, {"do": "wrong_id", "id": 9})
    assert farm.fault(42).code == 300
    assert farm.session(42)["id"] == 42
    assert farm.session(42)["id"] == 9
    assert farm.session(42)["id"] == 42


def test_the_script_comes_before_magic_ids(farm: Client) -> None:
    farm.script({"do": "answer"})
    assert farm.session(301_123)["id"] == 301_123
    assert farm.fault(301_123).code == 301


def test_a_script_takes_the_place_of_the_one_before(farm: Client) -> None:
    farm.script({"do": "hang"}, {"do": "hang"})
    farm.script({"do": "fault", "code": 301})
    assert farm.fault(42).code == 301
    assert farm.session(42)["id"] == 42


def test_a_cleared_script_is_over(farm: Client) -> None:
    farm.script({"do": "hang"}, {"do": "hang"})
    assert farm.send("DELETE", "/__script")[0] == 204
    assert farm.session(42)["id"] == 42


def test_a_wrong_id_cannot_hide_a_fault(farm: Client) -> None:
    farm.script({"do": "wrong_id"})
    assert farm.fault(43).code == 300


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[{", 400),
        (b"{}", 422),
        (b"[1]", 422),
        (b"[{}]", 422),
        (b'[{"do": "explode"}]', 422),
        (b'[{"do": "fault"}]', 422),
        (b'[{"do": "fault", "code": 2147483648}]', 422),
        (b'[{"do": "late", "seconds": -1}]', 422),
        (b'[{"do": "late", "seconds": 1e999}]', 422),
        (b'[{"do": "hang", "secret": "s3cret"}]', 422),
        (b'[{"do": "status", "status": 99}]', 422),
        (b'[{"do": "status", "status": 500, "headers": {"a b": "c"}}]', 422),
        ('[{"do": "raw", "body": "€", "charset": "latin-1"}]'.encode(), 422),
    ],
)
def test_a_script_that_is_none_is_refused_and_changes_nothing(
    farm: Client, body: bytes, status: int
) -> None:
    farm.script({"do": "fault", "code": 301})
    answer, _, told = farm.send("PUT", "/__script", body)
    assert answer == status
    assert json.loads(told)["errors"][0]["msg"]
    assert b"s3cret" not in told
    assert farm.fault(42).code == 301


def test_a_kind_of_step_for_every_magic_id_can_be_scripted() -> None:
    steps = [step.model_dump() for step in MAGIC.values()]
    assert SCRIPT.validate_python(steps) == list(MAGIC.values())


def test_every_session_can_be_encoded() -> None:
    for number in LIVES:
        assert load_answer(honest(get_session(number, started=0, now=0)).body)


# What it tells


def test_the_books_tell_what_was_asked_without_secrets(farm: Client) -> None:
    farm.sent.clear()
    farm.session(42)
    farm.fault(43)
    books = farm.books()
    kept = [
        (record["path"], record["method"], record["arguments"], record["reading"], record["fault"])
        for record in books["records"]
    ]
    assert kept == [(METHOD, METHOD, [42], "A", None), (METHOD, METHOD, [43], "A", 300)]
    assert books["total"] == 2
    assert books["records"][0]["parameters"] == {
        name: value
        for name, value in farm.sent[0].items()
        if name not in ("oauth_nonce", "oauth_signature")
    }
    told = json.dumps(books)
    for struct in farm.sent:
        assert struct["oauth_nonce"] not in told
        assert struct["oauth_signature"] not in told
    assert DEMO_CONSUMER_SECRET not in told


def test_a_refused_call_is_in_the_books_without_a_reading(farm: Client) -> None:
    farm.fault(42, signer=Signer(DEMO_CONSUMER_KEY, "wrong"))
    record = farm.books()["records"][0]
    assert (record["reading"], record["fault"], record["arguments"]) == ("", 104, [42])


def test_the_books_count_calls_under_way(farm: Client) -> None:
    with farm.open_call(700_001), farm.open_call(700_002), farm.open_call(700_003):
        farm.wait_for_calls(3)
    farm.wait_for_calls(0)
    assert farm.books()["most_at_once"] == 3


def test_the_books_can_be_emptied(farm: Client) -> None:
    farm.session(42)
    assert farm.send("DELETE", "/__records")[0] == 204
    books = farm.books()
    assert (books["total"], books["records"], books["most_at_once"]) == (0, [], 0)


def test_a_call_under_way_counts_as_one_when_the_books_are_emptied(farm: Client) -> None:
    with farm.open_call(700_001):
        farm.wait_for_calls(1)
        farm.send("DELETE", "/__records")
        assert farm.books()["most_at_once"] == 1


def test_the_books_keep_the_newest_calls_and_count_all() -> None:
    records = Records()
    for number in range(KEPT + 5):
        with records.flight(CallRecord(number, METHOD)):
            pass
    assert (records.total, len(records.newest), records.newest[0].at) == (KEPT + 5, KEPT, 5)


# Where it runs


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "farm.example"])
def test_it_does_not_listen_beyond_loopback_unasked(host: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        serve_farm(host, 1)


@pytest.mark.parametrize(
    ("host", "number"), [("127.0.0.1", signal.SIGTERM), ("localhost", signal.SIGINT)]
)
def test_it_serves_until_a_signal(host: str, number: signal.Signals) -> None:
    port = free_port()
    program = f"from app.sandbox.server import serve_farm; serve_farm({host!r}, {port})"
    process = subprocess.Popen([sys.executable, "-W", "error", "-c", program])
    try:
        client = Client(f"http://127.0.0.1:{port}")
        while process.poll() is None:
            with suppress(ConnectionRefusedError):
                assert client.session(42)["id"] == 42
                break
        with client.open_call(700_123):
            client.wait_for_calls(1)
            process.send_signal(number)
            assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


# What its page says


def test_the_page_shows_every_session_magic_id_and_step() -> None:
    page = (Path(__file__).parents[1] / "docs/sandbox.md").read_text()
    sessions = {int(number) for number in re.findall(r"^\| (\d{4}) \| `\w+`", page, re.MULTILINE)}
    magic = {
        int(family)
        for family, tried in re.findall(r"^\| (\d{3})nnn .*/sessions/(\d{3})\d{3}`", page, re.M)
        if family == tried
    }
    steps = set(re.findall(r"^\| `(\w+)` \| (?:`|\|)", page, re.MULTILINE))
    assert sessions | {42} == LIVES.keys()
    assert magic == MAGIC.keys()
    assert steps == {kind.model_fields["do"].default for kind in Step.__subclasses__()}


def test_the_page_tells_each_sessions_phase() -> None:
    page = (Path(__file__).parents[1] / "docs/sandbox.md").read_text()
    for number, told in re.findall(r"^\| (\d{4}) \| `(\w+)`", page, re.MULTILINE):
        session = get_session(int(number), started=0, now=0)
        assert isinstance(session, dict)
        assert phase(session) == told
