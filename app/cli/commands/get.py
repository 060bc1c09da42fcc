"""``rfgw get``: one session, from the farm itself."""

import argparse
import asyncio
import sys
from pathlib import Path

from app.cli.arguments import Verbs, add_settings, loaded
from app.cli.exit_codes import EXIT_CODES, FAILED, GET_EPILOG, REMEDIES, WRONG
from app.config.farm_settings import FarmSettings
from app.upstream.recorder import FileRecorder


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    get = verbs.add_parser(
        "get",
        help="ask the farm for one session",
        epilog=GET_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    get.add_argument("id", help="the session's number")
    get.add_argument("--json", action="store_true", help="JSON even on a terminal")
    get.add_argument(
        "--save", type=Path, metavar="FILE", help="keep question and answer there, without secrets"
    )
    add_settings(get, [FarmSettings])
    get.set_defaults(run=_get)


def _save(recorder: FileRecorder, path: Path) -> None:
    try:
        if not recorder.write():
            print("rfgw get: nothing is saved: no answer came", file=sys.stderr)
    except OSError as error:
        print(f"rfgw get: {path}: {error.strerror}", file=sys.stderr)


def _get(parsed: argparse.Namespace) -> int:
    from app.resources.sessions import GetSession, session_id

    try:
        call = GetSession(id=session_id(parsed.id))
    except ValueError as error:
        print(f"rfgw get: id {error}", file=sys.stderr)
        return WRONG
    settings = loaded(parsed).settings

    from app.cli.summary import summary
    from app.main import fetch_once
    from app.wiring import upstream_secrets

    recorder = FileRecorder(parsed.save, upstream_secrets(settings)) if parsed.save else None
    answer, problem = asyncio.run(fetch_once(settings, call, recorder))
    if recorder is not None:
        _save(recorder, parsed.save)
    if problem is not None:
        remedy = REMEDIES.get(problem.code, problem.remedy)
        print(f"{problem.title}: {problem.detail} {remedy}", file=sys.stderr)
        return EXIT_CODES.get(problem.code, FAILED)
    body = answer.decode()
    print(summary(body) if sys.stdout.isatty() and not parsed.json else body)
    return 0
