"""``rfgw key``: an API key for one client, or a key for cookies."""

import argparse
import sys

from app.cli.arguments import Verbs
from app.cli.exit_codes import WRONG
from app.edge.api_keys import SCOPES, new_key


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    key = verbs.add_parser("key", help="make an API key for one client, or a key for cookies")
    which = key.add_mutually_exclusive_group(required=True)
    which.add_argument("name", nargs="?", help="the client's name, for logs and limits")
    which.add_argument("--cookie", action="store_true", help="a key for RFGW_COOKIE_KEY")
    key.add_argument(
        "--scope",
        action="append",
        choices=sorted(SCOPES),
        default=[],
        help="what the key allows beyond reading: making accounts, seeing /status",
    )
    key.set_defaults(run=_key)


def _key(parsed: argparse.Namespace) -> int:
    from app.login.sealed_cookies import new_cookie_key

    if parsed.cookie:
        print(new_cookie_key())
        return 0
    try:
        key, line = new_key(parsed.name, parsed.scope)
    except ValueError as error:
        print(f"rfgw key: NAME {error}", file=sys.stderr)
        return WRONG
    print(f"{key}\n{line}", flush=True)  # if it cannot be written, no more is said of it
    about = "Above: the key, for the client alone, shown this once; its line for the file of keys."
    print(about, file=sys.stderr)
    return 0
