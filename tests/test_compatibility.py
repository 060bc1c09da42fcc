"""``rfgw doctor --farm``: a farm that is compatible, and those that are not in one way each."""

import http.client
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.cli.doctor import compatibility
from app.cli.doctor.compatibility import FARM_CHECKS, examine_farm
from app.cli.doctor.finding import Finding
from app.cli.doctor.way import target
from app.config.addresses import ForwardProxy
from app.main import create_app
from app.sandbox.data import METHODS
from app.sandbox.faults import refusal
from app.sandbox.server import create_farm, farm_server
from app.sandbox.verifier import Verifier
from app.upstream.xmlrpc.codec import Fault, Value
from tests.conftest import Farm, settings_for
from tests.programs import DEMO, ROOT, free_port, run
from tests.running import client_of, running, serving
from tests.visitors import login_gateway

GUIDE = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
ORDER = ["dns", "tcp", "tls", *FARM_CHECKS]


def examined(url: str, session: int = 1008, **settings: object) -> dict[str, Finding]:
    """What is found out about the farm at ``url``."""
    given = settings_for(url, **settings)
    to = target(url, None, given.upstream_connect_timeout)
    return {found.check: found for found in examine_farm(given, session, to)}


def statuses(found: dict[str, Finding]) -> dict[str, str]:
    """All that is not ok."""
    return {check: finding.status for check, finding in found.items() if finding.status != "ok"}


class OneAtATime(BaseHTTPRequestHandler):
    """Passes calls on to the sandbox. Its server serves one connection to its end, then others."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take the call, and give the sandbox's answer."""
        body = self.rfile.read(int(self.headers["content-length"]))
        connection = http.client.HTTPConnection(self.server.behind)  # type: ignore[attr-defined]
        connection.request("POST", self.path, body, dict(self.headers))
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        self.send_response(answer.status)
        self.send_header("content-type", "text/xml")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def one_at_a_time(version: str) -> Iterator[str]:
    """A farm that serves one connection at a time, by this version of HTTP."""
    handler = type("Handler", (OneAtATime,), {"protocol_version": version})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with running(farm_server(create_farm(public_url=url))) as behind:
            server.behind = urlsplit(behind).netloc  # type: ignore[attr-defined]
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            yield url
            server.shutdown()
            thread.join()


def test_the_sandbox_is_compatible(tmp_path: Path, farm: Farm) -> None:
    settings = {**DEMO, "RFGW_UPSTREAM_URL": farm.url}
    done = run(tmp_path, "doctor", "--farm", "--id", "1008", settings=settings)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert [check for _, check, _ in lines] == ORDER
    assert {status for status, check, _ in lines if check != "tls"} == {"ok"}
    assert farm.calls() <= 10
    done = run(tmp_path, "doctor", "--farm", "--json", "--id", "1008", settings=settings)
    told = json.loads(done.stdout)
    assert (told["ok"], [check["check"] for check in told["checks"]]) == (True, ORDER)


def test_an_id_that_is_no_session_is_a_warning(farm: Farm) -> None:
    found = examined(farm.url, 300001)
    assert statuses(found) == {"session": "warn"}
    assert "--id" in found["session"].do


def test_a_farm_that_refuses_us_is_asked_no_more(farm: Farm) -> None:
    found = examined(farm.url, consumer_secret="another")
    assert list(found) == list(FARM_CHECKS)
    assert statuses(found) == {"session": "FAIL", **dict.fromkeys(FARM_CHECKS[2:], "skip")}
    assert farm.calls() == 1


def test_a_farm_that_checks_nothing_is_warned_of(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Verifier, "verify", lambda *_: "A")
    found = examined(farm.url)
    assert statuses(found) == {"signed": "warn", "nonce": "warn", "window": "warn"}


def test_a_farm_that_refuses_in_other_words_is_warned_of(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify = Verifier.verify

    def refuse(*given: object) -> str:
        try:
            return verify(*given)  # type: ignore[arg-type]
        except Fault:
            raise refusal(999) from None

    monkeypatch.setattr(Verifier, "verify", refuse)
    found = examined(farm.url)
    assert statuses(found) == {"signed": "warn", "nonce": "warn", "window": "warn"}
    assert found["nonce"].says == "a repeated nonce: fault 999"


@pytest.mark.parametrize(("code", "status"), [(301, "warn"), (999, "FAIL")])
def test_a_farm_that_does_not_tell_a_missing_session_is_told(
    code: int, status: str, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = METHODS["community.getSession"]

    def odd(number: int, **times: float) -> Value:
        if number == compatibility.NO_SESSION:
            raise refusal(code)
        return method.function(number, **times)

    changed = {**METHODS, "community.getSession": replace(method, function=odd)}
    monkeypatch.setattr("app.sandbox.farm.METHODS", changed)
    assert statuses(examined(farm.url)) == {"unknown": status}


def test_a_farm_that_serves_one_connection_at_a_time_is_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compatibility, "ALONE", 0.5)
    with one_at_a_time("HTTP/1.1") as url:
        found = examined(url)
        assert statuses(found) == {"parallel": "FAIL"}
        assert found["parallel"].do == "set RFGW_UPSTREAM_CONCURRENCY=1"
        assert statuses(examined(url, upstream_concurrency=1)) == {}


def test_a_farm_that_closes_after_each_call_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    with one_at_a_time("HTTP/1.0") as url:
        assert statuses(examined(url, upstream_concurrency=1)) == {"reuse": "warn"}


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_with_one_place_such_a_farm_answers_a_crowd_or_refuses_it_at_once(version: str) -> None:
    """None waits into a timeout: for a second connection the farm would not have."""
    with one_at_a_time(version) as url:
        settings = settings_for(url, upstream_concurrency=1)
        with (
            running(serving(create_app(settings))) as gateway,
            client_of(gateway) as client,
            ThreadPoolExecutor(16) as crowd,
        ):
            paths = [f"/sessions/{number}" for number in range(2001, 2201)]
            answers = list(crowd.map(client.get, paths))
            codes = Counter(answer.json()["code"] for answer in answers)
            assert codes.keys() <= {"session_not_found", "overloaded"}
            assert codes["session_not_found"] >= 16


def test_with_one_place_logins_and_sessions_share_it() -> None:
    """A login opens no second connection, which such a farm would not hear."""
    with (
        one_at_a_time("HTTP/1.1") as url,
        login_gateway(url, upstream_concurrency=1) as gateway,
        client_of(gateway) as client,
        ThreadPoolExecutor(4) as crowd,
    ):
        asked = crowd.map(client.get, [f"/sessions/{number}" for number in range(2001, 2041)])
        begun = crowd.map(client.get, ["/login"] * 8)
        codes = {answer.json()["code"] for answer in asked}
        assert codes <= {"session_not_found", "overloaded"}
        ends = [urlsplit(answer.headers["location"]).query for answer in begun]
        failed = [end for end in ends if "oauth_token" not in end]
        assert {*failed} <= {"login=failed&login_code=overloaded"}
        assert len(failed) < len(ends)


def test_what_is_not_seen_through_a_proxy_is_left_out(farm: Farm) -> None:
    to = target(farm.url, None, 1, ForwardProxy("127.0.0.1", 1, ""))
    found = {one.check: one for one in examine_farm(settings_for(farm.url), 1008, to)}
    assert list(found) == list(FARM_CHECKS)
    assert statuses(found) == {"reuse": "skip", "parallel": "skip"}


def test_nobody_there_and_wrong_settings_leave_the_questions_out(tmp_path: Path) -> None:
    settings = {**DEMO, "RFGW_UPSTREAM_URL": f"http://127.0.0.1:{free_port()}"}
    for given, code in ((settings, 1), ({"RFGW_PROT": "1"}, 2)):
        done = run(tmp_path, "doctor", "--farm", settings=given)
        assert done.returncode == code
        skipped = re.findall(r"^skip +(\w+)", done.stdout, re.MULTILINE)
        assert skipped[-len(FARM_CHECKS) :] == list(FARM_CHECKS)


def test_the_guide_shows_every_question_in_its_order() -> None:
    section = GUIDE.split("\n### Is a farm compatible?\n")[1]
    sample = section.split("```\n")[1]
    assert [line.split()[1] for line in sample.splitlines()] == ORDER
    assert re.findall(r"^\| `(\w+)` \|", section.split("\n## ")[0], re.M) == list(FARM_CHECKS)
