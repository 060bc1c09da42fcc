"""The signer against published vectors, a stranger's HMAC, and oauthlib's own client."""

import base64
import dataclasses
import hashlib
import hmac
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oauthlib.oauth1 import Client

from app.upstream.oauth import Reading, Signer, new_nonce

FARM = "https://xmlrpc.renderfarm.fi"
METHOD = "community.getSession"
ARGUMENTS = {"sessionId": 413}
NONCE, TIMESTAMP = "1277815385123", 1277815385
READINGS: tuple[Reading, ...] = ("A", "B", "C", "D")
VECTORS = json.loads((Path(__file__).parent / "wire/oauth/vectors.json").read_text())

# Reading, version, token: made with `openssl dgst -sha1 -hmac` over base strings written by hand.
GOLDEN: dict[tuple[Reading, bool, str], str] = {
    ("A", False, ""): "oJgOthdsz7b9hEioxfvzXHI25cg=",
    ("A", False, "demo-token"): "9bQKK4NryQC1khvCcAInz2GsRFM=",
    ("A", True, ""): "8xGnPeTeC1WifXCEr50woH8Qboo=",
    ("A", True, "demo-token"): "a5UyCzzQYO+J3KRF2IKMswx1GyI=",
    ("B", False, ""): "J6g7RR1nxRODha0PTehncQGI2Cg=",
    ("B", False, "demo-token"): "gtM965zw38oTQhhs4/5uIcwFnr4=",
    ("B", True, ""): "b1wlwgeq+OyjFlDPkCxje4cXexA=",
    ("B", True, "demo-token"): "486Up3w0/OPGrH+zBuJvrSCKSvg=",
    ("C", False, ""): "6b22tV7/eWQMuJTsLdLBnXCsARI=",
    ("C", False, "demo-token"): "O1gBKE7nzCrplrbg3nvx58XzMXA=",
    ("C", True, ""): "mfFuhXmKeZcC1QHu6GXD0EB+kc0=",
    ("C", True, "demo-token"): "o81tAd7UdclXalU46m6J3dhvU0c=",
    ("D", False, ""): "GXNgOVtO0GD+byIivznWYfQwZqU=",
    ("D", False, "demo-token"): "a6X3cNgwuZ/fe6W2m4+0Ju/SIMM=",
    ("D", True, ""): "4TMO0VyPVLlxfuFnHpq6GlFRTUI=",
    ("D", True, "demo-token"): "yIFVZrDFOxfXJqthRHBh2DrE4kw=",
}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
names = texts.filter(bool)
signers = st.builds(
    Signer,
    consumer_key=names,
    consumer_secret=texts,
    token=texts,
    token_secret=texts,
    reading=st.sampled_from(READINGS),
    version=st.booleans(),
)
bases = st.sampled_from(
    [
        FARM,
        "HTTPS://XmlRpc.RenderFarm.FI:443/",
        "http://127.0.0.1:8001",
        "https://farm.example:8443/rpc/v1",
        "http://farm.example:80",
    ]
)


def stranger_sign(
    verb: str,
    url: str,
    params: Iterable[tuple[str, str]],
    consumer_secret: str,
    token_secret: str,
) -> tuple[str, str]:
    """Base string and signature by RFC 5849, section 3.4, written without any OAuth library."""
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}[parts.scheme]
    port = "" if parts.port in (None, default) else f":{parts.port}"
    uri = f"{parts.scheme}://{parts.hostname}{port}{parts.path}"
    collected = [*parse_qsl(parts.query, keep_blank_values=True), *params]
    encoded = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in collected)
    normalized = "&".join("=".join(pair) for pair in encoded)
    base_string = "&".join(quote(part, safe="") for part in (verb, uri, normalized))
    key = quote(consumer_secret, safe="") + "&" + quote(token_secret, safe="")
    digest = hmac.new(key.encode(), base_string.encode(), hashlib.sha1).digest()
    return base_string, base64.b64encode(digest).decode()


def sign(signer: Signer, base: str = FARM) -> dict[str, str]:
    return signer.sign(base, METHOD, ARGUMENTS, timestamp=TIMESTAMP, nonce=NONCE)


def demo(**changes: Any) -> Signer:
    return Signer("demo-consumer", "demo-secret", **changes)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_the_stranger_that_judges_us_reproduces_the_published_vectors(
    vector: dict[str, Any],
) -> None:
    params = [(name, value) for name, value in vector["params"]]
    signed = stranger_sign(
        vector["method"], vector["url"], params, vector["consumer_secret"], vector["token_secret"]
    )
    assert signed == (vector["expected_base_string"], vector["expected_signature"])


@pytest.mark.parametrize(("case", "signature"), GOLDEN.items())
def test_every_reading_gives_its_golden_signature(
    case: tuple[Reading, bool, str], signature: str
) -> None:
    reading, version, token = case
    secret = "demo-token-secret" if token else ""
    signer = demo(reading=reading, version=version, token=token, token_secret=secret)
    assert sign(signer)["oauth_signature"] == signature


@settings(deadline=None, max_examples=200)
@given(signer=signers, base=bases, arguments=st.dictionaries(names, texts | st.integers()))
def test_a_stranger_comes_to_the_same_signature(
    signer: Signer, base: str, arguments: dict[str, object]
) -> None:
    struct = signer.sign(base, METHOD, arguments, timestamp=TIMESTAMP, nonce=NONCE)
    signature = struct.pop("oauth_signature")
    signed = struct
    if signer.reading == "B":
        signed = struct | {name: str(value) for name, value in arguments.items()}
    url = f"{base.rstrip('/')}/{'community' if signer.reading == 'C' else METHOD}"
    parts = urlsplit(url)
    if signer.reading == "D" and parts.scheme == "https":
        port = "" if parts.port in (None, 443) else f":{parts.port}"
        url = f"http://{parts.hostname}{port}{parts.path}"
    expected = stranger_sign(
        "POST", url, signed.items(), signer.consumer_secret, signer.token_secret
    )
    assert signature == expected[1]


@settings(deadline=None, max_examples=100)
@given(signer=signers, base=bases, value=st.integers() | texts)
def test_oauthlibs_own_client_comes_to_the_same_signature(
    signer: Signer, base: str, value: int | str
) -> None:
    signer = dataclasses.replace(signer, version=True)  # its client always sends the version
    client = Client(
        signer.consumer_key,
        client_secret=signer.consumer_secret,
        resource_owner_key=signer.token,
        resource_owner_secret=signer.token_secret,
        nonce=NONCE,
        timestamp=str(TIMESTAMP),
    )
    url = signer.url(base, METHOD)
    if signer.reading == "D":
        url = re.sub(r"^https:", "http:", url.lower().replace(":443/", "/")).replace(
            METHOD.lower(), METHOD
        )
    form: dict[str, Any] = {}
    if signer.reading == "B":
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        form = {"body": {"sessionId": str(value)}, "headers": headers}
    _, sent, _ = client.sign(url, http_method="POST", **form)
    found = re.search(r'oauth_signature="([^"]+)"', sent["Authorization"])
    struct = signer.sign(base, METHOD, {"sessionId": value}, timestamp=TIMESTAMP, nonce=NONCE)
    assert found
    assert struct["oauth_signature"] == unquote(found[1])


def test_the_struct_holds_the_documented_members_as_texts() -> None:
    assert sign(demo()) == {
        "oauth_consumer_key": "demo-consumer",
        "oauth_nonce": NONCE,
        "oauth_signature_method": "HMAC-SHA1",
        "oauth_timestamp": str(TIMESTAMP),
        "oauth_version": "1.0",
        "oauth_signature": "8xGnPeTeC1WifXCEr50woH8Qboo=",
    }


def test_version_and_token_are_sent_only_as_configured() -> None:
    bare = sign(demo(version=False))
    with_token = sign(demo(token="demo-token"))
    assert not {"oauth_version", "oauth_token"} & bare.keys()
    assert with_token["oauth_token"] == "demo-token"


def test_the_arguments_never_travel_in_the_struct() -> None:
    for reading in READINGS:
        assert "sessionId" not in sign(demo(reading=reading))


@pytest.mark.parametrize(
    ("reading", "url"),
    [
        ("A", f"{FARM}/community.getSession"),
        ("B", f"{FARM}/community.getSession"),
        ("C", f"{FARM}/community"),
        ("D", f"{FARM}/community.getSession"),
    ],
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_call_is_posted_to_its_method_or_its_handler(
    reading: Reading, url: str, slash: str
) -> None:
    assert demo(reading=reading).url(FARM + slash, METHOD) == url


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize(
    "base",
    ["HTTPS://xmlrpc.renderfarm.fi", "https://XMLRPC.Renderfarm.FI", f"{FARM}:443", f"{FARM}/"],
)
def test_case_of_scheme_and_host_and_a_default_port_change_no_signature(
    reading: Reading, base: str
) -> None:
    assert sign(demo(reading=reading), base) == sign(demo(reading=reading))


@pytest.mark.parametrize("base", [f"{FARM}:80", f"{FARM}:8443", f"{FARM}/Rpc", f"{FARM}/rpc"])
def test_another_port_or_path_changes_the_signature(base: str) -> None:
    assert sign(demo(), base)["oauth_signature"] != sign(demo())["oauth_signature"]


@pytest.mark.parametrize("base", ["", "xmlrpc.renderfarm.fi", "https://"])
def test_a_base_that_is_no_absolute_address_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match="missing"):
        sign(demo(), base)


def test_a_signer_shows_no_secret() -> None:
    shown = repr(demo(token="t", token_secret="hush-hush"))
    assert "demo-secret" not in shown
    assert "hush-hush" not in shown


def test_a_nonce_is_22_to_30_letters_and_digits_and_never_repeats() -> None:
    nonces = {new_nonce() for _ in range(1000)}
    assert len(nonces) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9]{22,30}", nonce) for nonce in nonces)
