"""Files and pages as they are sent: read once, with headers and a strong ETag made once."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from string import Template
from typing import Self

from fastapi import Response

STATIC = Path(__file__).parent / "static"
MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}

# Pages ask for their files with ?v=<version>, so a kept file never meets a newer release's page.
KEEP_PAGE = "no-cache"
KEEP_ASSET = "public, max-age=3600"

LOCKED = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PAGE_POLICY = f"{LOCKED}; style-src 'self'; img-src 'self'"
"""What a page may load that runs no script."""


@dataclass(frozen=True)
class StaticFile:
    """A file as it is sent: body and headers, made once."""

    body: bytes
    media_type: str
    headers: dict[str, str]

    @classmethod
    def of(cls, body: bytes, suffix: str, headers: dict[str, str]) -> Self:
        """Adds a strong ETag made of the body's bytes (RFC 9110 section 8.8.3)."""
        digest = sha256(body).hexdigest()[:32]
        return cls(body, MEDIA_TYPES[suffix], {"ETag": f'"{digest}"', **headers})

    def answer(self) -> Response:
        """The file."""
        return Response(self.body, media_type=self.media_type, headers=self.headers)


def html_page(name: str, words: Mapping[str, str], policy: str) -> StaticFile:
    """The template ``name`` with its ``words`` filled in. They are markup: escape what is text."""
    text = Template((STATIC / name).read_text(encoding="utf-8"))
    headers = {"Cache-Control": KEEP_PAGE, "Content-Security-Policy": policy}
    return StaticFile.of(text.substitute(words).encode(), ".html", headers)
