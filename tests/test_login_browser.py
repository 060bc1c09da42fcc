"""Logins in a real browser: its cookies, its rules between origins, how it reads addresses."""

# ruff: noqa: F811 - fixtures of another file are arguments here

import random
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from app.login.return_address import is_return_address
from tests.conftest import Farm
from tests.programs import WITHIN, finish, free_port
from tests.test_browser import (  # noqa: F401 - fixtures
    PATIENCE,
    OpenPage,
    ask,
    browser,
    foreign_url,
    open_page,
)
from tests.test_workers import (  # noqa: F401 - fixtures
    client_of_each,
    directory,
    replace_workers,
    two_workers,
    until,
)
from tests.visitors import KEY, SITE, login_gateway

COOKIE = {"credentials": "include"}
PUT = {**COOKIE, "method": "PUT"}
WATCH = """(url) => {
  window.seen = [];
  new EventSource(url).addEventListener("item", (event) => {
    const { session, problem } = JSON.parse(event.data);
    window.seen.push(session ? session.title : problem.code);
  });
}"""
ADDRESSES = 20_000
HOME = "/docs"
"""A page whose policy lets scripts ask the gateway."""


def origin_of(url: str) -> str:
    return "{0.scheme}://{0.netloc}".format(urlsplit(url))


@pytest.fixture
def gateway(farm: Farm, foreign_url: str) -> Iterator[str]:
    """A gateway that lists the origin of the foreign page."""
    with login_gateway(farm.url, cors_origins=origin_of(foreign_url)) as url:
        yield url


def log_in(page: Page, gateway: str, user: str, decision: str = "Allow") -> None:
    """As people do: a link, the farm's page, and back."""
    begin_login(page, gateway)
    decide(page, gateway, user, decision)


def begin_login(page: Page, gateway: str) -> None:
    """Follow the link to the farm's page."""
    page.goto(f"{gateway}/login?return_to={HOME}")


def decide(page: Page, gateway: str, user: str, decision: str = "Allow") -> None:
    """Answer the farm's question, and arrive at the gateway again."""
    page.get_by_label(user).check()
    page.get_by_role("button", name=decision).click()
    page.wait_for_url(re.compile(re.escape(gateway)), timeout=PATIENCE)


def await_seen(page: Page, told: str) -> None:
    """Wait until the page's stream has told it."""
    deadline = time.monotonic() + WITHIN
    while told not in page.evaluate("window.seen"):
        assert time.monotonic() < deadline, page.evaluate("window.seen")
        page.wait_for_timeout(20)


def attach_and_log_out(page: Page) -> None:
    """All that Ada does once she has logged in."""
    ids = [item["id"] for item in ask(page, "/me/sessions")["body"]["items"]]
    assert sorted(ids) == [301_001, 301_002, 301_003]
    assert ask(page, "/sessions/301001")["status"] == 409
    page.evaluate(WATCH, "/sessions/events?ids=301001")
    await_seen(page, "session_not_attached")
    assert ask(page, "/me/sessions/301001/attached", method="PUT")["status"] == 204
    await_seen(page, "Sandbox session 301001")
    assert ask(page, "/sessions/301001")["status"] == 200
    assert page.evaluate("document.cookie") == ""
    assert ask(page, "/logout", method="POST")["status"] == 204
    assert ask(page, "/me/sessions")["body"]["code"] == "login_required"


def test_the_journey(open_page: OpenPage, gateway: str) -> None:
    page = open_page(f"{gateway}{HOME}").page
    assert ask(page, "/me/sessions")["status"] == 401
    log_in(page, gateway, "Ada", "Deny")
    assert page.url.endswith("?login=denied")
    log_in(page, gateway, "Ada")
    assert page.url == f"{gateway}{HOME}"
    attach_and_log_out(page)
    log_in(page, gateway, "Grace")
    ids = [item["id"] for item in ask(page, "/me/sessions")["body"]["items"]]
    assert sorted(ids) == [301_101, 301_102]


def test_the_journey_on_two_workers_that_are_replaced_while_the_farm_asks(
    open_page: OpenPage, farm: Farm, directory: Path
) -> None:
    """A login ends at a worker that did not begin it, and every worker shows what was attached."""
    port = str(free_port())
    settings = {
        "RFGW_PORT": port,
        "RFGW_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "RFGW_CORS_ORIGINS": SITE,
        "RFGW_LOGIN": "true",
        "RFGW_COOKIE_KEY": KEY,
        "RFGW_KEEP_REFUSED": "3600",
    }
    with two_workers(directory, farm, **settings) as (program, url), ExitStack() as stack:
        page = open_page(f"{url}{HOME}").page
        begin_login(page, url)
        replace_workers(program)
        decide(page, url, "Ada")
        assert page.url == f"{url}{HOME}"
        everybody = client_of_each(program, url, stack).values()
        shown = [one.get("/sessions/301001").status_code for one in everybody]
        assert shown == [409, 409]
        attach_and_log_out(page)
        until(lambda: all(one.get("/sessions/301001").is_success for one in everybody))
        program.send_signal(signal.SIGTERM)
        assert finish(program).returncode == 0


def test_a_page_of_a_listed_origin_acts_for_its_visitor(
    open_page: OpenPage,
    gateway: str,
    foreign_url: str,
) -> None:
    page = open_page(f"{gateway}{HOME}").page
    log_in(page, gateway, "Ada")
    page.goto(foreign_url)
    assert ask(page, f"{gateway}/me/sessions")["status"] == 401  # without its cookie
    assert len(ask(page, f"{gateway}/me/sessions", **COOKIE)["body"]["items"]) == 3
    assert ask(page, f"{gateway}/me/sessions/301002/attached", **PUT)["status"] == 204
    assert ask(page, f"{gateway}/sessions/301002")["body"]["title"] == "Sandbox session 301002"
    assert ask(page, f"{gateway}/sessions/301002", **COOKIE) == {"error": "TypeError"}
    assert ask(page, f"{gateway}/logout", **COOKIE, method="POST")["status"] == 204
    assert ask(page, f"{gateway}/me/sessions", **COOKIE)["status"] == 401


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_page_of_another_origin_does_nothing(
    open_page: OpenPage,
    gateway: str,
    farm: Farm,
    host: str,
) -> None:
    """One of another site, and one of the same: the farm's, which is at another port."""
    page = open_page(f"{gateway}{HOME}").page
    log_in(page, gateway, "Ada")
    page.goto(farm.url.replace("127.0.0.1", host) + "/oauth.authorize")
    for path, method in (
        ("/me/sessions", "GET"), ("/me/sessions/301003/attached", "PUT"), ("/logout", "POST"),
    ):  # fmt: skip
        told = ask(page, f"{gateway}{path}", **COOKIE, method=method)
        assert told == {"error": "TypeError"}
        ask(page, f"{gateway}{path}", **COOKIE, method=method, mode="no-cors")
    page.set_content(f'<form method="post" action="{gateway}/logout"><button>Out</button></form>')
    with page.expect_navigation():
        page.get_by_role("button").click()
    expect(page.locator("body")).to_contain_text("cross_site_request")
    page.goto(f"{gateway}{HOME}")
    assert ask(page, "/me/sessions")["status"] == 200
    assert farm.http.get("/__users").json()["attached"] == []


def test_no_return_address_leads_a_browser_elsewhere(
    open_page: OpenPage,
    gateway: str,
) -> None:
    """What is let through, the browser itself reads: it stays at home or at a listed origin."""
    listed, chance = "https://site.example", random.Random(7)
    pieces = [
        *"/\\@:?#.%;&=[]-_~!$'()*+,|^`{}<>\" \t\r\n\0",
        *("//", "https:", "http:", "evil.example", "site.example", listed, "%2f", "%5c", "%09"),
        *("javascript:", "data:", "..", "443", "é"),
    ]
    made = {"".join(chance.choices(pieces, k=chance.randrange(1, 7))) for _ in range(ADDRESSES)}
    made |= {listed + text for text in made} | {f"/{text}" for text in made}
    passed = sorted(text for text in made if is_return_address(text, {listed}))
    assert len(passed) > ADDRESSES // 100
    page = open_page(f"{gateway}{HOME}").page
    origins = page.evaluate(
        "(all) => [...new Set(all.map((text) => new URL(text, location.href).origin))]", passed
    )
    assert {*origins} == {gateway, listed}
