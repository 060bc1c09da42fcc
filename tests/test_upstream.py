"""Everything the farm can do wrong, seen by a client of the gateway over real ports.

Whatever happens: a problem with the right code, never a 500, never the farm's words, never more
calls than allowed, and the next session is served. Must not know how the gateway is built inside.
"""

import gzip
import logging
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest

from app import logs
from app.main import create_app
from app.sandbox.server import create_farm, farm_server
from tests.conftest import Farm, StartGateway, settings_for
from tests.running import running, serving
from tests.test_http import problem_of

LEAK = "s3cr3t-inner-workings"
"""Stands wherever the farm may put text: no client may ever read it."""


def session(*members: str, number: object = 1001) -> str:
    """An answer's document by hand: ``members`` are XML of ``<member>`` elements."""
    return (
        '<?xml version="1.0"?><methodResponse><params><param><value><struct>'
        f"<member><name>id</name><value><i4>{number}</i4></value></member>{''.join(members)}"
        "</struct></value></param></params></methodResponse>"
    )


def member(name: str, value: str) -> str:
    return f"<member><name>{name}</name><value>{value}</value></member>"


def whole(value: str) -> str:
    return (
        f"<methodResponse><params><param><value>{value}</value></param></params></methodResponse>"
    )


def fault(*members: str) -> str:
    return (
        f"<methodResponse><fault><value><struct>{''.join(members)}</struct></value></fault>"
        "</methodResponse>"
    )


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
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        yield client


def refused(gateway: httpx.Client, farm: Farm, code: str, calls: int = 1) -> dict[str, Any]:
    """The problem for session 1001, and the promises that every misbehaviour leaves standing."""
    answer = gateway.get("/sessions/1001", headers={"origin": "https://site.example"}, timeout=8)
    problem = problem_of(answer, 504 if code == "upstream_timeout" else 502, code)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert LEAK not in answer.text + str(answer.headers)
    assert "127.0.0.1" not in answer.text
    assert problem["upstream"]["method"] == "community.getSession"
    assert 1 <= farm.calls() <= calls
    farm.forget()
    for number in (1008, 1009):
        assert gateway.get(f"/sessions/{number}").json()["id"] == number, "others are served"
    again = gateway.get("/sessions/1001")
    assert again.json()["id"] == 1001, "the failure is not kept"
    return problem


# --- HTTP statuses ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", [201, 202, 203, 204, 205, 206, 226, 300, 304, 400, 402, 404, 405, 407, 410, 413, 418,
    500, 501, 505, 511, 599],
)  # fmt: skip
def test_a_status_other_than_200_is_no_answer(
    gateway: httpx.Client, farm: Farm, number: int
) -> None:
    step = body(session(), status=number, headers={"x-inner": LEAK, "set-cookie": LEAK})
    farm.next(step)
    problem = refused(gateway, farm, "upstream_unreachable")
    assert problem["retryable"] is True


@pytest.mark.parametrize("number", [502, 504])
def test_a_gateway_error_is_asked_again_at_most_once(
    gateway: httpx.Client, farm: Farm, number: int
) -> None:
    farm.next(status(number), status(number), status(number))
    refused(gateway, farm, "upstream_unreachable", calls=2)


@pytest.mark.parametrize("number", [401, 403])
def test_a_refusal_of_our_keys_is_never_the_clients(
    gateway: httpx.Client, farm: Farm, number: int
) -> None:
    farm.next(status(number, **{"www-authenticate": f'Basic realm="{LEAK}"'}))
    problem = refused(gateway, farm, "upstream_refused_credentials")
    assert problem["retryable"] is False


@pytest.mark.parametrize("number", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(
    gateway: httpx.Client, farm: Farm, elsewhere: "RawFarm", number: int
) -> None:
    farm.next(status(number, location=f"{elsewhere.url}/{LEAK}"))
    refused(gateway, farm, "upstream_unreachable")
    assert elsewhere.requests == []


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

DEEP = "<array><data><value>" * 20_000 + "</value></data></array>" * 20_000
UNREADABLE = {
    "empty": "",
    "blank": " \r\n ",
    "html": f"<html><body>{LEAK}</body></html>",
    "text": LEAK,
    "json": '{"id": 1001}',
    "other xml": f"<session><id>1001</id><x>{LEAK}</x></session>",
    "a call": "<methodCall><methodName>x</methodName></methodCall>",
    "no params": "<methodResponse/>",
    "no param": "<methodResponse><params/></methodResponse>",
    "two params": whole("<i4>1</i4>").replace("</params>", "<param><value/></param></params>"),
    "params and fault": whole("x").replace("</methodResponse>", fault()[16:]),
    "doctype": "<!DOCTYPE methodResponse>" + session(),
    "doctype with subset": f'<!DOCTYPE m [<!ENTITY e "{LEAK}">]>' + whole("&e;"),
    "external entity": '<!DOCTYPE m [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + whole("&e;"),
    "unknown entity": whole("&nbsp;"),
    "junk behind": session() + LEAK,
    "two documents": session() + session(),
    "cut": session()[:-20],
    "control character": session(member("title", "a\x01b")),
    "character reference 0": session(member("title", "&#0;")),
    "surrogate reference": session(member("title", "&#xD800;")),
    "reference beyond unicode": session(member("title", "&#x110000;")),
    "deep": whole(DEEP),
    "nan": session(member("frameRate", "<double>NaN</double>")),
    "infinity": session(member("frameRate", "<double>-inf</double>")),
    "overflow": session(member("frameRate", "<double>1e999</double>")),
    "int of 5,000 digits": session(member("userid", f"<int>{'9' * 5000}</int>")),
    "int beyond 64 bits": session(member("userid", f"<i8>{2**63}</i8>")),
    "int in other digits": session(member("userid", "<int>\u0664\u0662</int>")),
    "int with underscore": session(member("userid", "<int>4_2</int>")),
    "boolean yes": session(member("x", "<boolean>yes</boolean>")),
    "bad base64": session(member("x", "<base64>a</base64>")),
    "bad date": session(member("x", "<dateTime.iso8601>00000000T00:00:00</dateTime.iso8601>")),
    "unknown type": session(member("x", "<bigint>1</bigint>")),
    "type in capitals": session(member("x", "<INT>1</INT>")),
    "fault code missing": fault(member("faultString", LEAK)),
    "fault code a double": fault(member("faultCode", "<double>300</double>")),
    "fault code a boolean": fault(member("faultCode", "<boolean>1</boolean>")),
    "fault code of 5,000 digits": fault(member("faultCode", "3" * 5000)),
    "fault no struct": fault().replace("<struct></struct>", LEAK),
    "an id alone": whole("<i4>1001</i4>"),
    "a text alone": whole("1001"),
    "nil alone": whole("<nil/>"),
    "a boolean alone": whole("<boolean>1</boolean>"),
    "an array": whole("<array><data><value><struct/></value></data></array>"),
    "bytes alone": whole("<base64></base64>"),
    "a date alone": whole("<dateTime.iso8601>20100406T08:59:33</dateTime.iso8601>"),
    "doubly nested fault": "<methodResponse><fault><fault/></fault></methodResponse>",
    "unclosed comment": session() + "<!--",
    "unclosed cdata": whole("<![CDATA[" + LEAK),
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_xmlrpc_answer_is_unreadable(
    gateway: httpx.Client, farm: Farm, text: str
) -> None:
    farm.next(body(text))
    assert refused(gateway, farm, "upstream_unreadable")["retryable"] is True


@pytest.mark.parametrize(
    "step",
    [
        {"do": "html"},
        {"do": "malformed"},
        {"do": "bomb"},
        {"do": "truncated", "chunked": True},
        {"do": "oversize"},
        {"do": "oversize", "chunked": True},
        {"do": "oversize", "bytes": 2**25, "chunked": True},
        body("\xff\xfe" + session(), charset="latin-1"),
        body(session(member("title", "\xe9\xff")), charset="latin-1"),
        body(session().encode("utf-32").decode("latin-1"), charset="latin-1"),
        body("+ADw-methodResponse/+AD4-"),
        body(session().replace("?>", ' encoding="no-such"?>')),
        body(session().replace("?>", ' encoding="utf-7"?>')),
        body(session().replace("?>", ' encoding="idna"?>')),
        body(session().replace("?>", ' encoding="rot13"?>')),
        body(session().replace("?>", ' encoding="base64"?>')),
        body(session().replace("?>", ' encoding="cp037"?>')),
        body("\x00" * 1000),
        body("<" * 500_000),
        body("<a " + "".join(f'a{n}="" ' for n in range(50_000)) + ">"),
    ],
    ids=range(20),
)
def test_a_broken_body_is_unreadable(
    gateway: httpx.Client, farm: Farm, step: dict[str, object]
) -> None:
    farm.next(step)
    refused(gateway, farm, "upstream_unreadable")


def test_half_a_declared_body_is_no_answer(gateway: httpx.Client, farm: Farm) -> None:
    farm.next({"do": "truncated"}, {"do": "truncated"})
    answer = gateway.get("/sessions/1001")
    assert answer.status_code == 502
    assert answer.json()["code"] in ("upstream_unreadable", "upstream_unreachable")
    assert farm.calls() == 1, "the first byte had come: never asked again"


PACKED = gzip.compress(session().encode()).decode("latin-1")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "x-gzip", "zstd", "gzip, gzip", LEAK])
@pytest.mark.parametrize("text", [PACKED, session()], ids=["packed", "plain"])
def test_a_content_coding_is_unreadable(
    gateway: httpx.Client, farm: Farm, text: str, coding: str
) -> None:
    farm.next(body(text, charset="latin-1", headers={"content-encoding": coding}))
    refused(gateway, farm, "upstream_unreadable")


def test_a_compressed_bomb_is_never_unpacked(gateway: httpx.Client, farm: Farm) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = packer.compress(b"<!--" + b"x" * 2**27) + packer.flush()
    farm.next(body(bomb.decode("latin-1"), charset="latin-1", headers={"content-encoding": "gzip"}))
    refused(gateway, farm, "upstream_unreadable")


@pytest.mark.parametrize("limit", [5000, 2**21])
def test_the_body_limit_is_a_setting_and_exact(
    start_gateway: StartGateway, farm: Farm, limit: int
) -> None:
    gateway = start_gateway(upstream_max_body=limit)
    fits = session().ljust(limit)
    farm.next(body(fits + " "), body(fits))
    problem_of(gateway.get("/sessions/1001"), 502, "upstream_unreadable")
    assert gateway.get("/sessions/1001").status_code == 200


def test_a_limit_above_the_usual_lets_a_larger_answer_through(
    start_gateway: StartGateway, farm: Farm
) -> None:
    large = session(member("notes", "n" * 600_000), member("title", "whole"))
    farm.next(body(large), body(large))
    problem_of(start_gateway().get("/sessions/1001"), 502, "upstream_unreadable")
    answer = start_gateway(upstream_max_body=2**21).get("/sessions/1001")
    assert (answer.status_code, answer.json()["title"]) == (200, "whole")


@pytest.mark.parametrize(
    "text",
    [
        session(number=1002),
        session(number=-1001),
        session(number=0),
        session().replace("<i4>1001</i4>", "1001x"),
        session().replace("<i4>1001</i4>", ""),
        session().replace("<i4>1001</i4>", "1" * 5000),
        session().replace("<i4>1001</i4>", "\u0661\u0660\u0660\u0661"),
        session().replace("<i4>1001</i4>", "1_001"),
        session().replace("<i4>1001</i4>", "<boolean>1</boolean>"),
        session().replace("<i4>1001</i4>", "<double>1001.5</double>"),
        session().replace("<i4>1001</i4>", "<nil/>"),
        session().replace("<i4>1001</i4>", "<array><data><value>1001</value></data></array>"),
        session().replace("<i4>1001</i4>", "<struct/>"),
        session().replace("<i4>1001</i4>", "<base64>MTAwMQ==</base64>"),
        session(member("id", "<i4>1002</i4>")),
        session().replace("<name>id<", "<name>ID<"),
        session().replace("<name>id<", "<name> id<"),
        whole("<struct/>"),
    ],
    ids=range(18),
)
def test_an_answer_that_is_not_about_the_session_asked_for_is_a_mismatch(
    gateway: httpx.Client, farm: Farm, text: str
) -> None:
    farm.next(body(text))
    assert refused(gateway, farm, "upstream_mismatch")["retryable"] is True


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


def test_a_fault_under_an_error_status_is_not_believed(gateway: httpx.Client, farm: Farm) -> None:
    farm.next(body(fault(member("faultCode", "<i4>300</i4>")), status=500))
    refused(gateway, farm, "upstream_unreachable")


def test_a_fault_code_beyond_the_clients_numbers_is_no_crash(
    gateway: httpx.Client, farm: Farm
) -> None:
    farm.next(body(fault(member("faultCode", HUGE), member("faultString", LEAK))))
    answer = gateway.get("/sessions/1001")
    assert (answer.status_code, LEAK in answer.text) == (502, False)


# --- Time ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step",
    [
        {"do": "hang"},
        {"do": "drip", "seconds": 0.1},
        {"do": "drip", "seconds": 0.01},
        {"do": "late", "seconds": 2},
    ],
    ids=str,
)
def test_the_deadline_is_absolute_and_nobody_asks_twice(
    start_gateway: StartGateway, farm: Farm, step: dict[str, object]
) -> None:
    gateway = start_gateway(upstream_deadline=0.5)
    farm.next(step)
    assert refused(gateway, farm, "upstream_timeout")["retryable"] is True


def test_an_answer_late_but_in_time_is_an_answer(start_gateway: StartGateway, farm: Farm) -> None:
    gateway = start_gateway(upstream_deadline=5)
    farm.next({"do": "late", "seconds": 0.3})
    assert gateway.get("/sessions/1001").status_code == 200


def test_a_hanging_session_keeps_nobody_else_waiting(
    start_gateway: StartGateway, farm: Farm
) -> None:
    gateway = start_gateway(upstream_deadline=2, upstream_concurrency=2)
    assert gateway.get("/sessions/1008").status_code == 200
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(gateway.get, "/sessions/700001")
        wait_for(lambda: farm.calls() == 2)
        assert gateway.get("/sessions/1008").headers["cache-status"].startswith("rfgw; hit")
        assert gateway.get("/sessions/1001").status_code == 200
        assert not hanging.done()
        problem_of(hanging.result(), 504, "upstream_timeout")


def test_beyond_the_bulkhead_clients_are_told_to_come_back(
    start_gateway: StartGateway, farm: Farm
) -> None:
    gateway = start_gateway(upstream_deadline=2, upstream_concurrency=1, upstream_queue=0)
    assert gateway.get("/sessions/1008").status_code == 200
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(gateway.get, "/sessions/700001")
        wait_for(lambda: farm.calls() == 2)
        answer = gateway.get("/sessions/1001")
        assert problem_of(answer, 503, "overloaded")["retryable"] is True
        assert int(answer.headers["retry-after"]) >= 1
        assert gateway.get("/sessions/1008").status_code == 200
        assert hanging.result().status_code == 504
    assert gateway.get("/sessions/1001").status_code == 200, "the place is free again"


def test_who_waits_in_the_queue_too_long_is_told_to_come_back(
    start_gateway: StartGateway, farm: Farm
) -> None:
    gateway = start_gateway(upstream_deadline=2, upstream_concurrency=1, upstream_queue=5)
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(gateway.get, "/sessions/700001")
        wait_for(lambda: farm.calls() == 1)
        problem_of(gateway.get("/sessions/1001"), 503, "overloaded")
        assert not hanging.done()


def test_timeouts_never_wear_out_the_connections(start_gateway: StartGateway, farm: Farm) -> None:
    gateway = start_gateway(upstream_deadline=0.2, upstream_concurrency=2)
    for wave in range(4):
        steps = [f"/sessions/70{wave % 2 * 4}{n:03}" for n in range(2)]
        with ThreadPoolExecutor(2) as pool:
            assert [answer.status_code for answer in pool.map(gateway.get, steps)] == [504, 504]
        assert gateway.get("/sessions/1001").status_code == 200


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


@contextmanager
def attempts_logged() -> Iterator[list[dict[str, Any]]]:
    """The fields of each event about an attempt; for a gateway that runs already."""
    told: list[dict[str, Any]] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "upstream_attempt":
                told.append(record.__dict__["fields"])

    keeper = Keeper()
    logs.EVENTS.addHandler(keeper)
    try:
        yield told
    finally:
        logs.EVENTS.removeHandler(keeper)


def counted(gateway: httpx.Client, name: str) -> dict[str, float]:
    """The series of one metric that have counted something, by the value of their label."""
    found = {}
    for line in gateway.get("/metrics").text.splitlines():
        series, _, value = line.rpartition(" ")
        if series.partition("{")[0] == name and float(value):
            found[series.partition('="')[2].partition('"')[0]] = float(value)
    return found


# --- Breaker, retries and pauses ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "outcomes"),
    [
        ([{"do": "answer"}], ["ok"]),
        ([{"do": "fault", "code": 300}], ["fault"]),
        ([{"do": "fault", "code": 104}], ["fault"]),
        ([{"do": "fault", "code": -1}], ["fault"]),
        ([{"do": "wrong_id"}], ["ok"]),
        ([status(500)], ["http_status"]),
        ([status(429)], ["http_status"]),
        ([status(401)], ["http_status"]),
        ([status(302)], ["http_status"]),
        ([status(502), status(504)], ["http_502", "http_504"]),
        ([status(504), {"do": "answer"}], ["http_504", "ok"]),
        ([status(502), {"do": "hang"}], ["http_502", "deadline"]),
        ([status(502), {"do": "fault", "code": 300}], ["http_502", "fault"]),
        ([{"do": "reset"}, {"do": "answer"}], ["reset", "ok"]),
        ([{"do": "hang"}], ["deadline"]),
        ([{"do": "malformed"}], ["not_xml"]),
        ([{"do": "bomb"}], ["doctype"]),
        ([{"do": "oversize"}], ["too_large"]),
        ([{"do": "truncated"}], ["truncated"]),
        ([body(session(), headers={"content-encoding": "gzip"})], ["content_coding"]),
    ],
    ids=str,
)
def test_each_attempt_is_one_event_and_one_count_under_its_cause(
    start_gateway: StartGateway, farm: Farm, steps: list[dict[str, object]], outcomes: list[str]
) -> None:
    gateway = start_gateway(upstream_deadline=0.7)
    farm.next(*steps)
    with attempts_logged() as told:
        gateway.get("/sessions/1001")
    assert [attempt["outcome"] for attempt in told] == outcomes
    assert [attempt["attempt"] for attempt in told] == [1, 2][: len(outcomes)]
    assert counted(gateway, "rfgw_upstream_attempts_total") == {
        outcome: float(outcomes.count(outcome)) for outcome in outcomes
    }
    assert sum(counted(gateway, "rfgw_upstream_retries_total").values()) == len(outcomes) - 1
    assert counted(gateway, "rfgw_upstream_not_asked_total") == {}
    assert farm.calls() == len(outcomes)


def test_five_failures_in_a_row_and_the_farm_is_left_alone(
    start_gateway: StartGateway, farm: Farm
) -> None:
    gateway = start_gateway()
    assert gateway.get("/sessions/1008").status_code == 200
    assert counted(gateway, "rfgw_upstream_breaker") == {"closed": 1}
    steps: list[dict[str, object]] = [{"do": "html"}] * 5
    farm.next(*steps)
    for number in (1001, 1002, 1001, 1001, 1003):
        problem_of(gateway.get(f"/sessions/{number}"), 502, "upstream_unreadable")
    farm.forget()
    answer = gateway.get("/sessions/1004")
    problem_of(answer, 503, "upstream_unavailable")
    assert 4 <= int(answer.headers["retry-after"]) <= 6
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


@pytest.mark.parametrize(("subjects", "asked"), [(1, 12), (2, 12), (3, 5), (12, 5)])
def test_a_strange_fault_counts_only_if_several_sessions_have_it(
    start_gateway: StartGateway, farm: Farm, subjects: int, asked: int
) -> None:
    gateway = start_gateway()
    for number in range(12):
        gateway.get(f"/sessions/{999000 + number % subjects}")
    assert farm.calls() == asked


def test_after_three_refused_signatures_the_farm_is_left_alone(
    start_gateway: StartGateway, farm: Farm
) -> None:
    gateway = start_gateway()
    for number in range(3):
        answer = gateway.get(f"/sessions/{104000 + number}")
        problem_of(answer, 502, "upstream_refused_credentials")
    answer = gateway.get("/sessions/1001")
    problem_of(answer, 503, "upstream_unavailable")
    assert 28 <= int(answer.headers["retry-after"]) <= 30
    assert counted(gateway, "rfgw_upstream_not_asked_total") == {"signature_refused": 1}
    assert farm.calls() == 3, "the clocks agree: there was nothing to heal"


@pytest.mark.parametrize("ahead", [3600, -86_400])
def test_a_clock_that_is_wrong_is_healed_by_the_farms(
    start_gateway: StartGateway, ahead: int
) -> None:
    with running(farm_server(create_farm(clock=lambda: time.time() + ahead))) as url:
        farm = Farm(url)
        gateway = start_gateway(upstream_url=url)
        for number, calls in ((1001, 2), (1002, 3), (1003, 4)):
            assert gateway.get(f"/sessions/{number}").status_code == 200
            assert farm.calls() == calls, "asked twice once, then signed with the right time"
        farm.http.close()
    assert counted(gateway, "rfgw_upstream_retries_total") == {"": 1}


def test_when_everything_fails_hardly_anything_is_tried_again(
    start_gateway: StartGateway, farm: Farm
) -> None:
    gateway = start_gateway()
    farm.next(*[status(502)] * 100)
    for number in range(4):
        problem_of(gateway.get(f"/sessions/{1001 + number}"), 502, "upstream_unreachable")
    assert 5 <= farm.calls() <= 6


def test_without_time_left_nothing_is_tried_again(start_gateway: StartGateway, farm: Farm) -> None:
    gateway = start_gateway(upstream_deadline=0.29)
    farm.next(status(502))
    problem_of(gateway.get("/sessions/1001"), 502, "upstream_unreachable")
    assert farm.calls() == 1


def test_calls_beyond_the_bulkhead_are_counted_and_no_attempts(
    start_gateway: StartGateway, farm: Farm
) -> None:
    gateway = start_gateway(upstream_deadline=1, upstream_concurrency=1, upstream_queue=0)
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(gateway.get, "/sessions/700001")
        wait_for(lambda: farm.calls() == 1)
        problem_of(gateway.get("/sessions/1001"), 503, "overloaded")
        hanging.result()
    assert counted(gateway, "rfgw_upstream_not_asked_total") == {"queue_full": 1}
    assert counted(gateway, "rfgw_upstream_attempts_total") == {"deadline": 1}


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
    """Returns as soon as ``condition`` holds; fails after five seconds."""
    patience = threading.Event()
    for _ in range(250):
        if condition():
            return
        patience.wait(0.02)
    raise AssertionError("it never came about")


# --- The transport ---------------------------------------------------------------------------

Behaviour = Callable[[socket.socket], None]


class RawFarm:
    """A listener that answers each request with raw bytes, in its own thread.

    ``script`` holds what to do per request, the last entry for ever: bytes to write before the
    connection closes, or a function that is handed the connection. ``requests`` are the raw
    requests as they came, ``connections`` how many were opened.
    """

    def __init__(self, *script: bytes | Behaviour, keep_alive: bool = False) -> None:
        self.script = list(script)
        self.keep_alive = keep_alive
        self.requests: list[bytes] = []
        self.connections = 0
        self.kept: list[socket.socket] = []
        self.stopping = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.05)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self) -> None:
        with ThreadPoolExecutor(8) as pool:
            while not self.stopping.is_set():
                with suppress(TimeoutError):
                    connection, _ = self.listener.accept()
                    self.connections += 1
                    self.kept.append(connection)
                    pool.submit(self.serve, connection)
            for connection in self.kept:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def serve(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        # What has been sent has arrived: it waits for no acknowledgement of what was sent before.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, suppress(OSError):
            while request := read_request(connection):
                self.requests.append(request)
                do = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                if isinstance(do, bytes):
                    connection.sendall(do)
                else:
                    do(connection)
                if not self.keep_alive:
                    return

    def hang(self, connection: socket.socket) -> None:
        self.stopping.wait(8)


def read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"</methodCall>" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    return data


@contextmanager
def raw_farm(*script: bytes | Behaviour, keep_alive: bool = False) -> Iterator[RawFarm]:
    farm = RawFarm(*script, keep_alive=keep_alive)
    thread = threading.Thread(target=farm.run, daemon=True)
    thread.start()
    try:
        yield farm
    finally:
        farm.stopping.set()
        thread.join(10)
        farm.listener.close()
        assert not thread.is_alive()


@pytest.fixture
def elsewhere() -> Iterator[RawFarm]:
    """A place that nobody may ever call."""
    with raw_farm(b"") as farm:
        yield farm


def http(text: str, *headers: str, declare: bool = True, close: bool = True) -> bytes:
    """A whole HTTP answer."""
    content = text.encode()
    lines = ["HTTP/1.1 200 OK", "Content-Type: text/xml", *headers]
    lines += [f"Content-Length: {len(content)}"] if declare else []
    lines += ["Connection: close"] if close else []
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


GOOD = http(session())
BODY = session().encode()
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


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


def endless(piece: bytes, first: bytes = b"HTTP/1.1 200 OK\r\n") -> Behaviour:
    """Writes ``piece`` until the gateway hangs up, 64 MB at most."""

    def write(connection: socket.socket) -> None:
        connection.sendall(first)
        for _ in range(2**26 // len(piece)):
            connection.sendall(piece)

    return write


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset_after(sent: bytes) -> Behaviour:
    def write(connection: socket.socket) -> None:
        connection.sendall(sent)
        reset(connection)

    return write


RUDE: dict[str, bytes | Behaviour] = {
    "closes at once": b"",
    "resets": reset,
    "greets in another protocol": b"220 smtp.example ESMTP " + LEAK.encode() + b"\r\n",
    "bytes": bytes(range(256)) * 8,
    "tls alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "http 0.9": BODY,
    "http 2 preface": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18,
    "half a status line": b"HTTP/1.",
    "status of one digit": b"HTTP/1.1 2 OK\r\n\r\n" + BODY,
    "status 999999": b"HTTP/1.1 999999 OK\r\n\r\n" + BODY,
    "status a word": b"HTTP/1.1 " + LEAK.encode() + b" OK\r\n\r\n",
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n" + BODY,
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Ty",
    "head only": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
    "head, then reset": reset_after(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n<met"),
    "no length, cut": b"HTTP/1.1 200 OK\r\n\r\n" + BODY[:-30],
    "no length, empty": b"HTTP/1.1 200 OK\r\n\r\n",
    "length too short":
    b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\n" + BODY,
    "length too long": b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + BODY,
    "length of petabytes": b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999\r\n\r\n" + BODY,
    "length negative": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + BODY,
    "length a word": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n" + BODY,
    "chunk size a word": CHUNKED + b"zz\r\n" + BODY,
    "chunk negative": CHUNKED + b"-1\r\n" + BODY,
    "chunk of exabytes": CHUNKED + b"fffffffffffffff\r\n" + BODY,
    "chunks cut": CHUNKED + b"%x\r\n" % (len(BODY) + 5) + BODY[:100],
    "chunks cut between": CHUNKED + b"%x\r\n%s\r\n" % (60, BODY[:60]),
    "unpacked gzip cut": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
    + gzip.compress(BODY)[:-6],
    "endless header line": endless(b"x" * 65536, b"HTTP/1.1 200 OK\r\nX: "),
    "endless headers": endless(b"X-A: " + b"y" * 4000 + b"\r\n"),
    "endless interim answers": endless(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000, b""),
    "endless body": endless(b"<!--" + b"x" * 65536, b"HTTP/1.1 200 OK\r\n\r\n"),
    "endless chunks of one byte": endless(b"1\r\n \r\n" * 5000, CHUNKED),
    "endless chunk extension": endless(b"x" * 65536, CHUNKED + b"1;"),
    "endless trailers": endless(
        b"X: " + b"y" * 4000 + b"\r\n", CHUNKED + b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)
    ),
}  # fmt: skip


@pytest.mark.parametrize("rude", RUDE.values(), ids=RUDE)
def test_a_rude_peer_is_a_problem_in_time(start_gateway: StartGateway, rude: Any) -> None:
    with raw_farm(rude, rude, GOOD) as farm:
        gateway = start_gateway(upstream_url=farm.url, upstream_deadline=1.5)
        answer = gateway.get("/sessions/1001", timeout=4)
        code = answer.json()["code"]
        assert code in ("upstream_unreachable", "upstream_unreadable", "upstream_timeout")
        problem_of(answer, 504 if code == "upstream_timeout" else 502, code)
        assert LEAK not in answer.text
        assert 1 <= len(farm.requests) <= 2
        farm.script = [GOOD]
        assert gateway.get("/sessions/1001").status_code == 200, "the gateway has recovered"


@pytest.mark.skipif(
    os.environ.get("TEST_UPSTREAM_TRANSPORT") == "httpx", reason="httpx reads on to the deadline"
)
def test_a_flood_of_interim_answers_is_cut_off(start_gateway: StartGateway) -> None:
    flood = endless(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000, b"")
    with raw_farm(flood, GOOD) as farm:
        gateway = start_gateway(upstream_url=farm.url)
        problem_of(gateway.get("/sessions/1001"), 502, "upstream_unreachable")
        assert counted(gateway, "rfgw_upstream_attempts_total") == {"not_http": 1}
        assert gateway.get("/sessions/1001").status_code == 200


@pytest.mark.parametrize("begun", [b"HTTP/1.", b"HTTP/1.1 200 OK\r\nContent-Ty"])
@pytest.mark.skipif(
    os.environ.get("TEST_UPSTREAM_TRANSPORT") == "httpx", reason="httpx cannot tell it apart"
)
def test_an_answer_that_has_begun_is_not_asked_for_again(
    start_gateway: StartGateway, begun: bytes
) -> None:
    with raw_farm(begun, GOOD) as farm:
        gateway = start_gateway(upstream_url=farm.url)
        problem_of(gateway.get("/sessions/1001"), 502, "upstream_unreachable")
        assert len(farm.requests) == 1
        assert counted(gateway, "rfgw_upstream_attempts_total") == {"closed_early": 1}


SILENT: dict[str, bytes] = {
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Ty",
    "head only": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + BODY[:50],
    "open end": b"HTTP/1.1 200 OK\r\n\r\n" + BODY,
    "last chunk missing": CHUNKED + b"%x\r\n%s\r\n" % (len(BODY), BODY),
    "endless waiting": b"HTTP/1.1 100 Continue\r\n\r\n",
}


@pytest.mark.parametrize("sent", SILENT.values(), ids=SILENT)
def test_a_peer_that_falls_silent_is_a_timeout(start_gateway: StartGateway, sent: bytes) -> None:
    with raw_farm(b"") as farm:

        def fall_silent(connection: socket.socket) -> None:
            connection.sendall(sent)
            farm.hang(connection)

        farm.script = [fall_silent]
        gateway = start_gateway(upstream_url=farm.url, upstream_deadline=0.5)
        problem_of(gateway.get("/sessions/1001", timeout=3), 504, "upstream_timeout")
        assert len(farm.requests) == 1


def test_a_closed_port_is_unreachable(start_gateway: StartGateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    gateway = start_gateway(upstream_url=f"http://127.0.0.1:{port}")
    answer = gateway.get("/sessions/1001")
    problem_of(answer, 502, "upstream_unreachable")
    assert str(port) not in answer.text


def test_a_peer_that_speaks_no_tls_is_unreachable(start_gateway: StartGateway) -> None:
    with raw_farm(GOOD) as farm:
        gateway = start_gateway(upstream_url=farm.url.replace("http:", "https:"))
        problem_of(gateway.get("/sessions/1001", timeout=8), 502, "upstream_unreachable")
        assert farm.requests == []


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
        served.wait(8)
        connection.sendall(stranger)
        sent.set()

    with raw_farm(answer_and_more, MINE, keep_alive=True) as farm:
        gateway = start_gateway(upstream_url=farm.url)
        assert gateway.get("/sessions/1001").status_code == (200 if number == 1001 else 502)
        served.set()
        assert sent.wait(8)
        assert gateway.get("/sessions/1002").json()["title"] == "mine"
        assert farm.connections == len(farm.requests) == 2


def test_an_answer_that_comes_in_the_next_ones_place_is_refused_and_ends_there(
    start_gateway: StartGateway,
) -> None:
    late, owed = http(session(), close=False), http(session(number=1002), close=False)
    served, sent = threading.Event(), threading.Event()

    def answer_late(connection: socket.socket) -> None:
        connection.sendall(late)
        served.wait(8)
        connection.sendall(owed)
        sent.set()

    third = http(session(number=1003), close=False)
    with raw_farm(late, answer_late, third, keep_alive=True) as farm:
        gateway = start_gateway(upstream_url=farm.url)
        assert gateway.get("/sessions/1001").status_code == 200
        problem_of(gateway.get("/sessions/1002"), 502, "upstream_mismatch")
        served.set()
        assert sent.wait(8)
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
