"""Where settings come from: the environment, a ``.env`` file, files that hold secrets.

A value comes from ``RFGW_`` and the field's name in capitals, in the environment or in a ``.env``
file in the working directory; a secret also from a file that ``RFGW_<NAME>_FILE`` names. An empty
value is none. Must not know what a setting means. No message quotes a value.
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values
from pydantic import ValidationError

from app.config.base import PREFIX, env_name
from app.config.settings import SECRETS, Settings


class SettingsError(Exception):
    """What is wrong, one line for each setting, with its name and nothing of a secret."""


NAMES = {env_name(field): field for field in Settings.model_fields}
FILES = {f"{env_name(field)}_FILE": field for field in SECRETS}


def load_settings(
    environ: Mapping[str, str] = os.environ, env_file: Path = Path(".env")
) -> Settings:
    """The settings, or a SettingsError that names every wrong one."""
    merged = {**_env_file(env_file), **environ}
    ours = {name: text for name, text in merged.items() if name.upper().startswith(PREFIX)}
    wrong = {name: _unknown(name) for name in ours if name not in NAMES.keys() | FILES.keys()}
    values = {NAMES[name]: text for name, text in ours.items() if text and name in NAMES}
    sources = {field: name for name, field in NAMES.items()}
    for name, field in FILES.items():
        if ours.get(name):
            sources[field] = name
            try:
                values[field] = _secret(ours[name], twice=field in values)
            except ValueError as error:
                wrong[name] = str(error)
                values[field] = "-"  # told already
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        for part in error.errors(include_input=False, include_context=False):
            field = str(part["loc"][0])
            wrong[sources[field]] = _reason(field, part["msg"])
    if wrong:
        raise SettingsError("\n".join(f"{name}: {wrong[name]}" for name in sorted(wrong)))
    return settings


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
    known = [name.removeprefix(PREFIX) for name in (*NAMES, *FILES)]
    near = difflib.get_close_matches(name.upper().removeprefix(PREFIX), known, 1)
    return "no such setting" + (f"; did you mean {PREFIX}{near[0]}?" if near else "")


def _reason(field: str, message: str) -> str:
    if message == "Field required":
        about = Settings.model_fields[field].description
        return f"required: {about} Set it, or name its file with {env_name(field)}_FILE."
    return message.removeprefix("Value error, ")
