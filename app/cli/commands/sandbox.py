"""``rfgw sandbox`` and ``rfgw demo``: the farm's stand-in, alone and under a gateway."""

import argparse
import sys

from app.cli.arguments import PORT, Verbs, folder, number
from app.cli.exit_codes import WRONG

SPEED = number(1, 1000)
SPEED_HELP = "how many times as fast sessions render, 1 to 1000 (1)"


def add_to(verbs: Verbs) -> None:
    """Add both verbs."""
    sandbox = verbs.add_parser("sandbox", help="run the sandbox farm, to try the gateway against")
    sandbox.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    sandbox.add_argument("--port", type=PORT, default=8001, help="port to listen on (8001)")
    sandbox.add_argument(
        "--allow-remote", action="store_true", help="listen on an address that others can reach"
    )
    sandbox.add_argument("--speed", type=SPEED, default=1, help=SPEED_HELP)
    sandbox.add_argument(
        "--oauth-core-1-0", action="store_true", help="log users in by OAuth Core 1.0, not 1.0a"
    )
    sandbox.add_argument(
        "--replay", type=folder, metavar="DIR", help="give the answers that were recorded there"
    )
    sandbox.set_defaults(run=_sandbox)

    demo = verbs.add_parser("demo", help="run sandbox and gateway together, until Ctrl-C")
    demo.add_argument("--host", help="the gateway's address (RFGW_HOST: 127.0.0.1)")
    demo.add_argument("--port", type=PORT, help="the gateway's port (RFGW_PORT: 8000)")
    demo.add_argument("--sandbox-port", type=PORT, default=8001, help="the sandbox's port (8001)")
    demo.add_argument("--speed", type=SPEED, default=1, help=SPEED_HELP)
    demo.set_defaults(run=_demo)


def _sandbox(parsed: argparse.Namespace) -> int:
    from app.sandbox.server import serve_farm

    try:
        serve_farm(
            parsed.host,
            parsed.port,
            allow_remote=parsed.allow_remote,
            speed=parsed.speed,
            core_1_0=parsed.oauth_core_1_0,
            replay=parsed.replay,
            early=parsed.early,
        )
    except ValueError as error:
        print(f"rfgw sandbox: {error}", file=sys.stderr)
        return WRONG
    return 0


def _demo(parsed: argparse.Namespace) -> int:
    from app.cli.demo import demo_settings, run_demo

    settings = demo_settings(parsed.host, parsed.port)
    return run_demo(settings, parsed.sandbox_port, parsed.speed, parsed.early)
