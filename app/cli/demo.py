"""The sandbox and the gateway side by side, to try things out: what ``make run`` starts.

Knows two command lines and one health route. Must not know how either program works.
"""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

from app.cli.address import url_of
from app.config.addresses import ANY
from app.config.base import env_name
from app.config.environment import load
from app.config.settings import Settings
from app.login.sealed_cookies import new_cookie_key
from app.sandbox.server import DEMO_CONSUMER_KEY, DEMO_CONSUMER_SECRET
from app.server.listeners import UNIX, ListenError, address, listeners

HOST = "127.0.0.1"
"""Where the sandbox listens, and where a gateway on every address is asked."""
EVERY = {"0.0.0.0": HOST, "::": "::1"}  # noqa: S104 - asked, not listened on
WELCOME = """
  The gateway answers, over the sandbox farm at {farm}

    landing page   {gateway}/
    Swagger UI     {gateway}/docs
    one session    curl -s {gateway}/sessions/1005
    a login        {gateway}/login?return_to=/me/sessions{page}

  Ctrl-C stops both.

"""
PAGE = """
    the dashboard  {gateway}/demo?ids=1005,1004,1006,1008,1011,300001"""
PAGES_OF_DEVELOPERS = ("http://localhost:5173", "http://127.0.0.1:5173")
"""Where Vite serves a page that is worked on."""
START_WITHIN = 20.0
"""Seconds; a start takes about one."""
STOP_WITHIN = 15.0
"""Seconds; what does not stop by then is killed."""

SANDBOX_PORT = ("--sandbox-port", "make run SANDBOX_PORT=8101")
GATEWAY_PORT = ("--port", "make run PORT=8100")
"""How another port is chosen: by us, and by who starts us."""

CREDENTIALS = {
    f"RFGW_{name}{suffix}": ""
    for name in ("CONSUMER_KEY", "CONSUMER_SECRET", "OAUTH_TOKEN", "OAUTH_TOKEN_SECRET")
    for suffix in ("", "_FILE")
}
"""The sandbox knows only its own: an empty value keeps out those of a real farm."""
OF_SANDBOX = {
    **CREDENTIALS,
    "RFGW_CONSUMER_KEY": DEMO_CONSUMER_KEY,
    "RFGW_CONSUMER_SECRET": DEMO_CONSUMER_SECRET,
    "RFGW_UPSTREAM_URL": "",
}

Program = subprocess.Popen[bytes]


def demo_settings(host: str | None, port: int | None) -> Settings:
    """The settings over the sandbox; ``None`` leaves the address or port as it is set.

    Raises SettingsError.
    """
    options = {env_name("host"): host, env_name("port"): port and str(port)}
    given = {name: text for name, text in options.items() if text}
    return load({**os.environ, **OF_SANDBOX}, options=given).settings


def run_demo(settings: Settings, sandbox_port: int, speed: int, early: Sequence[int]) -> int:
    """Start both, say where they are, and stop both on Ctrl-C, SIGTERM or the end of either.

    Gives 0 if it was told to stop, 1 if a port is in use or a program ended by itself. ``early``
    are the signals that came before; it may grow until ours are installed.
    """
    # SIGINT by name: a shell's background job would be born ignoring it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    if early:
        return 0
    ports = _free_ports(
        ((HOST,), sandbox_port, *SANDBOX_PORT), (settings.hosts, settings.port, *GATEWAY_PORT)
    )
    if ports is None:
        return 1
    host = next((host for host in settings.hosts if not host.startswith(UNIX)), HOST)
    farm, gateway = url_of(HOST, ports[0]), url_of(EVERY.get(host, host), ports[1])
    environment = {
        "RFGW_LOG_FORMAT": "console",
        "RFGW_LOG_LEVEL": "warning",
        "RFGW_SHUTDOWN_GRACE": "0",
        **os.environ,
        **OF_SANDBOX,
        "RFGW_UPSTREAM_URL": farm,
        "RFGW_HOST": settings.host,
        "RFGW_PORT": str(ports[1]),
        **_logins(settings, gateway, ports[1]),
    }
    programs: list[Program] = []
    try:
        sandbox = ["sandbox", "--port", str(ports[0]), "--speed", str(speed)]
        programs.append(_start(sandbox, environment))
        programs.append(_start(["serve"], environment))
        if _await_ready(farm, gateway, programs):
            page = PAGE.format(gateway=gateway) if settings.demo_dir else ""
            sys.stdout.write(WELCOME.format(farm=farm, gateway=gateway, page=page))
            sys.stdout.flush()
            while _are_up(programs):
                time.sleep(0.2)
        return 1  # one of them ended by itself, and has said why
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(programs)


def _logins(settings: Settings, gateway: str, port: int) -> dict[str, str]:
    """Visitors can log in at the sandbox, unless the settings say something else of pages."""
    if settings.login or settings.public_url or settings.cors_origins != ANY:
        return {}
    own = {gateway, f"http://localhost:{port}", *PAGES_OF_DEVELOPERS}
    return {
        "RFGW_LOGIN": "true",
        "RFGW_COOKIE_KEY": new_cookie_key(),
        "RFGW_COOKIE_KEY_FILE": "",
        "RFGW_PUBLIC_URL": gateway,
        "RFGW_CORS_ORIGINS": ",".join(sorted(own)),
    }


def _free_ports(*wanted: tuple[Sequence[str], int, str, str]) -> list[int] | None:
    """The ports, if nobody listens there; 0 is a free one.

    All are held at once: they must differ. Of each: addresses, port, and how to choose another.
    """
    with ExitStack() as held:
        ports = list[int]()
        for hosts, port, option, variable in wanted:
            try:
                opened = held.enter_context(listeners(hosts, port))
            except ListenError as error:
                in_use = f"port {port} is in use; choose another with {option} ({variable})"
                sys.stderr.write(f"rfgw demo: {in_use if error.in_use else error}\n")
                return None
            ports.append(next((at["port"] for at in map(address, opened) if "port" in at), port))
        return ports


def _start(arguments: list[str], environment: dict[str, str]) -> Program:
    # A session of its own: Ctrl-C reaches this process alone, which then stops both in order.
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "app", *arguments], env=environment, start_new_session=True
    )


def _await_ready(farm: str, gateway: str, programs: list[Program]) -> bool:
    deadline = time.monotonic() + START_WITHIN
    while _are_up(programs):
        if time.monotonic() > deadline:
            sys.stderr.write(f"rfgw demo: no answer within {START_WITHIN:.0f} s\n")
            return False
        # Both: a ready gateway whose farm is not there yet answers 502.
        if _status(farm, "/__records") == _status(gateway, "/health/ready") == 200:
            return True
        time.sleep(0.1)
    return False


def _status(server: str, path: str) -> int | None:
    """The status of the answer to a GET; None if there is no answer yet."""
    connection = http.client.HTTPConnection(server.removeprefix("http://"), timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _are_up(programs: list[Program]) -> bool:
    return all(program.poll() is None for program in programs)


def _stop(programs: list[Program]) -> None:
    for program in programs:
        program.terminate()
    for program in programs:
        try:
            program.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
