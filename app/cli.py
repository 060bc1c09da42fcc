"""The command line: serve, sandbox, demo, get, openapi.

Knows how people run the parts. Must not know how a part works.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from app.api.catalogue import Code
from app.settings import Settings, SettingsError, load_settings
from app.version import VERSION

WRONG = 2
"""Exit code of wrong usage or settings, as argparse has it."""

EXIT_CODES: dict[Code, int] = {
    Code.SESSION_NOT_FOUND: 3,
    Code.SESSION_NOT_ATTACHED: 4,
    Code.SESSION_FORBIDDEN: 5,
    Code.UPSTREAM_REJECTED_PARAMETERS: 6,
    Code.UPSTREAM_REFUSED_CREDENTIALS: 7,
    Code.UPSTREAM_UNREACHABLE: 8,
    Code.UPSTREAM_TIMEOUT: 9,
    Code.UPSTREAM_UNAVAILABLE: 10,
}
"""What ``get`` tells a script about the problem that it met; 1 stands for all others."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; gives the process's exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        code: int = parsed.run(parsed)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rfgw",
        description="A REST/JSON gateway over the Renderfarm.fi XML-RPC API.",
        epilog="Settings are RFGW_* environment variables: see docs/configuration.md.",
    )
    parser.add_argument("--version", action="version", version=f"rfgw {VERSION}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    serve = verbs.add_parser("serve", help="run the gateway")
    serve.set_defaults(run=_serve)

    sandbox = verbs.add_parser("sandbox", help="run the sandbox farm, to try the gateway against")
    sandbox.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    sandbox.add_argument("--port", type=int, default=8001, help="port to listen on (8001)")
    sandbox.add_argument(
        "--allow-remote", action="store_true", help="listen on an address that others can reach"
    )
    sandbox.set_defaults(run=_sandbox)

    demo = verbs.add_parser("demo", help="run sandbox and gateway together, until Ctrl-C")
    demo.add_argument("--port", type=int, default=8000, help="the gateway's port (8000)")
    demo.add_argument("--sandbox-port", type=int, default=8001, help="the sandbox's port (8001)")
    demo.set_defaults(run=_demo)

    codes = ", ".join(f"{number} {code}" for code, number in EXIT_CODES.items())
    get = verbs.add_parser(
        "get",
        help="ask the farm for one session",
        epilog=f"Exit codes: 0 found, {codes}, 1 any other problem, 2 wrong usage or settings.",
    )
    get.add_argument("id", help="the session's number")
    get.add_argument("--json", action="store_true", help="JSON even on a terminal")
    get.set_defaults(run=_get)

    openapi = verbs.add_parser("openapi", help="print the OpenAPI document")
    openapi.set_defaults(run=_openapi)
    return parser


def _serve(_parsed: argparse.Namespace) -> int:
    import uvicorn

    from app.main import create_app

    settings = load_settings()
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            host=settings.host,
            port=settings.port,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            log_config=None,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=10,
        )
    )
    server.run()
    return 0 if server.started else 1


def _sandbox(parsed: argparse.Namespace) -> int:
    from app.sandbox.server import serve_farm

    try:
        serve_farm(parsed.host, parsed.port, allow_remote=parsed.allow_remote)
    except ValueError as error:
        print(f"rfgw sandbox: {error}", file=sys.stderr)
        return WRONG
    return 0


def _demo(parsed: argparse.Namespace) -> int:
    from app.demo import run_demo

    return run_demo(parsed.port, parsed.sandbox_port)


def _get(parsed: argparse.Namespace) -> int:
    from app.main import fetch_once
    from app.resources.sessions import GetSession, session_id
    from app.summary import summary

    try:
        call = GetSession(id=session_id(parsed.id))
    except ValueError as error:
        print(f"rfgw get: id {error}", file=sys.stderr)
        return WRONG
    answer, problem = asyncio.run(fetch_once(load_settings(), call))
    if problem is not None:
        print(f"{problem.title}: {problem.detail} {problem.remedy}", file=sys.stderr)
        return EXIT_CODES.get(problem.code, 1)
    body = answer.decode()
    print(summary(body) if sys.stdout.isatty() and not parsed.json else body)
    return 0


def _openapi(_parsed: argparse.Namespace) -> int:
    from app.api.openapi import text
    from app.main import create_api

    # The document is the same for every farm and every key.
    settings = Settings.model_validate({"consumer_key": "-", "consumer_secret": "-"})
    print(text(create_api(settings)), end="")
    return 0
