"""``rfgw doctor``: what is wrong, and what to do about it."""

import argparse
import sys

from app.cli.arguments import Verbs, add_settings, loaded
from app.cli.exit_codes import WRONG


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    doctor = verbs.add_parser(
        "doctor",
        help="find what is wrong: settings, the way to the farm, a signed call",
        epilog="exit codes: 0 nothing failed, 1 something did, 2 wrong usage or settings",
    )
    doctor.add_argument("--id", default="1", help="the session to ask for; need not exist (1)")
    doctor.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    about = "ask instead whether the farm does all that the gateway counts on"
    doctor.add_argument("--farm", action="store_true", help=about)
    add_settings(doctor)
    doctor.set_defaults(run=_doctor)


def _doctor(parsed: argparse.Namespace) -> int:
    from app.cli.doctor.examination import run_doctor
    from app.resources.sessions import session_id

    try:
        session = session_id(parsed.id)
    except ValueError as error:
        print(f"rfgw doctor: id {error}", file=sys.stderr)
        return WRONG
    return run_doctor(
        lambda: loaded(parsed).settings, session, as_json=parsed.json, of_farm=parsed.farm
    )
