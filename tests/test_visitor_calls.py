"""Calls for visitors: how they are signed, what is sent twice, and what a refusal means."""

import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest
from oauthlib.oauth1.rfc5849.utils import parse_authorization_header
from pydantic import BaseModel

from app.core import errors
from app.core.call import Call, OAuthStep, Token, VisitorCall
from app.core.performer import Performer
from app.login.steps import AccessToken, EndLogin, RequestToken, TokenAnswer
from app.resources.my_sessions import Attached, AttachSession
from app.telemetry.request_context import RequestContext, Trace, request_context
from app.upstream.client import UpstreamClient
from app.upstream.oauth import Signer
from app.upstream.refusals import MAX_FORM, PROBLEMS, read_form
from app.upstream.visitor_messages import visitor_message
from app.upstream.xmlrpc.codec import load_call
from tests.hostile_farm import RawFarm, fault, http, member, raw_farm, reset_after, whole
from tests.test_client import Told, calling

VECTORS = json.loads((Path(__file__).parent / "wire/oauth/vectors.json").read_text())
TOKEN = Token("t0ken-key", "t0ken-secret")
GOOD_FORM = "oauth_token=a%2Bb&oauth_token_secret=c&oauth_callback_confirmed=True"


class Nothing(BaseModel):
    """An answer that nobody reads."""


class Attach(VisitorCall):
    """A call that changes something."""

    method = "user.attachSession"
    answer = Nothing
    refused = errors.SessionNotYours
    changes = True
    number: int


class ListAll(VisitorCall):
    """A call that only reads."""

    method = "user.getAllSessions"
    answer = Nothing


SIGNER = Signer("demo-consumer", "demo-secret")
BEGIN, END = RequestToken(callback="https://gw.example/back"), EndLogin(token=TOKEN)
CALLS: list[VisitorCall | OAuthStep] = [
    Attach(token=TOKEN, number=7), ListAll(token=TOKEN), BEGIN, END,
    AccessToken(token=TOKEN, verifier="v"),
]  # fmt: skip


@asynccontextmanager
async def performing(
    farm: RawFarm, **changes: Any
) -> AsyncIterator[tuple[Performer, Told, UpstreamClient]]:
    async with calling(farm) as (client, told):
        changed = replace(client, **changes)
        performer = Performer(changed, told)
        yield performer, told, changed
        await performer.aclose()


def authorization(fields: Mapping[str, str]) -> dict[str, str]:
    pairs = parse_authorization_header(fields["Authorization"])
    return {name: unquote(value) for name, value in pairs}


def test_a_visitors_call_has_the_signature_that_the_catalogue_of_the_farm_works_out() -> None:
    _, fields = replace(SIGNER, version=False).sign_request(
        "http://xmlrpc.renderfarm.fi/user.getAllSessions",
        Token("demo-token", "demo-token-secret"),
        place="header",
        timestamp=1277815385,
        nonce="1277815385123",
    )
    assert authorization(fields)["oauth_signature"] == "2zZe+LerMADCh9vYByWTOahw06o="


@pytest.mark.parametrize("vector", VECTORS[:2], ids=lambda vector: vector["id"])
def test_the_steps_have_the_signatures_that_rfc_5849_prints(vector: dict[str, Any]) -> None:
    given = dict(vector["params"])
    token = Token(given["oauth_token"], vector["token_secret"]) if "oauth_token" in given else None
    _, fields = Signer(
        given["oauth_consumer_key"], vector["consumer_secret"], version=False
    ).sign_request(
        vector["url"],
        token,
        place="header",
        timestamp=int(given["oauth_timestamp"]),
        nonce=given["oauth_nonce"],
        callback=given.get("oauth_callback", ""),
        verifier=given.get("oauth_verifier", ""),
    )
    sent = authorization(fields)
    assert sent.pop("oauth_signature") == vector["expected_signature"]
    assert sent == given


@pytest.mark.parametrize("version", [True, False])
@pytest.mark.parametrize("place", ["header", "query", "struct"])
def test_the_parameters_travel_where_the_farm_reads_them(
    place: Literal["header", "query", "struct"], version: bool
) -> None:
    signer = replace(SIGNER, version=version)
    message = visitor_message(CALLS[0], signer, "http://farm.example", place, 1277815385)
    method, arguments = load_call(message.body)
    read: Mapping[str, Callable[[], Any]] = {
        "header": lambda: authorization(message.fields),
        "query": lambda: dict(parse_qsl(urlsplit(message.url).query)),
        "struct": lambda: arguments.pop(0),
    }
    sent = read[place]()
    assert (method, arguments) == ("user.attachSession", [7])
    assert urlsplit(message.url).path == "/user.attachSession"
    assert (sent["oauth_token"], sent["oauth_consumer_key"]) == (TOKEN.key, "demo-consumer")
    assert ("oauth_version" in sent) == version
    assert "oauth_body_hash" not in sent
    assert TOKEN.secret not in str((message, arguments))


def test_a_step_has_no_body_and_its_own_address_whatever_the_reading() -> None:
    for reading in ("A", "B", "C", "D"):
        signer = replace(SIGNER, reading=reading)
        url, body, fields = visitor_message(BEGIN, signer, "https://farm.example", "struct", 1)
        assert (url, body) == ("https://farm.example/oauth.requestToken", b"")
        assert authorization(fields)["oauth_callback"] == "https://gw.example/back"


def test_a_step_carries_its_parameters_in_its_query_if_calls_do() -> None:
    url, body, fields = visitor_message(BEGIN, SIGNER, "https://farm.example", "query", 1)
    sent = dict(parse_qsl(urlsplit(url).query))
    assert (sent["oauth_callback"], body) == ("https://gw.example/back", b"")
    assert sent["oauth_signature"]
    assert "authorization" not in {name.lower() for name in fields}


@pytest.mark.parametrize("what", ["rejected", "expired", "revoked", "used"])
def test_a_token_that_is_no_good_any_more_ends_the_login(what: str) -> None:
    assert PROBLEMS[f"token_{what}"] is errors.LoginExpired


def test_a_token_and_its_calls_show_nothing_of_it() -> None:
    for call in CALLS:
        shown = f"{call!r} {call.key} {call.arguments} {call.told} {call.model_dump_json()}"
        assert not any(text in shown for text in (TOKEN.key, TOKEN.secret, repr(TOKEN.key)))
    assert TOKEN.key not in repr(TOKEN)
    other = ListAll(token=Token(TOKEN.key, "other"))
    assert (
        other.key
        != ListAll(token=TOKEN).key
        == ListAll(token=Token(*("t0ken-key", "t0ken-secret"))).key
    )


def challenge(word: str) -> bytes:
    field = f'WWW-Authenticate: OAuth realm="farm", oauth_problem="{word}", x="y"'
    return http("<html>no</html>", field, status="401 Unauthorized")


def shapes(word: str) -> list[bytes]:
    """One refusal in all the forms that farms have for it."""
    word = quote(word)
    told = member("faultCode", "<int>7</int>") + member("faultString", f"x: oauth_problem={word}")
    return [
        http(f"oauth_problem={word}&oauth_problem_advice=secret", status="400 Bad Request"),
        http(f"oauth_problem={word}", status="401 Unauthorized"),
        http(f"oauth_problem={word}"),
        challenge(word),
        http(fault(told)),
    ]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.method)
async def test_a_refusal_means_the_same_in_every_form(call: Call) -> None:
    words = [*PROBLEMS, "unheard_of", "Quite another"]
    answers = [(word, answer) for word in words for answer in shapes(word)]
    with raw_farm(b"") as farm:
        async with performing(farm) as (performer, _, _):
            for word, answer in answers:
                farm.script = [answer]
                named = PROBLEMS.get(word, call.refused)
                denied = named is errors.LoginDenied and isinstance(call, VisitorCall)
                with pytest.raises(errors.GatewayError) as raised:
                    await performer.perform(call)
                assert type(raised.value) is (call.refused if denied else named), word
                assert raised.value.cause in {*PROBLEMS, "oauth_problem"}
                assert raised.value.fault_code is None  # a label, which the farm does not choose


@pytest.mark.parametrize(
    "answer",
    [
        http("", status="401 Unauthorized"),
        http('{"error": "invalid"}', status="401 Unauthorized"),
        http("<html>no</html>", 'WWW-Authenticate: Basic realm="x"', status="401 Unauthorized"),
        http("x" * 5000, status="401 Unauthorized"),
        http("oauth_problem=token_expired&oauth_problem=x", status="401 Unauthorized"),
    ],
)
async def test_a_bare_401_ends_a_visitors_login_and_else_concerns_the_site(answer: bytes) -> None:
    for call in CALLS:
        kind = errors.UpstreamRefusedCredentials if call is BEGIN else errors.LoginExpired
        with raw_farm(answer) as farm:
            async with performing(farm) as (performer, _, _):
                with pytest.raises(kind):
                    await performer.perform(call)


async def test_what_is_refused_without_a_word_the_call_knows() -> None:
    told = member("faultCode", "<int>501</int>") + member("faultString", "not yours")
    for answer, expected in (
        (http("no", status="403 Forbidden"), (errors.SessionNotYours, errors.UpstreamFault)),
        (http("no", status="400 Bad Request"), (errors.UpstreamNoAnswer,) * 2),
        (http(fault(told)), (errors.UpstreamFault,) * 2),
    ):
        for call, kind in zip(CALLS[:2], expected, strict=True):
            with raw_farm(answer) as farm:
                async with performing(farm) as (performer, _, _):
                    with pytest.raises(kind) as raised:
                        await performer.perform(call)
            assert type(raised.value) is kind


FAULTY = [
    http(fault(member("faultCode", "<int>7</int>") + member("faultString", "no"))),
    http(fault(member("faultCode", "<int>104</int>") + member("faultString", "no"))),
    http("oauth_problem=unheard_of"),
    http("no", status="500 Oh"),
    http("", "Retry-After: 300", status="503 Later"),
    http("", status="429 Slowly"),
    http("<html>no</html>"),
    reset_after(b""),
]


@pytest.mark.parametrize("answer", FAULTY, ids=range(len(FAULTY)))
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.method)
async def test_whatever_a_visitor_is_answered_the_farm_is_asked_for_others(
    call: Call, answer: bytes
) -> None:
    tokens = [Token(f"t{number}", "s") for number in range(10)]
    with raw_farm(answer) as farm:
        async with performing(farm) as (performer, _, client):
            for token in tokens:
                with pytest.raises(errors.GatewayError) as raised:
                    await performer.perform(call.model_copy(update={"token": token}))
                if isinstance(raised.value, errors.UpstreamUnavailable):
                    assert raised.value.retry_after in (300, 5)
                assert client.guard.refusal(client.clock()) is None


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.method)
async def test_what_changes_something_is_never_sent_again_once_it_may_have_been_heard(
    call: Call,
) -> None:
    for behaviour in (
        http("", status="502 Bad Gateway"),
        reset_after(b""),
        http("", status="504 x"),
    ):
        with raw_farm(behaviour) as farm:
            async with performing(farm) as (performer, told, _):
                with pytest.raises(errors.UpstreamNoAnswer):
                    await performer.perform(call)
        assert len(told.attempts) == (1 if call.changes else 2)
        assert {attempt.changes for attempt in told.attempts} == {call.changes}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.method)
async def test_a_refused_connection_is_tried_again(call: Call) -> None:
    with raw_farm(b"") as farm, socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
        closed.close()
        async with performing(farm, base=f"http://127.0.0.1:{port}") as (performer, told, _):
            with pytest.raises(errors.UpstreamUnreachable):
                await performer.perform(call)
    assert [attempt.outcome for attempt in told.attempts] == ["refused", "refused"]


@pytest.mark.parametrize("call", [BEGIN, CALLS[-1]], ids=["begin", "changes"])
async def test_a_timestamp_that_the_farms_clock_explains_is_healed_once(call: OAuthStep) -> None:
    refusal = http("oauth_problem=timestamp_refused", "Date: Mon, 01 Jan 2035 00:00:00 GMT",
                   status="401 Unauthorized")  # fmt: skip
    with raw_farm(refusal) as farm:
        async with performing(farm) as (performer, told, client):
            with pytest.raises(errors.UpstreamRefusedCredentials):
                await performer.perform(call)
            assert abs(client.farm_clock.timestamp(client.now()) - 2_051_222_400) < 60
    assert len(told.attempts) == (1 if call.changes else 2)


@pytest.mark.parametrize(
    "answer",
    [
        http(GOOD_FORM),
        http(GOOD_FORM + "\r\n"),
        http(GOOD_FORM, "Content-Type: application/x-www-form-urlencoded"),
        http(whole("<struct>" + member("oauth_token", "a+b") + member("oauth_token_secret", "c")
                   + member("oauth_callback_confirmed", "true") + "</struct>")),
    ],
)  # fmt: skip
async def test_a_token_comes_as_a_form_or_as_a_struct(answer: bytes) -> None:
    with raw_farm(answer) as farm:
        async with performing(farm) as (performer, _, _):
            found = await performer.perform(BEGIN)
    assert isinstance(found, TokenAnswer)
    assert found.token == Token("a+b", "c")


@pytest.mark.parametrize(
    "form",
    [
        "", "a", "&", "oauth_token=a", "oauth_token=&oauth_token_secret=c", "<html>", "{}",
        "oauth_token=a&oauth_token=b&oauth_token_secret=c", "oauth_token=a%00&oauth_token_secret=c",
        "oauth_token=a%0A&oauth_token_secret=c", "oauth_token=a%FF&oauth_token_secret=c",
        f"oauth_token={'a' * 256}&oauth_token_secret=c", "oauth_token=ä&oauth_token_secret=c",
        f"oauth_token=a&oauth_token_secret=c&x={'y' * MAX_FORM}",
        "oauth_token=a;oauth_token_secret=c",
    ],
)  # fmt: skip
async def test_any_other_answer_to_a_step_is_unreadable(form: str) -> None:
    with raw_farm(http(form)) as farm:
        async with performing(farm) as (performer, _, _):
            with pytest.raises(errors.UpstreamUnreadable):
                await performer.perform(AccessToken(token=TOKEN))


async def test_a_farm_that_does_not_confirm_the_callback_is_refused() -> None:
    for end in ("", "&oauth_callback_confirmed=false", "&oauth_callback_confirmed="):
        with raw_farm(http(f"oauth_token=a&oauth_token_secret=c{end}")) as farm:
            async with performing(farm) as (performer, _, _):
                with pytest.raises(errors.UpstreamCallbackUnconfirmed):
                    await performer.perform(BEGIN)
                assert isinstance(await performer.perform(RequestToken()), TokenAnswer)


async def test_the_end_of_a_login_is_answered_with_nothing() -> None:
    for body in ("", "oauth_token=gone"):
        with raw_farm(http(body)) as farm:
            async with performing(farm) as (performer, _, _):
                await performer.perform(END)


def test_forms_are_read_strictly() -> None:
    assert read_form(b"a=1&b=%C3%A9") == {"a": "1", "b": "é"}
    assert read_form(b"\r\n") == {}
    assert read_form(b"a=" + b"x" * (MAX_FORM - 2)) == {"a": "x" * (MAX_FORM - 2)}


class Unwanted:
    """A recorder that nothing may be told."""

    def watch(self, question: bytes) -> Any:
        raise AssertionError(question)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.method)
async def test_what_a_visitor_is_answered_is_not_even_heard_by_a_recorder(call: Call) -> None:
    with raw_farm(http("<html>no</html>")) as farm:
        async with performing(farm, recorder=Unwanted()) as (performer, told, _):
            with pytest.raises(errors.UpstreamError) as raised:
                await performer.perform(call)
    assert not isinstance(raised.value, errors.Crashed)
    assert told.attempts


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.method)
async def test_a_call_for_a_visitor_is_a_part_of_the_trace_that_asked_for_it(call: Call) -> None:
    trace = Trace("0af7651916cd43dd8448eb211c80319c", True)
    before = request_context.set(RequestContext("r-1", trace=trace))
    try:
        with raw_farm(http("<html>no</html>")) as farm:
            async with performing(farm) as (performer, _, _client):
                with pytest.raises(errors.UpstreamError):
                    await performer.perform(call)
    finally:
        request_context.reset(before)
    assert f"traceparent: 00-{trace.id}-".encode() in farm.requests[0].lower()


DONE = member("success", "<boolean>1</boolean>")
NOT_DONE = DONE.replace("1", "0")


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize(
    ("told", "is_attached"),
    [
        (f"<struct>{DONE}</struct>", True),
        (f"<struct>{NOT_DONE}</struct>", False),
        ("<boolean>1</boolean>", True),
        ("<boolean>0</boolean>", False),
    ],
)
async def test_whether_it_is_attached_comes_in_a_struct_or_bare_and_each_in_an_array(
    told: str, is_attached: bool, array: bool
) -> None:
    if array:
        told = f"<array><data><value>{told}</value></data></array>"
    with raw_farm(http(whole(told))) as farm:
        async with performing(farm) as (performer, _, _):
            attaching = performer.perform(AttachSession(id=7, token=TOKEN))
            if is_attached:
                assert await attaching == Attached(success=True)
            else:
                with pytest.raises(errors.SessionNotYours):
                    await attaching
