"""Serves the files of one built page below /demo. Must not know what the page does.

They are read once, when the router is made: a request opens none, so none beyond them is reached.
"""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from app.docs.static_file import KEEP_PAGE, LOCKED, MEDIA_TYPES, StaticFile

INDEX = "index.html"
# Pictures of the farm's sessions lie anywhere.
POLICY = f"{LOCKED}; script-src 'self'; style-src 'self'; img-src * data:; connect-src 'self'"
HEADERS = {"Cache-Control": KEEP_PAGE, "Content-Security-Policy": POLICY}


def demo_router(directory: Path) -> APIRouter:
    """Routes ``/demo/`` and ``/demo/{file}`` for the files in ``directory``, none of them in the
    OpenAPI document; ``/demo`` leads to the first (308), with the query that it was asked with.

    An unknown file is Starlette's ``HTTPException(404)``. Files of a kind that no page needs are
    left out.
    """
    files = {
        path.relative_to(directory).as_posix(): StaticFile.of(
            path.read_bytes(), path.suffix, HEADERS
        )
        for path in directory.rglob("*.*")
        if path.suffix in MEDIA_TYPES and path.is_file()
    }
    router = APIRouter(include_in_schema=False)

    @router.get("/demo")
    async def get_demo(request: Request) -> Response:
        # Relative, as all addresses of our pages: it holds behind a path prefix.
        query = f"?{request.url.query}" if request.url.query else ""
        return Response(status_code=308, headers={"Location": f"demo/{query}"})

    @router.get("/demo/{file:path}")
    async def get_file(file: str) -> Response:
        kept = files.get(file or INDEX)
        if kept is None:
            raise HTTPException(404)
        return kept.answer()

    return router
