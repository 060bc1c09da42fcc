"""Visitors as tests play them: a gateway with logins on a real port, and a browser of theirs."""

import html
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from app.login.sealed_cookies import new_cookie_key
from app.main import create_app
from tests.conftest import settings_for
from tests.programs import WITHIN
from tests.running import client_of, running, serving

SITE = "https://site.example"
"""The origin that these gateways list."""
KEY = new_cookie_key()
HIDDEN = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)">')


@contextmanager
def login_gateway(farm_url: str, **overrides: Any) -> Iterator[str]:
    """The address that a gateway whose visitors can log in at the farm is reached at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        public_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        given = {"login": True, "cookie_key": KEY, "cors_origins": SITE, "public_url": public_url}
        app = create_app(settings_for(farm_url, **{**given, **overrides}))
        with running(serving(app), listener) as url:
            yield url


class Visitor:
    """A browser with cookies at the gateway of this address."""

    def __init__(self, gateway: str) -> None:
        self.http = client_of(gateway, timeout=WITHIN)

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def begin(self, return_to: str = "/") -> str:
        """The address of the farm's page that a login leads to."""
        answer = self.http.get("/login", params={"return_to": return_to})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def decide(self, page: str, user: str = "Ada", decision: str = "allow") -> str:
        """Fills in the farm's page; the address that it leads back to."""
        form = {
            name: html.unescape(text) for name, text in HIDDEN.findall(self.http.get(page).text)
        }
        told = form | {"user": user, "decision": decision}
        answer = self.http.post(page.partition("?")[0], data=told)
        assert answer.is_redirect, answer.text
        return str(answer.headers["location"])

    def come_back(self, callback: str) -> str:
        """Follows the farm's redirect; where the gateway leads to in the end."""
        answer = self.http.get(callback)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    def log_in(self, user: str = "Ada", decision: str = "allow", return_to: str = "/") -> str:
        """The whole journey; where it ends."""
        return self.come_back(self.decide(self.begin(return_to), user, decision))

    def sessions(self, **fields: str) -> httpx.Response:
        """The visitor's own sessions."""
        return self.http.get("/me/sessions", headers=fields)

    def ids(self) -> list[int]:
        """The numbers of the visitor's own sessions, in the order of the list."""
        answer = self.sessions()
        assert answer.status_code == 200, answer.text
        return [session["id"] for session in answer.json()["items"]]

    def attach(self, number: int, origin: str | None = SITE, **fields: str) -> httpx.Response:
        """Attaches a session to the site."""
        headers = fields | ({"Origin": origin} if origin is not None else {})
        return self.http.put(f"/me/sessions/{number}/attached", headers=headers)

    def log_out(self, origin: str = SITE) -> httpx.Response:
        """Logs out."""
        return self.http.post("/logout", headers={"Origin": origin})


def query_of(address: str) -> dict[str, str]:
    """The query of an address."""
    return dict(parse_qsl(urlsplit(address).query))
