"""The typical stack behind three BaseHTTPMiddleware: request id, timing, browser headers."""

import time
import uuid
from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from starlette.middleware.base import BaseHTTPMiddleware

from bench.peers.naive import app

Next = Callable[[Request], Awaitable[Response]]


async def request_id(request: Request, call_next: Next) -> Response:
    response = await call_next(request)
    response.headers["X-Request-ID"] = request.headers.get("X-Request-ID") or uuid.uuid4().hex
    return response


async def timing(request: Request, call_next: Next) -> Response:
    began = time.perf_counter()
    response = await call_next(request)
    response.headers["Server-Timing"] = f"app;dur={(time.perf_counter() - began) * 1e3:.1f}"
    return response


async def browser_headers(request: Request, call_next: Next) -> Response:
    response = await call_next(request)
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


for dispatch in (browser_headers, timing, request_id):
    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
