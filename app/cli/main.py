"""The command line: serve, sandbox, demo, get, doctor, key, openapi.

Knows how people run the parts. Must not know how a part works.
"""

import argparse
import asyncio
import errno
import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from app.cli.exit_codes import EXIT_CODES, FAILED, GET_EPILOG, INTERRUPTED, REMEDIES, WRONG
from app.config.environment import SettingsError, load_settings
from app.config.settings import Settings
from app.telemetry import logs
from app.telemetry.log_writer import LOG_WRITER
from app.version import VERSION

UNWRITABLE = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What says that nothing more can be written: the reader has gone, or the disk is full."""

SPEED_HELP = "how many times as fast sessions render, 1 to 1000 (1)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; gives the process's exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # as JSON is, whatever the terminal's language
    logs.configure("warning", "console")
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.run is None:
        parser.print_help(sys.stderr)
        return WRONG
    try:
        code: int = parsed.run(parsed)
        sys.stdout.flush()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - a traceback would show the exception's message
        _tell(parsed.verb, error)
        return FAILED
    return code


def _tell(verb: str, error: Exception) -> None:
    """Why the verb ends. A reader of our output who has enough needs not be told."""
    if not (isinstance(error, OSError) and error.errno in UNWRITABLE):
        logs.crash("-", error)
        LOG_WRITER.flush()
        return
    os.dup2(
        os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
    )  # for what is still to be written
    if error.errno != errno.EPIPE:
        print(f"rfgw {verb}: cannot write: {error.strerror}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rfgw",
        description="A REST/JSON gateway over the Renderfarm.fi XML-RPC API.",
        epilog="Settings are RFGW_* environment variables: see docs/configuration.md.",
    )
    parser.add_argument("--version", action="version", version=f"rfgw {VERSION}")
    parser.set_defaults(run=None)
    verbs = parser.add_subparsers(metavar="VERB", dest="verb")

    serve = verbs.add_parser("serve", help="run the gateway")
    serve.set_defaults(run=_serve)

    sandbox = verbs.add_parser("sandbox", help="run the sandbox farm, to try the gateway against")
    sandbox.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    sandbox.add_argument("--port", type=_port, default=8001, help="port to listen on (8001)")
    sandbox.add_argument(
        "--allow-remote", action="store_true", help="listen on an address that others can reach"
    )
    sandbox.add_argument("--speed", type=_speed, default=1, help=SPEED_HELP)
    sandbox.add_argument(
        "--oauth-core-1-0", action="store_true", help="log users in by OAuth Core 1.0, not 1.0a"
    )
    sandbox.set_defaults(run=_sandbox)

    demo = verbs.add_parser("demo", help="run sandbox and gateway together, until Ctrl-C")
    demo.add_argument("--port", type=_port, default=8000, help="the gateway's port (8000)")
    demo.add_argument("--sandbox-port", type=_port, default=8001, help="the sandbox's port (8001)")
    demo.add_argument("--speed", type=_speed, default=1, help=SPEED_HELP)
    demo.set_defaults(run=_demo)

    get = verbs.add_parser(
        "get",
        help="ask the farm for one session",
        epilog=GET_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    get.add_argument("id", help="the session's number")
    get.add_argument("--json", action="store_true", help="JSON even on a terminal")
    get.set_defaults(run=_get)

    doctor = verbs.add_parser(
        "doctor",
        help="find what is wrong: settings, the way to the farm, a signed call",
        epilog="exit codes: 0 nothing failed, 1 something did, 2 wrong usage or settings",
    )
    doctor.add_argument("--id", default="1", help="the session to ask for; need not exist (1)")
    doctor.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    doctor.set_defaults(run=_doctor)

    key = verbs.add_parser("key", help="make an API key for one client, or a key for cookies")
    which = key.add_mutually_exclusive_group(required=True)
    which.add_argument("name", nargs="?", help="the client's name, for logs and limits")
    which.add_argument("--cookie", action="store_true", help="a key for RFGW_COOKIE_KEY")
    key.set_defaults(run=_key)

    openapi = verbs.add_parser("openapi", help="print the OpenAPI document")
    openapi.set_defaults(run=_openapi)
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65_535):
        raise argparse.ArgumentTypeError("must be a whole number from 1 to 65535")
    return int(text)


def _speed(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1000):
        raise argparse.ArgumentTypeError("must be a whole number from 1 to 1000")
    return int(text)


def _serve(_parsed: argparse.Namespace) -> int:
    settings = load_settings()
    early = _noted_signals()

    from app.main import create_app, create_worker
    from app.server.listeners import ListenError, address, listeners
    from app.server.server import Config
    from app.server.supervisor import serve
    from app.telemetry.multiprocess import multiprocess_for

    with ExitStack() as stack:
        try:
            opened = stack.enter_context(listeners(settings.hosts, settings.port))
        except ListenError as error:
            print(f"rfgw serve: {error}", file=sys.stderr)
            return FAILED
        multiprocess = stack.enter_context(multiprocess_for(settings.workers))
        app = create_app(settings)  # what is wrong with it is told before anything else
        build = partial(create_worker, settings, multiprocess) if multiprocess else lambda: app
        for listener in opened:
            logs.event("listening", **address(listener))
        config = Config(build, workers=settings.workers, grace=settings.shutdown_grace)
        serve(config, opened, multiprocess.fold if multiprocess else None, early)
    return 0


def _noted_signals() -> list[int]:
    """The signals that come until the server takes them: a client that waits is not cut off."""
    noted = list[int]()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: noted.append(number))
    return noted


def _sandbox(parsed: argparse.Namespace) -> int:
    from app.sandbox.server import serve_farm

    try:
        flags = {"allow_remote": parsed.allow_remote, "core_1_0": parsed.oauth_core_1_0}
        serve_farm(parsed.host, parsed.port, speed=parsed.speed, **flags)
    except ValueError as error:
        print(f"rfgw sandbox: {error}", file=sys.stderr)
        return WRONG
    return 0


def _demo(parsed: argparse.Namespace) -> int:
    from app.cli.demo import run_demo

    return run_demo(parsed.port, parsed.sandbox_port, parsed.speed)


def _doctor(parsed: argparse.Namespace) -> int:
    from app.cli.doctor.examination import run_doctor
    from app.resources.sessions import session_id

    try:
        session = session_id(parsed.id)
    except ValueError as error:
        print(f"rfgw doctor: id {error}", file=sys.stderr)
        return WRONG
    return run_doctor(load_settings, session, as_json=parsed.json)


def _get(parsed: argparse.Namespace) -> int:
    from app.resources.sessions import GetSession, session_id

    try:
        call = GetSession(id=session_id(parsed.id))
    except ValueError as error:
        print(f"rfgw get: id {error}", file=sys.stderr)
        return WRONG
    settings = load_settings()

    from app.cli.summary import summary
    from app.main import fetch_once

    answer, problem = asyncio.run(fetch_once(settings, call))
    if problem is not None:
        remedy = REMEDIES.get(problem.code, problem.remedy)
        print(f"{problem.title}: {problem.detail} {remedy}", file=sys.stderr)
        return EXIT_CODES.get(problem.code, FAILED)
    body = answer.decode()
    print(summary(body) if sys.stdout.isatty() and not parsed.json else body)
    return 0


def _key(parsed: argparse.Namespace) -> int:
    from app.edge.api_keys import new_key
    from app.login.sealed_cookies import new_cookie_key

    if parsed.cookie:
        print(new_cookie_key())
        return 0
    try:
        key, line = new_key(parsed.name)
    except ValueError as error:
        print(f"rfgw key: NAME {error}", file=sys.stderr)
        return WRONG
    print(f"{key}\n{line}", flush=True)  # if it cannot be written, no more is said of it
    about = "Above: the key, for the client alone, shown this once; its line for the file of keys."
    print(about, file=sys.stderr)
    return 0


def _openapi(_parsed: argparse.Namespace) -> int:
    from app.docs.openapi import text
    from app.main import create_api

    # The document is the same for every farm and every key.
    settings = Settings.model_validate({"consumer_key": "-", "consumer_secret": "-"})
    print(text(create_api(settings)), end="")
    return 0
