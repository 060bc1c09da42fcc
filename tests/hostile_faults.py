"""The list of what a farm can do wrong, and what each costs: one row a fault.

Knows raw answers, problem codes and causes. Must not know how a row is played.
"""

import gzip
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.hostile_farm import (
    BODY,
    CHUNKED,
    GOOD,
    LEAK,
    Behaviour,
    RawFarm,
    Scene,
    closed_port,
    drip,
    endless,
    fault,
    full_backlog,
    greeted,
    http,
    member,
    reset,
    reset_after,
    session,
    silent_after,
    speaking,
    whole,
)

NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})
SHORT = MappingProxyType({"upstream_deadline": 3})
LONG = MappingProxyType({"upstream_deadline": 60.0})
"""For what the deadline ends: nobody learns more from a longer one."""


@contextmanager
def ordinary(_farm: RawFarm) -> Iterator[None]:
    """The farm can be reached as ever."""
    yield


class Row(NamedTuple):
    """One fault. ``does`` and ``outcomes`` have an entry for each attempt, the retry included."""

    name: str
    code: str  # of the problem that clients get; "" if the call succeeds after all
    does: tuple[bytes | Behaviour, ...]
    outcomes: tuple[str, ...]  # as logged and counted
    heard: int | None = None  # requests that the farm sees: as many as attempts if not told
    settings: Mapping[str, Any] = NO_SETTINGS
    scene: Scene = ordinary  # what else is wrong meanwhile
    tls: bool = False
    fault_code: int | None = None

    @property
    def alone(self) -> bool:
        """Whether it leaves something behind: a pause, a spent retry, a refused signature."""
        left = self.code in ("upstream_unavailable", "upstream_refused_credentials")
        return left or len(self.outcomes) > 1 or self.scene is not ordinary


def unreachable(name: str, cause: str, does: bytes | Behaviour, **more: Any) -> Row:
    return Row(name, "upstream_unreachable", (does,), (cause,), **more)


def unreadable(name: str, cause: str, does: str | bytes | Behaviour, **more: Any) -> Row:
    answer = http(does) if isinstance(does, str) else does
    return Row(name, "upstream_unreadable", (answer,), (cause,), **more)


def mismatch(name: str, text: str) -> Row:
    return Row(name, "upstream_mismatch", (http(text),), ("ok",))


def too_late(name: str, does: Behaviour, **more: Any) -> Row:
    return Row(name, "upstream_timeout", (does,), ("deadline",), settings=SHORT, **more)


def twice(name: str, cause: str, does: bytes | Behaviour) -> Iterator[Row]:
    """What is tried again: to no avail, and with luck."""
    code = "upstream_unreachable"
    yield Row(f"{name}, twice", code, (does, does), (cause, cause))
    yield Row(f"{name}, once", "", (does, GOOD), (cause, "ok"))


def answers(number: int) -> bytes:
    """An answer that would be good if its status were 200."""
    fields = (f"X-Inner: {LEAK}", f"Set-Cookie: {LEAK}", f"Location: /{LEAK}")
    return http(session(), *fields, status=f"{number} {LEAK}")


# --- Before an answer, and in the middle of it -------------------------------------------------

CONNECTIONS = [
    Row("port closed, twice", "upstream_unreachable", (), ("refused",) * 2, 0, scene=closed_port),
    Row("nobody accepts", "upstream_unreachable", (), ("connect_timeout",), 0,
        {"upstream_connect_timeout": 3}, full_backlog),
    *twice("reset on the request", "reset", reset),
    *twice("closed without a byte", "closed", b""),
    *twice("502", "http_502", http(session(), status="502 Bad Gateway")),
    *twice("504", "http_504", http(session(), status="504 Gateway Timeout")),
    unreachable("half a status line", "closed_early", b"HTTP/1."),
    unreachable("half a head", "closed_early", b"HTTP/1.1 200 OK\r\nContent-Ty"),
    unreachable("half a head, then reset", "closed_early",
        reset_after(b"HTTP/1.1 200 OK\r\nConte")),
    unreadable("head only", "truncated", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
    unreadable("half a body, then reset", "truncated",
        reset_after(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n<met")),
    unreadable("half a body without a length", "not_xml", b"HTTP/1.1 200 OK\r\n\r\n" + BODY[:-30]),
    unreadable("length too long", "truncated",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + BODY),
    unreachable("length too short", "not_http",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\n" + BODY),
    unreadable("length of petabytes, and silence", "too_large",
        silent_after(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999\r\n\r\n" + BODY)),
    unreachable("length nothing", "not_http",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + BODY),
    unreadable("nothing without a length", "not_xml", b"HTTP/1.1 200 OK\r\n\r\n"),
    unreadable("chunks cut", "truncated", CHUNKED + b"%x\r\n" % (len(BODY) + 5) + BODY[:100]),
    unreadable("chunks cut between", "truncated", CHUNKED + b"%x\r\n%s\r\n" % (60, BODY[:60])),
    unreadable("last chunk missing", "truncated", CHUNKED + b"%x\r\n%s\r\n" % (len(BODY), BODY)),
]  # fmt: skip

# --- Slow, or silent ---------------------------------------------------------------------------

SLOW = [
    too_late("silent after the request", silent_after(b"")),
    too_late("silent in the status line", silent_after(b"HTTP/1.")),
    too_late("silent after the status line", silent_after(b"HTTP/1.1 200 OK\r\n")),
    too_late("silent in the head", silent_after(b"HTTP/1.1 200 OK\r\nContent-Ty")),
    too_late("silent after the head",
        silent_after(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")),
    too_late("silent in the body",
        silent_after(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + BODY[:50])),
    too_late("whole, and never ends", silent_after(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)),
    too_late("whole, and no last chunk",
        silent_after(CHUNKED + b"%x\r\n%s\r\n" % (len(BODY), BODY))),
    too_late("100, and no more", silent_after(b"HTTP/1.1 100 Continue\r\n\r\n")),
    too_late("drips its head", drip(b"", GOOD)),
    too_late("drips its body", drip(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", BODY)),
    too_late("drips chunks", drip(CHUNKED, b"1\r\n<\r\n" * 500)),
    unreachable("drips the body of its 500", "http_status",
        drip(b"HTTP/1.1 500 X\r\nContent-Length: 500\r\n\r\n", b" " * 500), settings=SHORT),
    Row("502, then silent", "upstream_timeout",
        (http("", status="502 Bad Gateway"), silent_after(b"")), ("http_502", "deadline"),
        settings=SHORT),
]  # fmt: skip

# --- More than anyone wants --------------------------------------------------------------------

_packer = zlib.compressobj(9, wbits=31)
BOMB = _packer.compress(b"<!--" + LEAK.encode() + b"x" * 2**27) + _packer.flush()
LINES = "".join(f"X-{n}: {LEAK}\r\n" for n in range(10_000)).encode()
INTERIM = b"HTTP/1.1 103 Early Hints\r\n\r\n"

FLOODS = [
    unreachable("endless header line", "head_too_large",
        endless(b"x" * 65536, b"HTTP/1.1 200 OK\r\nX: ")),
    unreachable("endless headers", "not_http", endless(b"X-A: " + b"y" * 4000 + b"\r\n")),
    unreachable("10,000 headers", "not_http",
        b"HTTP/1.1 200 OK\r\n" + LINES + b"Content-Length: 0\r\n\r\n"),
    unreachable("endless reason", "head_too_large", endless(b"x" * 65536, b"HTTP/1.1 200 ")),
    unreachable("endless interim answers", "not_http", endless(INTERIM * 1000, b"")),
    unreadable("endless body", "too_large",
        endless(b"<!--" + b"x" * 65536, b"HTTP/1.1 200 OK\r\n\r\n")),
    unreadable("body beyond the bound", "too_large",
        endless(b"x" * 65536, b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")),
    unreadable("endless chunks of one byte", "too_large", endless(b"1\r\n \r\n" * 5000, CHUNKED),
        settings={"upstream_max_body": 16_384, **LONG}),  # each byte costs a turn of a loop
    unreadable("endless chunk", "too_large",
        endless(b"x" * 65536, CHUNKED + b"fffffffffffffff\r\n")),
    unreadable("endless chunk extension", "truncated", endless(b"x" * 65536, CHUNKED + b"1;"),
        settings=LONG),  # only its own end, or the deadline, ends it
    unreadable("endless trailers", "truncated",
        endless(b"X: " + b"y" * 4000 + b"\r\n",
            CHUNKED + b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)),
        settings=LONG),
    unreadable("packed bomb", "content_coding", http(BOMB, "Content-Encoding: gzip")),
    unreadable("packed bomb without its label", "encoding", http(BOMB)),
    unreadable("laughs", "doctype",
        '<!DOCTYPE m [<!ENTITY a "ha">' + "".join(
            f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
        + "]>" + whole("&i;")),
    unreadable("50,000 attributes", "too_large",
        "<a " + "".join(f'a{n}="" ' for n in range(50_000)) + ">"),
    unreadable("120,000 empty elements", "too_large", whole("<a/>" * 120_000)),
    unreadable("500,000 tags unclosed", "too_large", "<" * 500_000),
]  # fmt: skip

# --- What is no HTTP, or not this one ----------------------------------------------------------

NO_HTTP = [
    unreachable("another protocol", "not_http", b"220 smtp.example ESMTP " + LEAK.encode()),
    unreachable("bytes", "not_http", bytes(range(256)) * 8),
    unreachable("an alert of TLS", "not_http", b"\x15\x03\x01\x00\x02\x02\x46"),
    unreachable("HTTP/0.9", "not_http", BODY),
    unreachable("HTTP/2", "not_http", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18),
    unreachable("HTTP/3.0", "not_http", GOOD.replace(b"HTTP/1.1", b"HTTP/3.0")),
    unreachable("status of one digit", "not_http", b"HTTP/1.1 2 OK\r\n\r\n" + BODY),
    unreachable("status 99", "not_http", b"HTTP/1.1 99 OK\r\n\r\n" + BODY),
    unreachable("status 000", "http_status", b"HTTP/1.1 000 OK\r\n\r\n" + BODY),
    unreachable("status 1000", "not_http", b"HTTP/1.1 1000 OK\r\n\r\n" + BODY),
    unreachable("status a word", "not_http", b"HTTP/1.1 " + LEAK.encode() + b" OK\r\n\r\n"),
    unreachable("no status", "not_http", b"HTTP/1.1\r\n\r\n" + BODY),
    unreachable("status 999", "http_status", b"HTTP/1.1 999 OK\r\n\r\n" + BODY),
    unreachable("101", "http_status",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" + BODY),
    unreachable("length negative", "not_http",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + BODY),
    unreachable("length a word", "not_http",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n" + BODY),
    unreachable("two lengths", "not_http", http(session(), "Content-Length: 50")),
    unreachable("length and chunks", "not_http",
        http(CHUNKED.partition(b"\r\n\r\n")[2], "Transfer-Encoding: chunked")),
    Row("folded header", "", (http(session(), f"X-A: 1\r\n {LEAK}"),), ("ok",)),
    unreachable("NUL in a header", "not_http", http(session(), "X-A: 1\x002")),
    unreachable("header without a colon", "not_http", http(session(), LEAK)),
    unreachable("blank before the colon", "not_http", http(session(), f"X-A : {LEAK}")),
    unreachable("chunk size a word", "not_http", CHUNKED + b"zz\r\n" + BODY),
    unreachable("chunk size negative", "not_http", CHUNKED + b"-1\r\n" + BODY),
    unreachable("chunk longer than it says", "not_http", CHUNKED + b"5\r\n" + BODY),
    unreachable("chunks of HTTP/1.0", "not_http",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY),
]  # fmt: skip

# --- Statuses and content codings --------------------------------------------------------------

_PACKED = gzip.compress(BODY)

STATUSES = [
    *[
        unreachable(f"status {number}", "http_status", answers(number))
        for number in (201, 202, 203, 205, 206, 226, 300, 301, 302, 303, 305, 307, 308,
                       400, 402, 404, 405, 407, 408, 410, 413, 418, 426, 500, 501, 505, 511, 599)
    ],
    *[
        unreachable(f"status {number}{how}", cause, b"HTTP/1.1 %d X\r\n" % number + rest)
        for number in (204, 304)
        for how, cause, rest in (
            (" and nothing more", "http_status", b"\r\n"),
            (" with a body", "not_http", answers(200).partition(b"\r\n")[2]),
        )
    ],
    unreachable("to itself", "http_status",
        http("", "Location: /community.getSession", status="307 Temporary Redirect")),
    unreachable("to a file", "http_status",
        http("", "Location: file:///etc/passwd", status="302 Found")),
    unreachable("a fault under 500", "http_status",
        http(fault(member("faultCode", "<i4>300</i4>")), status="500 Internal Server Error")),
    *[Row(f"status {number}", "upstream_refused_credentials", (answers(number),), ("http_status",))
      for number in (401, 403)],
    *[Row(f"status {number}", "upstream_unavailable", (answers(number),), ("http_status",))
      for number in (429, 503)],
    Row("502, then 503", "upstream_unavailable", (answers(502), answers(503)),
        ("http_502", "http_status")),
    *[
        unreadable(f"{coding} that is {name}", "content_coding",
            http(content, f"Content-Encoding: {coding}"))
        for coding in ("gzip", "deflate", "br", "x-gzip", "zstd", "gzip, gzip", LEAK)
        for name, content in (("packed", _PACKED), ("plain", BODY))
    ],
    unreadable("gzip cut", "content_coding",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + _PACKED[:-6]),
    unreadable("packed chunks", "encoding",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
        % (len(_PACKED), _PACKED)),
]  # fmt: skip

# --- Faults ------------------------------------------------------------------------------------


def refused(number: int, code: str) -> Row:
    text = fault(member("faultCode", f"<i4>{number}</i4>"), member("faultString", LEAK))
    return Row(f"fault {number}", code, (http(text),), ("fault",), fault_code=number)


FAULTS = [
    refused(300, "session_not_found"),
    refused(301, "session_not_attached"),
    refused(103, "session_forbidden"),
    refused(101, "upstream_rejected_parameters"),
    refused(100, "upstream_rejected_call"),
    refused(104, "upstream_refused_credentials"),
    refused(400, "upstream_refused_credentials"),
    refused(300, "session_not_found")._replace(
        name="502, then fault 300",
        does=(answers(502), http(fault(member("faultCode", "<i4>300</i4>")))),
        outcomes=("http_502", "fault"),
    ),
    *[refused(number, "upstream_fault") for number in (999, 0, -1, 200, 404, 2**31 - 1, 2**63 - 1)],
]

# --- Bodies ------------------------------------------------------------------------------------


def nested(levels: int) -> str:
    return whole("<array><data><value>" * levels + "</value></data></array>" * levels)


def field(value: str) -> str:
    return session(member("title", value))


_UNREADABLE: dict[str, tuple[str, str | bytes]] = {
    "empty": ("not_xml", ""),
    "blank": ("not_xml", " \r\n "),
    "html": ("structure", f"<html><body>{LEAK}</body></html>"),
    "html with a doctype": ("doctype", f"<!DOCTYPE html><html><body>{LEAK}</body></html>"),
    "text": ("not_xml", LEAK),
    "json": ("not_xml", '{"id": 1001}'),
    "other xml": ("structure", f"<session><id>1001</id><x>{LEAK}</x></session>"),
    "a call": ("structure", "<methodCall><methodName>x</methodName></methodCall>"),
    "no params": ("structure", "<methodResponse/>"),
    "no param": ("structure", "<methodResponse><params/></methodResponse>"),
    "two params": (
        "structure",
        whole("<i4>1</i4>").replace("</params>", "<param><value/></param></params>"),
    ),
    "params and fault": (
        "structure",
        whole("x").replace("</methodResponse>", fault()[16:]),
    ),
    "doctype": ("doctype", "<!DOCTYPE methodResponse>" + session()),
    "doctype with subset": ("doctype", f'<!DOCTYPE m [<!ENTITY e "{LEAK}">]>' + whole("&e;")),
    "external entity": (
        "doctype",
        '<!DOCTYPE m [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + whole("&e;"),
    ),
    "unknown entity": ("not_xml", whole("&nbsp;")),
    "junk behind": ("not_xml", session() + LEAK),
    "two documents": ("not_xml", session() + session()),
    "cut": ("not_xml", session()[:-20]),
    "control character": ("not_xml", field("a\x01b")),
    "character reference 0": ("not_xml", field("&#0;")),
    "surrogate reference": ("not_xml", field("&#xD800;")),
    "reference beyond unicode": ("not_xml", field("&#x110000;")),
    "65 deep": ("depth", nested(65)),
    "20,000 deep": ("too_large", nested(20_000)),
    "nan": ("type", whole("<double>NaN</double>")),
    "infinity": ("type", whole("<double>-inf</double>")),
    "overflow": ("type", whole("<double>1e999</double>")),
    "int of 5,000 digits": ("type", whole(f"<int>{'9' * 5000}</int>")),
    "int beyond 64 bits": ("type", whole(f"<i8>{2**63}</i8>")),
    "int in other digits": ("type", whole("<int>\u0664\u0662</int>")),
    "int with underscore": ("type", whole("<int>4_2</int>")),
    "boolean yes": ("type", whole("<boolean>yes</boolean>")),
    "bad base64": ("type", whole("<base64>a</base64>")),
    "bad date": ("type", whole("<dateTime.iso8601>00000000T00:00:00</dateTime.iso8601>")),
    "unknown type": ("structure", whole("<bigint>1</bigint>")),
    "type in capitals": ("structure", whole("<INT>1</INT>")),
    "fault code missing": ("structure", fault(member("faultString", LEAK))),
    "fault code a double": ("type", fault(member("faultCode", "<double>300</double>"))),
    "fault code a boolean": ("type", fault(member("faultCode", "<boolean>1</boolean>"))),
    "fault code of 5,000 digits": ("type", fault(member("faultCode", "3" * 5000))),
    "fault no struct": ("structure", fault().replace("<struct></struct>", LEAK)),
    "an id alone": ("ok", whole("<i4>1001</i4>")),
    "a text alone": ("ok", whole("1001")),
    "nil alone": ("ok", whole("<nil/>")),
    "a boolean alone": ("ok", whole("<boolean>1</boolean>")),
    "an array": ("ok", whole("<array><data><value><struct/></value></data></array>")),
    "bytes alone": ("ok", whole("<base64></base64>")),
    "a date alone": (
        "ok",
        whole("<dateTime.iso8601>20100406T08:59:33</dateTime.iso8601>"),
    ),
    "doubly nested fault": (
        "structure",
        "<methodResponse><fault><fault/></fault></methodResponse>",
    ),
    "unclosed comment": ("not_xml", session() + "<!--"),
    "unclosed cdata": ("not_xml", whole("<![CDATA[" + LEAK)),
    "utf-16 mark on utf-8": ("not_xml", b"\xff\xfe" + BODY),
    "latin-1 without a label": ("encoding", field("\xe9\xff").encode("latin-1")),
    "utf-32": ("encoding", session().encode("utf-32")),
    "utf-7": ("not_xml", "+ADw-methodResponse/+AD4-"),
    **{
        f"labelled {name}": (
            "encoding",
            field("\xe9").replace("?>", f' encoding="{name}"?>').encode("latin-1"),
        )
        for name in ("no-such", "utf-7", "idna", "rot13", "base64", "cp037")
    },
    "NUL bytes": ("encoding", b"\x00" * 1000),
}  # fmt: skip

_ID = "<i4>1001</i4>"
_OTHER_IDS = {
    "another": session(number=1002),
    "negative": session(number=-1001),
    "0": session(number=0),
    "and a letter": session().replace(_ID, "1001x"),
    "empty": session().replace(_ID, ""),
    "of 5,000 digits": session().replace(_ID, "1" * 5000),
    "in other digits": session().replace(_ID, "\u0661\u0660\u0660\u0661"),
    "with underscore": session().replace(_ID, "1_001"),
    "a boolean": session().replace(_ID, "<boolean>1</boolean>"),
    "a fraction": session().replace(_ID, "<double>1001.5</double>"),
    "nil": session().replace(_ID, "<nil/>"),
    "an array": session().replace(_ID, "<array><data><value>1001</value></data></array>"),
    "a struct": session().replace(_ID, "<struct/>"),
    "bytes": session().replace(_ID, "<base64>MTAwMQ==</base64>"),
    "two": session(member("id", "<i4>1002</i4>")),
    "in capitals": session().replace("<name>id<", "<name>ID<"),
    "with a blank": session().replace("<name>id<", "<name> id<"),
    "missing": whole("<struct/>"),
}

BODIES = [
    *[unreadable(name, cause, http(text)) for name, (cause, text) in _UNREADABLE.items()],
    *[mismatch(f"id {name}", text) for name, text in _OTHER_IDS.items()],
]

# --- TLS ---------------------------------------------------------------------------------------


def untrusted(name: str, scene: Scene) -> Row:
    return Row(f"TLS {name}", "upstream_unreachable", (), ("tls",), 0, scene=scene, tls=True)


TLS = [
    *[
        untrusted(kind, speaking(kind))
        for kind in ("self-signed", "expired", "of tomorrow", "of another host",
                     "of an unknown authority", "too old a version")
    ],
    untrusted("spoken to in plain HTTP", greeted(lambda connection: connection.sendall(GOOD))),
    Row("TLS handshake reset", "upstream_unreachable", (), ("reset", "reset"), 0,
        scene=greeted(reset_after(b"\x16\x03\x03")), tls=True),
    Row("TLS handshake silent", "upstream_unreachable", (), ("connect_timeout",), 0,
        {"upstream_connect_timeout": 3}, greeted(silent_after(b"")), tls=True),
    unreadable("TLS cut in the body", "truncated",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + BODY[:50], tls=True),
]  # fmt: skip

ROWS = [*CONNECTIONS, *SLOW, *FLOODS, *NO_HTTP, *STATUSES, *FAULTS, *BODIES, *TLS]
