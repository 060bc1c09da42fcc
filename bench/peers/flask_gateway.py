"""The same with Flask and cachetools, for gunicorn: dicts kept, JSON written for each answer."""

import os
import urllib.request
import xmlrpc.client
from threading import Lock
from typing import Any

from cachetools import TTLCache
from flask import Flask, abort  # type: ignore[import-not-found]  # in bench/.venv only

from bench.peers.signing import METHOD, answer_of, request_body
from bench.peers.translate import translate

URL = f"{os.environ['BENCH_FARM_URL']}/{METHOD}"
CACHE: TTLCache[int, dict[str, Any]] = TTLCache(
    maxsize=int(os.environ["BENCH_MAX_ENTRIES"]), ttl=float(os.environ["BENCH_LIFETIME"])
)
LOCK = Lock()

app = Flask(__name__)


@app.get("/sessions/<int:session_id>")  # type: ignore[untyped-decorator]
def get_session(session_id: int) -> dict[str, Any]:
    with LOCK:
        kept = CACHE.get(session_id)
    if kept is not None:
        return kept
    body = request_body(URL, session_id)
    request = urllib.request.Request(URL, body, {"Content-Type": "text/xml"})
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            session = translate(answer_of(response.read()))
    except xmlrpc.client.Fault:
        abort(404)
    with LOCK:
        CACHE[session_id] = session
    return session
