"""Serves the OpenAPI documents, made at the first request. Must not know what is in them."""

import json
from functools import cache

from fastapi import APIRouter, FastAPI, Response

from app.docs.openapi import document
from app.docs.openapi_3_0 import as_3_0


def document_router(app: FastAPI, public_url: str) -> APIRouter:
    """/openapi.json and /openapi-3.0.json, made at the first request.

    Their server is ``public_url``, or else whatever address they are read from.
    """
    router = APIRouter(include_in_schema=False)

    def answer(body: bytes) -> Response:
        return Response(
            body, media_type="application/json", headers={"cache-control": "public, max-age=60"}
        )

    @cache
    def bodies() -> tuple[bytes, bytes]:
        made = document(app, {"url": public_url or ".", "description": "This gateway."})
        new, old = (json.dumps(form, ensure_ascii=False) for form in (made, as_3_0(made)))
        return new.encode(), old.encode()

    @router.get("/openapi.json")
    async def get_document() -> Response:
        """The OpenAPI document."""
        return answer(bodies()[0])

    @router.get("/openapi-3.0.json")
    async def get_older_document() -> Response:
        """The same for tools that read nothing newer than OpenAPI 3.0."""
        return answer(bodies()[1])

    return router
