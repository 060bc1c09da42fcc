"""The catalogue's pages: every code has one, in two forms, and its example is what is sent."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from app.api.error_codes import Code
from app.api.error_meanings import MEANINGS
from app.main import create_app
from tests.conftest import Farm, StartGateway, settings_for
from tests.programs import WITHIN
from tests.running import client_of, running, serving

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
HTML, JSON = "text/html; charset=utf-8", "application/json"
PATHS = ["/problems", "/problems/session_not_found"]


@pytest.fixture(scope="module")
def site(_farm: Farm) -> Iterator[httpx.Client]:
    """One gateway for all these tests: its pages never change."""
    with (
        running(serving(create_app(settings_for(_farm.url)))) as url,
        client_of(url) as client,
    ):
        yield client


def test_the_list_has_every_code_once(site: httpx.Client) -> None:
    items = site.get("/problems").json()["items"]
    assert sorted(item["code"] for item in items) == sorted(Code)
    assert [item["status"] for item in items] == sorted(item["status"] for item in items)


@pytest.mark.parametrize("code", list(Code))
def test_the_type_of_every_problem_points_at_its_page(site: httpx.Client, code: Code) -> None:
    page = site.get(f"/problems/{code}").json()
    assert site.get(page["example"]["type"]).json() == page
    assert page in site.get("/problems").json()["items"]
    assert page["code"] == page["example"]["code"] == code


def test_the_type_points_at_the_public_address_if_there_is_one(start_gateway: StartGateway) -> None:
    gateway = start_gateway(public_url="https://gw.example/farm/")
    kind = gateway.get("/nowhere").json()["type"]
    assert kind == "https://gw.example/farm/problems/route_not_found"
    page = gateway.get(urlsplit(kind).path.removeprefix("/farm"))
    assert page.json()["example"]["type"] == kind


def test_a_detail_may_name_any_argument(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = Code.SESSION_NOT_FOUND
    other = MEANINGS[code]._replace(detail="No animation has id {animationId}.")
    monkeypatch.setitem(MEANINGS, code, other)
    page = start_gateway().get(f"/problems/{code}").json()
    assert page["meaning"] == "No animation has id N."
    assert page["example"]["detail"] == "No animation has id 4711."


@pytest.mark.parametrize("code", list(Code))
def test_a_page_tells_people_what_the_catalogue_says(site: httpx.Client, code: Code) -> None:
    meaning = MEANINGS[code]
    answer = site.get(f"/problems/{code}", headers={"Accept": BROWSER})
    data = site.get(f"/problems/{code}").json()
    assert answer.headers["content-type"] == HTML
    for text in (data["meaning"], meaning.title, meaning.when, meaning.remedy, str(meaning.status)):
        assert escape(text) in answer.text
    assert "{" not in data["meaning"]
    assert (data["when"], data["remedy"]) == (meaning.when, meaning.remedy)
    assert data["retryable"] == (data["retryAfterMs"] is not None)
    assert ("No: the same request would fail again." in answer.text) != data["retryable"]


def test_the_list_for_people_leads_to_every_page(site: httpx.Client) -> None:
    text = site.get("/problems", headers={"Accept": BROWSER}).text
    assert [code for code in Code if f'href="problems/{code}"' not in text] == []


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        ("application/*", JSON),
        (BROWSER, HTML),
        ("text/html", HTML),
        ("text/*", HTML),
        ("text/html;q=0.5, application/json", JSON),
        ("text/html, application/json", JSON),
        ("application/json;q=0, */*", HTML),
    ],
)
def test_html_goes_to_whoever_prefers_it(
    site: httpx.Client, path: str, accept: str | None, media_type: str
) -> None:
    request = site.build_request("GET", path)
    del request.headers["accept"]
    if accept is not None:
        request.headers["accept"] = accept
    answer = site.send(request)
    assert answer.headers["content-type"] == media_type
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", PATHS)
def test_neither_form_being_wanted_is_not_acceptable(site: httpx.Client, path: str) -> None:
    answer = site.get(path, headers={"Accept": "image/png"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    assert answer.headers["vary"] == "Accept, Accept-Encoding"


@pytest.mark.parametrize(
    "name", ["nothing", "SESSION_NOT_FOUND", "session_not_found/", "%20unauthorized", "", "../docs"]
)
@pytest.mark.parametrize("accept", ["*/*", BROWSER])
def test_an_unknown_code_is_a_path_that_is_not_there(
    site: httpx.Client, name: str, accept: str
) -> None:
    answer = site.get(f"/problems/{name.replace('..', '%2e%2e')}", headers={"Accept": accept})
    assert (answer.status_code, answer.json()["code"]) == (404, "route_not_found")
    assert answer.json()["instance"] is None


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("accept", ["*/*", BROWSER])
def test_a_form_that_the_client_has_is_not_sent_again(
    site: httpx.Client, path: str, accept: str
) -> None:
    first = site.get(path, headers={"Accept": accept})
    tag = first.headers["etag"]
    again = site.get(path, headers={"Accept": accept, "If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    for name in ("etag", "cache-control", "vary", "access-control-allow-origin"):
        assert again.headers[name] == first.headers[name]
    assert first.headers["cache-control"] == "no-cache"
    other = BROWSER if accept == "*/*" else "*/*"
    changed = site.get(path, headers={"Accept": other, "If-None-Match": tag})
    assert changed.status_code == 200, "the other form has other bytes"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("accept", ["*/*", BROWSER])
def test_head_answers_like_get(site: httpx.Client, path: str, accept: str) -> None:
    head = site.head(path, headers={"Accept": accept})
    get = site.get(path, headers={"Accept": accept})
    assert head.content == b""
    for name in ("content-length", "content-type", "etag", "vary"):
        assert head.headers[name] == get.headers[name]


PROVOKED: list[tuple[Code, str, dict[str, str]]] = [
    (Code.INVALID_REQUEST, "/sessions/007", {}),
    (Code.UPSTREAM_REJECTED_PARAMETERS, "/sessions/101901", {}),
    (Code.SESSION_FORBIDDEN, "/sessions/103901", {}),
    (Code.SESSION_NOT_FOUND, "/sessions/300901", {}),
    (Code.ROUTE_NOT_FOUND, "/nowhere", {}),
    (Code.NOT_ACCEPTABLE, "/sessions/1001", {"Accept": "image/png"}),
    (Code.SESSION_NOT_ATTACHED, "/sessions/301901", {}),
    (Code.UPSTREAM_REJECTED_CALL, "/sessions/100901", {}),
    (Code.UPSTREAM_REFUSED_CREDENTIALS, "/sessions/400901", {}),
    (Code.UPSTREAM_FAULT, "/sessions/999901", {}),
    (Code.UPSTREAM_UNREACHABLE, "/sessions/501901", {}),
    (Code.UPSTREAM_UNAVAILABLE, "/sessions/503901", {}),
    (Code.UPSTREAM_TIMEOUT, "/sessions/700901", {}),
    (Code.NOT_CACHED, "/sessions/1002", {"Cache-Control": "only-if-cached"}),
]


@pytest.mark.parametrize(("code", "path", "headers"), PROVOKED)
def test_the_example_is_what_is_really_sent(
    start_gateway: StartGateway, code: Code, path: str, headers: dict[str, str]
) -> None:
    gateway = start_gateway(upstream_deadline=0.3 if code is Code.UPSTREAM_TIMEOUT else WITHIN)
    example = gateway.get(f"/problems/{code}").json()["example"]
    answer = gateway.get(path, headers=headers)
    sent: dict[str, Any] = json.loads(answer.text.replace(path.rpartition("/")[2], "4711"))
    assert sent == {**example, "requestId": answer.headers["x-request-id"]}
