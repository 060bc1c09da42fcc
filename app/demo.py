"""The sandbox and the gateway side by side, to try things out: what ``make run`` starts.

Knows two command lines and one health route. Must not know how either program works.
"""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

from app.sandbox.server import DEMO_CONSUMER_KEY, DEMO_CONSUMER_SECRET

WELCOME = """
  The gateway answers, over the sandbox farm at {farm}

    landing page   {gateway}/
    Swagger UI     {gateway}/docs
    one session    curl -s {gateway}/sessions/1005

  Ctrl-C stops both.
"""

START_WITHIN = 20.0
"""Seconds; a start takes about one."""


def run_demo(port: int, sandbox_port: int) -> int:
    """Start both, say where they are, and stop both on Ctrl-C, SIGTERM or the end of either."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    farm, gateway = (f"http://127.0.0.1:{number}" for number in (sandbox_port, port))
    environment = {
        "RFGW_CONSUMER_KEY": DEMO_CONSUMER_KEY,
        "RFGW_CONSUMER_SECRET": DEMO_CONSUMER_SECRET,
        "RFGW_LOG_FORMAT": "console",
        "RFGW_LOG_LEVEL": "warning",
        **{name: value for name, value in os.environ.items() if name not in OWN},
        "RFGW_UPSTREAM_URL": farm,
        "RFGW_HOST": "127.0.0.1",
        "RFGW_PORT": str(port),
    }
    programs = [
        _start(["sandbox", "--port", str(sandbox_port)], environment),
        _start(["serve"], environment),
    ]
    try:
        if _await_ready(gateway, programs):
            print(WELCOME.format(farm=farm, gateway=gateway), flush=True)  # noqa: T201
        while all(program.poll() is None for program in programs):
            time.sleep(0.2)
        return 1  # one of them ended by itself, and has said why
    except KeyboardInterrupt:
        return 0
    finally:
        for program in programs:
            program.terminate()
        for program in programs:
            program.wait()


OWN = ("RFGW_CONSUMER_KEY", "RFGW_CONSUMER_SECRET")
"""What the sandbox knows only by its own demo values."""


def _start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C reaches this process alone, which then stops both in order.
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "app", *arguments], env=environment, start_new_session=True
    )


def _await_ready(gateway: str, programs: list[subprocess.Popen[bytes]]) -> bool:
    deadline = time.monotonic() + START_WITHIN
    while time.monotonic() < deadline and all(p.poll() is None for p in programs):
        try:
            with urllib.request.urlopen(f"{gateway}/health/ready", timeout=1):  # noqa: S310
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    return False
