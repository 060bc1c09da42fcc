"""``rfgw get``: one session, from the farm itself."""

import argparse
import asyncio
import sys

from app.cli.arguments import Verbs, add_settings, loaded
from app.cli.exit_codes import EXIT_CODES, FAILED, GET_EPILOG, REMEDIES, WRONG
from app.config.farm_settings import FarmSettings


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
    add_settings(get, [FarmSettings])
    get.set_defaults(run=_get)


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

    answer, problem = asyncio.run(fetch_once(settings, call))
    if problem is not None:
        remedy = REMEDIES.get(problem.code, problem.remedy)
        print(f"{problem.title}: {problem.detail} {remedy}", file=sys.stderr)
        return EXIT_CODES.get(problem.code, FAILED)
    body = answer.decode()
    print(summary(body) if sys.stdout.isatty() and not parsed.json else body)
    return 0
