"""The checking half of OAuth: what it lets pass, and what it calls the rest."""

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from app.sandbox import signatures
from app.sandbox.verifier import Verifier
from app.upstream.oauth import Reading, Signer
from app.upstream.xmlrpc.codec import Fault, Value

FARM = "https://xmlrpc.renderfarm.fi"
METHOD = "community.getSession"
URL = f"{FARM}/{METHOD}"
ARGUMENTS = {"sessionId": 413}
NOW = 1277815385
READINGS: tuple[Reading, ...] = ("A", "B", "C", "D")
PUBLISHED = {
    "oauth_consumer_key": "demo-consumer",
    "oauth_nonce": "1277815385123",
    "oauth_signature_method": "HMAC-SHA1",
    "oauth_timestamp": "1277815385",
    "oauth_signature": "oJgOthdsz7b9hEioxfvzXHI25cg=",
}
nonces = map(str, itertools.count())


def farm(**changes: Any) -> Verifier:
    return Verifier("demo-consumer", "demo-secret", **changes)


def signed(now: float = NOW, **changes: Any) -> dict[str, str]:
    signer = Signer("demo-consumer", "demo-secret", **changes)
    return signer.sign(FARM, METHOD, ARGUMENTS, timestamp=int(now), nonce=next(nonces))


def fault(
    verifier: Verifier,
    parameters: Value | Mapping[str, Value],
    *,
    url: str = URL,
    arguments: Mapping[str, Value] = ARGUMENTS,
    now: float = NOW,
) -> int:
    with pytest.raises(Fault) as caught:
        verifier.verify(url, parameters, arguments, now)  # type: ignore[arg-type]
    return caught.value.code


@pytest.mark.parametrize(
    ("url", "arguments", "signature", "reading"),
    [
        (URL, ARGUMENTS, "oJgOthdsz7b9hEioxfvzXHI25cg=", "A"),
        (URL, ARGUMENTS, "J6g7RR1nxRODha0PTehncQGI2Cg=", "B"),
        (f"{FARM}/community", ARGUMENTS, "6b22tV7/eWQMuJTsLdLBnXCsARI=", "C"),
        (URL, ARGUMENTS, "GXNgOVtO0GD+byIivznWYfQwZqU=", "D"),
        ("HTTPS://XMLRPC.renderfarm.fi:443/" + METHOD, {}, "oJgOthdsz7b9hEioxfvzXHI25cg=", "A"),
    ],
)
def test_the_golden_signatures_pass_and_name_their_reading(
    url: str, arguments: Mapping[str, Value], signature: str, reading: str
) -> None:
    parameters: Value = {**PUBLISHED, "oauth_signature": signature}
    assert farm().verify(url, parameters, arguments, NOW) == reading


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("version", [True, False])
@pytest.mark.parametrize("token", ["", "tök en"])
def test_our_signer_passes(reading: Reading, version: bool, token: str) -> None:
    credentials = ("käy", "sec ret%", token, "s&cret" if token else "")
    signer = Signer(*credentials, reading=reading, version=version)
    verifier = Verifier(*credentials)
    parameters: Value = {**signer.sign(FARM, METHOD, ARGUMENTS, timestamp=NOW, nonce=next(nonces))}
    url = signer.url(FARM, METHOD)
    assert verifier.verify(url, parameters, ARGUMENTS, NOW) == reading


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_missing_member_is_fault_100(name: str) -> None:
    rest = {key: value for key, value in signed().items() if key != name}
    assert fault(farm(), rest) == 100


@pytest.mark.parametrize("parameters", [None, "", 7, [], {}])
def test_what_is_no_struct_of_texts_is_fault_100(parameters: Value) -> None:
    assert fault(farm(), parameters) == 100


def test_a_timestamp_sent_as_a_number_is_fault_100() -> None:
    assert fault(farm(), signed() | {"oauth_timestamp": NOW}) == 100


def test_an_unknown_consumer_is_fault_400() -> None:
    assert fault(farm(), signed() | {"oauth_consumer_key": "someone-else"}) == 400


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("oauth_signature_method", "PLAINTEXT"),
        ("oauth_version", "2.0"),
        ("oauth_timestamp", "yesterday"),
        ("oauth_timestamp", "-1"),
        ("oauth_timestamp", "١٢٣"),
        ("oauth_timestamp", "9" * 5000),
    ],
)
def test_what_the_protocol_does_not_know_is_fault_101(name: str, value: str) -> None:
    assert fault(farm(), signed() | {name: value}) == 101


@pytest.mark.parametrize("skew", [-300, 0, 300])
def test_a_clock_within_300_seconds_passes(skew: int) -> None:
    assert farm().verify(URL, {**signed(NOW + skew)}, ARGUMENTS, NOW) == "A"


@pytest.mark.parametrize("skew", [-301, 301, -86400])
def test_a_clock_beyond_300_seconds_is_fault_104(skew: int) -> None:
    assert fault(farm(), signed(NOW + skew)) == 104


@pytest.mark.parametrize("name", ["oauth_nonce", "oauth_signature", "oauth_version"])
def test_a_changed_member_is_fault_104(name: str) -> None:
    changed = signed() | {name: "1.0" if name == "oauth_version" else "x"}
    if name == "oauth_version":
        changed = {key: value for key, value in changed.items() if key != name}
    assert fault(farm(), changed) == 104


def test_an_added_member_is_signed_too() -> None:
    assert fault(farm(), signed() | {"oauth_callback": "oob"}) == 104


def test_a_signature_of_no_ascii_is_fault_104() -> None:
    assert fault(farm(), signed() | {"oauth_signature": "ö"}) == 104


@pytest.mark.parametrize("url", [f"{FARM}:8443/{METHOD}", f"{FARM}/community", "https://other/x.y"])
def test_a_signature_for_another_address_is_fault_104(url: str) -> None:
    assert fault(farm(), signed(), url=url) == 104


def test_reading_b_protects_the_argument_and_reading_a_does_not() -> None:
    other = {"sessionId": 414}
    assert fault(farm(), signed(reading="B"), arguments=other) == 104
    assert farm().verify(URL, {**signed(reading="A")}, other, NOW) == "A"


@pytest.mark.parametrize("reading", READINGS)
def test_a_farm_may_insist_on_one_reading(reading: Reading) -> None:
    signer = Signer("demo-consumer", "demo-secret", reading=reading)
    url = signer.url(FARM, METHOD)
    assert farm(readings=[reading]).verify(url, {**signed(reading=reading)}, ARGUMENTS, NOW)
    others = [other for other in READINGS if other != reading]
    assert fault(farm(readings=others), signed(reading=reading), url=url) == 104


@pytest.mark.parametrize(("sent", "known"), [("t", ""), ("", "t"), ("t", "u")])
def test_a_token_that_is_not_the_farms_is_fault_104(sent: str, known: str) -> None:
    assert fault(farm(token=known), signed(token=sent)) == 104


def test_a_wrong_secret_is_fault_104() -> None:
    assert fault(Verifier("demo-consumer", "other"), signed()) == 104
    assert fault(farm(token="t", token_secret="s"), signed(token="t", token_secret="r")) == 104


def test_a_call_passes_once() -> None:
    verifier, parameters = farm(), signed()
    assert verifier.verify(URL, {**parameters}, ARGUMENTS, NOW) == "A"
    assert fault(verifier, parameters) == 104


def test_the_same_nonce_passes_under_another_timestamp() -> None:
    verifier = farm()
    signer = Signer("demo-consumer", "demo-secret")
    for second in (NOW, NOW + 1):
        parameters = signer.sign(FARM, METHOD, ARGUMENTS, timestamp=second, nonce="same")
        assert verifier.verify(URL, {**parameters}, ARGUMENTS, NOW) == "A"


def test_a_refused_call_uses_no_nonce_up() -> None:
    verifier, parameters = farm(), signed()
    assert fault(verifier, parameters | {"oauth_signature": "x"}) == 104
    assert verifier.verify(URL, {**parameters}, ARGUMENTS, NOW) == "A"


def test_a_call_from_the_future_cannot_be_replayed_while_its_timestamp_holds() -> None:
    verifier, parameters = farm(), signed(NOW + 300)
    verifier.verify(URL, {**parameters}, ARGUMENTS, NOW)
    assert fault(verifier, parameters, now=NOW + 600) == 104
    verifier.verify(URL, {**signed(NOW + 600)}, ARGUMENTS, NOW + 600)
    assert fault(verifier, parameters, now=NOW + 600) == 104


def test_nonces_are_forgotten_when_their_timestamps_are_too_old() -> None:
    verifier = farm()
    for second in range(0, 2000, 100):
        verifier.verify(URL, {**signed(NOW + second)}, ARGUMENTS, NOW + second)
    assert len(verifier._nonces) == 7


def test_the_memory_of_nonces_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "NONCES", 3)
    verifier = farm()
    for _ in range(10):
        verifier.verify(URL, {**signed()}, ARGUMENTS, NOW)
    assert len(verifier._nonces) == 3


def test_a_verifier_shows_no_secret() -> None:
    shown = repr(farm(token="t", token_secret="hush-hush"))
    assert "demo-secret" not in shown
    assert "hush-hush" not in shown
