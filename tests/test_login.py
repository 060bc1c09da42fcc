"""A visitor logs in at the farm, sees their sessions, attaches one: over real ports, as a browser.

And everybody who wants to do so in their place.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
import uvicorn

from app.login.return_address import MAX_ADDRESS, is_return_address, with_outcome
from app.login.same_site import comes_from, origin_of
from app.login.sealed_cookies import new_cookie_key
from app.sandbox.server import create_farm, farm_server
from tests.conftest import Farm
from tests.hostile_farm import http as raw_http
from tests.hostile_farm import raw_farm
from tests.oauth_provider import CONSUMER_KEY, CONSUMER_SECRET, SESSION, OAuthProvider
from tests.programs import WITHIN
from tests.running import client_of, running
from tests.valkey import valkey
from tests.visitors import KEY, SITE, Visitor, login_gateway, query_of

MINE, NEXT, OTHERS = 301_001, 301_002, 301_101


@pytest.fixture
def gateway(farm: Farm) -> Iterator[str]:
    with login_gateway(farm.url) as url:
        yield url


@pytest.fixture
def ada(gateway: str) -> Iterator[Visitor]:
    """Ada, before she logs in."""
    with Visitor(gateway) as visitor:
        yield visitor


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def user_cookie(visitor: Visitor) -> str | None:
    return visitor.http.cookies.get("rfgw_user")


# --- The journey ---


def test_a_visitor_logs_in_sees_their_sessions_and_attaches_one(ada: Visitor) -> None:
    assert code_of(ada.sessions()) == (401, "login_required")
    assert ada.log_in(return_to="/docs?x=1#top") == "/docs?x=1#top"
    assert sorted(ada.ids()) == [MINE, NEXT, 301_003]
    assert code_of(ada.http.get(f"/sessions/{MINE}")) == (409, "session_not_attached")
    answer = ada.attach(MINE)
    assert (answer.status_code, answer.content) == (204, b"")
    assert ada.http.get(f"/sessions/{MINE}").json()["id"] == MINE
    assert ada.attach(MINE).status_code == 204
    assert ada.log_out().status_code == 204
    assert user_cookie(ada) is None
    assert code_of(ada.sessions()) == (401, "login_required")
    assert ada.log_in() == "/"
    assert len(ada.ids()) == 3


def test_a_list_of_sessions_tells_where_each_stands_and_is_kept_for_its_visitor(
    ada: Visitor, gateway: str, farm: Farm
) -> None:
    ada.log_in()
    first = ada.sessions()
    items = {item["id"]: item for item in first.json()["items"]}
    assert {number: item["queue"] for number, item in items.items()} == {
        MINE: "active", NEXT: "completed", 301_003: "accept",
    }  # fmt: skip
    assert items[MINE].keys() == {"id", "queue", "title", "shortDescription", "submittedAt"}
    assert first.headers["cache-control"] == "private, max-age=5"
    assert first.headers["vary"] == "Accept, Accept-Encoding, Cookie, Origin"
    again = ada.sessions(**{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-status"].startswith("rfgw; hit")
    assert ada.http.head("/me/sessions").headers["etag"] == first.headers["etag"]
    with Visitor(gateway) as grace:
        grace.log_in("Grace")
        assert grace.ids() == [301_102, OTHERS]
    ada.attach(MINE)
    assert ada.sessions().headers["cache-status"].startswith("rfgw; fwd=uri-miss")


def test_the_landing_page_leads_to_a_login_if_there_is_one(ada: Visitor, farm: Farm) -> None:
    link = '<a href="login?return_to=%2Fme%2Fsessions">Log in at the farm</a>'
    assert link in ada.http.get("/").text
    assert ada.log_in(return_to="/me/sessions") == "/me/sessions"
    with login_gateway(farm.url, login=False) as url, Visitor(url) as visitor:
        assert "Log in" not in visitor.http.get("/").text


def test_who_says_no_is_not_logged_in(ada: Visitor) -> None:
    assert ada.log_in(decision="deny", return_to=f"{SITE}/page?a=b#c") == (
        f"{SITE}/page?a=b&login=denied#c"
    )
    assert user_cookie(ada) is None
    assert code_of(ada.sessions()) == (401, "login_required")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "error=access_denied",
        "oauth_problem=user_refused",
        "oauth_problem=x",
        "oauth_verifier=v",
    ],
)
def test_a_no_without_a_token_is_that_of_the_youngest_login(ada: Visitor, query: str) -> None:
    ada.log_in()
    before = user_cookie(ada)
    ada.begin("/first")
    ada.begin("/second")
    assert ada.come_back(f"/login/callback?{query}") == "/second?login=denied"
    assert ada.come_back(f"/login/callback?{query}") == "/first?login=denied"
    assert ada.come_back(f"/login/callback?{query}").startswith("/?login=failed")
    assert user_cookie(ada) == before


@pytest.mark.parametrize(
    "query",
    [
        "denied={}",
        "oauth_token={}",
        "oauth_token={}&error=access_denied",
        "oauth_token={}&oauth_problem=user_refused",
        "oauth_token={}&oauth_problem=permission_denied&oauth_verifier=v",
    ],
)
def test_a_no_with_its_token_is_that_logins(ada: Visitor, query: str) -> None:
    first, _ = ada.begin("/first"), ada.begin("/second")
    query = query.format(query_of(first)["oauth_token"])
    assert ada.come_back(f"/login/callback?{query}") == "/first?login=denied"


def test_a_login_that_the_farm_breaks_off_is_over(ada: Visitor) -> None:
    token = query_of(ada.begin("/a"))["oauth_token"]
    back = ada.come_back(f"/login/callback?oauth_token={token}&oauth_problem=x&oauth_verifier=v")
    assert back == "/a?login=failed&login_code=upstream_fault"
    assert len(ada.http.cookies) == 0


def test_two_tabs_arrive_and_a_fifth_login_forgets_the_oldest(ada: Visitor) -> None:
    pages = [ada.begin(f"/{number}") for number in range(5)]
    assert len(ada.http.cookies) == 4
    callbacks = [ada.decide(page) for page in pages]
    assert ada.come_back(callbacks[0]).startswith("/?login=failed")
    assert ada.come_back(callbacks[4]) == "/4"
    assert ada.come_back(callbacks[1]) == "/1"
    assert len(ada.ids()) == 3


def test_a_login_begun_in_one_process_ends_in_another(farm: Farm) -> None:
    with login_gateway(farm.url) as one, login_gateway(farm.url) as two, Visitor(one) as ada:
        callback = ada.decide(ada.begin("/there"))
        assert ada.come_back(callback.replace(one, two)) == "/there"
        assert ada.http.get(f"{two}/me/sessions").status_code == 200
        assert len(ada.ids()) == 3


def test_a_provider_that_others_wrote_is_logged_in_at_as_well() -> None:
    provider = OAuthProvider()
    server = uvicorn.Server(uvicorn.Config(provider.app, log_config=None, lifespan="off"))
    consumer = {"consumer_key": CONSUMER_KEY, "consumer_secret": CONSUMER_SECRET}
    with running(server) as url, login_gateway(url, **consumer) as gateway, Visitor(gateway) as ada:
        assert ada.log_in(return_to="/home") == "/home"
        assert ada.ids() == [SESSION]
        assert code_of(ada.http.get(f"/sessions/{SESSION}"))[0] == 409
        assert code_of(ada.attach(SESSION + 1)) == (403, "session_not_yours")
        assert ada.attach(SESSION).status_code == 204
        assert ada.http.get(f"/sessions/{SESSION}").json()["title"] == "Seven"
        kept = user_cookie(ada)
        assert ada.log_out().status_code == 204
        answer = ada.sessions(Cookie=f"rfgw_user={kept}")
        assert code_of(answer) == (401, "login_expired")  # a bare 401


def test_what_is_attached_in_one_process_is_shown_and_watched_in_all(
    farm: Farm, patience: None
) -> None:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(valkey(directory))
        urls = [
            stack.enter_context(login_gateway(farm.url, cache_url=server.url, keep_refused=3600))
            for _ in range(2)
        ]
        ada = stack.enter_context(Visitor(urls[0]))
        other = stack.enter_context(client_of(urls[1]))
        assert code_of(other.get(f"/sessions/{MINE}")) == (409, "session_not_attached")
        assert code_of(ada.http.get(f"/sessions/{MINE}")) == (409, "session_not_attached")
        ada.log_in()
        with other.stream("GET", f"/sessions/events?ids={MINE}") as stream:
            assert stream.status_code == 200, stream.read()
            lines = (line for line in stream.iter_lines() if line.startswith("data:"))
            assert '"status":409' in next(lines)
            assert ada.attach(MINE).status_code == 204
            assert '"status":200' in next(lines)
        for client in (ada.http, other):
            assert client.get(f"/sessions/{MINE}").status_code == 200
        kept = str(server.client.keys())
        assert "community.getSession(301001)" in kept
        assert "user." not in kept


def test_an_attached_session_is_not_kept_as_refused_though_the_farm_fails_then(
    ada: Visitor, farm: Farm
) -> None:
    ada.log_in()
    assert ada.http.get(f"/sessions/{MINE}").status_code == 409
    farm.next({"do": "answer"}, *[{"do": "status", "status": 500}] * 2)
    assert ada.attach(MINE).status_code == 204
    assert ada.http.get(f"/sessions/{MINE}").status_code != 409


# --- What is not there unless it is switched on ---


def test_without_logins_the_paths_are_not_there(farm: Farm) -> None:
    with login_gateway(farm.url, login=False) as url, Visitor(url) as visitor:
        for method, path in (
            ("GET", "/login"), ("GET", "/login/callback"), ("POST", "/logout"),
            ("GET", "/me/sessions"), ("PUT", "/me/sessions/301001/attached"), ("DELETE", "/login"),
            ("GET", "/me/sessions/007"),
        ):  # fmt: skip
            assert code_of(visitor.http.request(method, path)) == (404, "route_not_found")
        preflight = {"Origin": SITE, "Access-Control-Request-Method": "PUT"}
        answer = visitor.http.options("/me/sessions", headers=preflight)
        assert "access-control-allow-credentials" not in answer.headers
        assert answer.headers["access-control-allow-methods"] == "GET, HEAD"


def test_sessions_are_answered_as_before_whoever_is_logged_in(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.wiring.age_clock", lambda: 1000.0)  # and so Date stands still
    with login_gateway(farm.url) as url, Visitor(url) as ada, client_of(url) as stranger:
        ada.log_in()
        ada.http.get("/sessions/42")
        before = farm.calls()
        same = {"X-Request-ID": "same", "Origin": SITE}
        theirs = stranger.get("/sessions/42", headers=same)
        hers = ada.http.get("/sessions/42", headers=same)
    assert theirs.content == hers.content
    assert theirs.headers == hers.headers
    assert hers.headers["vary"] == "Accept, Accept-Encoding, Origin"
    assert "access-control-allow-credentials" not in hers.headers
    assert farm.calls() == before


# --- Where a login leads back to ---


@pytest.mark.parametrize(
    "address",
    ["/", "/a", "/a?b=c#d", "/logins", "/a/login", "/%2F/evil.example", "/a//b",
     "/@evil.example", SITE,
     f"{SITE}/", f"{SITE}/a?b#c", f"{SITE}?a", f"{SITE}#a", f"{SITE}/@evil", "/" + "a" * 511],
)  # fmt: skip
def test_pages_of_the_gateway_and_of_listed_origins_may_be_returned_to(address: str) -> None:
    assert is_return_address(address, {SITE, "http://localhost:3000"})


EVIL = [
    "", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "a", "null",
    "/\t/evil.example", "/\n/evil.example", "/\r\nSet-Cookie:a=b", " /a", "/a b", "/\x00", "/é",
    "https://evil.example", f"{SITE}.evil.example", f"{SITE}@evil.example", f"{SITE}:444/",
    f"{SITE}:x@evil.example", f"{SITE}\\@evil.example", "http://site.example/",
    "https:site.example", "https://www.site.example/", "https:/site.example", "HTTPS://SITE.EXAMPLE/",
    "/login", "/login/", "/login?return_to=/login", "/login#a", "/login/callback", "/./login",
    "/a/../login", "/%6Cogin", "/%2e/login%2fcallback", "//[",
    "data:text/html,x", "javascript:alert(1)", "https://user@site.example/", "//site.example",
    f"\t{SITE}/", "*", "/" + "a" * MAX_ADDRESS,
]  # fmt: skip


@pytest.mark.parametrize("address", EVIL)
def test_nothing_else_is_ever_redirected_to(ada: Visitor, farm: Farm, address: str) -> None:
    assert not is_return_address(address, {SITE})
    answer = ada.http.get(f"/login?return_to={quote(address, safe='')}")
    assert code_of(answer) == (422, "invalid_request")
    assert answer.json()["errors"][0]["parameter"] == "return_to"
    assert "location" not in answer.headers
    assert "evil" not in answer.text
    assert farm.calls() == 0


def test_the_outcome_goes_into_the_query() -> None:
    assert with_outcome("/", "denied") == "/?login=denied"
    assert with_outcome("/a?b#c?d", "failed", "x") == "/a?b&login=failed&login_code=x#c?d"


# --- Who wants to log in in somebody's place ---


def test_who_did_not_begin_a_login_cannot_end_it(ada: Visitor, gateway: str) -> None:
    """RFC 5849's answer to session fixation: the attacker's request token is nothing here."""
    with Visitor(gateway) as mallory:
        theirs = mallory.begin("/home")
        callback = ada.decide(theirs)  # Ada is led to the farm by Mallory's address, and says yes
        assert ada.come_back(callback) == "/?login=failed&login_code=login_expired"
        assert user_cookie(ada) is None
        bare = f"{gateway}/login/callback?oauth_token={query_of(theirs)['oauth_token']}"
        assert mallory.come_back(bare) == "/home?login=denied"  # without the verifier: nothing
        assert user_cookie(mallory) is None


def test_a_callback_is_good_for_once(ada: Visitor) -> None:
    callback = ada.decide(ada.begin("/home"))
    kept = dict(ada.http.cookies)
    assert ada.come_back(callback) == "/home"
    assert ada.come_back(callback).startswith("/?login=failed")
    ada.http.cookies.update(kept)
    assert ada.come_back(callback) == "/home?login=failed&login_code=login_expired"


@pytest.mark.parametrize(
    "query", ["oauth_token=x", "oauth_token={0}&oauth_token={0}&oauth_verifier=v", "denied=x",
              "oauth_token=%FF", "oauth_token={0}x&oauth_verifier=v"],
)  # fmt: skip
def test_a_callback_of_nobodys_login_changes_nothing(ada: Visitor, query: str) -> None:
    ada.log_in()
    before = user_cookie(ada)
    token = query_of(ada.begin("/home"))["oauth_token"]
    ended = ada.come_back("/login/callback?" + query.format(token))
    assert ended.startswith(("/?login=failed", "/home?login=denied"))
    assert user_cookie(ada) == before


def test_a_wrong_verifier_fails_and_ends_the_login(ada: Visitor) -> None:
    callback = ada.decide(ada.begin("/home"))
    forged = callback.rpartition("=")[0] + "=wrong"
    assert ada.come_back(forged) == "/home?login=failed&login_code=upstream_rejected_call"
    assert ada.come_back(callback).startswith("/?login=failed")
    assert user_cookie(ada) is None


def test_no_cookie_but_a_good_one_is_a_login(ada: Visitor, farm: Farm) -> None:
    ada.log_in()
    good = user_cookie(ada)
    begun = next(iter(ada.http.cookies.items()))
    assert good is not None
    with (
        login_gateway(farm.url, cookie_key=new_cookie_key()) as elsewhere,
        Visitor(elsewhere) as eve,
    ):
        eve.log_in("Grace")
        foreign = user_cookie(eve)
        assert code_of(eve.http.get("/me/sessions", headers={"Cookie": f"rfgw_user={good}"})) == (
            401, "login_required",
        )  # fmt: skip
    forged = [
        f"rfgw_user={foreign}", f"rfgw_user={good[:-1]}", f"rfgw_user={good}A", "rfgw_user=",
        "rfgw_user", f"__Host-rfgw_user={good}", f"rfgw_login_x={good}", f"rfgw_user2={good}",
        "; ".join(f"rfgw_user={good[:number]}" for number in range(60)), "=;=;;", "\x80\xff",
        f"rfgw_user={begun[1]}x", "a=" + "b" * 9000,
    ]  # fmt: skip
    ada.http.cookies.clear()
    for cookie in forged:
        fields = {b"Cookie": cookie.encode("latin-1")}
        answer = ada.http.get("/me/sessions", headers=fields)
        assert code_of(answer) == (401, "login_required"), cookie
        assert answer.headers["www-authenticate"] == 'Cookie realm="rfgw"'
    bomb = "; ".join(f"rfgw_login_{number}=x" for number in range(500))
    assert ada.http.get("/login", headers={"Cookie": bomb}).status_code == 303
    kept = ada.http.get("/me/sessions", headers={"Cookie": f"a=b; rfgw_user={good}; c"})
    assert kept.status_code == 200


def test_a_key_may_be_exchanged_without_logging_anybody_out(farm: Farm) -> None:
    with login_gateway(farm.url) as url, Visitor(url) as ada:
        ada.log_in()
        cookie = {"Cookie": f"rfgw_user={user_cookie(ada)}"}
    keys = f"{new_cookie_key()},{KEY}"
    with login_gateway(farm.url, cookie_key=keys) as url, Visitor(url) as ada:
        assert ada.http.get("/me/sessions", headers=cookie).status_code == 200


@pytest.mark.parametrize("problem", ["token_expired", "token_revoked", "token_rejected"])
def test_a_login_that_the_farm_has_ended_is_over(ada: Visitor, farm: Farm, problem: str) -> None:
    ada.log_in()
    assert farm.http.delete("/__tokens", params={"problem": problem}).is_success
    answer = ada.attach(MINE)
    assert code_of(answer) == (401, "login_expired")
    assert answer.headers["set-cookie"].startswith("rfgw_user=; Max-Age=0;")
    assert user_cookie(ada) is None


def test_a_replayed_cookie_is_good_until_the_farm_has_forgotten_it(ada: Visitor) -> None:
    ada.log_in()
    kept = user_cookie(ada)
    ada.log_out()
    answer = ada.sessions(Cookie=f"rfgw_user={kept}")
    assert code_of(answer) == (401, "login_expired")
    assert answer.headers["set-cookie"].startswith("rfgw_user=; Max-Age=0;")


def test_a_session_of_somebody_else_is_not_attached(ada: Visitor) -> None:
    ada.log_in()
    for number in (OTHERS, 42, 300_001):
        assert code_of(ada.attach(number)) == (403, "session_not_yours")
    assert code_of(ada.attach(0)) == (422, "invalid_request")
    assert user_cookie(ada) is not None


@pytest.mark.parametrize(
    ("fields", "is_ours"),
    [
        ({}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "https://www.site.example"}, False),
        ({"Origin": f"{SITE}.evil.example"}, False),
        ({"Origin": "http://site.example"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Origin": "null", "Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": SITE}, True),
        ({"Origin": SITE, "Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
    ],
)
def test_what_changes_something_comes_from_our_pages(
    ada: Visitor, farm: Farm, fields: dict[str, str], is_ours: bool
) -> None:
    ada.log_in()
    before = farm.calls()
    answer = ada.attach(MINE, None, **fields)
    assert answer.status_code == (204 if is_ours else 403)
    if not is_ours:
        assert answer.json()["code"] == "cross_site_request"
        assert code_of(ada.http.post("/logout", headers=fields)) == (403, "cross_site_request")
        assert farm.calls() == before
        assert user_cookie(ada) is not None


def test_the_gateways_own_origin_is_ours(ada: Visitor, gateway: str) -> None:
    ada.log_in()
    assert ada.attach(MINE, gateway).status_code == 204
    assert ada.attach(MINE, gateway.replace("127.0.0.1", "localhost")).status_code == 403


def test_origins_are_written_as_browsers_write_them() -> None:
    for address, origin in (
        ("https://GW.example/a/b", "https://gw.example"),
        ("https://gw.example:443", "https://gw.example"),
        ("http://gw.example:443/", "http://gw.example:443"),
        ("http://[::1]:8000/gw", "http://[::1]:8000"),
    ):
        assert origin_of(address) == origin
    assert not comes_from([(b"origin", SITE.encode())] * 2, {SITE})


# --- CORS ---


def test_pages_of_listed_origins_may_send_the_cookie_along(ada: Visitor) -> None:
    preflight = {"Origin": SITE, "Access-Control-Request-Method": "PUT"}
    foreign = {**preflight, "Origin": "https://evil.example"}
    for path in ("/me/sessions", "/me/sessions/1/attached", "/logout", "/login"):
        headers = ada.http.options(path, headers=preflight).headers
        assert headers["access-control-allow-origin"] == SITE
        assert headers["access-control-allow-credentials"] == "true"
        assert headers["access-control-allow-methods"] == "GET, HEAD, POST, PUT"
        headers = ada.http.options(path, headers=foreign).headers
        assert "access-control-allow-origin" not in headers
        assert "access-control-allow-credentials" not in headers
    answer = ada.sessions(Origin=SITE)
    assert answer.headers["access-control-allow-credentials"] == "true"
    headers = ada.http.options("/sessions/42", headers=preflight).headers
    assert "access-control-allow-credentials" not in headers


def test_a_body_is_refused_unread(ada: Visitor) -> None:
    ada.log_in()
    for answer in (
        ada.http.put(f"/me/sessions/{MINE}/attached", headers={"Origin": SITE}, content=b"x"),
        ada.http.request("GET", "/me/sessions", content=b"x"),
    ):
        assert code_of(answer) == (413, "request_too_large")


# --- What cookies look like ---


def test_cookies_are_for_the_gateway_alone(farm: Farm) -> None:
    with login_gateway(farm.url, public_url="https://gw.example/farm") as url:
        # https is a proxy's, before the gateway
        answer = httpx.get(f"{url}/login", trust_env=False, timeout=WITHIN)
    assert url == "https://gw.example/farm" or answer.status_code == 303
    name, _, rest = answer.headers["set-cookie"].partition("=")
    value, *attributes = rest.split("; ")
    assert name.startswith("__Host-rfgw_login_")
    assert attributes == ["Max-Age=600", "Path=/", "HttpOnly", "SameSite=Lax", "Secure"]
    assert query_of(answer.headers["location"])["oauth_token"] not in value


def test_a_login_lasts_as_long_as_the_operator_says(farm: Farm) -> None:
    with login_gateway(farm.url, login_lifetime=60) as url, Visitor(url) as ada:
        answer = ada.http.get(ada.decide(ada.begin()))
        fields = answer.headers.get_list("set-cookie")
    assert [field.split("; ")[1] for field in fields] == ["Max-Age=0", "Max-Age=60"]


# --- A farm that does not do its half ---


def test_a_farm_of_core_1_0_is_refused_unless_its_risk_is_accepted() -> None:
    with running(farm_server(create_farm(core_1_0=True))) as url:
        with login_gateway(url) as gateway, Visitor(gateway) as ada:
            assert ada.begin("/a") == "/a?login=failed&login_code=upstream_callback_unconfirmed"
            assert len(ada.http.cookies) == 0
        with login_gateway(url, oauth_core_1_0=True) as gateway, Visitor(gateway) as ada:
            page = ada.begin("/a")
            assert query_of(page)["oauth_callback"] == f"{gateway}/login/callback"
            assert ada.come_back(ada.decide(page)) == "/a"
            assert len(ada.ids()) == 3


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (raw_http("<html>hello</html>"), "upstream_unreadable"),
        (raw_http("oauth_token=a"), "upstream_unreadable"),
        (raw_http("x", status="500 Oh"), "upstream_unreachable"),
        (raw_http("x", status="401 No"), "upstream_refused_credentials"),
        (raw_http("oauth_problem=consumer_key_unknown"), "upstream_refused_credentials"),
        (raw_http("", "Retry-After: 7", status="503 Later"), "upstream_unavailable"),
        (raw_http("a" * 5000), "upstream_unreadable"),
        (raw_http("oauth_token=a&oauth_token_secret=b"), "upstream_callback_unconfirmed"),
    ],
)
def test_a_farm_that_cannot_begin_a_login_leads_back(answer: bytes, code: str) -> None:
    with raw_farm(answer) as farm, login_gateway(farm.url) as url, Visitor(url) as ada:
        assert ada.begin("/a") == f"/a?login=failed&login_code={code}"
        assert len(ada.http.cookies) == 0


def test_a_farm_that_answers_with_somebody_elses_token_logs_nobody_in() -> None:
    other = "oauth_token=other&oauth_token_secret=s&oauth_callback_confirmed=true"
    with raw_farm(raw_http(other)) as farm, login_gateway(farm.url) as url, Visitor(url) as ada:
        assert query_of(ada.begin("/a"))["oauth_token"] == "other"
        assert ada.come_back("/login/callback?oauth_token=mine&oauth_verifier=v").startswith(
            "/?login=failed"
        )
        assert ada.http.cookies.get("rfgw_user") is None


def test_a_logout_forgets_the_login_though_the_farm_is_away() -> None:
    form = "oauth_token=a&oauth_token_secret=b&oauth_callback_confirmed=true"
    with raw_farm(raw_http(form)) as farm, login_gateway(farm.url) as url, Visitor(url) as ada:
        callback = f"/login/callback?{urlsplit(ada.begin()).query}&oauth_verifier=v"
        assert ada.come_back(callback) == "/"
        farm.script = [raw_http("", status="500 Oh")]
        assert user_cookie(ada) is not None
        assert ada.log_out().status_code == 204
        assert user_cookie(ada) is None
        assert ada.log_out().status_code == 204


def test_a_list_that_is_not_as_documented_costs_what_is_wrong_with_it(farm: Farm) -> None:
    def members(**named: str) -> str:
        return "".join(
            f"<member><name>{name.strip('_')}</name><value>{value}</value></member>"
            for name, value in named.items()
        )

    def struct(text: str) -> str:
        return f"<struct>{text}</struct>"

    one = struct(members(title="A", sessionShortDescription="B", submitTimestamp="<i4>9</i4>"))
    other = struct(members(title="<i4>1</i4>", extra="x"))
    queues = members(
        accept="",
        active=struct(members(_7=one, x=other, _0=one)),
        canceled=struct(members(_8=other)),
        render=struct(members(_9="text", _10=other)),
    )
    form = raw_http("oauth_token=a&oauth_token_secret=b&oauth_callback_confirmed=true")
    whole = f"<methodResponse><params><param><value>{struct(queues)}</value></param></params>"
    answer = raw_http(f"{whole}</methodResponse>")
    with raw_farm(form, form, answer) as raw, login_gateway(raw.url) as url, Visitor(url) as ada:
        ada.come_back(f"/login/callback?{urlsplit(ada.begin()).query}&oauth_verifier=v")
        items: list[dict[str, Any]] = ada.sessions().json()["items"]
        drift = ada.http.get("/metrics").text
    nothing = dict.fromkeys(("title", "shortDescription", "submittedAt"))
    assert items == [
        {"id": 7, "queue": "active", "title": "A", "shortDescription": "B",
         "submittedAt": "1970-01-01T00:00:09Z"},
        {"id": 10, "queue": "unknown", **nothing},
        {"id": 8, "queue": "cancelled", **nothing},
    ]  # fmt: skip
    for field in ("queue", "id", "title", "unknown_member"):
        assert f'rfgw_upstream_drift_total{{field="{field}"}}' in drift


# --- What is counted and logged ---


def test_logins_are_counted_and_logged_without_anything_of_them(
    ada: Visitor, capfd: pytest.CaptureFixture[str]
) -> None:
    ada.log_in()
    ada.log_in(decision="deny")
    ada.come_back("/login/callback?oauth_token=x")
    ada.attach(MINE)
    secret = user_cookie(ada)
    ada.log_out()
    metrics = ada.http.get("/metrics").text
    for outcome, times in {"begun": 2, "done": 1, "denied": 1, "failed": 1, "ended": 1}.items():
        assert f'rfgw_logins_total{{outcome="{outcome}"}} {times}.0' in metrics
    assert secret is not None
    assert secret not in metrics
