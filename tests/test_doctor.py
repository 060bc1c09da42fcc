"""The doctor: each thing that can be wrong is met for real, named, and what to do is told."""

import asyncio
import contextlib
import json
import re
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from app.cli.doctor import way
from app.cli.doctor.advice import FEW_CLIENTS, about_files, about_port, about_settings
from app.cli.doctor.finding import Finding
from app.cli.doctor.shared_cache import DOWN, LATE, NO_WRITES, REPLICA, examine_cache
from app.cli.doctor.signed_call import (
    LONGEST,
    MOST_CALLS,
    Caller,
    about_clock,
    about_latency,
    examine_call,
)
from app.cli.doctor.way import EXPIRES_SOON, examine_way, judged, target
from app.core.ports import Attempt
from app.edge.api_keys import new_key
from app.sandbox.faults import refusal
from app.sandbox.server import DEMO_CONSUMER_KEY, DEMO_CONSUMER_SECRET, create_farm, farm_server
from app.sandbox.verifier import Verifier
from app.upstream.xmlrpc.codec import Value
from tests.conftest import Farm, settings_for
from tests.hostile_farm import GOOD, http, raw_farm, server_tls, write_authority
from tests.programs import DEMO, free_port, run
from tests.proxy import proxy
from tests.running import running
from tests.valkey import impatient, valkey

pytestmark = pytest.mark.usefixtures("patience")

GUIDE = Path(__file__).parents[1] / "docs" / "operating.md"
ORDER = ["settings", "port", "files", "cache", "dns", "tcp", "tls", "clock", "call", "latency"]


def only(findings: list[Finding], check: str) -> Finding:
    (found,) = [finding for finding in findings if finding.check == check]
    return found


def statuses(findings: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.status for finding in findings}


# The whole, as a process


def test_a_healthy_farm_gets_a_clean_bill_line_by_line(tmp_path: Path, farm: Farm) -> None:
    settings = {**DEMO, "RFGW_UPSTREAM_URL": farm.url, "RFGW_PORT": str(free_port())}
    settings["RFGW_UPSTREAM_DEADLINE"] = "60"  # an answer after half of it is a warning
    done = run(tmp_path, "doctor", settings=settings)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert [check for _, check, _ in lines] == ORDER
    assert {status for status, _, _ in lines} == {"ok", "skip"}
    assert "plain http" in done.stdout
    assert farm.calls() == 1


def test_for_machines_it_is_one_document_with_the_same_checks(tmp_path: Path, farm: Farm) -> None:
    settings = {**DEMO, "RFGW_UPSTREAM_URL": farm.url, "RFGW_CONSUMER_SECRET": "c4nary"}
    done = run(tmp_path, "doctor", "--json", "--id", "42", settings=settings)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["ok"] is False
    assert [check["check"] for check in told["checks"]] == ORDER
    call = told["checks"][ORDER.index("call")]
    assert call["status"] == "FAIL"
    assert "RFGW_CONSUMER_SECRET" in call["do"]
    assert "c4nary" not in done.stdout + done.stderr


def test_wrong_settings_end_it_with_2_and_no_secret_is_told(tmp_path: Path) -> None:
    wrong = {"RFGW_CONSUMER_SECRET": " c4nary", "RFGW_PROT": "c4nary"}
    done = run(tmp_path, "doctor", settings=wrong)
    assert done.returncode == 2
    failed = [line.split()[2] for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert failed == ["RFGW_CONSUMER_KEY:", "RFGW_CONSUMER_SECRET:", "RFGW_PROT:"]
    assert "c4nary" not in done.stdout + done.stderr


def test_nobody_there_fails_and_skips_what_needs_a_connection(tmp_path: Path) -> None:
    settings = {**DEMO, "RFGW_UPSTREAM_URL": f"http://127.0.0.1:{free_port()}"}
    done = run(tmp_path, "doctor", settings=settings)
    assert done.returncode == 1
    lines = {line.split()[1]: line for line in done.stdout.splitlines()}
    assert lines["tcp"].startswith("FAIL")
    assert "refuses connections" in lines["tcp"]
    assert all(lines[check].startswith("skip") for check in ("tls", "clock", "call", "latency"))


def test_an_id_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    done = run(tmp_path, "doctor", "--id", "007", settings=DEMO)
    assert (done.returncode, done.stdout) == (2, "")


def test_the_guide_shows_every_check_in_its_order() -> None:
    section = GUIDE.read_text(encoding="utf-8").split("\n## The doctor\n")[1]
    sample = section.split("```\n")[1]
    assert [line.split()[1] for line in sample.splitlines()] == ORDER


# Settings and limits


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"upstream_url": "https://farm.example"}, "RFGW_CONSUMER_SECRET"),
        ({"host": "0.0.0.0"}, "RFGW_PUBLIC_URL"),
        ({"host": "::"}, "RFGW_PUBLIC_URL"),
        ({"host": "127.0.0.1,0.0.0.0"}, "RFGW_PUBLIC_URL"),
        ({"upstream_connect_timeout": 5}, "RFGW_UPSTREAM_CONNECT_TIMEOUT"),
        ({"consumer_secret": SecretStr('"c4nary"')}, "take them away"),
        ({"cache_url": SecretStr("'redis://h'")}, "take them away"),
        ({"upstream_deadline": 0.3, "upstream_connect_timeout": 0.1}, "RFGW_STALE_IF_SLOW"),
        (
            {
                "upstream_url": "http://farm.example",
                "upstream_allow_http": True,
                "consumer_key": SecretStr("k"),
            },
            "RFGW_UPSTREAM_URL",
        ),
    ],
)
def test_settings_that_make_no_sense_together_are_warned_of(
    overrides: Mapping[str, object], named: str
) -> None:
    (doubt,) = about_settings(settings_for("http://127.0.0.1:1").model_copy(update=overrides))
    assert doubt.status == "warn"
    assert named in doubt.do


LOGIN: Mapping[str, object] = {
    "login": True,
    "cookie_key": SecretStr("A" * 43),
    "public_url": "https://api.site.example",
    "cors_origins": "https://www.site.example",
}


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"login": False}, "nobody can log in"),
        ({"oauth_core_1_0": True}, "which others can take over"),
        ({"cors_origins": "https://www.other.example"}, "browsers keep cookies back"),
        ({}, "they make sense together"),
    ],
)
def test_settings_of_logins_are_judged_together(overrides: Mapping[str, object], says: str) -> None:
    given = settings_for("http://127.0.0.1:1").model_copy(update={**LOGIN, **overrides})
    (finding,) = about_settings(given)
    assert says in finding.says


def test_keys_are_read_and_warned_of_beside_every_origin(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(new_key("one")[1])
    given = settings_for("http://127.0.0.1:1", api_keys_file=path)
    assert ["RFGW_CORS_ORIGINS" in doubt.do for doubt in about_settings(given)] == [True]
    path.write_text("c4nary")
    listed = given.model_copy(update={"cors_origins": "https://site.example"})
    (failure,) = about_settings(listed)
    assert failure.status == "FAIL"
    assert "RFGW_API_KEYS_FILE: line 1" in failure.says
    assert "c4nary" not in failure.line()


@pytest.mark.parametrize(
    "overrides",
    [{}, {"host": "::1"}, {"host": "0.0.0.0", "public_url": "https://api.example"}],
)
def test_settings_that_make_sense_are_ok(overrides: Mapping[str, object]) -> None:
    (finding,) = about_settings(settings_for("http://127.0.0.1:1", **overrides))
    assert finding.status == "ok"


def test_a_port_in_use_is_a_warning_and_an_address_of_others_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert about_port(["127.0.0.1"], listener.getsockname()[1]).status == "warn"
    assert about_port(["127.0.0.1"], 0).status == "ok"
    assert about_port(["192.0.2.1"], 8000).status == "FAIL"
    assert about_port(["no such host.invalid"], 8000).status == "FAIL"


def test_open_files_are_counted_against_calls_and_clients() -> None:
    def about(concurrency: int, limit: int | None = None, most: int = 0) -> Finding:
        given = {"upstream_concurrency": concurrency, "max_connections": most}
        return about_files(settings_for("http://127.0.0.1:1", **given), limit)

    assert about(32).check == "files"
    assert about(32, -1).status == "ok"
    assert about(32, 1024).status == "ok"
    assert about(32, 44 + 32 + FEW_CLIENTS - 1).status == "warn"
    assert about(1000, 1024).status == "FAIL"
    assert "of which 500 for" in about(32, 1024, 500).says
    assert about(32, 1024, 500).status == "ok"
    assert "RFGW_MAX_CONNECTIONS" in about(32, 1024, 1000).do


# The way


def test_a_host_without_an_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = list(examine_way(target("https://farm.invalid", None, 1)))
    assert statuses(findings) == {"dns": "FAIL", "tcp": "skip", "tls": "skip"}
    findings = list(examine_way(target(f"https://{'a' * 64}.example", None, 1)))
    assert findings[0].status == "FAIL"
    asked = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [asked.wait(60)][1:])
    monkeypatch.setattr(way, "LOOKUP", 0.05)
    findings = list(examine_way(target("https://farm.example", None, 1)))
    assert "no answer within" in findings[0].says
    asked.set()


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://farm.example/rpc", 80),
        ("https://farm.example/rpc", 443),
        ("http://farm.example:443/rpc", 443),
        ("https://farm.example:80/rpc", 80),
    ],
)
def test_a_farm_is_looked_for_at_its_scheme_s_port_unless_it_names_one(url: str, port: int) -> None:
    assert target(url, None, 1).first[1] == port


def test_an_address_that_fails_beside_one_that_works_is_a_warning(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, real = int(farm.url.rpartition(":")[2]), socket.getaddrinfo
    found = [(0, 0, 0, "", ("127.0.0.2", free_port())), (0, 0, 0, "", ("127.0.0.1", port))]

    def fake(host: str, *rest: Any, **options: Any) -> Any:
        return found if host == "farm.example" else real(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    tcp = only(list(examine_way(target(f"http://farm.example:{port}", None, 1))), "tcp")
    assert tcp.status == "warn"
    assert "127.0.0.2 refuses connections, 127.0.0.1 in" in tcp.says


@contextmanager
def tls_farm(tmp_path: Path, chain: bytes, key: bytes) -> Iterator[str]:
    """The sandbox behind TLS, with this certificate; its base address."""
    (tmp_path / "chain.pem").write_bytes(chain)
    (tmp_path / "key.pem").write_bytes(key)
    server = farm_server(create_farm())
    server.config.ssl_certfile = tmp_path / "chain.pem"
    server.config.ssl_keyfile = tmp_path / "key.pem"
    with running(server) as url:
        yield url.replace("http:", "https:")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(organization_name="The farm's own authority\x1b[31m")


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def greeted(url: str, ca_file: Path | None) -> Finding:
    return only(list(examine_way(target(url, str(ca_file) if ca_file else None, 5))), "tls")


async def test_a_certificate_that_we_trust_is_ok_and_so_is_the_call_behind_it(
    authority: trustme.CA, ca_file: Path, tmp_path: Path
) -> None:
    leaf = authority.issue_cert("127.0.0.1")
    chain = leaf.cert_chain_pems[0].bytes()
    with tls_farm(tmp_path, chain, leaf.private_key_pem.bytes()) as url:
        settings = settings_for(url, upstream_ca_file=ca_file)
        found = greeted(url, ca_file)
        assert found.status == "ok"
        assert "The farm's own authority" in found.says
        assert "\x1b" not in found.line()
        assert statuses(await examine_call(settings, 42))["call"] == "ok"


def soon(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_the_usual_causes_of_a_refused_certificate_are_told_apart(
    authority: trustme.CA, ca_file: Path, tmp_path: Path
) -> None:
    mine = authority.issue_cert("127.0.0.1")
    other = authority.issue_cert("farm.example")
    old = authority.issue_cert("127.0.0.1", not_before=soon(-9), not_after=soon(-1))
    early = authority.issue_cert("127.0.0.1", not_before=soon(1), not_after=soon(9))
    own = (authority.cert_pem.bytes(), authority.private_key_pem.bytes())
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)

    def pair(leaf: trustme.LeafCert) -> tuple[bytes, bytes]:
        return leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes()

    cases = [
        (pair(mine), stranger, "unknown authority", "RFGW_UPSTREAM_CA_FILE"),
        (pair(other), ca_file, "another host", "RFGW_UPSTREAM_URL"),
        (pair(old), ca_file, "has expired", "renew"),
        (pair(early), ca_file, "not yet good", "clock"),
        (own, None, "self-signed", "RFGW_UPSTREAM_CA_FILE"),
    ]
    for (chain, key), trusted, says, do in cases:
        with tls_farm(tmp_path, chain, key) as url:
            found = greeted(url, trusted)
        assert found.status == "FAIL"
        assert says in found.says
        assert do in found.do


def of_an_old_authority(ca_file: Path) -> tuple[bytes, bytes]:
    """A certificate and its key, by an authority without a key usage; that one goes to a file."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("CA", "farm")]
    host = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = list[bytes]()
    for key, name, extension in zip(
        keys, names, (x509.BasicConstraints(ca=True, path_length=None), host), strict=True
    ):
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key())
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = x509.CertificateBuilder(names[0], name, key.public_key(), len(made) + 1)
        builder = builder.not_valid_before(soon(-1)).not_valid_after(soon(30))
        builder = builder.add_extension(extension, critical=True)
        builder = builder.add_extension(own, critical=False)
        builder = builder.add_extension(authority, critical=False)
        made.append(builder.sign(keys[0], hashes.SHA256()).public_bytes(Encoding.PEM))
    ca_file.write_bytes(made[0])
    return made[1], keys[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_an_authority_that_newer_pythons_refuse_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = tmp_path / "old.pem"
    made = of_an_old_authority(trusted)

    def as_python_3_13(ca_file: str | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=ca_file)
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        return context

    with tls_farm(tmp_path, *made) as url:
        monkeypatch.setattr(way, "tls_context", as_python_3_13)
        found = greeted(url, trusted)
    assert found.status == "FAIL"
    assert "Python 3.13" in found.says


def test_a_certificate_that_ends_soon_is_a_warning() -> None:
    ends = {"notAfter": "Jun 20 12:00:00 2026 GMT"}
    moment = ssl.cert_time_to_seconds(ends["notAfter"])
    assert judged("TLSv1.3", ends, moment - EXPIRES_SOON * 86_400).status == "ok"
    assert judged("TLSv1.3", ends, moment - EXPIRES_SOON * 86_400 + 1).status == "warn"


@contextmanager
def answering(reply: bytes | None) -> Iterator[str]:
    """Takes connections and says ``reply`` to whatever comes; with None it says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            # Until the listener's end; no connection is closed before it.
            with contextlib.suppress(OSError), ExitStack() as held:
                while True:
                    connection = held.enter_context(listener.accept()[0])
                    if reply is not None:
                        with contextlib.suppress(OSError):
                            connection.recv(1)  # nothing, of one that only knocked
                            connection.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            assert not thread.is_alive()


def test_no_tls_old_tls_and_silence_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    too_old = b"\x15\x03\x01\x00\x02\x02\x46"  # a fatal alert, protocol_version
    with answering(too_old) as url:
        assert "no TLS 1.2" in greeted(url, None).says
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        assert "no TLS is spoken" in greeted(url, None).says
    monkeypatch.setattr(way, "HANDSHAKE", 0.1)
    with answering(None) as url:
        assert "no handshake within" in greeted(url, None).says


# The signed call


async def examined(session: int = 42, **farm_options: object) -> tuple[list[Finding], int]:
    """What a call to a farm with these options tells, and how often the farm was asked."""
    app = create_farm(**farm_options)  # type: ignore[arg-type]
    with running(farm_server(app)) as url:
        findings = await examine_call(settings_for(url), session)
    return findings, app.state.farm.records.told()["total"]


async def test_a_reading_that_the_farm_accepts_instead_is_named() -> None:
    for reading in "BC":  # over plain http, D is the same as A
        findings, calls = await examined(readings=(reading,))
        call = only(findings, "call")
        assert call.status == "FAIL"
        assert f"set RFGW_SIGNING={reading} and RFGW_OAUTH_VERSION=true" in call.do
        assert calls <= MOST_CALLS


class WithoutVersion(Verifier):
    """Refuses calls that say which version of OAuth they mean."""

    def verify(
        self, url: str, parameters: Value, arguments: Mapping[str, Value], now: float
    ) -> str:
        if isinstance(parameters, dict) and "oauth_version" in parameters:
            raise refusal(104)
        return super().verify(url, parameters, arguments, now)


async def test_an_oauth_version_that_the_farm_does_not_want_is_found_out() -> None:
    app = create_farm()
    app.state.farm.verifier = WithoutVersion(DEMO_CONSUMER_KEY, DEMO_CONSUMER_SECRET)
    with running(farm_server(app)) as url:
        call = only(await examine_call(settings_for(url), 42), "call")
    assert "RFGW_SIGNING=A and RFGW_OAUTH_VERSION=false" in call.do


async def test_a_call_is_not_waited_for_as_long_as_a_patient_gateway_would() -> None:
    for deadline, waits in ((60, LONGEST), (2, 2)):
        caller = Caller(settings_for("http://127.0.0.1:1", upstream_deadline=deadline), 42)
        assert caller.farm.deadline == waits
        await caller.farm.aclose()


async def test_a_wrong_secret_costs_eight_calls_and_names_the_secret() -> None:
    findings, calls = await examined(consumer_secret="another")
    call = only(findings, "call")
    assert call.status == "FAIL"
    assert "RFGW_CONSUMER_SECRET" in call.do
    assert calls == MOST_CALLS


@pytest.mark.parametrize("ahead", [-400, 400])
async def test_a_clock_that_is_off_fails_and_the_call_is_healed(ahead: int) -> None:
    findings, calls = await examined(clock=lambda: time.time() + ahead)
    assert statuses(findings)["clock"] == "FAIL"
    assert ("behind" if ahead > 0 else "ahead of") in only(findings, "clock").says
    assert only(findings, "call").status == "warn"
    assert calls == 2


async def test_a_wrong_secret_under_a_wrong_clock_costs_no_more_calls() -> None:
    _, calls = await examined(consumer_secret="another", clock=lambda: time.time() + 400)
    assert calls == MOST_CALLS


def test_a_clock_is_judged_by_the_minute() -> None:
    assert about_clock(None).status == "skip"
    assert [about_clock(off).status for off in (60, -60, 61, -300, 301)] == [
        *("ok", "ok", "warn", "warn", "FAIL")
    ]


@pytest.mark.parametrize(
    ("session", "status", "named"),
    [
        (42, "ok", "answered"),
        (300001, "ok", "fault 300"),
        (301001, "ok", "fault 301"),
        (103001, "ok", "fault 103"),
        (100001, "FAIL", "fault 100"),
        (101001, "FAIL", "fault 101"),
        (400001, "FAIL", "consumer key"),
        (999001, "FAIL", "fault 999"),
        (501001, "FAIL", "http_status"),
        (700001, "FAIL", "deadline"),
        (703001, "FAIL", "not_xml"),
        (706001, "FAIL", "other_id"),
    ],
)
async def test_each_answer_of_the_farm_has_its_finding(
    farm: Farm, session: int, status: str, named: str
) -> None:
    deadline = 2 if named == "deadline" else 60
    findings = await examine_call(settings_for(farm.url, upstream_deadline=deadline), session)
    assert [finding.check for finding in findings] == ORDER[-3:]
    call = only(findings, "call")
    assert call.status == status
    assert named in call.line()


@pytest.mark.parametrize(
    ("answer", "says", "do"),
    [
        (http("", status="401 Unauthorized"), "401 or 403", "RFGW_UPSTREAM_URL"),
        (http("", status="404 Not Found"), "something else answers", "RFGW_UPSTREAM_URL"),
        (http("<html>"), "something else answers", "RFGW_UPSTREAM_URL"),
        (b"SSH-2.0\r\n", "something else answers", "RFGW_UPSTREAM_URL"),
        (http("", status="429 Too Many"), "a pause", "whoever runs the farm"),
        (http("", status="504 Too Late"), "breaks off", "whoever runs the farm"),
        (GOOD[:-9], "breaks off", "whoever runs the farm"),
    ],
)
async def test_a_failure_is_told_to_the_operator(answer: bytes, says: str, do: str) -> None:
    with raw_farm(answer) as farm:
        call = only(await examine_call(settings_for(farm.url), 1001), "call")
    assert call.status == "FAIL"
    assert says in call.says
    assert do in call.do


def test_an_answer_that_takes_most_of_the_deadline_is_a_warning() -> None:
    def took(seconds: float, outcome: str = "ok") -> str:
        return about_latency(Attempt("a.b", {}, 1, outcome, None, False, seconds), 5).status

    assert [took(2.5), took(2.6), took(2.6, "fault"), took(5, "deadline")] == [
        *("ok", "warn", "warn", "skip")
    ]


# The shared cache


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: those of Unix sockets have to be."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def cached(url: str) -> Finding:
    return asyncio.run(examine_cache(url))


def test_a_shared_cache_is_written_and_read_and_nothing_stays(directory: Path) -> None:
    with valkey(directory, "--maxmemory-policy", "allkeys-lru") as server:
        found = cached(server.url)
        assert (found.status, found.do) == ("ok", "")
        assert re.fullmatch(
            r"Valkey [\d.]+: written and read in [\d.]+ ms, allkeys-lru", found.says
        )
        assert server.client.dbsize() == 0


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("self-signed", "self-signed"),
        ("of an unknown authority", "unknown authority"),
        ("of another host", "another host"),
        ("expired", "expired"),
    ],
)
def test_what_is_wrong_with_the_certificate_of_a_shared_cache_is_told(
    directory: Path, monkeypatch: pytest.MonkeyPatch, kind: str, says: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(write_authority(directory / "authorities.pem")))
    with valkey(directory) as server:
        with proxy(server.socket, server_tls(kind)) as way:
            found = cached(way.url)
        assert found.status == "FAIL"
        assert says in found.says
        assert "SSL_CERT_FILE" in found.do
        with proxy(server.socket, server_tls("proper")) as way:
            assert cached(way.url).status == "warn"  # of its policy


def test_a_shared_cache_that_takes_no_more_clients_fails(directory: Path) -> None:
    with valkey(directory, "--maxclients", "1") as server:
        assert server.client.ping()
        assert "maxclients" in cached(server.url).do


def test_a_shared_cache_that_makes_no_room_is_warned_of(directory: Path) -> None:
    with valkey(directory, "--maxmemory-policy", "noeviction") as server:
        found = cached(server.url)
    assert found.status == "warn"
    assert "maxmemory-policy" in found.do


def test_a_shared_cache_that_is_full_fails(directory: Path) -> None:
    with valkey(directory, "--maxmemory", "1", "--maxmemory-policy", "noeviction") as server:
        assert cached(server.url) == ("cache", "FAIL", *NO_WRITES)


def test_a_shared_cache_that_does_not_give_back_what_was_written_fails(directory: Path) -> None:
    with valkey(directory) as server:
        rules = ["on", ">any", "~rfgw:*", "&rfgw:*", "+@all", "-get", "(+get ~rfgw:*:probe:*)"]
        server.client.execute_command("ACL", "SETUSER", "one", *rules)  # type: ignore[no-untyped-call]
        assert cached(f"unix://one:any@{server.socket}") == ("cache", "FAIL", *NO_WRITES)


def test_a_replica_is_no_shared_cache(directory: Path) -> None:
    with valkey(directory, "--replicaof", f"127.0.0.1 {free_port()}") as server:
        assert cached(server.url) == ("cache", "FAIL", *REPLICA)


def test_a_user_who_may_not_ask_who_the_server_is_may_do_without(directory: Path) -> None:
    with valkey(directory) as server:
        rules = "on >any ~rfgw:* &rfgw:* +@all -info"
        server.client.execute_command("ACL", "SETUSER", "one", *rules.split())  # type: ignore[no-untyped-call]
        found = cached(f"unix://one:any@{server.socket}")
    assert found.status == "ok"
    assert found.says.startswith("the server: written and read")


def test_a_password_that_is_wrong_is_told_and_not_shown(directory: Path, tmp_path: Path) -> None:
    with valkey(directory, "--requirepass", "right") as server:
        settings = {**DEMO, "RFGW_CACHE_URL": f"unix://:c4nary@{server.socket}"}
        done = run(tmp_path, "doctor", settings=settings)
    (line,) = [line for line in done.stdout.splitlines() if line[6:].startswith("cache ")]
    assert line.startswith("FAIL")
    assert "password" in line
    assert done.returncode == 1
    assert "c4nary" not in done.stdout + done.stderr


def test_no_server_and_a_frozen_one_fail(directory: Path) -> None:
    with valkey(directory) as server:
        with server.frozen(), impatient():
            assert cached(server.url) == LATE
        server.stop()
        assert cached(server.url) == ("cache", "FAIL", *DOWN["refused"])
