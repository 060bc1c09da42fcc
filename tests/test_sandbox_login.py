"""The sandbox farm's half of a login, over a real port, asked by a client that strangers wrote."""

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import oauthlib.oauth1
import pytest
import uvicorn

from app.sandbox.server import DEMO_CONSUMER_KEY, DEMO_CONSUMER_SECRET, create_farm, farm_server
from app.sandbox.tokens import MOST, REQUEST_TOKEN_LIFETIME, Tokens
from app.upstream.oauth import Signer, new_nonce
from app.upstream.xmlrpc.codec import Fault, Value, dump_call, load_answer
from tests.oauth_provider import CONSUMER_KEY, CONSUMER_SECRET, SESSION, OAuthProvider
from tests.programs import RFGW, await_port, free_port, started
from tests.running import client_of, running

SITE = "https://site.example/login/callback?return_to=home"
XML = {"Content-Type": "text/xml"}
Credentials = dict[str, Any]


@dataclass
class SiteClient:
    """A site at the farm, and its users' browser."""

    url: str
    http: httpx.Client
    signed: dict[str, Any] = field(default_factory=dict)

    def signer(self, **credentials: Any) -> oauthlib.oauth1.Client:
        given = self.signed | credentials
        key = given.pop("consumer_key", DEMO_CONSUMER_KEY)
        secret = given.pop("consumer_secret", DEMO_CONSUMER_SECRET)
        return oauthlib.oauth1.Client(key, client_secret=secret, **given)

    def post(self, method: str, call: bytes | None = None, **credentials: Any) -> httpx.Response:
        """A signed request to a method's own address; ``call`` is an XML-RPC call."""
        url, headers, _ = self.signer(**credentials).sign(f"{self.url}/{method}", "POST")
        return self.http.post(url, content=call or b"", headers=headers | (XML if call else {}))

    def step(self, method: str, **credentials: Any) -> Credentials:
        answer = self.post(f"oauth.{method}", **credentials)
        assert answer.status_code == 200, answer.headers
        return dict(parse_qsl(answer.text, strict_parsing=bool(answer.text)))

    def problem(self, method: str, call: bytes | None = None, **credentials: Any) -> str:
        return problem_of(self.post(method, call, **credentials))

    def request_token(self) -> Credentials:
        return self.step("requestToken", callback_uri=SITE)

    def page(self, token: str, **more: str) -> httpx.Response:
        return self.http.get("/oauth.authorize", params={"oauth_token": token, **more})

    def decide(self, token: str, user: str = "Ada", decision: str = "allow") -> httpx.Response:
        """Fills in the page's form, as a browser does."""
        form = {
            html.unescape(name): html.unescape(value)
            for name, value in re.findall(
                r'<input type="hidden" name="([^"]*)" value="([^"]*)">', self.page(token).text
            )
        }
        return self.http.post("/oauth.authorize", data=form | {"user": user, "decision": decision})

    def log_in(self, user: str = "Ada") -> Credentials:
        """All three steps; the credentials of calls for ``user``."""
        token = self.request_token()
        back = returned(self.decide(token["oauth_token"], user))
        return of_user(self.exchange(token, verifier=back["oauth_verifier"]))

    def exchange(self, token: Credentials, **more: str) -> Credentials:
        return self.step("accessToken", **of_user(token), **more)

    def call(self, credentials: Credentials, method: str, *arguments: Value) -> Value:
        answer = self.post(method, dump_call(method, arguments), **credentials)
        assert answer.status_code == 200, problem_of(answer)
        return load_answer(answer.content)

    def site_call(self, method: str, *arguments: Value) -> Value:
        """A call for the site itself, with the struct that ``community.*`` takes."""
        signer = Signer(DEMO_CONSUMER_KEY, DEMO_CONSUMER_SECRET)
        now = self.now()
        struct = signer.sign(self.url, method, {}, timestamp=now, nonce=new_nonce())
        call = dump_call(method, [{**struct}, *arguments])
        return load_answer(self.http.post(f"/{method}", content=call, headers=XML).content)

    def site_fault(self, method: str, *arguments: Value) -> int:
        with pytest.raises(Fault) as caught:
            self.site_call(method, *arguments)
        return caught.value.code

    def now(self) -> int:
        return int(self.signed.get("timestamp") or oauthlib.common.generate_timestamp())

    def script(self, *steps: dict[str, object]) -> None:
        assert self.http.put("/__script", json=list(steps)).is_success

    def record(self) -> dict[str, Any]:
        """The newest."""
        newest: dict[str, Any] = self.http.get("/__records").json()["records"][-1]
        return newest


def problem_of(answer: httpx.Response) -> str:
    """The ``oauth_problem`` of the header."""
    assert answer.status_code in (400, 401), answer.content
    found = re.fullmatch(
        r'OAuth realm="sandbox", oauth_problem="([^"]*)"', answer.headers["www-authenticate"]
    )
    assert found
    return found[1]


def returned(answer: httpx.Response) -> Credentials:
    """What the browser brings back to the site."""
    assert answer.status_code in (302, 303)
    address = urlsplit(answer.headers["location"])
    assert f"{address.scheme}://{address.netloc}{address.path}" == SITE.partition("?")[0]
    back = {name: text for name, (text,) in parse_qs(address.query).items()}
    assert back.pop("return_to") == "home"
    return back


def of_user(token: Credentials) -> Credentials:
    return {
        "resource_owner_key": token["oauth_token"],
        "resource_owner_secret": token["oauth_token_secret"],
    }


@contextmanager
def site_at(**settings: Any) -> Iterator[SiteClient]:
    with running(farm_server(create_farm(**settings))) as url, client_of(url) as client:
        yield SiteClient(url, client)


@pytest.fixture(scope="module")
def shared_site() -> Iterator[SiteClient]:
    with site_at() as site:
        yield site


@pytest.fixture
def site(shared_site: SiteClient) -> SiteClient:
    for path in ("/__script", "/__records", "/__users"):
        shared_site.http.delete(path)
    return shared_site


GET_ALL = dump_call("user.getAllSessions", [])

# The journey


def test_a_user_logs_in_and_out(site: SiteClient) -> None:
    token = site.request_token()
    assert token["oauth_callback_confirmed"] == "true"
    back = returned(site.decide(token["oauth_token"]))
    assert back.keys() == {"oauth_token", "oauth_verifier"}
    assert back["oauth_token"] == token["oauth_token"]
    user = of_user(site.exchange(token, verifier=back["oauth_verifier"]))
    assert site.call(user, "user.getAllSessions")
    assert site.http.get("/__users").json()["logins"] == 1
    assert site.step("logout", **user) == {}
    assert site.problem("user.getAllSessions", GET_ALL, **user) == "token_revoked"
    assert site.http.get("/__users").json()["logins"] == 0


def test_a_user_sees_their_sessions_in_three_queues(site: SiteClient) -> None:
    ada, grace = site.log_in("Ada"), site.log_in("Grace")
    theirs: Any = site.call(ada, "user.getAllSessions")
    assert {queue: list(sessions) for queue, sessions in theirs.items()} == {
        "accept": ["301003"],
        "active": ["301001"],
        "completed": ["301002"],
    }
    session = theirs["active"]["301001"]
    assert session.keys() == {"title", "shortDescription", "submitTimestamp"}
    assert session["title"] == "Sandbox session 301001"
    others: Any = site.call(grace, "user.getAllSessions")
    assert others["accept"] == {}
    assert not {*theirs["completed"], *theirs["active"]} & {*others["completed"], *others["active"]}


def test_a_session_is_told_once_its_owner_has_attached_it(site: SiteClient) -> None:
    ada = site.log_in()
    assert site.site_fault("community.getSession", 301_001) == 301
    assert site.call(ada, "user.attachSession", 301_001) == {"success": True}
    session: Any = site.site_call("community.getSession", 301_001)
    listed: Any = site.call(ada, "user.getAllSessions")
    assert session["id"] == 301_001
    assert session["timestamps"]["submit"] == listed["active"]["301001"]["submitTimestamp"]
    assert site.site_fault("community.getSession", 301_002) == 301
    assert site.call(ada, "user.attachSession", 301_001) == {"success": True}
    assert site.http.get("/__users").json()["attached"] == [301_001]


@pytest.mark.parametrize("session_id", [301_101, 301_999, 42, 1])
def test_a_session_of_somebody_else_cannot_be_attached(site: SiteClient, session_id: int) -> None:
    call = dump_call("user.attachSession", [session_id])
    refused = site.problem("user.attachSession", call, **site.log_in())
    assert refused == "The%20session%20does%20not%20belong%20to%20the%20user"
    assert site.http.get("/__users").json()["attached"] == []


@pytest.mark.parametrize("arguments", [(), ("301001",), (301_001, 1), (301_001.0,)])
def test_an_attachment_with_other_arguments_finds_no_method(
    site: SiteClient, arguments: tuple[Value]
) -> None:
    with pytest.raises(Fault) as caught:
        site.call(site.log_in(), "user.attachSession", *arguments)
    assert caught.value.code == -1


def test_all_is_forgotten_when_asked(site: SiteClient) -> None:
    ada = site.log_in()
    site.call(ada, "user.attachSession", 301_001)
    site.site_call("community.createUserAccount", "new@example.org")
    assert site.http.delete("/__users").status_code == 204
    told = site.http.get("/__users").json()
    assert told == {"accounts": ["Ada", "Grace"], "attached": [], "logins": 0}
    assert site.problem("user.getAllSessions", GET_ALL, **ada) == "token_rejected"
    assert site.site_fault("community.getSession", 301_001) == 301


def test_a_provider_that_others_wrote_has_the_same_steps() -> None:
    provider = OAuthProvider()
    server = uvicorn.Server(uvicorn.Config(provider.app, log_config=None, lifespan="off"))
    with running(server) as url, client_of(url) as http:
        consumer = {"consumer_key": CONSUMER_KEY, "consumer_secret": CONSUMER_SECRET}
        site = SiteClient(url, http, consumer)
        ada = site.log_in()
        assert site.call(ada, "user.attachSession", SESSION) == {"success": True}
        assert provider.attached == {SESSION}
        assert site.step("logout", **ada) == {}
        assert site.post("user.getAllSessions", GET_ALL, **ada).status_code == 401


# The page


def test_the_page_says_who_wants_what_and_needs_no_script(site: SiteClient) -> None:
    answer = site.page(site.request_token()["oauth_token"])
    assert answer.status_code == 200
    assert "<strong>site.example</strong>" in answer.text
    for choice in ("Ada", "Grace", "Nobody", "Allow", "Deny"):
        assert f"{choice}</" in answer.text
    assert "<script" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action" not in policy  # it would stop the redirect to the site
    assert answer.headers["cache-control"] == "no-store"


def test_a_user_says_no(site: SiteClient) -> None:
    token = site.request_token()
    back = returned(site.decide(token["oauth_token"], decision="deny"))
    assert back == {"oauth_token": token["oauth_token"], "oauth_problem": "user_refused"}
    credentials = of_user(token)
    refused = site.problem("oauth.accessToken", verifier="guessed", **credentials)
    assert refused == "permission_denied"


@pytest.mark.parametrize("decision", ["", "Allow", "yes"])
def test_what_is_no_yes_is_a_no(site: SiteClient, decision: str) -> None:
    token = site.request_token()["oauth_token"]
    assert returned(site.decide(token, decision=decision))["oauth_problem"] == "user_refused"


def test_nobody_cannot_say_yes_but_no(site: SiteClient) -> None:
    token = site.request_token()["oauth_token"]
    answer = site.decide(token, "nobody")
    assert answer.status_code == 403
    assert 'role="alert"' in answer.text
    assert returned(site.decide(token, "nobody", "deny"))["oauth_problem"] == "user_refused"


def test_a_token_is_decided_on_once(site: SiteClient) -> None:
    token = site.request_token()["oauth_token"]
    returned(site.decide(token))
    for answer in (site.page(token), site.decide(token)):
        assert answer.status_code == 400
        assert token not in answer.text


@pytest.mark.parametrize("token", ["", "unknown", '"><b>'])
def test_the_page_of_a_token_that_is_none_tells_nothing(site: SiteClient, token: str) -> None:
    for answer in (site.page(token), site.decide(token)):
        assert answer.status_code == 400
        assert "begin it anew" in answer.text
        assert "<b>" not in answer.text


def test_a_request_token_ends_after_ten_minutes() -> None:
    now = 1_800_000_000.0
    with site_at(clock=lambda: now) as site:
        undecided, allowed = site_tokens = [
            dict(parse_qsl(site.post("oauth.requestToken", callback_uri=SITE,
                                     timestamp=str(int(now))).text))
            for _ in range(2)
        ]  # fmt: skip
        assert all(site_tokens)
        back = returned(site.decide(allowed["oauth_token"]))
        now += REQUEST_TOKEN_LIFETIME
        assert site.page(undecided["oauth_token"]).status_code == 400
        late = site.problem(
            "oauth.accessToken",
            verifier=back["oauth_verifier"],
            timestamp=str(int(now)),
            **of_user(allowed),
        )
        assert late == "token_expired"


@pytest.mark.parametrize(
    ("callback", "problem"),
    [
        (None, "parameter_absent"),
        ("", "parameter_absent"),
        ("oob", "parameter_rejected"),
        ("/path", "parameter_rejected"),
        ("ftp://site.example/", "parameter_rejected"),
        ("https://", "parameter_rejected"),
        ("https://site.example/#fragment", "parameter_rejected"),
        ("https://site.example/\r\nX-Y: z", "parameter_rejected"),
        ("https://site.example/" + 2000 * "x", "parameter_rejected"),
        ("https://[::1/", "parameter_rejected"),
    ],
)
def test_a_callback_is_an_absolute_address(
    site: SiteClient, callback: str | None, problem: str
) -> None:
    assert site.problem("oauth.requestToken", callback_uri=callback) == problem


# OAuth Core 1.0


def test_the_other_flavour_takes_the_callback_later_and_knows_no_verifier() -> None:
    with site_at(core_1_0=True) as site:
        token = site.step("requestToken")
        assert token.keys() == {"oauth_token", "oauth_token_secret"}
        form = {"oauth_token": token["oauth_token"], "oauth_callback": SITE}
        assert SITE.partition("?")[0] in site.page(**_page_of(form)).text
        answer = site.http.post(
            "/oauth.authorize", data=form | {"user": "Grace", "decision": "allow"}
        )
        assert returned(answer) == {"oauth_token": token["oauth_token"]}
        sessions: Any = site.call(of_user(site.exchange(token)), "user.getAllSessions")
        assert list(sessions["completed"]) == ["301102"]


def test_the_other_flavour_may_do_without_a_callback() -> None:
    with site_at(core_1_0=True) as site:
        token = site.step("requestToken")["oauth_token"]
        answer = site.decide(token)
        assert (answer.status_code, "go back" in answer.text) == (200, True)
        other = site.step("requestToken")["oauth_token"]
        assert site.page(other, oauth_callback="javascript:alert(1)").status_code == 400


def test_the_host_of_a_callback_is_escaped_on_the_page() -> None:
    with site_at(core_1_0=True) as site:
        token = site.step("requestToken")["oauth_token"]
        page = site.page(token, oauth_callback="https://<b>.example/").text
    assert "&lt;b&gt;.example" in page
    assert "<b>.example" not in page


def _page_of(form: Credentials) -> dict[str, str]:
    return {"token": form["oauth_token"], "oauth_callback": form["oauth_callback"]}


# Tokens


def test_a_verifier_must_be_the_right_one(site: SiteClient) -> None:
    token = site.request_token()
    credentials = of_user(token)
    assert site.problem("oauth.accessToken", verifier="v", **credentials) == "permission_unknown"
    verifier = returned(site.decide(token["oauth_token"]))["oauth_verifier"]
    assert site.problem("oauth.accessToken", **credentials) == "parameter_absent"
    assert site.problem("oauth.accessToken", verifier="v", **credentials) == "parameter_rejected"
    assert site.exchange(token, verifier=verifier)


def test_a_request_token_is_exchanged_once(site: SiteClient) -> None:
    token = site.request_token()
    verifier = returned(site.decide(token["oauth_token"]))["oauth_verifier"]
    site.exchange(token, verifier=verifier)
    again = site.problem("oauth.accessToken", verifier=verifier, **of_user(token))
    assert again == "token_used"


def test_a_request_token_opens_nothing(site: SiteClient) -> None:
    token = site.request_token()
    returned(site.decide(token["oauth_token"]))
    for method, call in (("user.getAllSessions", GET_ALL), ("oauth.logout", None)):
        assert site.problem(method, call, **of_user(token)) == "token_rejected"


def test_an_access_token_is_no_request_token(site: SiteClient) -> None:
    ada = site.log_in()
    assert site.problem("oauth.accessToken", verifier="v", **ada) == "token_rejected"
    assert site.problem("oauth.requestToken", callback_uri=SITE, **ada) == "token_rejected"


@pytest.mark.parametrize("query", ["", "?problem=token_expired"])
def test_tokens_can_be_revoked(site: SiteClient, query: str) -> None:
    ada = site.log_in()
    asked = site.request_token()
    assert site.http.delete(f"/__tokens{query}").status_code == 204
    problem = query.partition("=")[2] or "token_revoked"
    assert site.problem("user.getAllSessions", GET_ALL, **ada) == problem
    assert site.page(asked["oauth_token"]).status_code == 400
    assert site.call(site.log_in(), "user.getAllSessions")


def test_the_oldest_tokens_are_forgotten() -> None:
    tokens = Tokens()
    first = tokens.issue(SITE, 0)
    for _ in range(MOST):
        tokens.issue(SITE, 0)
    assert repr(first.secret) not in repr(first)
    with pytest.raises(Exception, match="token_rejected"):
        tokens.requested(first.token)


# Signatures


@pytest.mark.parametrize("place", ["AUTH_HEADER", "QUERY"])
def test_the_parameters_may_be_in_the_header_or_the_query(site: SiteClient, place: str) -> None:
    site.signed = {"signature_type": place}
    try:
        assert site.call(site.log_in(), "user.getAllSessions")
    finally:
        site.signed = {}
    assert site.record()["reading"] == {"AUTH_HEADER": "header", "QUERY": "query"}[place]


def test_the_parameters_may_be_in_a_form(site: SiteClient) -> None:
    client = site.signer(callback_uri=SITE, signature_type="BODY")
    form_type = {"Content-Type": "application/x-www-form-urlencoded"}
    url, headers, body = client.sign(f"{site.url}/oauth.requestToken", "POST", "a=b+c", form_type)
    assert "oauth_token=" in site.http.post(url, content=body, headers=headers).text
    assert site.record()["reading"] == "form"


def test_the_parameters_may_be_in_a_struct(site: SiteClient) -> None:
    def call(method: str, token: Credentials, **more: str) -> Any:
        signer = Signer(
            DEMO_CONSUMER_KEY,
            DEMO_CONSUMER_SECRET,
            token.get("oauth_token", ""),
            token.get("oauth_token_secret", ""),
            reading="B",
        )
        struct = signer.sign(site.url, method, more, timestamp=site.now(), nonce=new_nonce())
        body = dump_call(method, [{**struct, **more}])
        return load_answer(site.http.post(f"/{method}", content=body, headers=XML).content)

    token = call("oauth.requestToken", {}, oauth_callback=SITE)
    verifier = returned(site.decide(token["oauth_token"]))["oauth_verifier"]
    granted = call("oauth.accessToken", token, oauth_verifier=verifier)
    assert granted.keys() == {"oauth_token", "oauth_token_secret"}
    assert call("user.getAllSessions", granted).keys() == {"accept", "active", "completed"}
    assert site.record()["reading"] == "struct"
    assert call("oauth.logout", granted) == {}


def signed_header(site: SiteClient, **credentials: Any) -> str:
    client = site.signer(callback_uri=SITE, **credentials)
    header: str = client.sign(f"{site.url}/oauth.requestToken", "POST")[1]["Authorization"]
    return header


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (r'oauth_nonce="[^"]*", ', "", "parameter_absent"),
        (r'oauth_signature="[^"]*"', 'oauth_signature=""', "parameter_absent"),
        (r'oauth_nonce="[^"]*"', r"\g<0>, \g<0>", "parameter_rejected"),
        (r'oauth_nonce="[^"]*"', "oauth_nonce", "parameter_rejected"),
        (r'oauth_nonce="[^"]*"', "oauth_nonce=1", "parameter_rejected"),
        (r'oauth_timestamp="[^"]*"', 'oauth_timestamp="soon"', "parameter_rejected"),
        (r'oauth_timestamp="[^"]*"', 'oauth_timestamp="1"', "timestamp_refused"),
        ("demo-consumer", "somebody", "consumer_key_unknown"),
        ("HMAC-SHA1", "PLAINTEXT", "signature_method_rejected"),
        ('oauth_version="1.0"', 'oauth_version="2.0"', "version_rejected"),
        (r'oauth_signature="[^"]*"', 'oauth_signature="AAAA"', "signature_invalid"),
        (r'oauth_nonce="[^"]*"', 'oauth_nonce="other"', "signature_invalid"),
        (r'oauth_signature="', r'realm="x", oauth_signature="%C3%B6', "signature_invalid"),
        ("OAuth ", "Bearer ", "parameter_absent"),
    ],
)
def test_a_request_that_is_not_genuine_is_refused(
    site: SiteClient, old: str, new: str, problem: str
) -> None:
    header = signed_header(site)
    changed = re.sub(old, new, header, count=1)
    assert changed != header
    answer = site.http.post("/oauth.requestToken", headers={"Authorization": changed})
    assert problem_of(answer) == problem
    record = site.record()
    assert (record["problem"], record["fault"], record["reading"]) == (problem, None, "")


def test_a_realm_is_not_signed(site: SiteClient) -> None:
    header = signed_header(site).replace("OAuth ", 'OAuth realm="a, b", ', 1)
    answer = site.http.post("/oauth.requestToken", headers={"Authorization": header})
    assert answer.status_code == 200


def test_parameters_in_two_places_are_refused(site: SiteClient) -> None:
    header = {"Authorization": signed_header(site)}
    answer = site.http.post("/oauth.requestToken?oauth_version=1.0", headers=header)
    assert problem_of(answer) == "parameter_rejected"


def test_the_query_is_signed_with_the_rest(site: SiteClient) -> None:
    header = {"Authorization": signed_header(site)}
    answer = site.http.post("/oauth.requestToken?more=1", headers=header)
    assert problem_of(answer) == "signature_invalid"


def test_a_request_sent_twice_is_refused_the_second_time(site: SiteClient) -> None:
    header = {"Authorization": signed_header(site)}
    assert site.http.post("/oauth.requestToken", headers=header).status_code == 200
    assert problem_of(site.http.post("/oauth.requestToken", headers=header)) == "nonce_used"


@pytest.mark.parametrize("wrong", [{"consumer_secret": "wrong"}, {"resource_owner_secret": "x"}])
def test_a_wrong_secret_is_refused(site: SiteClient, wrong: dict[str, str]) -> None:
    credentials = site.log_in() | wrong
    assert site.problem("user.getAllSessions", GET_ALL, **credentials) == "signature_invalid"


def test_a_call_for_a_user_needs_their_token(site: SiteClient) -> None:
    assert site.problem("user.getAllSessions", GET_ALL) == "token_rejected"


def test_a_farm_behind_a_front_end_verifies_its_public_address_for_users_too() -> None:
    with site_at(public_url="https://xmlrpc.renderfarm.fi/") as site:
        client = site.signer(callback_uri=SITE)
        for scheme in ("https", "http"):
            url = f"{scheme}://xmlrpc.renderfarm.fi/oauth.requestToken"
            headers = client.sign(url, "POST")[1]
            assert site.http.post("/oauth.requestToken", headers=headers).status_code == 200
        assert site.problem("oauth.requestToken", callback_uri=SITE) == "signature_invalid"


@pytest.mark.parametrize(
    ("path", "kind", "body", "status"),
    [
        ("/oauth.requestToken", "application/json", b"{}", 415),
        ("/oauth.requestToken", "", b"a=b", 415),
        ("/oauth.nothing", "", b"", 404),
        ("/oauth", "", b"", 404),
        ("/user.getAllSessions", "", b"", 415),
        ("/user.nothing", "text/xml", GET_ALL, 404),
        ("/user", "text/xml", GET_ALL, 400),
    ],
)
def test_other_paths_and_bodies_are_none(
    site: SiteClient, path: str, kind: str, body: bytes, status: int
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    assert site.http.post(path, content=body, headers=headers).status_code == status


# What it does wrong, and tells


@pytest.mark.parametrize("shape", ["header", "form", "fault"])
def test_a_problem_can_be_scripted_in_each_shape(site: SiteClient, shape: str) -> None:
    ada = site.log_in()
    site.script({"do": "problem", "problem": "token_expired", "shape": shape})
    answer = site.post("user.getAllSessions", GET_ALL, **ada)
    if shape == "header":
        assert problem_of(answer) == "token_expired"
        assert answer.content == b""
    elif shape == "form":
        assert (answer.status_code, answer.text) == (401, "oauth_problem=token_expired")
        assert "www-authenticate" not in answer.headers
    else:
        with pytest.raises(Fault) as caught:
            load_answer(answer.content)
        assert "oauth_problem=token_expired" in caught.value.text
    assert site.record()["problem"] == "token_expired"


def test_the_dance_can_be_scripted(site: SiteClient) -> None:
    site.script({"do": "raw", "body": "oauth_token=%00", "content_type": "text/plain"})
    assert site.post("oauth.requestToken", callback_uri=SITE).text == "oauth_token=%00"
    site.script({"do": "truncated"})
    with pytest.raises(httpx.RemoteProtocolError):
        site.post("oauth.requestToken", callback_uri=SITE)


def test_the_books_tell_of_logins_without_secrets(site: SiteClient) -> None:
    ada = site.log_in()
    site.call(ada, "user.attachSession", 301_001)
    told = site.http.get("/__records").json()["records"]
    assert [(record["method"], record["arguments"], record["reading"]) for record in told] == [
        ("oauth.requestToken", [], "header"),
        ("oauth.accessToken", [], "header"),
        ("user.attachSession", [301_001], "header"),
    ]
    text = site.http.get("/__records").text
    for secret in (*ada.values(), DEMO_CONSUMER_SECRET, "site.example"):
        assert secret not in text


# Accounts


def test_an_account_is_made_once_and_can_log_in(site: SiteClient) -> None:
    create = "community.createUserAccount"
    assert site.site_call(create, "New.Person@Example.org") == {"success": True}
    assert site.site_fault(create, "new.person@example.org") == 205
    assert site.site_fault(create, "ada@example.org") == 205
    person = site.log_in("new.person@example.org")
    nothing: dict[str, Value] = {"accept": {}, "active": {}, "completed": {}}
    assert site.call(person, "user.getAllSessions") == nothing


@pytest.mark.parametrize("code", [*range(200, 210), 100, 103, 104, 400, 999])
def test_a_magic_address_is_its_fault(site: SiteClient, code: int) -> None:
    address = f"fault{code}@example.org"
    assert site.site_fault("community.createUserAccount", address) == code
    assert site.record()["fault"] == code


@pytest.mark.parametrize(
    "address", ["", "a", "a@", "@example.org", "a@b", "a@@example.org", "a b@example.org",
                "ä@example.org", "<@example.org\n", "a" * 255 + "@example.org"],
)  # fmt: skip
def test_what_is_no_address_is_fault_200(site: SiteClient, address: str) -> None:
    assert site.site_fault("community.createUserAccount", address) == 200


def test_an_address_that_is_no_text_finds_no_method(site: SiteClient) -> None:
    assert site.site_fault("community.createUserAccount", 42) == -1


def test_a_new_account_is_escaped_on_the_page(site: SiteClient) -> None:
    site.site_call("community.createUserAccount", "<b>'&@example.org")
    page = site.page(site.request_token()["oauth_token"]).text
    assert "&lt;b&gt;&#x27;&amp;@example.org" in page
    assert "<b>" not in page


# The command line


def test_the_command_line_chooses_the_flavour(tmp_path: Any) -> None:
    port = free_port()
    command = (*RFGW, "sandbox", "--port", str(port), "--oauth-core-1-0")
    with started(tmp_path, *command) as program:
        await_port(port, program)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            token = SiteClient(f"http://127.0.0.1:{port}", client).step("requestToken")
    assert "oauth_callback_confirmed" not in token
