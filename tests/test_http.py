"""The HTTP surface as any client meets it: over a real port, raw bytes where a client library
would tidy the request up. Must not know how the gateway is built inside.
"""

import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

import httpx
import pytest

from app.main import create_app
from app.telemetry.log_writer import LOG_WRITER
from tests.conftest import Farm, StartGateway, settings_for
from tests.programs import WITHIN
from tests.running import client_of, running, serving

MEMBERS = {
    "type", "title", "status", "code", "detail", "instance", "requestId", "retryable",
    "retryAfterMs", "remedy", "upstream", "errors",
}  # fmt: skip
EXPOSED = (
    "Age, Cache-Control, Cache-Status, ETag, Preference-Applied, RateLimit, RateLimit-Policy, "
    "Retry-After, Server-Timing, X-Request-ID"
)
JSON_POLICY = "default-src 'none'; frame-ancestors 'none'"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
GET_ROUTES = [
    "/sessions/1008", "/health/live", "/health/ready", "/metrics", "/", "/docs", "/openapi.json",
    "/openapi-3.0.json",
]  # fmt: skip


class Answer(NamedTuple):
    """What came over the wire; ``body`` is what stood behind the head, even where none may."""

    status: int
    headers: httpx.Headers
    body: bytes


def raw(
    client: httpx.Client, target: str, *headers: bytes, method: str = "GET", body: bytes = b""
) -> Answer:
    """The answer to a request that is sent byte by byte as it is written here."""
    lines = [f"{method} {target} HTTP/1.1".encode(), b"Connection: close", *headers]
    if not any(line.lower().startswith(b"host:") for line in headers):
        lines.append(b"Host: gw.example")
    pieces: list[bytes] = []
    address = (client.base_url.host, client.base_url.port or 80)
    with socket.create_connection(address, timeout=10) as connection:
        # A server may refuse before it has read everything.
        with suppress(ConnectionError):
            connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        with suppress(ConnectionError):
            while piece := connection.recv(65536):
                pieces.append(piece)
    head, _, rest = b"".join(pieces).partition(b"\r\n\r\n")
    status, *fields = head.split(b"\r\n")
    pairs = [field.split(b": ", 1) for field in fields]
    return Answer(
        int(status.split()[1]), httpx.Headers([(name, value) for name, value in pairs]), rest
    )


def listed(value: str) -> set[str]:
    """The members of a comma-separated header, in lower case."""
    return {part.strip().lower() for part in value.split(",") if part.strip()}


def problem_of(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of ``answer``, after checking all that every problem promises."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert set(problem) == MEMBERS
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"].endswith(f"/problems/{code}")
    assert problem["requestId"] == answer.headers["x-request-id"]
    return problem


@pytest.fixture(scope="module")
def edge(_farm: Farm) -> Iterator[httpx.Client]:
    """A gateway that this file's tests share: they leave nothing behind that another could see."""
    with (
        running(serving(create_app(settings_for(_farm.url)))) as url,
        client_of(url) as client,
    ):
        yield client


# --- Paths and ids ---------------------------------------------------------------------------

BAD_IDS = [
    "0", "007", "042", "00", "-1", "-0", "+5", "%2B5", "1.0", "1.", "1_000", "1,2", "%201", "1%20",
    "%091", "42%0A", "%0A42", "42%0D%0A", "42%00", "%0042", "%D9%A4%D9%A2", "%EF%BC%94%EF%BC%92",
    "%C2%B2", "%FF", "%C0%B4", "4%CC%812", "1e3", "0x2A", "0b1", "0o7", "null", "true", "NaN",
    "undefined", "%7Bid%7D", "2147483648", "4294967338", "9999999999", "10000000000", "9" * 5000,
    "1" + "0" * 5000, "%2534%2532", "%252042", "42;v=1", "42%3Fx", "42%23", "42:", "42'", "42\"",
    "%3Cscript%3E", "a", "*", "~", "42&x", "42%5C", "%E2%80%8B42", "42%C2%A0", "%",
    "%4", "%zz",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_IDS, ids=lambda text: text[:20])
def test_what_is_not_a_number_in_range_is_refused_unasked(
    edge: httpx.Client, farm: Farm, text: str
) -> None:
    answer = raw(edge, f"/sessions/{text}")
    assert answer.status == 422, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert b'"invalid_request"' in answer.body
    assert answer.headers["cache-control"] == "no-store"
    assert farm.calls() == 0


@pytest.mark.parametrize("text", ["42", "%34%32", "4%32", "%342"])
def test_an_id_is_percent_decoded_once(edge: httpx.Client, text: str) -> None:
    answer = raw(edge, f"/sessions/{text}")
    assert answer.status == 200
    assert b'"id":42,' in answer.body


def test_the_largest_id_is_asked_for(edge: httpx.Client, farm: Farm) -> None:
    problem_of(edge.get("/sessions/2147483647"), 404, "session_not_found")
    assert farm.calls() == 1


def test_a_refused_id_is_named_by_parameter_and_never_repeated(edge: httpx.Client) -> None:
    answer = edge.get("/sessions/Zebra%3Cscript%3E")
    problem = problem_of(answer, 422, "invalid_request")
    (error,) = problem["errors"]
    assert set(error) <= {"pointer", "parameter", "code", "message"}
    assert error.get("parameter") == "id" or error.get("pointer")
    assert error["code"]
    assert error["message"]
    assert "Zebra" not in answer.text
    assert "Zebra" not in str(answer.headers)
    assert problem["retryable"] is False


@pytest.mark.parametrize(
    "target",
    [
        "/nope", "/sessions/42/", "/sessions/42//", "//", "//sessions/42", "/sessions//42",
        "/SESSIONS/42", "/sessions/42/x", "/sessions/./42", "/sessions/../sessions/42",
        "/sessions/42/..", "/session/42", "/docs/", "/openapi.json/", "/health", "/health/",
        "/health/live/", "/metrics/", "/.env", "/..%2F..%2Fetc%2Fpasswd", "/%00", "/%FF",
        "/redoc", "/openapi.yaml", "/;", "/sessions;v=1/42", "/index.html",
    ],
)  # fmt: skip
def test_an_unknown_path_is_a_problem_and_never_a_redirect(
    edge: httpx.Client, farm: Farm, target: str
) -> None:
    answer = raw(edge, target)
    assert answer.status == 404, answer.body
    assert b'"route_not_found"' in answer.body
    assert "location" not in answer.headers
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert farm.calls() == 0


@pytest.mark.parametrize(
    "text", ["42%2F", "42%2Fevents", "42%2fevents", "42%2Fevents%2F", "%2F42", "..%2F42"]
)
def test_an_encoded_slash_never_reaches_a_session(edge: httpx.Client, text: str) -> None:
    answer = raw(edge, f"/sessions/{text}")
    assert answer.status in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_request_with_an_absolute_target_is_served(edge: httpx.Client) -> None:
    answer = raw(edge, "http://gw.example/sessions/42")
    assert answer.status == 200


@pytest.mark.parametrize(
    "query",
    ["id=7", "sessionId=7", "oauth_token=x&oauth_signature=y", "%00%FF=%", "x=" + "y" * 9000],
    ids=range(5),
)
def test_an_unknown_query_changes_nothing(gateway: httpx.Client, farm: Farm, query: str) -> None:
    plain = gateway.get("/sessions/1008")
    asked = raw(gateway, f"/sessions/1008?{query}")
    assert (asked.status, asked.body) == (200, plain.content)
    assert asked.headers["etag"] == plain.headers["etag"]
    assert asked.headers["cache-status"].startswith("rfgw; hit")
    assert farm.calls() == 1


# --- Methods ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", GET_ROUTES)
def test_head_is_get_without_a_body(edge: httpx.Client, path: str) -> None:
    full = raw(edge, path)
    head = raw(edge, path, method="HEAD")
    assert full.status == head.status == 200
    assert full.body
    assert head.body == b""
    assert head.headers["content-type"] == full.headers["content-type"]
    assert head.headers.get("etag") == full.headers.get("etag")
    assert head.headers.get("cache-control") == full.headers.get("cache-control")
    if path != "/metrics":
        assert head.headers["content-length"] == full.headers["content-length"]


@pytest.mark.parametrize(
    ("path", "status"), [("/sessions/300007", 404), ("/sessions/x", 422), ("/nope", 404)]
)
def test_head_of_a_problem_has_its_headers_and_no_body(
    edge: httpx.Client, path: str, status: int
) -> None:
    answer = raw(edge, path, method="HEAD")
    assert (answer.status, answer.body) == (status, b"")
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["content-length"]) > 100


@pytest.mark.parametrize("path", GET_ROUTES)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
def test_a_wrong_method_is_told_the_right_ones(
    edge: httpx.Client, farm: Farm, path: str, method: str
) -> None:
    answer = edge.request(method, path)
    problem_of(answer, 405, "method_not_allowed")
    assert listed(answer.headers["allow"]) - {"options"} == {"get", "head"}
    assert answer.headers["cache-control"] == "no-store"
    assert farm.calls() == 0


def test_allow_names_options_exactly_if_it_is_answered(edge: httpx.Client) -> None:
    allow = listed(edge.post("/sessions/42").headers["allow"])
    answer = edge.options("/sessions/42")
    assert ("options" in allow) == (answer.status_code != 405)
    assert listed(answer.headers["allow"]) == allow


def test_a_wrong_method_with_a_bad_id_is_still_a_wrong_method(edge: httpx.Client) -> None:
    problem_of(edge.post("/sessions/x"), 405, "method_not_allowed")


def test_a_wrong_method_on_an_unknown_path_is_an_unknown_path(edge: httpx.Client) -> None:
    problem_of(edge.post("/nope"), 404, "route_not_found")


# --- Accept ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accept",
    [
        "application/json", "APPLICATION/Json", "application/*", "*/*", "*/*;q=0.001",
        "application/json;q=0.5", "text/html, application/json;q=0.1", "application/json , text/x",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
        "text/html;q=0, */*", "application/xml;q=0,application/json;q=1.000", "",
        "application/json, application/problem+json",
    ],
)  # fmt: skip
def test_json_is_sent_to_whoever_takes_it(edge: httpx.Client, accept: str) -> None:
    answer = edge.get("/sessions/1008", headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"


def test_two_accept_lines_are_one_list(edge: httpx.Client) -> None:
    lines = (b"Accept: text/html", b"Accept: application/json")
    assert raw(edge, "/sessions/1008", *lines).status == 200
    assert raw(edge, "/sessions/1008", *reversed(lines)).status == 200


@pytest.mark.parametrize(
    "accept",
    [
        "text/html", "application/xml", "image/*", "application/json;q=0", "*/*;q=0",
        "application/json;q=0, */*", "*/*, application/json;q=0.000", "application/*;q=0, */*",
        "text/event-stream", "application/jsonp", "application/json-patch+json",
    ],
)  # fmt: skip
def test_who_takes_no_json_is_told_so_and_the_farm_is_not_asked(
    edge: httpx.Client, farm: Farm, accept: str
) -> None:
    answer = edge.get("/sessions/1011", headers={"accept": accept})
    assert answer.status_code == 406
    assert answer.json()["code"] == "not_acceptable"
    assert answer.headers["cache-control"] == "no-store"
    assert farm.calls() == 0


@pytest.mark.parametrize(
    "accept",
    [b";;;,,,", b"/", b"*", b"application/json;q=high", b"application/json;q=-1", b"\xff\xfe",
     b"application/json;q=" + b"9" * 400, b"," * 5000, b'text/html;a="', b"a/b;q=0," * 900],
    ids=range(10),
)  # fmt: skip
def test_a_senseless_accept_never_crashes(edge: httpx.Client, accept: bytes) -> None:
    answer = raw(edge, "/sessions/1008", b"Accept: " + accept)
    assert answer.status in (200, 406, 422)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/json, */*;q=0.8", "application/json"),
        ("application/json", "application/json"),
        ("*/*", "application/problem+json"),
        ("", "application/problem+json"),
        ("application/*", "application/problem+json"),
        ("application/problem+json", "application/problem+json"),
        ("application/problem+json, application/json;q=0.9", "application/problem+json"),
        ("text/html", "application/problem+json"),
    ],
)
def test_a_problem_goes_out_under_the_name_the_client_takes(
    edge: httpx.Client, accept: str, content_type: str
) -> None:
    for path in ("/sessions/x", "/nope"):
        answer = edge.get(path, headers={"accept": accept})
        assert answer.headers["content-type"] == content_type, path
        assert set(answer.json()) == MEMBERS


def test_a_problem_that_caches_may_keep_tells_them_that_accept_chose_its_name(
    edge: httpx.Client,
) -> None:
    answer = edge.get("/sessions/300001")
    assert answer.headers["cache-control"] == "public, max-age=10"
    assert "accept" in listed(answer.headers.get("vary", ""))


# --- On every answer -------------------------------------------------------------------------

EVERY = [
    ("GET", "/sessions/1008", {}, 200),
    ("HEAD", "/sessions/1008", {}, 200),
    ("GET", "/sessions/1008", {"if-none-match": "*"}, 304),
    ("GET", "/sessions/101001", {}, 400),
    ("GET", "/sessions/103001", {}, 403),
    ("GET", "/sessions/300001", {}, 404),
    ("HEAD", "/sessions/300001", {}, 404),
    ("GET", "/nope", {}, 404),
    ("DELETE", "/sessions/1008", {}, 405),
    ("GET", "/sessions/1008", {"accept": "image/png"}, 406),
    ("GET", "/sessions/301001", {}, 409),
    ("GET", "/sessions/x", {}, 422),
    ("GET", "/sessions/100001", {}, 502),
    ("GET", "/sessions/1012", {"cache-control": "only-if-cached"}, 504),
    ("GET", "/health/live", {}, 200),
    ("GET", "/health/ready", {}, 200),
    ("GET", "/metrics", {}, 200),
    ("GET", "/openapi.json", {}, 200),
    ("GET", "/openapi-3.0.json", {}, 200),
    ("GET", "/docs", {}, 200),
    ("GET", "/", {}, 200),
]


@pytest.mark.parametrize(("method", "path", "headers", "status"), EVERY)
def test_every_answer_carries_the_headers_that_browsers_need(
    edge: httpx.Client, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    sent = {"origin": "https://site.example", "x-request-id": "Trace.1_a-Z", **headers}
    answer = edge.request(method, path, headers=sent)
    assert answer.status_code == status, answer.text
    for name, value in {
        "access-control-allow-origin": "*",
        "access-control-expose-headers": EXPOSED,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "x-request-id": "Trace.1_a-Z",
    }.items():
        assert answer.headers.get_list(name) == [value], name
    assert "access-control-allow-credentials" not in answer.headers
    assert "server" not in answer.headers
    assert "set-cookie" not in answer.headers
    if "json" in answer.headers.get("content-type", ""):
        assert answer.headers.get_list("content-security-policy") == [JSON_POLICY]


@pytest.mark.parametrize(("method", "path", "headers", "status"), EVERY)
def test_a_list_of_origins_lets_in_those_and_no_others(
    listing: httpx.Client, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    for origin, allowed in ORIGINS:
        sent = {**headers, **({"origin": origin} if origin else {})}
        answer = listing.request(method, path, headers=sent)
        assert answer.status_code == status
        given = answer.headers.get_list("access-control-allow-origin")
        assert given == ([origin] if allowed else []), origin
        assert "origin" in listed(answer.headers["vary"])
        assert "access-control-allow-credentials" not in answer.headers


ORIGINS = [
    ("https://a.example", True),
    ("http://localhost:3000", True),
    ("https://b.example", False),
    ("http://a.example", False),
    ("https://a.example:8443", False),
    ("https://a.example.evil.example", False),
    ("https://evil.example/https://a.example", False),
    ("null", False),
    ("*", False),
    ("", False),
]


@pytest.fixture(scope="module")
def listing(_farm: Farm) -> Iterator[httpx.Client]:
    """A gateway that only two origins' pages may read."""
    settings = settings_for(_farm.url, cors_origins="https://a.example, http://localhost:3000")
    with (
        running(serving(create_app(settings))) as url,
        client_of(url) as client,
    ):
        yield client


PREFLIGHT = {
    "origin": "https://a.example",
    "access-control-request-method": "GET",
    "access-control-request-headers": "cache-control,if-none-match,x-request-id",
}


@pytest.mark.parametrize("path", ["/sessions/42", "/sessions/x", "/nope", "/health/live"])
def test_a_preflight_is_answered_for_two_hours_and_the_farm_is_not_asked(
    edge: httpx.Client, farm: Farm, path: str
) -> None:
    answer = edge.options(path, headers=PREFLIGHT)
    assert answer.status_code in (200, 204)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-max-age"] == "7200"
    assert {"get", "head"} <= listed(answer.headers["access-control-allow-methods"])
    allowed = listed(answer.headers["access-control-allow-headers"])
    assert allowed == {"*"} or {"cache-control", "if-none-match", "x-request-id"} <= allowed
    assert "access-control-allow-credentials" not in answer.headers
    assert REQUEST_ID.fullmatch(answer.headers["x-request-id"])
    assert farm.calls() == 0


def test_a_preflight_from_elsewhere_is_not_let_in(listing: httpx.Client) -> None:
    known = listing.options("/sessions/42", headers=PREFLIGHT)
    assert known.headers["access-control-allow-origin"] == "https://a.example"
    assert "origin" in listed(known.headers["vary"])
    stranger = listing.options(
        "/sessions/42", headers={**PREFLIGHT, "origin": "https://evil.example"}
    )
    assert "access-control-allow-origin" not in stranger.headers
    assert "origin" in listed(stranger.headers["vary"])


def test_a_preflight_with_hostile_header_names_never_splits_the_answer(edge: httpx.Client) -> None:
    answer = raw(
        edge,
        "/sessions/42",
        b"Origin: https://a.example",
        b"Access-Control-Request-Method: GET",
        b"Access-Control-Request-Headers: \xff\xfe\x01, x-a" + b",b" * 4000,
        method="OPTIONS",
    )
    assert answer.status < 500


# --- Request ids -----------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["a", "01J.trace_id-9", "x" * 64])
def test_a_wellformed_request_id_is_taken(edge: httpx.Client, given: str) -> None:
    answer = edge.get("/sessions/x", headers={"x-request-id": given})
    assert answer.headers.get_list("x-request-id") == [given]
    assert answer.json()["requestId"] == given


@pytest.mark.parametrize(
    "given",
    [b"", b" ", b"x" * 65, b"a b", b"a,b", b"a/b", b"\xff", b"\xc3\xa9", b"a;b", b'"a"', b"<x>",
     b"\xd9\xa4", b"a\tb", b"x" * 9000],
    ids=range(14),
)  # fmt: skip
def test_any_other_request_id_is_replaced(edge: httpx.Client, given: bytes) -> None:
    answer = raw(edge, "/sessions/x", b"X-Request-ID: " + given)
    assert answer.status == 422
    (minted,) = answer.headers.get_list("x-request-id")
    assert REQUEST_ID.fullmatch(minted)
    assert minted.encode() != given.strip()
    assert f'"requestId":"{minted}"'.encode() in answer.body


def test_two_request_ids_never_become_a_third(edge: httpx.Client) -> None:
    answer = raw(edge, "/sessions/42", b"X-Request-ID: one", b"X-Request-ID: two")
    (used,) = answer.headers.get_list("x-request-id")
    assert REQUEST_ID.fullmatch(used)


def test_minted_request_ids_differ(edge: httpx.Client) -> None:
    minted = {edge.get("/health/live").headers["x-request-id"] for _ in range(50)}
    assert len(minted) == 50


# --- What must not leak, and what must not break -----------------------------------------------


@pytest.mark.parametrize(
    "line",
    [b"Host: evil.example", b"X-Forwarded-Host: evil.example", b"Forwarded: host=evil.example",
     b"X-Original-URL: /evil.example", b"Referer: https://evil.example/"],
    ids=range(5),
)  # fmt: skip
@pytest.mark.parametrize("path", ["/sessions/x", "/nope", "/openapi.json", "/"])
def test_addresses_are_never_taken_from_the_request(
    edge: httpx.Client, path: str, line: bytes
) -> None:
    answer = raw(edge, path, line)
    is_server = path == "/openapi.json" and line.startswith(b"Host:")  # as it was asked
    assert answer.body.count(b"evil.example") == is_server
    assert "evil.example" not in str(answer.headers)


def test_problem_types_stand_below_the_public_address(start_gateway: StartGateway) -> None:
    gateway = start_gateway(public_url="https://gw.example/api/")
    for path in ("/sessions/x", "/nope", "/sessions/300001"):
        problem = gateway.get(path).json()
        assert problem["type"] == f"https://gw.example/api/problems/{problem['code']}"


def test_an_unknown_path_is_not_repeated(edge: httpx.Client) -> None:
    answer = edge.get("/Zebra%3Cscript%3E?Giraffe=1")
    assert "<script>" not in answer.text
    assert "Giraffe" not in answer.text


def test_headers_beyond_the_limit_are_a_problem(edge: httpx.Client) -> None:
    lines = [b"X-%d: " % n + b"y" * 1000 for n in range(200)]
    answer = raw(edge, "/sessions/1008", *lines)
    assert answer.status == 431, answer.body[:300]
    assert b'"request_too_large"' in answer.body
    assert answer.headers["access-control-allow-origin"] == "*"


def test_a_body_beyond_the_limit_is_a_problem(edge: httpx.Client) -> None:
    body = b"x" * 2_000_000
    for line, sent in (
        (b"Content-Length: %d" % len(body), body),
        (b"Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)),
    ):
        answer = raw(edge, "/sessions/1008", line, method="POST", body=sent)
        assert answer.status in (405, 413)
        assert answer.headers["content-type"] == "application/problem+json"
    answer = raw(edge, "/sessions/1008", b"Content-Length: %d" % len(body), body=body)
    assert answer.status == 413
    assert b'"request_too_large"' in answer.body


def test_a_small_body_on_get_is_refused_too(edge: httpx.Client) -> None:
    answer = edge.request("GET", "/sessions/1008", content=b'{"id":7}')
    assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")
    assert answer.headers["connection"] == "close"
    assert edge.request("GET", "/sessions/1008", content=b"").status_code == 200


@pytest.mark.parametrize(
    "line",
    [b"If-None-Match: \xff\xfe", b"Cache-Control: \xff", b"Origin: \xff\xfe", b"Cookie: \xff=\xfe",
     b"Authorization: Bearer \xff", b"Accept-Encoding: \xff", b"Range: bytes=\xff", b"X: \xff",
     b"Prefer: wait=\xff", b"Accept-Language: \xff", b"If-Modified-Since: \xff"],
    ids=range(11),
)  # fmt: skip
def test_raw_bytes_in_a_header_never_crash(edge: httpx.Client, line: bytes) -> None:
    answer = raw(edge, "/sessions/1008", line)
    assert answer.status < 500
    assert answer.headers["x-request-id"]


def test_health_and_metrics_never_ask_the_farm(gateway: httpx.Client, farm: Farm) -> None:
    for path in ("/health/live", "/health/ready", "/metrics"):
        assert gateway.get(path).status_code == 200
    assert gateway.get("/metrics").headers["content-type"].startswith("text/plain")
    assert farm.calls() == 0


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_run_no_inline_code_and_ask_nobody_else(edge: httpx.Client, path: str) -> None:
    answer = edge.get(path, headers={"accept": "text/html"})
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    script = re.search(r"(?:script-src|default-src) ([^;]+)", policy)
    assert script
    assert not re.search(r"unsafe-inline|unsafe-eval|https?:|\*", script[0])
    assert "default-src" in policy
    for code in re.findall(r"<script([^>]*)>([^<]*)</script>", answer.text):
        assert "src=" in code[0]
        assert not code[1].strip()
    assert not re.search(r"<[^>]+\son[a-z]+=", answer.text)
    for address in re.findall(r"(?:src|href)=\"([^\"]+)\"[^>]*(?:>|/>)", answer.text):
        if not address.startswith("http"):
            assert edge.get("/").request.url.join(address).host == edge.base_url.host


# --- Crashes ---------------------------------------------------------------------------------


class Crash(Exception):
    """A bug of our own, with a text that nobody outside may read."""


def boom(*args: object, **kwargs: object) -> NoReturn:
    raise Crash("secret inner workings")


@pytest.fixture(params=["app.core.gateway.Gateway.fetch", "app.api.replies.Replies.reply"])
def crashing(
    request: pytest.FixtureRequest, start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> httpx.Client:
    """A gateway with a bug behind its routes."""
    monkeypatch.setattr(request.param, boom)
    return start_gateway()


def test_a_crash_of_the_front_is_logged_and_the_route_answers(
    start_gateway: StartGateway,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("app.edge.fast_path.FastPath.answer", boom)
    assert start_gateway().get("/sessions/1008").status_code == 200
    LOG_WRITER.flush(WITHIN)
    logged = capfd.readouterr().err
    assert '"event": "crash"' in logged
    assert "secret" not in logged


def test_a_crash_is_a_problem_that_tells_nothing(crashing: httpx.Client) -> None:
    sent = {"origin": "https://a.example", "x-request-id": "crash-1"}
    answer = crashing.get("/sessions/1008", headers=sent)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-expose-headers"] == EXPOSED
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == JSON_POLICY
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"] == "crash-1"
    problem = problem_of(answer, 500, "internal_error")
    assert problem["retryable"] is False
    assert problem["upstream"] is None
    for told in ("secret", "Crash", "Traceback", ".py"):
        assert told not in answer.text
    assert crashing.post("/sessions/1008").status_code == 405, "the server lives on"


def test_a_crash_under_the_generated_clients_accept_is_json(crashing: httpx.Client) -> None:
    answer = crashing.get("/sessions/1008", headers={"accept": "application/json, */*;q=0.8"})
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/json")
    assert answer.json()["code"] == "internal_error"


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
def test_what_machines_ask_is_never_kept(gateway: httpx.Client, path: str) -> None:
    assert gateway.get(path).headers["cache-control"] == "no-store"
