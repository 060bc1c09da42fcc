"""The upstream seen by a client of the gateway over real ports: what it takes, and takes time.

What each single fault costs is in test_hostile. Must not know how the gateway is built inside.
"""

import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from app.main import create_app
from app.sandbox.server import create_farm, farm_server
from tests.conftest import Farm, StartGateway, settings_for
from tests.hostile_farm import (
    BODY,
    CHUNKED,
    GOOD,
    LEAK,
    RawFarm,
    fault,
    http,
    member,
    raw_farm,
    reset,
    session,
)
from tests.programs import WITHIN
from tests.running import client_of, running, serving
from tests.test_http import problem_of


def body(text: str, **more: object) -> dict[str, object]:
    return {"do": "raw", "body": text, **more}


def status(number: int, **headers: str) -> dict[str, object]:
    return {"do": "status", "status": number, "headers": headers}


@pytest.fixture(scope="module")
def gateway(_farm: Farm) -> Iterator[httpx.Client]:
    """A gateway that keeps nothing, so that this file's tests can share it."""
    names = ("fresh_active", "fresh_queued", "fresh_waiting", "fresh_terminal", "keep_not_found")
    windows = ("keep_refused", "stale_while_revalidate", "stale_if_error")
    settings = settings_for(_farm.url, **dict.fromkeys(names + windows, 0))
    with (
        running(serving(create_app(settings))) as url,
        client_of(url) as client,
    ):
        yield client


# --- HTTP statuses ---------------------------------------------------------------------------


@pytest.mark.parametrize("number", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(
    start_gateway: StartGateway, farm: Farm, elsewhere: RawFarm, number: int
) -> None:
    farm.next(status(number, location=f"{elsewhere.url}/{LEAK}"))
    problem_of(start_gateway().get("/sessions/1001"), 502, "upstream_unreachable")
    assert elsewhere.connections == 0


@pytest.mark.parametrize("number", [429, 503])
@pytest.mark.parametrize(
    ("given", "least", "most"),
    [
        ("7", 5, 7),
        ("0", 1, 1),
        ("-5", 1, 300),
        ("99999999999999999999", 300, 300),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 1, 300),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 1, 300),
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", 1, 300),
        ("Fri, 31 Dec 2027 23:59:59 +99999999999999", 1, 300),
        (LEAK, 1, 300),
        ("1e3", 1, 300),
        ("nan", 1, 300),
        ("", 1, 300),
        (None, 1, 300),
    ],
)
def test_a_pause_is_passed_on_within_bounds(
    start_gateway: StartGateway,
    farm: Farm,
    number: int,
    given: str | None,
    least: int,
    most: int,
) -> None:
    gateway = start_gateway()
    farm.next(status(number) if given is None else status(number, **{"retry-after": given}))
    answer = gateway.get("/sessions/1001")
    problem = problem_of(answer, 503, "upstream_unavailable")
    assert problem["retryable"] is True
    assert least <= int(answer.headers["retry-after"]) <= most
    assert least * 1000 <= problem["retryAfterMs"] <= most * 1000
    assert LEAK not in answer.text
    assert farm.calls() == 1


def test_during_a_pause_nobody_asks(start_gateway: StartGateway, farm: Farm) -> None:
    gateway = start_gateway()
    assert gateway.get("/sessions/1008").status_code == 200
    farm.next(status(503, **{"retry-after": "60"}))
    problem_of(gateway.get("/sessions/1001"), 503, "upstream_unavailable")
    farm.forget()
    answer = gateway.get("/sessions/1002")
    problem_of(answer, 503, "upstream_unavailable")
    assert 50 <= int(answer.headers["retry-after"]) <= 60
    assert farm.calls() == 0
    assert gateway.get("/sessions/1008").status_code == 200, "a kept answer is served"


# --- Bodies ----------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [5000, 2**21])
def test_the_body_limit_is_a_setting_and_exact(
    start_gateway: StartGateway, farm: Farm, limit: int
) -> None:
    gateway = start_gateway(upstream_max_body=limit)
    fits = session().ljust(limit)
    farm.next(body(fits + " "), body(fits.replace("1001", "1002")))
    problem_of(gateway.get("/sessions/1001"), 502, "upstream_unreadable")
    assert gateway.get("/sessions/1002").status_code == 200


@pytest.mark.parametrize(("more", "status"), [(0, 200), (1, 502)])
def test_the_body_limit_is_as_exact_for_a_body_whose_length_is_not_told(
    start_gateway: StartGateway, more: int, status: int
) -> None:
    with raw_farm(http(session().ljust(5000 + more), declare=False)) as raw:
        gateway = start_gateway(upstream_url=raw.url, upstream_max_body=5000)
        assert gateway.get("/sessions/1001").status_code == status


def test_a_limit_above_the_usual_lets_a_larger_answer_through(
    start_gateway: StartGateway, farm: Farm
) -> None:
    large = session(member("notes", "n" * 600_000), member("title", "whole"))
    farm.next(body(large), body(large))
    problem_of(start_gateway().get("/sessions/1001"), 502, "upstream_unreadable")
    answer = start_gateway(upstream_max_body=2**21).get("/sessions/1001")
    assert (answer.status_code, answer.json()["title"]) == (200, "whole")


def test_a_wrong_id_is_not_kept_for_the_session_it_names(
    start_gateway: StartGateway, farm: Farm
) -> None:
    gateway = start_gateway()
    farm.next({"do": "wrong_id", "id": 1002})
    problem_of(gateway.get("/sessions/1001"), 502, "upstream_mismatch")
    only = gateway.get("/sessions/1002", headers={"cache-control": "only-if-cached"})
    problem_of(only, 504, "not_cached")


def test_an_answer_that_nobody_asked_for_reaches_nobody(gateway: httpx.Client, farm: Farm) -> None:
    farm.next({"do": "twice", "id": 1002})
    assert gateway.get("/sessions/1001").json()["id"] == 1001
    for number in (1002, 1003, 1004):
        answer = gateway.get(f"/sessions/{number}")
        assert answer.status_code in (200, 502)
        if answer.status_code == 200:
            assert (
                answer.json()["state"] == {1002: "submit", 1003: "accept", 1004: "active"}[number]
            )
    assert gateway.get("/sessions/1006").json()["id"] == 1006


# --- Answers that are odd, and good enough ------------------------------------------------------

FINE = {
    "labelled utf-16": session().replace("?>", ' encoding="utf-16"?>'),
    "labelled latin-1": session().replace("?>", ' encoding="iso-8859-1"?>'),
    "blank lines before": "\n\n " + session(),
    "comment before": "<!-- built by hand -->" + session()[21:],
    "comment behind": session() + "<!-- end -->\n",
    "processing instruction": session().replace("<params>", "<?php x?><params>"),
    "id as text": session().replace("<i4>1001</i4>", "1001"),
    "id as string": session().replace("<i4>1001</i4>", "<string>1001</string>"),
    "id as i8": session().replace("i4>", "i8>"),
    "default namespace": session().replace("<methodResponse>", '<methodResponse xmlns="urn:x">'),
    "name behind": session().replace(
        "<name>id</name><value><i4>1001</i4></value>", "<value><i4>1001</i4></value><name>id</name>"
    ),
    "1,000 unknown members": session(*[member("a", "")] * 1_000),
    "1,000 thumbnails": session(
        member(
            "thumbnails",
            "<struct>" + "".join(member(str(n), "http://t.example/1.png") for n in range(1000))
            + "</struct>",
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", FINE.values(), ids=FINE)
def test_an_odd_answer_that_is_whole_is_served(
    gateway: httpx.Client, farm: Farm, text: str
) -> None:
    farm.next(body(text))
    answer = gateway.get("/sessions/1001")
    assert (answer.status_code, answer.json()["id"]) == (200, 1001)


@pytest.mark.parametrize("charset", ["utf-16", "utf-8"])
@pytest.mark.parametrize("content_type", ["text/xml", "text/html", "application/json", ""])
def test_the_body_decides_its_encoding_not_the_labels(
    gateway: httpx.Client, farm: Farm, charset: str, content_type: str
) -> None:
    text = session(member("title", "Ünïcødé ☃ 🐘"))
    farm.next(body(text, charset=charset, content_type=content_type))
    assert gateway.get("/sessions/1001").json()["title"] == "Ünïcødé ☃ 🐘"


@pytest.mark.parametrize(
    ("content_type", "label", "charset", "told"),
    [
        ("text/xml; charset=utf-8", "iso-8859-1", "utf-8", 1),
        ("text/xml; charset=ISO-8859-1", "", "latin-1", 0),
        ('Text/XML;x=y; Charset="iso-8859-1" ', "utf-8", "latin-1", 1),
        ("text/xml", "iso-8859-1", "latin-1", 0),
        ("text/xml", "us-ascii", "utf-8", 1),
        ("text/xml", "utf-16", "utf-8", 0),
    ],
)
def test_utf_8_is_read_as_such_and_other_bytes_as_content_type_or_the_declaration_says(
    gateway: httpx.Client, farm: Farm, content_type: str, label: str, charset: str, told: int
) -> None:
    before = drift(gateway)
    text = session(member("title", "Café"))
    text = text.replace("?>", f' encoding="{label}"?>') if label else text
    farm.next(body(text, charset=charset, content_type=content_type))
    assert gateway.get("/sessions/1001").json()["title"] == "Café"
    assert drift(gateway) - before == told


def test_an_emoji_of_two_surrogate_references_is_read_and_counted(
    gateway: httpx.Client, farm: Farm
) -> None:
    before = drift(gateway)
    farm.next(body(session(member("title", "&#55357;&#56832;"))))
    assert gateway.get("/sessions/1001").json()["title"] == "😀"
    assert drift(gateway) - before == 1


def test_what_nobody_reads_costs_nothing_even_if_it_cannot_be_read(
    gateway: httpx.Client, farm: Farm
) -> None:
    inner = f"<struct>{member('url', '')}{member('more', '<double>NaN</double>')}</struct>"
    farm.next(body(session(member("more", "<int></int>"), member("inputLicence", inner))))
    answer = gateway.get("/sessions/1001")
    assert (answer.status_code, answer.json()["inputLicense"]["url"]) == (200, None)


HUGE = f"<i8>{2**63 - 1}</i8>"
SLOPPY: dict[str, tuple[str, str, object]] = {
    "texts of the wrong type": (member("title", "<i4>5</i4>"), "title", None),
    "number of 5,000 digits": (member("userid", "9" * 5000), "userId", None),
    "number in other digits": (member("startFrame", "\u0664\u0662"), "startFrame", None),
    "superscript number": (member("startFrame", "\u00b2"), "startFrame", None),
    "number as a struct": (member("partsTotal", "<struct/>"), "partsTotal", None),
    "boolean as a number": (member("endFrame", "<boolean>1</boolean>"), "endFrame", None),
    "rate as a word": (member("frameRate", "fast"), "frameRate", None),
    "rate as nan text": (member("frameRate", "NaN"), "frameRate", None),
    "rate as inf text": (member("frameRate", "1e999"), "frameRate", None),
    "rate of 5,000 digits": (member("frameRate", "9" * 5000), "frameRate", None),
    "script as address": (member("streamURL", "javascript:alert(1)"), "streamURL", None),
    "broken address": (member("streamURL", "http://["), "streamURL", None),
    "thumbnails as a number": (member("thumbnails", "<i4>5</i4>"), "thumbnails", []),
    "thumbnails as text": (member("thumbnails", "x"), "thumbnails", []),
    "attachments as text": (member("attachments", "x"), "attachments", []),
    "licence as text": (member("inputLicence", "CC"), "inputLicense", None),
    "state as a number": (member("state", "<i4>1</i4>"), "state", "unknown"),
    "state unheard of": (member("state", "exploded"), "state", "unknown"),
    "rate no number": (member("frameRate", "<double>NaN</double>"), "frameRate", None),
    "rate with a comma": (member("frameRate", "<double>1,5</double>"), "frameRate", None),
    "an empty integer": (member("startFrame", "<int></int>"), "startFrame", None),
    "a fraction for an integer": (member("startFrame", "<i4>12.0</i4>"), "startFrame", None),
    "a date of zeros": (
        member("title", "<dateTime.iso8601>00000000T00:00:00</dateTime.iso8601>"),
        "title",
        None,
    ),
    "an unknown type": (member("partsTotal", "<decimal>1</decimal>"), "partsTotal", None),
    "an address of an unknown type": (
        member("streamURL", "<uri>http://a</uri>"),
        "streamURL",
        None,
    ),
    "a licence of an unknown type": (member("inputLicence", "<x/>"), "inputLicense", None),
    "thumbnails of an unknown type": (member("thumbnails", "<x/>"), "thumbnails", []),
    "one thumbnail of an unknown type": (
        member("thumbnails", "<array><data><value><x/></value></data></array>"),
        "thumbnails",
        [],
    ),
    "a state of an unknown type": (member("state", "<x>active</x>"), "state", "unknown"),
    "binary title": (member("title", "<base64>AAAA</base64>"), "title", None),
}


@pytest.mark.parametrize(("xml", "field", "value"), SLOPPY.values(), ids=SLOPPY)
def test_one_sloppy_field_never_costs_the_session(
    gateway: httpx.Client, farm: Farm, xml: str, field: str, value: object
) -> None:
    before = drift(gateway)
    farm.next(body(session(xml, member("xResolution", "<i4>1920</i4>"))))
    answer = gateway.get("/sessions/1001")
    assert answer.status_code == 200, answer.text
    assert answer.json()[field] == value
    assert answer.json()["xResolution"] == 1920
    assert drift(gateway) > before, "it is counted"


def drift(gateway: httpx.Client) -> float:
    """How many fields were not as documented, since the gateway's start."""
    lines = gateway.get("/metrics").text.splitlines()
    return sum(
        float(line.split()[-1]) for line in lines if line.startswith("rfgw_upstream_drift_total")
    )


@pytest.mark.parametrize(
    "xml",
    [
        member("timestamps", f"<struct>{member('submit', HUGE)}</struct>"),
        member("timestamps", f"<struct>{member('submit', '<i8>-99999999999999</i8>')}</struct>"),
        member("timestamps", f"<struct>{member('submit', '9' * 5000)}</struct>"),
        member("timestamps", "<array><data/></array>"),
        member("timestamps", "<i4>0</i4>"),
        member("startFrame", f"<i8>{-(2**63)}</i8>") + member("endFrame", HUGE),
        member("partsTotal", "<i4>0</i4>") + member("partsRendered", "<i4>0</i4>"),
        member("partsTotal", "<i4>-1</i4>") + member("partsRendered", "<i4>-7</i4>"),
        member("partsTotal", "<i4>1</i4>") + member("partsRendered", HUGE),
        member("startFrame", "<i4>5</i4>") + member("endFrame", "<i4>1</i4>"),
        member("frameRate", "<double>1.7976931348623157e308</double>"),
        member("frameRate", "<double>-0.0</double>"),
        member("frameRate", "<double>5e-324</double>"),
        member("cpuTimeRendered", HUGE),
        member("thumbnails", f"<struct>{member('1' * 5000, 'http://t.example/')}</struct>"),
        member("thumbnails", f"<struct>{member('', 'http://t.example/')}</struct>"),
        member(
            "thumbnails",
            "<struct>"
            + "".join(member(n, "http://t.example/") for n in ("10", "9", "x", "\u00b2", "-1"))
            + "</struct>",
        ),
        member("blendFiles", "<array><data><value><nil/></value></data></array>"),
        member("attachments", f"<struct>{member('1', '<struct/>')}{member('2', '')}</struct>"),
        member("__proto__", "<struct/>") + member("constructor", LEAK),
        member("__class__", LEAK) + member("model_config", LEAK) + member("progress", LEAK),
        member("requestId", LEAK) + member("upstreamState", LEAK) + member("ID", LEAK),
        member("", LEAK) + member("{x}", LEAK) + member('a"b', LEAK) + member("a\nb", LEAK),
        member("title", "\u2028\u2029\ufeff\u202e\U0010ffff"),
        member("state", "\u0130" * 1000),
    ],
    ids=range(25),
)  # fmt: skip
def test_extreme_values_are_served_as_plain_json(
    gateway: httpx.Client, farm: Farm, xml: str
) -> None:
    farm.next(body(session(xml)))
    answer = gateway.get("/sessions/1001")
    assert answer.status_code == 200, answer.text
    assert answer.json()["id"] == 1001
    assert not {"NaN", "Infinity"} & set(answer.text.replace(",", " ").replace(":", " ").split())
    assert LEAK not in answer.text
    percent = answer.json()["progress"]["percent"]
    assert percent is None or 0 <= percent <= 100
    metrics = gateway.get("/metrics")
    assert metrics.status_code == 200
    assert LEAK not in metrics.text
    assert "__proto__" not in metrics.text


@pytest.mark.parametrize("text", ["300", "<i8>300</i8>", "<string> 300 </string>", "<i1>300</i1>"])
def test_a_fault_code_of_any_integer_form_counts(
    gateway: httpx.Client, farm: Farm, text: str
) -> None:
    farm.next(body(fault(member("faultCode", text), member("extra", LEAK))))
    problem = problem_of(gateway.get("/sessions/1001"), 404, "session_not_found")
    assert problem["upstream"]["faultCode"] == 300
    assert LEAK not in str(problem)


# --- Time ------------------------------------------------------------------------------------


class Held:
    """A farm that answers at once, but for one session's ``number`` not before ``release``."""

    number = 1009

    def __init__(self, farm: RawFarm) -> None:
        self._farm, self._released = farm, threading.Event()
        self.url, self.release = farm.url, self._released.set
        farm.scripts[self.number] = [self._answer]

    @property
    def asked(self) -> int:
        """How many calls came in."""
        return len(self._farm.requests)

    def _answer(self, connection: socket.socket) -> None:
        self._released.wait(WITHIN)
        connection.sendall(http(session(number=self.number)))


@pytest.fixture
def held() -> Iterator[Held]:
    with raw_farm(http(session(member("state", "completed")))) as farm:
        held = Held(farm)
        yield held
        held.release()


def test_an_answer_late_but_in_time_is_an_answer(start_gateway: StartGateway, farm: Farm) -> None:
    gateway = start_gateway(upstream_deadline=5)
    farm.next({"do": "late", "seconds": 0.3})
    assert gateway.get("/sessions/1001").status_code == 200


def test_a_hanging_session_keeps_nobody_else_waiting(
    start_gateway: StartGateway, held: Held
) -> None:
    gateway = start_gateway(upstream_url=held.url, upstream_deadline=WITHIN, upstream_concurrency=2)
    assert gateway.get("/sessions/1008").status_code == 200
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(gateway.get, f"/sessions/{held.number}", timeout=WITHIN)
        wait_for(lambda: held.asked == 2)
        assert gateway.get("/sessions/1008").headers["cache-status"].startswith("rfgw; hit")
        assert gateway.get("/sessions/1001").status_code == 200
        assert not hanging.done()
        held.release()
        assert hanging.result().status_code == 200


def test_beyond_the_bulkhead_clients_are_told_to_come_back(
    start_gateway: StartGateway, held: Held
) -> None:
    gateway = start_gateway(
        upstream_url=held.url, upstream_deadline=WITHIN, upstream_concurrency=1, upstream_queue=0
    )
    assert gateway.get("/sessions/1008").status_code == 200
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(gateway.get, f"/sessions/{held.number}", timeout=WITHIN)
        wait_for(lambda: held.asked == 2)
        answer = gateway.get("/sessions/1001")
        assert problem_of(answer, 503, "overloaded")["retryable"] is True
        assert int(answer.headers["retry-after"]) >= 1
        assert gateway.get("/sessions/1008").status_code == 200
        held.release()
        assert hanging.result().status_code == 200
    assert gateway.get("/sessions/1001").status_code == 200, "the place is free again"


def test_who_waits_in_the_queue_too_long_is_told_to_come_back(
    start_gateway: StartGateway, held: Held
) -> None:
    gateway = start_gateway(
        upstream_url=held.url, upstream_deadline=WITHIN, upstream_concurrency=1, upstream_queue=5
    )
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(gateway.get, f"/sessions/{held.number}", timeout=WITHIN)
        wait_for(lambda: held.asked == 1)
        problem_of(gateway.get("/sessions/1001"), 503, "overloaded")
        assert not hanging.done()
        held.release()


def test_timeouts_never_wear_out_the_connections(start_gateway: StartGateway, farm: Farm) -> None:
    gateway = start_gateway(upstream_deadline=0.8, upstream_concurrency=2)
    for wave in range(4):
        steps = [f"/sessions/70{wave % 2 * 4}{n:03}" for n in range(2)]
        with ThreadPoolExecutor(2) as pool:
            assert [answer.status_code for answer in pool.map(gateway.get, steps)] == [504, 504]
        # One that is not in time either proves nothing; worn-out connections would never be.
        wait_for(lambda: gateway.get("/sessions/1001").status_code == 200)


def test_a_client_that_hangs_up_fails_nobody(start_gateway: StartGateway, farm: Farm) -> None:
    gateway = start_gateway()
    farm.next({"do": "late", "seconds": 0.3})
    address = (gateway.base_url.host, gateway.base_url.port or 80)
    with socket.create_connection(address, timeout=5) as first:
        first.sendall(b"GET /sessions/1001 HTTP/1.1\r\nHost: gw\r\n\r\n")
        wait_for(lambda: farm.calls() == 1)
        first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert gateway.get("/sessions/1001").json()["id"] == 1001
    assert farm.calls() == 1


def counted(gateway: httpx.Client, name: str) -> dict[str, float]:
    """The series of one metric that have counted something, by the value of their label."""
    found = {}
    for line in gateway.get("/metrics").text.splitlines():
        series, _, value = line.rpartition(" ")
        if series.partition("{")[0] == name and float(value):
            found[series.partition('="')[2].partition('"')[0]] = float(value)
    return found


# --- Breaker, retries and pauses ---------------------------------------------------------------


def test_five_failures_in_a_row_and_the_farm_is_left_alone(
    start_gateway: StartGateway, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.upstream.circuit_breaker.HOLD", 25.0)
    gateway = start_gateway()
    assert gateway.get("/sessions/1008").status_code == 200
    assert counted(gateway, "rfgw_upstream_breaker") == {"closed": 1}
    steps: list[dict[str, object]] = [{"do": "html"}] * 5
    farm.next(*steps)
    began = time.monotonic()
    for number in (1001, 1002, 1003, 1005, 1006):
        problem_of(gateway.get(f"/sessions/{number}"), 502, "upstream_unreadable")
    farm.forget()
    answer = gateway.get("/sessions/1004")
    problem_of(answer, 503, "upstream_unavailable")
    assert int(answer.headers["retry-after"]) + (time.monotonic() - began) >= 20
    assert int(answer.headers["retry-after"]) <= 30
    assert answer.headers["cache-status"] == "rfgw"
    assert gateway.get("/sessions/1008").status_code == 200, "a kept answer is served"
    assert counted(gateway, "rfgw_upstream_breaker") == {"open": 1}
    assert counted(gateway, "rfgw_upstream_not_asked_total") == {"breaker_open": 1}
    assert farm.calls() == 0


@pytest.mark.parametrize("code", [100, 101, 103, 300, 301, 400])
def test_a_refusal_is_an_answer_and_opens_nothing(
    start_gateway: StartGateway, farm: Farm, code: int
) -> None:
    gateway = start_gateway()
    for number in range(8):
        gateway.get(f"/sessions/{code * 1000 + number}")
    assert farm.calls() == 8
    assert gateway.get("/sessions/1001").status_code == 200


@pytest.mark.parametrize("kind", [999, 501, 702, 703, 705, 706, 707, 708])
@pytest.mark.parametrize(("sessions", "asked"), [(1, 1), (2, 2), (4, 4), (12, 5)])
def test_what_comes_instead_of_an_answer_counts_only_if_several_sessions_have_it(
    start_gateway: StartGateway,
    farm: Farm,
    monkeypatch: pytest.MonkeyPatch,
    kind: int,
    sessions: int,
    asked: int,
) -> None:
    monkeypatch.setattr("app.core.freshness.FIRST_WAIT", WITHIN)
    monkeypatch.setattr("app.upstream.circuit_breaker.HOLD", WITHIN)
    gateway = start_gateway()
    for number in range(12):
        gateway.get(f"/sessions/{1000 * kind + number % sessions}")
    assert farm.calls() == asked
    assert gateway.get("/sessions/1001").status_code == (200 if asked == sessions else 503)


def test_after_three_refused_signatures_the_farm_is_left_alone(
    start_gateway: StartGateway, farm: Farm
) -> None:
    gateway, began = start_gateway(), time.monotonic()
    for number in range(3):
        answer = gateway.get(f"/sessions/{104000 + number}")
        problem_of(answer, 502, "upstream_refused_credentials")
    answer = gateway.get("/sessions/1001")
    problem_of(answer, 503, "upstream_unavailable")
    assert int(answer.headers["retry-after"]) + (time.monotonic() - began) >= 28
    assert int(answer.headers["retry-after"]) <= 30
    assert counted(gateway, "rfgw_upstream_not_asked_total") == {"signature_refused": 1}
    assert farm.calls() == 3, "the clocks agree: there was nothing to heal"


@pytest.mark.parametrize("ahead", [3600, -86_400])
def test_a_clock_that_is_wrong_is_healed_by_the_farms(
    start_gateway: StartGateway, ahead: int
) -> None:
    app = create_farm(clock=lambda: time.time() + ahead)
    with running(farm_server(app)) as url:
        farm = Farm(url, app)
        gateway = start_gateway(upstream_url=url)
        for number, calls in ((1001, 2), (1002, 3), (1003, 4)):
            assert gateway.get(f"/sessions/{number}").status_code == 200
            assert farm.calls() == calls, "asked twice once, then signed with the right time"
        farm.http.close()
    assert counted(gateway, "rfgw_upstream_retries_total") == {"": 1}


def test_when_everything_fails_hardly_anything_is_tried_again(
    start_gateway: StartGateway, farm: Farm
) -> None:
    gateway, began = start_gateway(), time.monotonic()
    farm.next(*[status(502)] * 100)
    for number in range(4):
        problem_of(gateway.get(f"/sessions/{1001 + number}"), 502, "upstream_unreachable")
    assert 5 <= farm.calls() <= 5 + (time.monotonic() - began), "one retry a second is free"


def test_without_time_left_nothing_is_tried_again(
    start_gateway: StartGateway, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.upstream.retry.RETRY_NEEDS", 5.0)
    gateway = start_gateway(upstream_deadline=5)
    farm.next(status(502))
    problem_of(gateway.get("/sessions/1001"), 502, "upstream_unreachable")
    assert farm.calls() == 1


def test_calls_beyond_the_bulkhead_are_counted_and_no_attempts(
    start_gateway: StartGateway, held: Held
) -> None:
    gateway = start_gateway(
        upstream_url=held.url, upstream_deadline=WITHIN, upstream_concurrency=1, upstream_queue=0
    )
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(gateway.get, f"/sessions/{held.number}", timeout=WITHIN)
        wait_for(lambda: held.asked == 1)
        problem_of(gateway.get("/sessions/1001"), 503, "overloaded")
        held.release()
        hanging.result()
    assert counted(gateway, "rfgw_upstream_not_asked_total") == {"queue_full": 1}
    assert counted(gateway, "rfgw_upstream_attempts_total") == {"ok": 1}


def test_nonces_never_repeat_in_a_hundred_thousand_calls_of_four_processes() -> None:
    program = (
        "from app.upstream.oauth import new_nonce\n"
        "print(*(new_nonce() for _ in range(25_000)), sep='\\n')"
    )
    command = [sys.executable, "-c", program]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    nonces = [nonce for process in processes for nonce in process.communicate()[0].split()]
    assert [process.returncode for process in processes] == [0] * 4
    assert len(set(nonces)) == len(nonces) == 100_000


def wait_for(condition: Callable[[], bool]) -> None:
    """Returns as soon as ``condition`` holds; fails after half a minute."""
    patience = threading.Event()
    for _ in range(1500):
        if condition():
            return
        patience.wait(0.02)
    raise AssertionError("it never came about")


# --- The transport ---------------------------------------------------------------------------


@pytest.fixture
def elsewhere() -> Iterator[RawFarm]:
    """A place that nobody may ever call."""
    with raw_farm(b"") as farm:
        yield farm


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        http(session(), declare=False),
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 200 " + LEAK.encode() + b"\r\nConnection: close\r\n\r\n" + BODY,
        "HTTP/1.1 200 Käytettävissä\r\n\r\n".encode() + BODY,
        http(session(), "Server: Käytössä", "X-Powered-By: \u2603"),
        http(session(), "Set-Cookie: a=\u2603; Path=/"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD,
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + GOOD,
        CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
        http(session(), "Content-Encoding: identity"),
        http(session(), "X-Long: " + "y" * 4000),
    ],
    ids=range(12),
)
def test_every_proper_way_to_send_an_answer_is_understood(
    start_gateway: StartGateway, answer: bytes
) -> None:
    with raw_farm(answer) as farm:
        reply = start_gateway(upstream_url=farm.url).get("/sessions/1001")
    assert (reply.status_code, reply.json()["id"]) == (200, 1001)
    assert LEAK not in reply.text + str(reply.headers)


def test_a_reason_phrase_in_any_bytes_never_crashes(start_gateway: StartGateway) -> None:
    with raw_farm(b"HTTP/1.1 200 K\xe4yt\xf6ss\xe4\r\n\r\n" + BODY) as farm:
        answer = start_gateway(upstream_url=farm.url).get("/sessions/1001")
    assert answer.status_code in (200, 502)


def test_a_connection_that_went_stale_is_noticed_and_the_call_made_anew(
    start_gateway: StartGateway,
) -> None:
    good = http(session(), close=False)

    def hang_up(connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_RDWR)

    with raw_farm(good, hang_up, http(session(number=1002)), keep_alive=True) as farm:
        gateway = start_gateway(upstream_url=farm.url)
        assert gateway.get("/sessions/1001").status_code == 200
        assert gateway.get("/sessions/1002").status_code == 200
        assert len(farm.requests) == 3


MINE = http(session(member("title", "mine"), number=1002), close=False)
STRANGERS = {
    "session": http(session(number=1003), close=False),
    "session of the same number": http(session(member("title", "old"), number=1002), close=False),
    "fault": http(fault(member("faultCode", "<i4>300</i4>")), close=False),
    "interim answer": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "bytes": bytes(range(256)),
}


@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("notes", [10, 400_000], ids=["small", "large"])
def test_what_comes_with_an_answer_never_answers_the_next_call(
    start_gateway: StartGateway, notes: int, stranger: bytes
) -> None:
    # The head of a large answer has been read before its end comes, and what is behind.
    answer = http(session(member("notes", "n" * notes)), close=False)
    with raw_farm(answer + stranger, MINE, keep_alive=True) as farm:
        gateway = start_gateway(upstream_url=farm.url)
        status = gateway.get("/sessions/1001").status_code
        assert status == 200 or (status, stranger) == (502, STRANGERS["bytes"])
        assert gateway.get("/sessions/1002").json()["title"] == "mine"
        assert farm.connections == len(farm.requests) == 2


@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("number", [1001, 1009], ids=["right", "wrong"])
def test_what_comes_after_an_answer_never_answers_the_next_call(
    start_gateway: StartGateway, number: int, stranger: bytes
) -> None:
    served, sent = threading.Event(), threading.Event()

    def answer_and_more(connection: socket.socket) -> None:
        connection.sendall(http(session(number=number), close=False))
        served.wait(WITHIN)
        connection.sendall(stranger)
        sent.set()

    with raw_farm(answer_and_more, MINE, keep_alive=True) as farm:
        gateway = start_gateway(upstream_url=farm.url)
        assert gateway.get("/sessions/1001").status_code == (200 if number == 1001 else 502)
        served.set()
        assert sent.wait(WITHIN)
        assert gateway.get("/sessions/1002").json()["title"] == "mine"
        assert farm.connections == len(farm.requests) == 2


def test_an_answer_that_comes_in_the_next_ones_place_is_refused_and_ends_there(
    start_gateway: StartGateway,
) -> None:
    late, owed = http(session(), close=False), http(session(number=1002), close=False)
    served, sent = threading.Event(), threading.Event()

    def answer_late(connection: socket.socket) -> None:
        connection.sendall(late)
        served.wait(WITHIN)
        connection.sendall(owed)
        sent.set()

    third = http(session(number=1003), close=False)
    with raw_farm(late, answer_late, third, keep_alive=True) as farm:
        gateway = start_gateway(upstream_url=farm.url)
        assert gateway.get("/sessions/1001").status_code == 200
        problem_of(gateway.get("/sessions/1002"), 502, "upstream_mismatch")
        served.set()
        assert sent.wait(WITHIN)
        assert gateway.get("/sessions/1003").json()["id"] == 1003


@pytest.mark.parametrize("rude", [b"", reset], ids=["closed", "reset"])
def test_a_connection_that_ends_before_an_answer_is_tried_once_more(
    start_gateway: StartGateway, rude: Any
) -> None:
    with raw_farm(rude, GOOD) as farm:
        assert start_gateway(upstream_url=farm.url).get("/sessions/1001").status_code == 200
        first, second = farm.requests
        nonce = b"oauth_nonce</name><value><string>"
        assert first.split(nonce)[1][:20] != second.split(nonce)[1][:20], "signed anew"


# --- What goes out ---------------------------------------------------------------------------


def test_the_call_carries_nothing_of_the_client(start_gateway: StartGateway) -> None:
    with raw_farm(GOOD) as farm:
        start_gateway(upstream_url=farm.url).get(
            "/sessions/1001?q=c4n4ry",
            headers={
                "cookie": "c4n4ry=1", "authorization": "Bearer c4n4ry", "x-request-id": "c4n4ry",
                "user-agent": "c4n4ry", "accept-language": "c4n4ry", "x-forwarded-for": "c4n4ry",
                "referer": "https://c4n4ry.example/", "traceparent": "c4n4ry", "origin": "c4n4ry",
            },
        )  # fmt: skip
        (request,) = farm.requests
    head = request.partition(b"\r\n\r\n")[0].lower()
    assert b"c4n4ry" not in request
    assert head.startswith(b"post /community.getsession http/1.1\r\n")
    assert b"\r\naccept-encoding: identity" in head
    assert b"\r\ncontent-type: text/xml" in head
    assert b"authorization" not in head
    assert b"cookie" not in head
    assert b"demo-secret" not in request


def test_cookies_are_not_kept(start_gateway: StartGateway) -> None:
    with raw_farm(http(session(), "Set-Cookie: sid=1; Path=/", close=False), GOOD) as farm:
        gateway = start_gateway(upstream_url=farm.url)
        first = gateway.get("/sessions/1001")
        assert "set-cookie" not in first.headers
        gateway.get("/sessions/1002")
        gateway.get("/sessions/1003")
        assert len(farm.requests) == 3
        assert not any(b"\r\ncookie:" in request.lower() for request in farm.requests)


def test_a_cookie_that_is_no_text_harms_no_later_call(start_gateway: StartGateway) -> None:
    poison = b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=\xff\xfe\r\n\r\n" + BODY
    with raw_farm(poison, GOOD) as farm:
        gateway = start_gateway(upstream_url=farm.url)
        assert gateway.get("/sessions/1001").status_code in (200, 502)
        farm.script = [http(session(number=1002))]
        assert gateway.get("/sessions/1002").status_code == 200
        assert len(farm.requests) == 2


def test_proxies_and_logins_of_the_environment_are_not_used(
    start_gateway: StartGateway,
    elsewhere: RawFarm,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    for name in (
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ):
        monkeypatch.setenv(name, elsewhere.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login c4n4ry password c4n4ry\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with raw_farm(GOOD) as farm:
        answer = start_gateway(upstream_url=farm.url).get("/sessions/1001")
        assert answer.status_code == 200
        assert b"authorization" not in farm.requests[0].lower()
    assert elsewhere.connections == 0


@pytest.mark.parametrize("path", ["/sessions/1001/events", "/sessions/events?ids=1001"])
def test_a_line_end_of_any_kind_in_a_text_ends_no_line_of_a_stream(
    gateway: httpx.Client, farm: Farm, path: str
) -> None:
    title = "one\u2028two\u2029three\x85four"
    farm.next(*[body(session(member("title", title)))] * 50)  # the stream asks again at once
    with gateway.stream("GET", path) as stream:
        text = ""
        for piece in stream.iter_text():
            text += piece
            if "\ndata: " in text and text.endswith("\n\n"):
                break
    (data,) = [line for line in text.splitlines() if line.startswith("data: ")]
    told = json.loads(data.removeprefix("data: "))
    assert told.get("session", told)["title"] == title
