"""Is the process up, is it able to answer, and what has it counted: for operators' machines.

Knows nothing but plain callables. Must not know what readiness is made of.
"""

from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from app.api.error_codes import Code
from app.api.response_docs import problem_responses
from app.core import errors
from app.server.drain import Drain


class Health(BaseModel):
    """The answer of a health route."""

    status: Literal["ok"] = Field(description="Always `ok`: anything else is a problem document.")


def health_router(exposition: Callable[[], bytes], drain: Drain) -> APIRouter:
    """/health/live, /health/ready and /metrics."""
    router = APIRouter(tags=["health"])

    @router.get(
        "/health/live",
        operation_id="getLiveness",
        summary="The process is up",
        response_model=Health,
        response_description="The process runs.",
    )
    async def get_liveness(response: Response) -> Health:
        """Answers as long as the process runs. Restart it when this stops."""
        response.headers["cache-control"] = "no-store"
        return Health(status="ok")

    @router.get(
        "/health/ready",
        operation_id="getReadiness",
        summary="The gateway is able to answer",
        response_model=Health,
        response_description="The gateway answers.",
        responses=problem_responses(Code.SHUTTING_DOWN),
    )
    async def get_readiness(response: Response) -> Health:
        """Send requests here only while this answers 200.

        It does not ask the farm: kept answers are served without it too. 503 as soon as the
        process was told to end.
        """
        if drain.begun:
            raise errors.ShuttingDown
        response.headers["cache-control"] = "no-store"
        return Health(status="ok")

    # HAProxy's health check asks with OPTIONS unless it is told otherwise.
    for path, check in (("/health/live", get_liveness), ("/health/ready", get_readiness)):
        router.add_api_route(path, check, methods=["OPTIONS"], include_in_schema=False)

    @router.get("/metrics", include_in_schema=False)
    async def get_metrics() -> Response:
        """All counters in the Prometheus text format."""
        return Response(
            exposition(),
            media_type="text/plain; version=0.0.4; charset=utf-8",
            headers={"cache-control": "no-store"},
        )

    return router
