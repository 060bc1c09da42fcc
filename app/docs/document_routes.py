"""Serves the OpenAPI documents, made at the first request. Must not know what is in them."""

import json
from functools import cache, lru_cache

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.types import Scope

from app.docs.openapi import document
from app.docs.openapi_3_0 import as_3_0
from app.docs.static_file import StaticFile
from app.server.request_head import HOST

SERVER = "rfgw-server"
"""Stands in the prepared documents where each answer says its own server."""
SCHEMES = ("http", "https")
ADDRESSES = 8
"""Servers whose documents are kept; a request may name any as its Host."""


def document_router(app: FastAPI, public_url: str) -> APIRouter:
    """/openapi.json and /openapi-3.0.json, made at the first request.

    Their server is ``public_url``, or else the address that was asked.
    """
    router = APIRouter(include_in_schema=False)

    @cache
    def prepared() -> tuple[list[str], list[str]]:
        made = document(app, {"url": SERVER, "description": "This gateway."})
        new, old = (json.dumps(form, ensure_ascii=False) for form in (made, as_3_0(made)))
        return new.split(json.dumps(SERVER)), old.split(json.dumps(SERVER))

    @lru_cache(ADDRESSES)
    def of_server(which: int, server: str) -> StaticFile:
        fields = {"cache-control": "public, max-age=60"}
        if not public_url:
            fields["vary"] = "X-Forwarded-Proto"
        body = json.dumps(server).join(prepared()[which])
        return StaticFile.of(body.encode(), ".json", fields)

    def answer(which: int, request: Request) -> Response:
        return of_server(which, public_url.rstrip("/") or asked_address(request.scope)).answer()

    @router.get("/openapi.json")
    async def get_document(request: Request) -> Response:
        """The OpenAPI document."""
        return answer(0, request)

    @router.get("/openapi-3.0.json")
    async def get_older_document(request: Request) -> Response:
        """The same for tools that read nothing newer than OpenAPI 3.0."""
        return answer(1, request)

    return router


def asked_address(scope: Scope) -> str:
    """The address at which the gateway was asked; without a good Host, its path prefix or ``/``.

    A proxy's X-Forwarded-Proto is believed, whoever wrote it: the answer is for who asked so.
    """
    fields: dict[bytes, bytes] = dict(scope["headers"])
    host, root = fields.get(b"host", b""), scope.get("root_path") or ""
    if not host or not HOST.fullmatch(host):
        return root or "/"
    forwarded = fields.get(b"x-forwarded-proto", b"").decode("latin-1").strip().lower()
    scheme = forwarded if forwarded in SCHEMES else scope["scheme"]
    return f"{scheme}://{host.decode('ascii')}{root}"
