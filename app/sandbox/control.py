"""What tests ask of the farm beside its calls: its records, script, users. Must not know calls."""

import json
from collections import deque

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.sandbox.bodies import read_body
from app.sandbox.records import Records
from app.sandbox.script import SCRIPT, AnyStep
from app.sandbox.tokens import Tokens
from app.sandbox.users import Users

MAX_SCRIPT = 8 * 1024 * 1024


class Control:
    """The routes below ``/__``, over what the farm keeps and does next."""

    def __init__(
        self, records: Records, script: deque[AnyStep], users: Users, tokens: Tokens
    ) -> None:
        self._records = records
        self._script = script
        self._users = users
        self._tokens = tokens

    def routes(self) -> list[Route]:
        """Each path with its method."""
        return [
            Route("/__records", self._get_records, methods=["GET"]),
            Route("/__records", self._delete_records, methods=["DELETE"]),
            Route("/__script", self._put_script, methods=["PUT"]),
            Route("/__script", self._delete_script, methods=["DELETE"]),
            Route("/__users", self._get_users, methods=["GET"]),
            Route("/__users", self._delete_users, methods=["DELETE"]),
            Route("/__tokens", self._delete_tokens, methods=["DELETE"]),
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

    async def _get_users(self, request: Request) -> Response:
        told = {
            "accounts": self._users.names(),
            "attached": sorted(self._users.attached),
            "logins": self._tokens.granted(),
        }
        return JSONResponse(told)

    async def _delete_users(self, request: Request) -> Response:
        self._users.forget()
        self._tokens.forget()
        return Response(status_code=204)

    async def _delete_tokens(self, request: Request) -> Response:
        self._tokens.revoke_all(request.query_params.get("problem", "token_revoked"))
        return Response(status_code=204)
