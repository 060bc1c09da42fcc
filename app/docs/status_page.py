"""Serves the status page and its numbers. Must not know where the numbers come from.

The page itself holds nothing and is open; its numbers are for an operator: with a key that has the
scope, or for this machine alone. To everybody else they are not there.
"""

import ipaddress
from collections.abc import Callable
from html import escape
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app.docs.static_file import LOCKED, html_page

POLICY = f"{LOCKED}; style-src 'self'; img-src 'self'; script-src 'self'; connect-src 'self'"
SCOPE = "status"
FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-real-ip")
"""Fields of a request that came through a proxy: its client is somebody else."""


def status_router(
    document: Callable[[], dict[str, Any]], *, by_key: bool, version: str
) -> APIRouter:
    """Routes ``/status`` and ``/status.json``, none of them in the OpenAPI document.

    ``by_key``: keys with the scope open the numbers, else this machine alone may read them. Who may
    not is Starlette's ``HTTPException(404)``.
    """
    page = html_page("status.html", {"version": escape(version)}, POLICY)
    router = APIRouter(include_in_schema=False)

    @router.get("/status")
    async def get_status() -> Response:
        return page.answer()

    @router.get("/status.json")
    async def get_numbers(request: Request) -> Response:
        allowed = SCOPE in request.scope.get("rfgw.scopes", ()) if by_key else _is_here(request)
        if not allowed or _is_foreign(request):
            raise HTTPException(404)
        told = {"version": version, **document()}
        return JSONResponse(told, headers={"Cache-Control": "no-store"})

    return router


def _is_here(request: Request) -> bool:
    """Whether it was asked on this machine, by its own name and through no proxy.

    The name matters, since any page's host may lead here (DNS rebinding). A proxy that names nobody
    is known by what nginx sends unless told otherwise: HTTP/1.0, or Connection: close.
    """
    named = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    through = any(name in request.headers for name in FORWARDED)
    closing = request.headers.get("connection", "").lower() == "close"
    through = through or closing or request.scope["http_version"] != "1.1"
    asker = request.client.host if request.client else ""
    return _is_loopback(asker) and _is_loopback(named) and not through


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_foreign(request: Request) -> bool:
    """Whether a page of another origin asks, which this machine's browser would let it."""
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "none")
    same = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    return not same or site not in ("same-origin", "none")
