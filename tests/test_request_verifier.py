"""The checking half of RFC 5849: what it takes of clients that others wrote, what it refuses."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import oauthlib.oauth1
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.sandbox.outcomes import ReportedProblem
from app.sandbox.request_verifier import RequestVerifier, SignedRequest, Verified
from app.sandbox.signatures import base_string_uri, signature

FARM = "http://xmlrpc.renderfarm.fi"
URL = f"{FARM}/user.getAllSessions"
NOW = 1277815385
TOKEN, TOKEN_SECRET = "demo-token", "demo-token-secret"
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)

VECTORS = json.loads((Path(__file__).parent / "wire/oauth/vectors.json").read_text())


def verify(
    request: SignedRequest,
    *,
    key: str = "demo-consumer",
    secret: str = "demo-secret",
    token_secret: str = TOKEN_SECRET,
) -> Verified:
    return RequestVerifier(key, secret).verify(request, lambda _: token_secret, NOW)


def problem(request: SignedRequest, **changes: str) -> str:
    with pytest.raises(ReportedProblem) as caught:
        verify(request, **changes)
    return caught.value.problem


def signed(url: str = URL, **changes: Any) -> SignedRequest:
    """What oauthlib's client sends."""
    given = {
        "client_key": "demo-consumer",
        "client_secret": "demo-secret",
        "resource_owner_key": TOKEN,
        "resource_owner_secret": TOKEN_SECRET,
        "timestamp": str(NOW),
    }
    address, headers, _ = oauthlib.oauth1.Client(**given | changes).sign(url, "POST")
    parts = urlsplit(address)
    base = f"{parts.scheme}://{parts.netloc}{parts.path}"
    return SignedRequest(base, headers.get("Authorization", ""), parts.query)


def test_the_signature_that_the_catalogue_of_the_farm_works_out_fits() -> None:
    header = (
        'OAuth oauth_consumer_key="demo-consumer", oauth_token="demo-token", '
        'oauth_nonce="1277815385123", oauth_timestamp="1277815385", '
        'oauth_signature_method="HMAC-SHA1", '
        'oauth_signature="2zZe%2BLerMADCh9vYByWTOahw06o%3D"'
    )
    verified = verify(SignedRequest(URL, header))
    assert (verified.place, verified.token) == ("header", TOKEN)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_the_published_signatures_are_computed(vector: Mapping[str, Any]) -> None:
    uri = base_string_uri(vector["url"])
    pairs = [(name, value) for name, value in vector["params"]]
    pairs += parse_qsl(urlsplit(vector["url"]).query, keep_blank_values=True)
    secrets = vector["consumer_secret"], vector["token_secret"]
    computed = signature(vector["method"], uri, pairs, *secrets)
    assert computed == vector["expected_signature"]


def test_the_example_of_the_standard_fits() -> None:
    """RFC 5849, section 1.2: the request for temporary credentials."""
    header = (
        'OAuth realm="Photos", oauth_consumer_key="dpf43f3p2l4k3l03", '
        'oauth_signature_method="HMAC-SHA1", oauth_timestamp="137131200", oauth_nonce="wIjqoS", '
        'oauth_callback="http%3A%2F%2Fprinter.example.com%2Fready", '
        'oauth_signature="74KNZJeDHnMBp0EMJ9ZHt%2FXKycU%3D"'
    )
    verifier = RequestVerifier("dpf43f3p2l4k3l03", "kd94hf93k423kf44")
    request = SignedRequest("https://photos.example.net/initiate", header)
    verified = verifier.verify(request, lambda token: token, 137131200)
    assert verified.parameters["oauth_callback"] == "http://printer.example.com/ready"
    assert verified.token == ""


@settings(deadline=None)
@given(key=texts, secret=texts, token=texts, token_secret=texts, callback=texts)
def test_both_halves_agree_whatever_the_characters(
    key: str, secret: str, token: str, token_secret: str, callback: str
) -> None:
    request = signed(
        client_key=key,
        client_secret=secret,
        resource_owner_key=token,
        resource_owner_secret=token_secret,
        callback_uri=callback,
    )
    verified = verify(request, key=key, secret=secret, token_secret=token_secret)
    assert verified.token == token
    assert verified.parameters["oauth_callback"] == callback


@settings(deadline=None)
@given(query=st.dictionaries(st.from_regex("[a-z]{1,5}", fullmatch=True), texts, max_size=4))
def test_both_halves_agree_on_a_query(query: dict[str, str]) -> None:
    request = signed(f"{URL}?{oauthlib.common.urlencode(query.items())}" if query else URL)
    assert verify(request).place == "header"
    moved = signed(f"{URL}?a=1", signature_type="QUERY")
    assert verify(moved).place == "query"


@settings(deadline=None)
@given(header=st.text(st.characters(codec="latin-1"), max_size=200))
def test_whatever_stands_in_the_field_is_refused_in_words(header: str) -> None:
    for authorization in (header, f"OAuth {header}"):
        assert problem(SignedRequest(URL, authorization)) in (
            "parameter_absent",
            "parameter_rejected",
        )


@pytest.mark.parametrize("wrong", ["secret", "token_secret"])
def test_a_wrong_secret_is_told_from_a_right_one(wrong: str) -> None:
    assert problem(signed(), **{wrong: "other"}) == "signature_invalid"


@pytest.mark.parametrize("side", [-1, 1])
def test_a_timestamp_is_at_most_five_minutes_off_either_way(side: int) -> None:
    assert verify(signed(timestamp=str(NOW + side * 300))).token == TOKEN
    assert problem(signed(timestamp=str(NOW + side * 301))) == "timestamp_refused"


def test_a_signature_for_another_address_is_none() -> None:
    sent = signed()
    moved = SignedRequest(f"{FARM}/user.attachSession", sent.authorization)
    assert problem(moved) == "signature_invalid"


def test_a_verifier_shows_no_secret() -> None:
    assert "demo-secret" not in repr(RequestVerifier("demo-consumer", "demo-secret"))


def test_the_arguments_behind_a_struct_may_be_signed() -> None:
    """Readings A and B, as for the calls of a site."""
    struct = {
        "oauth_consumer_key": "demo-consumer",
        "oauth_nonce": "n",
        "oauth_signature_method": "HMAC-SHA1",
        "oauth_timestamp": str(NOW),
        "oauth_token": TOKEN,
    }
    for signs in ({}, {"sessionId": "413"}):
        pairs = (struct | signs).items()
        computed = signature("POST", URL, pairs, "demo-secret", TOKEN_SECRET)
        request = SignedRequest(
            URL, struct={**struct, "oauth_signature": computed}, arguments={"sessionId": 413}
        )
        assert verify(request).place == "struct"
        other = replace(request, arguments={"sessionId": 414})
        assert (problem(other) if signs else verify(other).token) == (
            "signature_invalid" if signs else TOKEN
        )


def test_parameters_in_two_places_are_refused_however_they_are_signed() -> None:
    parameters = {
        "oauth_consumer_key": "demo-consumer",
        "oauth_token": TOKEN,
        "oauth_nonce": "n",
        "oauth_timestamp": str(NOW),
        "oauth_signature_method": "HMAC-SHA1",
    }
    pairs = [*parameters.items()]
    sent = signature("POST", base_string_uri(URL), pairs, "demo-secret", TOKEN_SECRET)
    whole = [*pairs, ("oauth_signature", sent)]
    assert verify(SignedRequest(URL, query=urlencode(whole))).place == "query"
    divided = SignedRequest(URL, query=urlencode(whole[:3]), form=urlencode(whole[3:]))
    assert problem(divided) == "parameter_rejected"
