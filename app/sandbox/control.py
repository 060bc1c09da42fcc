"""What tests ask of the farm beside its calls: its records, its script. Must not know calls."""

import json
from collections import deque

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.sandbox.bodies import read_body
from app.sandbox.records import Records
from app.sandbox.script import SCRIPT, AnyStep

MAX_SCRIPT = 8 * 1024 * 1024


class Control:
    """The routes below ``/__``, over what the farm keeps and does next."""

    def __init__(self, records: Records, script: deque[AnyStep]) -> None:
        self._records = records
        self._script = script

    def routes(self) -> list[Route]:
        """Each path with its method."""
        return [
            Route("/__records", self._get_records, methods=["GET"]),
            Route("/__records", self._delete_records, methods=["DELETE"]),
            Route("/__script", self._put_script, methods=["PUT"]),
            Route("/__script", self._delete_script, methods=["DELETE"]),
        ]

    async def _get_records(self, request: Request) -> Response:
        told = json.dumps(self._records.told(), default=str)
        return Response(told, media_type="application/json")

    async def _delete_records(self, request: Request) -> Response:
        self._records.forget()
        return Response(status_code=204)

    async def _put_script(self, request: Request) -> Response:
        try:
            steps = SCRIPT.validate_json(await read_body(request, MAX_SCRIPT))
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False, include_input=False)
            status = 400 if wrong[0]["type"] == "json_invalid" else 422
            return JSONResponse({"errors": wrong}, status)
        self._script.clear()
        self._script.extend(steps)
        return JSONResponse({"queued": len(steps)})

    async def _delete_script(self, request: Request) -> Response:
        self._script.clear()
        return Response(status_code=204)
