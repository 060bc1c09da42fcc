"""Secrets, nonces and signatures go to the farm and nowhere else.

A real gateway process with secrets of its own runs over a farm that notes what it was really sent.
Everything is provoked that the farm can do wrong, and crashes besides. Then all that came out is
searched.
"""

import base64
import hashlib
import json
import signal
import sys
import xmlrpc.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.cli import main as cli
from app.config.environment import load_settings
from app.main import create_app
from app.sandbox.data import LIVES
from app.sandbox.script import MAGIC
from app.sandbox.server import create_farm, farm_server
from app.telemetry.log_writer import LOG_WRITER
from tests.programs import WITHIN, await_ready, finish, free_port, started
from tests.running import running

# All begin with a word that no escaping changes, so that none hides behind an unusual one.
WORD = "c4nary"
KEY, SECRET = "canary/k3y", 'canary+s3cret/=%&ü~\\"<'
API_KEY, WRONG_KEY = "rfgw_c4nary-k3y", "rfgw_c4nary-wr0ng"
TOKEN, TOKEN_SECRET = "c4nary/t0ken", "c4nary+t0ken+s3cret%"

# The program itself, with three more routes that crash, each with a secret in its message.
CRASHING = """
import asyncio, sys
from starlette.responses import StreamingResponse
from app.cli import main as cli
from app import main

made = main.create_app

def create_app(settings):
    edge = made(settings)
    secret = settings.consumer_secret.get_secret_value()
    kept = []

    def fail():
        try:
            raise KeyError(secret)
        except KeyError:
            raise RuntimeError(secret)

    async def fail_later():
        fail()

    async def fail_in_the_middle():
        yield b"half"
        fail()

    @edge.app.get("/crash")
    async def crash():
        fail()

    @edge.app.get("/crash/stream")
    async def crash_stream():
        return StreamingResponse(fail_in_the_middle())

    @edge.app.get("/crash/task")
    async def crash_task():
        task = asyncio.ensure_future(fail_later())
        await asyncio.wait([task])
        del task
        asyncio.get_running_loop().call_soon(fail)

    return edge

main.create_app = create_app
sys.exit(cli.main(["serve"]))
"""


@dataclass
class Sent:
    """What the farm was sent: every nonce and every signature."""

    nonces: set[str] = field(default_factory=set)
    signatures: set[str] = field(default_factory=set)

    def note(self, body: bytes) -> None:
        (struct, *_), _method = xmlrpc.client.loads(body)
        assert isinstance(struct, dict)
        self.nonces.add(str(struct["oauth_nonce"]))
        self.signatures.add(str(struct["oauth_signature"]))


class Tap:
    """Notes the bodies that pass to ``app``."""

    def __init__(self, app: ASGIApp, sent: Sent) -> None:
        self.app, self.sent = app, sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytearray()

        async def tapped() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            if message["type"] == "http.request" and not message.get("more_body"):
                self.sent.note(bytes(body))
            return message

        await self.app(scope, tapped, send)


def forms(text: str) -> set[str]:
    """A text as it could appear: plain, escaped, and encoded in the usual ways."""
    raw = text.encode()
    escaped = {text.rstrip("="), repr(text)[1:-1], repr(raw)[2:-1]}
    return {
        *escaped,
        *(json.dumps(form)[1:-1] for form in escaped),
        *(json.dumps(form, ensure_ascii=False)[1:-1] for form in escaped),
        quote(text),
        quote(text, safe=""),
        quote(quote(text, safe="~"), safe="~"),
        quote_plus(text),
        raw.hex(),
        raw.hex().upper(),
        base64.b64encode(raw).decode().rstrip("="),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
    }


def leaks(shown: str, *texts: str) -> set[str]:
    """Those of the texts that are shown in any form. What is shown is gone through once: there are
    thousands of forms."""
    known = {text: forms(text) for text in texts}
    every = set().union(*known.values())
    size = min(map(len, every), default=1)
    begun = {form[:size] for form in every}
    ends = range(size, len(shown) + 1)
    met = {part for end in ends if (part := shown[end - size : end]) in begun}
    found = {form for form in every if form[:size] in met and form in shown}
    return {text for text in texts if not known[text].isdisjoint(found)}


def settings_over(url: str) -> dict[str, str]:
    return {
        "RFGW_UPSTREAM_URL": url,
        "RFGW_CONSUMER_KEY": KEY,
        "RFGW_CONSUMER_SECRET": SECRET,
        "RFGW_OAUTH_TOKEN": TOKEN,
        "RFGW_OAUTH_TOKEN_SECRET": TOKEN_SECRET,
        "RFGW_LOG_LEVEL": "debug",
    }


@pytest.fixture(scope="module")
def sent() -> Sent:
    return Sent()


@pytest.fixture(scope="module")
def farm_url(sent: Sent) -> Iterator[str]:
    farm = create_farm(
        consumer_key=KEY, consumer_secret=SECRET, token=TOKEN, token_secret=TOKEN_SECRET
    )
    farm.add_middleware(Tap, sent=sent)
    with running(farm_server(farm)) as url:
        yield url


def paths() -> list[str]:
    sessions = [*LIVES, *(magic * 1000 + 1 for magic in MAGIC), 7_000_000]
    odd = ["/sessions/x", "/sessions/0", "/sessions/42?a=%00", "/nothing", "/sessions/42/"]
    pages = ["/", "/docs", "/openapi.json", "/health/live", "/health/ready", "/metrics"]
    return [f"/sessions/{number}" for number in sessions] + odd + pages


def provoke(client: httpx.Client, keys: Path) -> str:
    """Ask for everything, some of it in odd ways; gives all that was answered.

    Meanwhile the file of keys is broken, as by somebody who writes the key itself into it.
    """
    keys.write_text(f"site-a {API_KEY}")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(client.get, paths()))
    answers += [
        client.get("/sessions/42", headers={"accept": "text/html"}),
        client.get("/sessions/43", headers={"cache-control": "only-if-cached"}),
        client.post("/sessions/42", content=b"x"),
        client.head("/sessions/42"),
        client.options("/sessions/42"),
        client.get("/sessions/42", headers={"x-api-key": WRONG_KEY}),
        client.get("/sessions/42", headers={"authorization": f"Bearer {WRONG_KEY}"}),
        client.get(f"/sessions/42?api_key={WRONG_KEY}", headers={"x-api-key": ""}),
        client.get("/crash"),
        client.get("/crash/task"),
        client.get("/metrics"),
    ]
    assert answers[0].status_code == 200
    assert answers[-3].status_code == 500
    shown = [f"{answer.status_code} {answer.headers}\n{answer.text}" for answer in answers]
    with client.stream("GET", "/crash/stream") as answer:
        shown.append(str(answer.headers))
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()
    return "\n".join(shown)


def test_a_gateway_tells_no_secret_nonce_or_signature(
    farm_url: str, sent: Sent, tmp_path: Path
) -> None:
    before = len(sent.nonces)
    port = free_port()
    keys = tmp_path / "keys"
    keys.write_text(f"site-a sha256:{hashlib.sha256(API_KEY.encode()).hexdigest()}")
    settings = {
        **settings_over(farm_url),
        "RFGW_PORT": str(port),
        "RFGW_API_KEYS_FILE": str(keys),
        "RFGW_RATE_LIMIT": "9999/60",
    }
    with (
        (tmp_path / "log").open("w+") as log,
        started(tmp_path, sys.executable, "-X", "dev", "-c", CRASHING, settings=settings, log=log)
        as program,
    ):  # fmt: skip
        await_ready(port)  # then it has read its keys, and judged none
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"x-api-key": API_KEY},
            trust_env=False,
            timeout=WITHIN,
        ) as client:
            answered = provoke(client, keys)
        program.send_signal(signal.SIGTERM)
        assert finish(program).returncode == 0
        logged = (tmp_path / "log").read_text()
    assert len(sent.nonces) - before >= len(LIVES)
    for word in (
        "upstream_attempt",
        "crash",
        "RuntimeError",
        "KeyError",
        "uvicorn.error",
        "api_keys_refused",
    ):
        assert word in logged  # what is searched is there
    assert logged.count("RuntimeError") >= 4
    assert "Traceback" not in logged
    assert "Warning" not in logged
    assert answered.count("invalid_token") == 3
    assert not leaks(answered + logged, WORD, KEY, SECRET, TOKEN, TOKEN_SECRET, API_KEY, WRONG_KEY)
    assert not leaks(answered + logged, *sent.nonces, *sent.signatures)


def test_the_command_line_tells_no_secret_nonce_or_signature(
    farm_url: str,
    sent: Sent,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in settings_over(farm_url).items():
        monkeypatch.setenv(name, text)
    before = len(sent.nonces)
    asked = ["42", "104001", "701001", "707001"]
    assert [cli.main(["get", number]) for number in asked] == [0, 7, 8, 12]
    assert len(sent.nonces) >= before + len(asked)
    monkeypatch.setenv("RFGW_PORT", SECRET)
    monkeypatch.setenv("RFGW_SIGNING", TOKEN_SECRET)
    assert cli.main(["serve"]) == 2
    LOG_WRITER.flush(WITHIN)
    shown = "".join(capfd.readouterr())
    assert "RFGW_PORT: " in shown
    assert not leaks(shown, WORD, KEY, SECRET, TOKEN, TOKEN_SECRET)
    assert not leaks(shown, *sent.nonces, *sent.signatures)


def test_no_part_shows_a_secret_of_itself(farm_url: str) -> None:
    settings = load_settings(settings_over(farm_url))
    edge = create_app(settings)
    gateway = edge.app.state.services.gateway  # type: ignore[attr-defined]
    parts = [settings, edge, gateway, gateway.upstream, gateway.upstream.signer, gateway.store]
    shown = "".join(f"{part!r} {part!s}" for part in parts)
    assert "Signer(" in shown
    assert not leaks(shown, SECRET, TOKEN_SECRET)


def test_the_search_finds_what_it_looks_for() -> None:
    for form in forms(SECRET):
        assert leaks(f"before {form} after", SECRET, "other") == {SECRET}
