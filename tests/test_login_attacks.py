"""Logins under attack: farms that answer with garbage, cookies by the thousand, wrong clocks."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import quote, urlencode, urlsplit

import pytest

from app.login.sealed_cookies import CookieSeal
from app.login.visitor_cookies import MOST_READ, VisitorCookies
from app.sandbox.server import create_farm, farm_server
from app.upstream.bulkhead import LOGIN_CALLS
from tests.conftest import Farm
from tests.hostile_farm import GOOD, raw_farm
from tests.hostile_farm import http as raw_http
from tests.programs import WITHIN
from tests.running import client_of, running
from tests.test_upstream import wait_for
from tests.visitors import Visitor, login_gateway, query_of

MUTATED = 100_000
KEY = bytes(range(32))


@pytest.fixture(scope="module")
def gateway(_farm: Farm) -> Iterator[str]:
    with login_gateway(_farm.url) as url:
        yield url


@pytest.fixture
def ada(farm: Farm, gateway: str) -> Iterator[Visitor]:
    with Visitor(gateway) as visitor:
        yield visitor


# A login that somebody else begins


def test_what_a_victim_allows_is_not_the_attackers(ada: Visitor, gateway: str) -> None:
    """Session fixation, the advisory 2009.1 on OAuth Core 1.0."""
    with Visitor(gateway) as attacker:
        page = attacker.begin("/?a=1")
        callback = ada.decide(page)  # the victim was sent the page's address, and says yes
        assert query_of(ada.come_back(callback))["login"] == "failed"
        assert ada.sessions().status_code == 401
        token = query_of(page)["oauth_token"]
        for guess in ({}, {"oauth_verifier": ""}, {"oauth_verifier": "guess"}):
            back = urlencode({"oauth_token": token} | guess)
            told = query_of(attacker.come_back(f"{callback.partition('?')[0]}?{back}"))
            assert told["login"] in ("failed", "denied")
            assert attacker.sessions().status_code == 401


def test_a_farm_of_core_1_0_can_be_attacked_so(farm: Farm) -> None:
    """Why its risk has to be accepted by name: the attack of above succeeds."""
    with (
        running(farm_server(create_farm(core_1_0=True))) as farm_url,
        login_gateway(farm_url, oauth_core_1_0=True) as url,
        Visitor(url) as attacker,
        Visitor(url) as victim,
    ):
        callback = victim.decide(attacker.begin(), "Grace")
        attacker.come_back(callback)
        assert sorted(attacker.ids()) == [301_101, 301_102]


def test_one_visitors_callback_does_not_end_anothers_login(ada: Visitor, gateway: str) -> None:
    with Visitor(gateway) as grace:
        callback = grace.decide(grace.begin(), "Grace")
        ada.begin()
        assert query_of(ada.come_back(callback))["login"] == "failed"
        assert ada.sessions().status_code == 401
        assert "login" not in query_of(grace.come_back(callback))


@pytest.mark.parametrize(
    "step",
    [
        {"do": "problem", "problem": "unheard_of"},
        {"do": "fault", "code": 104},
        {"do": "fault", "code": 7},
        {"do": "status", "status": 500},
        {"do": "status", "status": 503, "headers": {"Retry-After": "300"}},
    ],
    ids=lambda step: "-".join(map(str, step.values()))[:20],
)
def test_nobody_without_a_key_keeps_the_farm_from_others(
    farm: Farm, step: dict[str, object]
) -> None:
    """Logins are begun, and their ends played again and again, as anybody may."""
    with login_gateway(farm.url) as url, Visitor(url) as attacker:
        tokens = [query_of(attacker.begin())["oauth_token"] for _ in range(3)]
        kept = dict(attacker.http.cookies)
        farm.next(*[step] * 6)
        attacker.begin()
        for number in range(5):
            attacker.http.cookies.update(kept)
            query = {"oauth_token": tokens[number % 3], "oauth_verifier": "x"}
            ended = attacker.come_back(f"/login/callback?{urlencode(query)}")
            assert query_of(ended)["login"] == "failed"
        farm.next()
        assert attacker.http.get("/sessions/1001").status_code == 200


def test_logins_take_no_place_of_a_session() -> None:
    answered = threading.Event()

    def answer_late(connection: socket.socket) -> None:
        answered.wait(WITHIN)
        token = "oauth_token=a&oauth_token_secret=s&oauth_callback_confirmed=true"
        connection.sendall(raw_http(token))

    two_places = {"upstream_concurrency": 2, "upstream_queue": 0, "upstream_deadline": WITHIN}
    with (
        raw_farm(answer_late) as farm,
        login_gateway(farm.url, **two_places) as url,
        Visitor(url) as visitor,
        ThreadPoolExecutor(LOGIN_CALLS) as pool,
        ExitStack() as stack,
    ):
        stack.callback(answered.set)
        farm.scripts[1001] = [GOOD]
        begun = [pool.submit(visitor.http.get, "/login") for _ in range(LOGIN_CALLS)]
        wait_for(lambda: len(farm.requests) == LOGIN_CALLS)
        assert visitor.http.get("/sessions/1001").status_code == 200
        assert visitor.begin() == "/?login=failed&login_code=overloaded"
        answered.set()
        for one in begun:
            assert one.result().headers["location"].startswith(farm.url)


# Farms that answer with garbage


GARBAGE: list[dict[str, object]] = [
    {"do": "html"},
    {"do": "raw", "body": ""},
    {"do": "raw", "body": "oauth_token=&oauth_token_secret=", "content_type": "text/plain"},
    {"do": "raw", "body": "oauth_token=a", "content_type": "text/plain"},
    {"do": "raw", "body": "oauth_token=a&oauth_token=b&oauth_token_secret=c"},
    {"do": "raw", "body": "oauth_token=a%00&oauth_token_secret=b&oauth_callback_confirmed=true"},
    {"do": "raw", "body": "oauth_token=a%0d%0a&oauth_token_secret=&oauth_callback_confirmed=true"},
    {"do": "raw", "body": f"oauth_token={5000 * 'a'}&oauth_token_secret=b"},
    {"do": "raw", "body": "\xff\xfe", "charset": "latin-1"},
    {"do": "raw", "body": "<methodResponse/>"},
    {"do": "raw", "body": '{"oauth_token": "a"}', "content_type": "application/json"},
    {"do": "status", "status": 500},
    {"do": "status", "status": 401},
    {"do": "status", "status": 302, "headers": {"Location": "https://evil.example/"}},
    {"do": "truncated"},
    {"do": "reset"},
    {"do": "oversize"},
    {"do": "bomb"},
    {"do": "fault", "code": -1},
    {"do": "problem", "problem": "signature_invalid"},
    {"do": "problem", "problem": "parameter_absent", "shape": "form"},
    {"do": "problem", "problem": "<script>alert(1)</script>"},
    {"do": "problem", "problem": "nonce_used", "shape": "fault"},
]


@pytest.mark.parametrize("step", GARBAGE, ids=lambda step: "-".join(map(str, step.values()))[:40])
def test_garbage_at_either_step_logs_nobody_in(farm: Farm, step: dict[str, object]) -> None:
    """A gateway for each: too many failures, and the farm is left alone for a while."""
    with login_gateway(farm.url) as url, Visitor(url) as visitor:
        callback = visitor.decide(visitor.begin("/?a=1"))
        farm.http.delete("/__records")
        farm.next(*[step] * 5)
        ended = visitor.come_back(callback)
        assert query_of(ended).items() >= {"a": "1", "login": "failed"}.items()
        assert farm.calls() == 1  # what changes something is not said again
        begun = visitor.http.get("/login", params={"return_to": "/?a=1"})
        assert begun.status_code == 303
        assert query_of(begun.headers["location"]).items() >= {"login": "failed"}.items()
        for told in (ended, begun.headers["location"]):
            assert urlsplit(told).netloc in ("", urlsplit(url).netloc)
            assert "script" not in told
        farm.next()
        assert visitor.sessions().status_code == 401
        assert not [cookie for cookie in visitor.http.cookies.jar if cookie.name == "rfgw_user"]


# Cookies by the thousand


def test_no_mutated_cookie_is_a_login() -> None:
    seal, chance = CookieSeal([KEY]), random.Random(14)
    cookies = VisitorCookies(seal, secure=True, lifetime=1000, now=lambda: 1_800_000_000.0)
    name = "__Host-rfgw_user"
    good = seal.seal(name, ["token", "secret"], 1_800_000_000.0)
    assert cookies.user(f"{name}={good}") is not None
    alphabet = [*map(chr, range(256)), good[:7], good[-7:], "; ", f"{name}=", "=", "%", '"']
    for _ in range(MUTATED):
        text = list(good)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(text) + 1)
            text[at : at + chance.randrange(3)] = chance.choice(alphabet)
        field = f"{name}={''.join(text)}"
        if f"{name}={good}" not in map(str.strip, field.split(";")):
            assert cookies.user(field) is None, field


def test_a_mutated_cookie_is_401_and_nothing_else(ada: Visitor) -> None:
    ada.log_in()
    ((name, value),) = [
        (cookie.name, str(cookie.value))
        for cookie in ada.http.cookies.jar
        if cookie.name == "rfgw_user"
    ]
    chance = random.Random(15)
    half = value[: len(value) // 2]
    forged = [value[:-1], value[1:], f"{value}A", half, "", "=", "é" * 9, value * 2, "," * 99]
    for _ in range(200):
        at = chance.randrange(len(value))
        forged.append(value[:at] + chance.choice("~!% \x80\xff.") + value[at + 1 :])
    with client_of(ada.http.base_url) as http:
        for text in forged:
            sent = [(b"cookie", f"{name}={text}".encode("latin-1"))]
            answer = http.get("/me/sessions", headers=sent)
            assert (answer.status_code, answer.json()["code"]) == (401, "login_required"), text
        assert http.get("/me/sessions", headers={"cookie": f"{name}={value}"}).is_success


@pytest.mark.parametrize(
    "bomb",
    ["a=b; " * 3000, "rfgw_user=x; " * 1000, "; " * 7000, "=" * 15_000, "rfgw_begun_x=y; " * 900],
    ids=lambda bomb: bomb[:14],
)
def test_many_cookies_cost_little_and_are_nobodys_login(ada: Visitor, bomb: str) -> None:
    for path in ("/me/sessions", "/login?return_to=/", "/login/callback?oauth_token=x"):
        answer = ada.http.get(path, headers={"cookie": bomb.strip()})
        assert answer.status_code in (401, 303, 431)
        if "callback" in path and answer.status_code == 303:
            assert "login=failed" in answer.headers["location"]


def test_of_many_foreign_cookies_few_are_forgotten_at_once(ada: Visitor) -> None:
    many = "; ".join(f"rfgw_login_{number}=x" for number in range(600))
    answer = ada.http.get("/login", headers={"cookie": many})
    assert answer.status_code == 303
    assert len(answer.headers.get_list("set-cookie")) == MOST_READ + 1


def test_a_token_that_no_cookie_holds_fails_the_login() -> None:
    token = "oauth_token={}&oauth_token_secret=s&oauth_callback_confirmed=true"
    with (
        raw_farm(raw_http(token.format("a"))) as farm,
        login_gateway(farm.url) as url,
        Visitor(url) as visitor,
    ):
        visitor.begin("/a")
        farm.script = [raw_http(token.format(quote(255 * "\N{MUSICAL SYMBOL G CLEF}")))]
        ended = visitor.come_back("/login/callback?oauth_token=a&oauth_verifier=v")
        assert ended == "/a?login=failed&login_code=upstream_unreadable"
        assert not visitor.http.cookies


# Clocks that jump


@pytest.mark.parametrize("ahead", [86_400, -86_400])
def test_a_farm_with_a_wrong_clock_is_logged_in_at(ahead: int) -> None:
    with (
        running(farm_server(create_farm(clock=lambda: time.time() + ahead))) as farm_url,
        login_gateway(farm_url) as url,
        Visitor(url) as visitor,
    ):
        assert "login" not in query_of(visitor.log_in())
        assert visitor.attach(301_001).status_code == 204
        assert visitor.http.get("/sessions/301001").status_code == 200
        assert visitor.log_out().status_code == 204


@pytest.mark.parametrize(
    ("passed", "is_good"), [(-59, True), (-61, False), (999, True), (1000, False)]
)
def test_a_login_ends_by_the_seal_whatever_the_browser_says(passed: int, is_good: bool) -> None:
    """A cookie of the future is of a clock that has jumped, or of nobody."""
    seal, sealed_at = CookieSeal([KEY]), 1_800_000_000.0
    name = "rfgw_user"
    value = seal.seal(name, ["token", "secret"], sealed_at)
    cookies = VisitorCookies(seal, secure=False, lifetime=1000, now=lambda: sealed_at + passed)
    assert (cookies.user(f"{name}={value}") is not None) == is_good
