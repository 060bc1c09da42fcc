"""The sandbox and the gateway side by side, to try things out: what ``make run`` starts.

Knows two command lines and one health route. Must not know how either program works.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

from app.sandbox.server import DEMO_CONSUMER_KEY, DEMO_CONSUMER_SECRET

HOST = "127.0.0.1"
WELCOME = """
  The gateway answers, over the sandbox farm at {farm}

    landing page   {gateway}/
    Swagger UI     {gateway}/docs
    one session    curl -s {gateway}/sessions/1005{page}

  Ctrl-C stops both.

"""
PAGE = """
    the dashboard  {gateway}/demo?ids=1005,1004,1006,1008,1011,300001"""
START_WITHIN = 20.0
"""Seconds; a start takes about one."""
STOP_WITHIN = 15.0
"""Seconds; what does not stop by then is killed."""

CREDENTIALS = {
    f"RFGW_{name}{suffix}": ""
    for name in ("CONSUMER_KEY", "CONSUMER_SECRET", "OAUTH_TOKEN", "OAUTH_TOKEN_SECRET")
    for suffix in ("", "_FILE")
}
"""The sandbox knows only its own: an empty value keeps out those of a real farm."""

Program = subprocess.Popen[bytes]


def run_demo(port: int, sandbox_port: int, speed: int) -> int:
    """Start both, say where they are, and stop both on Ctrl-C, SIGTERM or the end of either.

    Gives 0 if it was told to stop, 1 if a port is in use or a program ended by itself.
    """
    # SIGINT by name: a shell's background job would be born ignoring it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    if not _are_free({"--sandbox-port": sandbox_port, "--port": port}):
        return 1
    farm, gateway = (f"http://{HOST}:{number}" for number in (sandbox_port, port))
    environment = {
        "RFGW_LOG_FORMAT": "console",
        "RFGW_LOG_LEVEL": "warning",
        "RFGW_SHUTDOWN_GRACE": "0",
        **os.environ,
        **CREDENTIALS,
        "RFGW_CONSUMER_KEY": DEMO_CONSUMER_KEY,
        "RFGW_CONSUMER_SECRET": DEMO_CONSUMER_SECRET,
        "RFGW_UPSTREAM_URL": farm,
        "RFGW_HOST": HOST,
        "RFGW_PORT": str(port),
    }
    programs: list[Program] = []
    try:
        sandbox = ["sandbox", "--port", str(sandbox_port), "--speed", str(speed)]
        programs.append(_start(sandbox, environment))
        programs.append(_start(["serve"], environment))
        if _await_ready(port, programs):
            page = PAGE.format(gateway=gateway) if environment.get("RFGW_DEMO_DIR") else ""
            sys.stdout.write(WELCOME.format(farm=farm, gateway=gateway, page=page))
            sys.stdout.flush()
            while _are_up(programs):
                time.sleep(0.2)
        return 1  # one of them ended by itself, and has said why
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(programs)


def _are_free(ports: dict[str, int]) -> bool:
    """Whether nobody listens there. All are held at once: the two must differ."""
    with ExitStack() as held:
        for option, port in ports.items():
            try:
                held.enter_context(socket.create_server((HOST, port)))
            except OSError:
                told = f"rfgw demo: port {port} is in use; choose another with {option}\n"
                sys.stderr.write(told)
                return False
    return True


def _start(arguments: list[str], environment: dict[str, str]) -> Program:
    # A session of its own: Ctrl-C reaches this process alone, which then stops both in order.
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "app", *arguments], env=environment, start_new_session=True
    )


def _await_ready(port: int, programs: list[Program]) -> bool:
    deadline = time.monotonic() + START_WITHIN
    while _are_up(programs):
        if time.monotonic() > deadline:
            sys.stderr.write(f"rfgw demo: no answer within {START_WITHIN:.0f} s\n")
            return False
        if _is_ready(port):
            return True
        time.sleep(0.1)
    return False


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
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
