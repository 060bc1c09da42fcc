"""``rfgw openapi``: the OpenAPI document."""

import argparse

from app.cli.arguments import Verbs
from app.config.settings import Settings


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    openapi = verbs.add_parser("openapi", help="print the OpenAPI document")
    openapi.set_defaults(run=_openapi)


def _openapi(_parsed: argparse.Namespace) -> int:
    from app.docs.openapi import text
    from app.main import create_api

    # The document is the same for every farm and every key.
    settings = Settings.model_validate({"consumer_key": "-", "consumer_secret": "-"})
    print(text(create_api(settings)), end="")
    return 0
