"""A visitor's tokens, their secrets, cookies and keys are in no log, answer or metric.

A real gateway process over a farm whose tokens are known here. Logins begin, end, are denied,
forged and revoked, and the farm goes wrong at each step. Then all that came out is searched.
"""

import signal
from pathlib import Path
from typing import Any

import httpx

from app.login.sealed_cookies import new_cookie_key
from app.sandbox.server import create_farm, farm_server
from tests.programs import DEMO, RFGW, await_ready, finish, free_port, started
from tests.running import client_of, running
from tests.test_canary import leaks
from tests.visitors import SITE, Visitor

STEPS: list[dict[str, object]] = [
    {"do": "malformed"},
    {"do": "fault", "code": 104},
    {"do": "problem", "problem": "nonce_used"},
    {"do": "status", "status": 500},
]
"""Few enough that the farm is not left alone for them."""


class Shown:
    """All that a gateway answered, but for the cookies that it set and where it led to."""

    def __init__(self) -> None:
        self.text: list[str] = []

    def note(self, answer: httpx.Response) -> None:
        answer.read()
        own = ("set-cookie", "location")
        headers = [pair for pair in answer.headers.items() if pair[0] not in own]
        self.text.append(f"{answer.status_code} {headers}\n{answer.text}")


def play(visitor: Visitor, farm: httpx.Client) -> list[str]:
    """Everything that can become of a login; the cookies that it was played with."""
    cookies = []
    for step in STEPS:
        callback = visitor.decide(visitor.begin())
        farm.put("/__script", json=[step])
        visitor.come_back(callback)
    visitor.log_in(decision="deny")
    visitor.come_back(visitor.decide(visitor.begin()).rpartition("=")[0] + "=forged")
    visitor.log_in()
    for step in STEPS:
        farm.put("/__script", json=[step])
        visitor.attach(301_001)
        farm.delete("/__script")
        visitor.log_in()
        cookies += [cookie.value or "" for cookie in visitor.http.cookies.jar]
    for number in (301_001, 301_101, 0):
        visitor.attach(number)
    visitor.http.get("/me/sessions?a=b", headers={"Accept": "image/png"})
    farm.delete("/__tokens")
    visitor.sessions()
    visitor.log_in()
    visitor.log_out()
    for step in STEPS:
        farm.put("/__script", json=[step])
        visitor.begin()
    visitor.http.get("/metrics")
    return [cookie for cookie in cookies if cookie]


def test_a_gateway_tells_nothing_of_logins(tmp_path: Path) -> None:
    app: Any = create_farm()
    shown, port, key = Shown(), free_port(), new_cookie_key()
    url = f"http://127.0.0.1:{port}"
    with running(farm_server(app)) as farm_url, (tmp_path / "log").open("w") as log:
        settings = {
            **DEMO,
            "RFGW_UPSTREAM_URL": farm_url,
            "RFGW_PORT": str(port),
            "RFGW_LOGIN": "true",
            "RFGW_COOKIE_KEY": key,
            "RFGW_PUBLIC_URL": url,
            "RFGW_CORS_ORIGINS": SITE,
            "RFGW_LOG_LEVEL": "debug",
        }
        with started(tmp_path, *RFGW, "serve", settings=settings, log=log) as program:
            await_ready(port)
            with Visitor(url) as visitor, client_of(farm_url) as farm:
                visitor.http.event_hooks["response"].append(
                    lambda answer: shown.note(answer) if answer.url.port == port else None
                )
                cookies = play(visitor, farm)
            program.send_signal(signal.SIGTERM)
            done = finish(program)
    tokens = app.state.farm._authorization._tokens
    issued = [*tokens._requested.values(), *tokens._granted.values()]
    secrets = {key, *cookies}
    for token in issued:
        secrets |= {token.token, token.secret, getattr(token, "verifier", "")}
    secrets.discard("")
    lines = (tmp_path / "log").read_text()
    assert lines.count('"event": "login"') > 15
    assert len(issued) > 15
    assert len(shown.text) > 30
    everything = "\n".join([*shown.text, lines, done.stdout or ""])
    assert leaks(everything, *secrets) == set()
