"""What the options of several verbs share: numbers, and an option for every setting.

The options are made from the groups of settings: name, default and meaning stand there alone.
A secret has no option, since lists of processes show them: its file has one.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias, get_args, get_origin

from pydantic.fields import FieldInfo

from app.config.base import SettingsBase, env_name
from app.config.environment import ENV_FILE, FILES, Loaded, load, option_name
from app.config.settings import GROUPS, SECRETS

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no public name
SHORT = {"upstream_url": "--upstream"}


def add_settings(
    parser: argparse.ArgumentParser, groups: Sequence[type[SettingsBase]] = GROUPS
) -> None:
    """An option for each setting of these groups, and ``--env-file``."""
    parser.usage = f"%(prog)s [OPTION]...{' ID' if parser.prog.endswith('get') else ''}"
    parser.allow_abbrev = False  # a new setting would change what an abbreviation means
    told = f"file of variables, instead of {ENV_FILE} in the working directory"
    parser.add_argument("--env-file", type=_file, metavar="FILE", default=ENV_FILE, help=told)
    for group in groups:
        section = parser.add_argument_group(f"settings: {_lower(group.__doc__ or '')}")
        for field, about in group.model_fields.items():
            _add(section, field, about)


def loaded(parsed: argparse.Namespace) -> Loaded:
    """The settings: options beat the environment, which beats the file. Raises SettingsError."""
    options = {name: text for name, text in vars(parsed).items() if name.isupper()}
    return load(env_file=parsed.env_file, options=options)


def number(least: int, most: int) -> "argparse._ActionType":
    """The type of an option that takes a whole number from ``least`` to ``most``."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}")
        return int(text)

    return parse


PORT = number(1, 65_535)


def folder(text: str) -> Path:
    """The type of an option that takes a folder."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError("is no folder")
    return Path(text)


def _add(section: "argparse._ArgumentGroup", field: str, about: FieldInfo) -> None:
    variable, meaning = env_name(field), about.description or ""
    default = about.default if about.default not in (None, "") else "none"
    if field in SECRETS:
        meaning, default = f"File that holds {variable}.", "none"
        variable = f"{variable}_FILE"
    names = [option_name(variable), *([SHORT[field]] if field in SHORT else [])]
    if about.annotation is bool:
        default = str(default).lower()
        off = f"--no-{names[0][2:]}"
        section.add_argument(off, dest=variable, action="store_const", const="false",
                             default=argparse.SUPPRESS, help=argparse.SUPPRESS)  # fmt: skip
        shown = f"[{variable}: {default}; {off} for false]"
        section.add_argument(names[0], dest=variable, action="store_const", const="true",
                             default=argparse.SUPPRESS, help=f"{meaning} {shown}")  # fmt: skip
        return
    shown = f"{meaning} [{variable}: {default}]".replace("%", "%%")
    section.add_argument(
        *names, dest=variable, metavar=_metavar(about, variable), default=argparse.SUPPRESS,
        help=shown,
    )  # fmt: skip


def _metavar(about: FieldInfo, variable: str) -> str:
    kind = about.annotation
    if get_origin(kind) is Literal:
        return f"{{{','.join(get_args(kind))}}}"
    if kind in (int, float):
        return "N"
    if variable in FILES or "Path" in str(kind):
        return "PATH"
    return "URL" if variable.endswith("_URL") else "TEXT"


def _lower(sentence: str) -> str:
    """A sentence as a part of another."""
    return sentence[:1].lower() + sentence[1:].rstrip(".")


def _file(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError("is no file")
    return Path(text)
