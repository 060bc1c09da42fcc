"""``rfgw config``: the settings in force, and where each comes from. Secrets are masked."""

import argparse
import json
from typing import Any

from app.cli.arguments import Verbs, add_settings, loaded
from app.config.base import env_name
from app.config.environment import Loaded
from app.config.settings import GROUPS


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    config = verbs.add_parser(
        "config",
        help="show the settings in force, and where each comes from",
        description="Shows the settings that rfgw serve would have with the same options. Gives 2, "
        "and a line for each, if some are wrong.",
    )
    config.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    add_settings(config)
    config.set_defaults(run=_config)


def _config(parsed: argparse.Namespace) -> int:
    given = loaded(parsed)
    values = given.settings.model_dump(mode="json")  # pydantic masks what is secret
    print(_document(values, given) if parsed.json else _lines(values, given))
    return 0


def _document(values: dict[str, Any], given: Loaded) -> str:
    told = {
        env_name(field): {"value": value, "from": given.origin(field)}
        for field, value in values.items()
    }
    return json.dumps(told, indent=2)


def _lines(values: dict[str, Any], given: Loaded) -> str:
    """``RFGW_PORT  8100  --port``, group by group."""
    shown = {field: _shown(value) for field, value in values.items()}
    names, texts = (max(map(len, column)) for column in (map(env_name, values), shown.values()))
    lines = list[str]()
    for group in GROUPS:
        lines += ["", f"# {group.__doc__}"]
        for field in group.model_fields:
            columns = f"{env_name(field):<{names}}  {shown[field]:<{min(texts, 40)}}"
            lines.append(f"{columns}  {given.origin(field)}")
    return "\n".join(lines[1:])


def _shown(value: Any) -> str:
    return "none" if value in (None, "") else value if isinstance(value, str) else json.dumps(value)
