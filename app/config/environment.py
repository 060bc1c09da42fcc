"""Where settings come from: options, the environment, a ``.env`` file, files that hold secrets.

A value comes from ``RFGW_`` and the field's name in capitals, in the environment or in a ``.env``
file in the working directory, or from an option of the command line; a secret also from a file that
``RFGW_<NAME>_FILE`` names. Options beat the environment, which beats the file. An empty value is
none. Must not know what a setting means. No message quotes a value.
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from dotenv import dotenv_values
from pydantic import ValidationError

from app.config.base import PREFIX, env_name
from app.config.settings import SECRETS, Settings


class SettingsError(Exception):
    """What is wrong, one line for each setting, with its name and nothing of a secret."""


NAMES = {env_name(field): field for field in Settings.model_fields}
FILES = {f"{env_name(field)}_FILE": field for field in SECRETS}
KNOWN = {**NAMES, **FILES}
ENV_FILE = Path(".env")


class Given(NamedTuple):
    """A text that somebody gave for a variable, the name by which to tell it, and its place."""

    text: str
    name: str
    place: str


class Loaded(NamedTuple):
    """The settings, and where those come from that are not left to their defaults."""

    settings: Settings
    origins: Mapping[str, str]

    def origin(self, field: str) -> str:
        """An option, ``environment``, a file's path, or ``default``."""
        return self.origins.get(field, "default")


def option_name(variable: str) -> str:
    """The option of a variable: ``--log-level`` of ``RFGW_LOG_LEVEL``."""
    return f"--{variable.removeprefix(PREFIX).lower().replace('_', '-')}"


def load_settings(environ: Mapping[str, str] = os.environ, env_file: Path = ENV_FILE) -> Settings:
    """The settings, or a SettingsError that names every wrong one."""
    return load(environ, env_file).settings


def load(
    environ: Mapping[str, str] = os.environ,
    env_file: Path = ENV_FILE,
    options: Mapping[str, str] = {},
) -> Loaded:
    """The settings and where they come from, or a SettingsError that names every wrong one.

    ``options`` are texts by the names of their variables.
    """
    ours = _given(environ, env_file, options)
    wrong = {given.name: _unknown(name) for name, given in ours.items() if name not in KNOWN}
    told = {name: given for name, given in ours.items() if given.text and name in KNOWN}
    values = {NAMES[name]: given.text for name, given in told.items() if name in NAMES}
    names = {field: ours[name].name if name in ours else name for name, field in NAMES.items()}
    for name, field in FILES.items():
        if name in told:
            names[field] = told[name].name
            try:
                values[field] = _secret(told[name].text, twice=field in values)
            except ValueError as error:
                wrong[names[field]] = str(error)
                values[field] = "-"  # told already
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        for part in error.errors(include_input=False, include_context=False):
            field = str(part["loc"][0])
            wrong[names[field]] = _reason(field, part["msg"])
    if wrong:
        raise SettingsError("\n".join(f"{name}: {wrong[name]}" for name in sorted(wrong)))
    return Loaded(settings, {KNOWN[name]: given.place for name, given in told.items()})


def _given(
    environ: Mapping[str, str], env_file: Path, options: Mapping[str, str]
) -> dict[str, Given]:
    """What was given for our variables, of each the one that counts."""
    given = dict[str, Given]()
    for place, texts in ((str(env_file), _env_file(env_file)), ("environment", environ)):
        for name, text in texts.items():
            if name.upper().startswith(PREFIX):
                whence = f"{place}, {name}" if name in FILES else place
                given[name] = Given(text, name, whence)
    for name, text in options.items():
        if name in FILES:
            given.pop(env_name(FILES[name]), None)  # the file stands in the secret's place
        given[name] = Given(text, option_name(name), option_name(name))
    return given


def _env_file(path: Path) -> dict[str, str]:
    """What a ``.env`` file says, if there is one; ``$`` in it has no meaning of its own."""
    try:
        read = dotenv_values(path, interpolate=False, encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"{path}: cannot be read as UTF-8 text") from None
    return {name: text or "" for name, text in read.items()}


def _secret(path: str, *, twice: bool) -> str:
    """What a secret's file holds, without the line end that editors add."""
    if twice:
        raise ValueError("is given without _FILE too: give only one of them")
    try:
        return Path(path).read_text(encoding="utf-8").removesuffix("\n")
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("cannot be read: not UTF-8 text") from None


def _unknown(name: str) -> str:
    known = [name.removeprefix(PREFIX) for name in KNOWN]
    near = difflib.get_close_matches(name.upper().removeprefix(PREFIX), known, 1)
    return "no such setting" + (f"; did you mean {PREFIX}{near[0]}?" if near else "")


def _reason(field: str, message: str) -> str:
    if message == "Field required":
        about = Settings.model_fields[field].description
        return f"required: {about} Set it, or name its file with {env_name(field)}_FILE."
    return message.removeprefix("Value error, ")
