"""Serves the landing page and Swagger UI. Must not know settings, sessions or the Host header.

All files are read once, when the router is made: a request opens none. Every address in them is
relative, so that the pages work behind a path prefix. Swagger UI lies in ``static/swagger-ui`` as
its authors ship it; ``make vendor-docs`` renews it.
"""

from functools import cache
from html import escape
from pathlib import Path
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Response
from starlette.exceptions import HTTPException

from app.docs.static_file import KEEP_ASSET, LOCKED, PAGE_POLICY, STATIC, StaticFile, html_page

LOCAL = "http://127.0.0.1:8000"  # the default host and port
# data: is for the arrows and ticks that Swagger UI's style sheet draws as images.
DOCS_POLICY = (
    f"{LOCKED}; style-src 'self'; img-src 'self' data:; script-src 'self'; connect-src 'self'"
)
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
    landing = html_page("landing.html", {**words, "login": login}, PAGE_POLICY)
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


@cache
def _asset(path: Path) -> StaticFile:
    return StaticFile.of(path.read_bytes(), path.suffix, {"Cache-Control": KEEP_ASSET})


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
