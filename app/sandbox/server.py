"""The farm on a real port: its routes and its server. Must not know the gateway.

========================  ==========================================================
``POST /<method>``        a signed XML-RPC call; ``/<handler>`` takes it too
``POST /oauth.<step>``    ``requestToken``, ``accessToken`` or ``logout``, signed
``/oauth.authorize``      the page on which a user allows a site to act for them
``GET /__records``        what was asked, the newest 10,000 calls, oldest first
``DELETE /__records``     forgets them and counts anew
``PUT /__script``         the next misbehaviours, a JSON list of ``script`` steps
``DELETE /__script``      forgets those still waiting
``GET /__users``          who has an account, what is attached, how many logins count
``DELETE /__users``       forgets new accounts, attachments and tokens
``DELETE /__tokens``      revokes all tokens; ``?problem=`` says as what
========================  ==========================================================
"""

import ipaddress
import signal
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from app.sandbox.authorization import Authorization
from app.sandbox.authorize_page import AuthorizePage
from app.sandbox.control import Control
from app.sandbox.farm import SandboxFarm
from app.sandbox.replay import Replay
from app.sandbox.request_verifier import RequestVerifier
from app.sandbox.tokens import Tokens
from app.sandbox.users import Users
from app.sandbox.verifier import READINGS, Verifier
from app.sandbox.wire import Protocol

DEMO_CONSUMER_KEY = "demo-consumer"
DEMO_CONSUMER_SECRET = "demo-secret"  # noqa: S105 - public on purpose: it opens a toy


def create_farm(
    *,
    consumer_key: str = DEMO_CONSUMER_KEY,
    consumer_secret: str = DEMO_CONSUMER_SECRET,
    token: str = "",
    token_secret: str = "",
    readings: Collection[str] = READINGS,
    public_url: str = "",
    clock: Callable[[], float] = time.time,
    speed: float = 1,
    core_1_0: bool = False,
    replay: Path | None = None,
) -> Starlette:
    """A farm with its records and script, to be run by ``farm_server``.

    ``public_url`` is the address that clients sign if it is not the one that they reach (a front
    end in between); ``clock`` tells Unix seconds; sessions live ``speed`` times as fast as it.
    ``core_1_0``: users log in as OAuth Core 1.0 says, not RFC 5849. ``replay`` is a folder of
    recordings: what they tell is answered again. Raises ValueError if one cannot be read.
    The ``SandboxFarm`` is the application's ``state.farm``.
    """
    verifier = Verifier(consumer_key, consumer_secret, token, token_secret, readings)
    tokens, users = Tokens(), Users()
    request_verifier = RequestVerifier(consumer_key, consumer_secret)
    authorization = Authorization(request_verifier, tokens, core_1_0=core_1_0)
    page = AuthorizePage(tokens, users.names, clock, core_1_0=core_1_0)
    farm = SandboxFarm(verifier, authorization, users, clock, public_url, speed, Replay(replay))
    app = Starlette(
        routes=[
            *Control(farm.records, farm.script, users, tokens).routes(),
            Route("/oauth.authorize", page.show, methods=["GET", "POST"]),
            Route("/{path}", farm, methods=["POST"]),
        ]
    )
    app.state.farm = farm
    app.router.redirect_slashes = False
    return app


def farm_server(app: Starlette, host: str = "127.0.0.1", port: int = 8001) -> uvicorn.Server:
    """A server that can break connections; ``port`` 0 takes a free one."""
    config = uvicorn.Config(
        app,
        host,
        port,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,  # the farm's own clock tells the date
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def serve_farm(
    host: str = "127.0.0.1",
    port: int = 8001,
    consumer_key: str = DEMO_CONSUMER_KEY,
    consumer_secret: str = DEMO_CONSUMER_SECRET,
    *,
    allow_remote: bool = False,
    speed: float = 1,
    core_1_0: bool = False,
    replay: Path | None = None,
    early: Sequence[int] = (),
) -> None:
    """Serves until a signal. Raises ValueError for a host beyond loopback, unless allowed, and
    for a recording that cannot be read.

    ``early`` are the signals that came before; it may grow until ours are installed.
    """
    if not (allow_remote or _is_loopback(host)):
        raise ValueError("the sandbox listens on loopback only, unless remote clients are allowed")
    app = create_farm(
        consumer_key=consumer_key,
        consumer_secret=consumer_secret,
        speed=speed,
        core_1_0=core_1_0,
        replay=replay,
    )
    server = farm_server(app, host, port)
    # The server sends a signal that ended it again: taken by itself, it is no failure's exit code.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    for noted in early:
        server.handle_exit(noted, None)
    server.run()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
