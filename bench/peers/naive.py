"""The typical stack: FastAPI with response_model, a TTLCache of models, plain httpx."""

import os
import xmlrpc.client
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from cachetools import TTLCache
from fastapi import FastAPI, HTTPException

from bench.peers.models import Session
from bench.peers.signing import METHOD, answer_of, request_body
from bench.peers.translate import translate

URL = f"{os.environ['BENCH_FARM_URL']}/{METHOD}"
CACHE: TTLCache[int, Session] = TTLCache(
    maxsize=int(os.environ["BENCH_MAX_ENTRIES"]), ttl=float(os.environ["BENCH_LIFETIME"])
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with httpx.AsyncClient(headers={"Content-Type": "text/xml"}) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/sessions/{session_id}", response_model=Session)
async def get_session(session_id: int) -> Session:
    if (kept := CACHE.get(session_id)) is not None:
        return kept
    response = await app.state.client.post(URL, content=request_body(URL, session_id))
    try:
        session = Session(**translate(answer_of(response.content)))
    except xmlrpc.client.Fault as fault:
        raise HTTPException(404, "No such session") from fault
    CACHE[session_id] = session
    return session
