"""Which paths lead to what we need: certificates, a page, a place for a file.

Knows no setting by name. Every function raises ValueError, whose message quotes nothing.
"""

import ssl
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator


def _holds_certificates(path: Path) -> Path:
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        raise ValueError(f"no PEM certificates can be read: {error.strerror}") from None
    return path


def _holds_a_page(path: Path) -> Path:
    if not (path / "index.html").is_file():
        raise ValueError("must be a folder with an index.html")
    return path


def _can_be_a_file(path: Path) -> Path:
    # A pipe would hold up the start until somebody writes, and a device would be replaced.
    if (path.exists() and not path.is_file()) or not path.parent.is_dir():
        raise ValueError("must be a file in a folder that exists")
    return path


def _is_private(path: Path) -> Path:
    if not path.is_dir():
        if path.exists() or not path.parent.is_dir():
            raise ValueError("must be a folder, or a place for one in a folder that exists")
    elif path.stat().st_mode & 0o077:
        raise ValueError("must be a folder that its owner alone can enter: chmod 700")
    return path


Certificates = Annotated[Path, AfterValidator(_holds_certificates)]
"""A file of certificate authorities."""
PageFolder = Annotated[Path, AfterValidator(_holds_a_page)]
"""A folder that can be served as a page."""
FilePlace = Annotated[Path, AfterValidator(_can_be_a_file)]
"""Where a file is, or can be written."""
PrivateFolder = Annotated[Path, AfterValidator(_is_private)]
"""A folder that nobody else can read, or a place for one."""
