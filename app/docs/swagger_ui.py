"""Serves the landing page and Swagger UI. Must not know settings, sessions or the Host header.

All files are read once, when the router is made: a request opens none. Every address in them is
relative, so that the pages work behind a path prefix. Swagger UI lies in ``static/swagger-ui`` as
its authors ship it; ``make vendor-docs`` renews it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template
from typing import Self
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Response
from starlette.exceptions import HTTPException

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
LOCAL = "http://127.0.0.1:8000"  # the default host and port

# Pages ask for their files with ?v=<version>, so a kept file never meets a newer release's page.
KEEP_PAGE = "no-cache"
KEEP_ASSET = "public, max-age=3600"

LOCKED = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
LANDING_POLICY = f"{LOCKED}; style-src 'self'; img-src 'self'"
# data: is for the arrows and ticks that Swagger UI's style sheet draws as images.
DOCS_POLICY = (
    f"{LOCKED}; style-src 'self'; img-src 'self' data:; script-src 'self'; connect-src 'self'"
)


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


LOGIN_LINK = '<a href="login?return_to={path}">Log in at the farm</a>\n'


def docs_router(*, public_url: str, version: str, login_to: str = "") -> APIRouter:
    """Routes ``/``, ``/docs`` and ``/docs/{file}``, none of them in the OpenAPI document.

    ``public_url`` is the gateway's absolute address for clients, or empty; the landing page's
    examples show it. ``login_to`` is the path that a login on the landing page leads to, if there
    is one. An unknown file is Starlette's ``HTTPException(404)``. The two pages carry
    their own ``Content-Security-Policy``.
    """
    words = {"base": escape(public_url.rstrip("/") or LOCAL), "version": escape(version)}
    login = LOGIN_LINK.format(path=quote(login_to, safe="")) if login_to else ""
    landing = html_page("landing.html", {**words, "login": login}, LANDING_POLICY)
    # The document may name the public address as its server while this page is read at another.
    docs = html_page("docs.html", words, f"{DOCS_POLICY} {_origin(public_url)}".rstrip())
    assets = {path.name: _asset(path) for path in STATIC.rglob("*.*") if path.suffix != ".html"}
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def get_landing() -> Response:
        return landing.answer()

    @router.get("/docs")
    async def get_docs() -> Response:
        return docs.answer()

    @router.get("/docs/{file}")
    async def get_asset(file: str) -> Response:
        if file not in assets:
            raise HTTPException(404)
        return assets[file].answer()

    return router


def html_page(name: str, words: Mapping[str, str], policy: str) -> StaticFile:
    """The template ``name`` with its ``words`` filled in. They are markup: escape what is text."""
    text = Template((STATIC / name).read_text(encoding="utf-8"))
    headers = {"Cache-Control": KEEP_PAGE, "Content-Security-Policy": policy}
    return StaticFile.of(text.substitute(words).encode(), ".html", headers)


@cache
def _asset(path: Path) -> StaticFile:
    return StaticFile.of(path.read_bytes(), path.suffix, {"Cache-Control": KEEP_ASSET})


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
