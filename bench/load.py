"""Ways to ask: wrk for full speed, and a raw-socket client that counts every single answer.

Must not know what is being asked, or of whom.
"""

import asyncio
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import uvloop

WRK_LUA = Path(__file__).with_name("wrk.lua")
PATIENCE = 60.0  # seconds after which an answer counts as lost
STATUS_LOST = 0

# What Chrome 140 sends with fetch() from a page of another origin; Host is the client's own.
CHROME = {
    "Connection": "keep-alive",
    "sec-ch-ua-platform": '"Linux"',
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/140.0.0.0 Safari/537.36",
    "sec-ch-ua": '"Chromium";v="140", "Not=A?Brand";v="24", "Google Chrome";v="140"',
    "sec-ch-ua-mobile": "?0",
    "Accept": "*/*",
    "Origin": "https://studio.example",
    "Sec-Fetch-Site": "cross-site",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Dest": "empty",
    "Referer": "https://studio.example/",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "en-US,en;q=0.9",
}


class Answer(NamedTuple):
    """One answer: its status (0 if none came), how long it took, its ETag and length in bytes."""

    status: int
    seconds: float
    etag: str
    size: int


class Blast(NamedTuple):
    """What wrk saw: counts, the seconds it ran, latencies in microseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    lost: int
    bad: int


def wrk_missing() -> str:
    """Why wrk cannot run, or nothing."""
    return "" if shutil.which("wrk") else "wrk is not installed (Debian: apt-get install wrk)"


def wrk(
    port: int,
    path: str,
    *,
    connections: int,
    seconds: float,
    headers: Mapping[str, str],
    paths: Path | None = None,
    pipelined: int = 1,
) -> Blast:
    """Ask as fast as it goes from one thread. `paths` names a file with one path a line.

    Each connection sends `pipelined` requests at once, and the next ones when all are answered.
    """
    given = [part for pair in headers.items() for part in ("-H", ": ".join(pair))]
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds:g}s",
        "--timeout",
        "10s",
        "-s",
        str(WRK_LUA),
        *given,
    ]
    command += [
        f"http://127.0.0.1:{port}{path}",
        "--",
        str(pipelined),
        *([str(paths)] if paths else []),
    ]
    told = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=seconds + PATIENCE
    )
    return Blast(**json.loads(told.stdout.rpartition("JSON")[2]))


def fetch(
    port: int, path: str, headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own: status, headers (lower-case names), body."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return response.status, names, response.read()
    finally:
        connection.close()


class Client(asyncio.Protocol):
    """One keep-alive connection. Understands Content-Length only: chunks count as lost."""

    _length = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
    _leaving = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
    _etag = re.compile(rb"\r\netag: *([^\r]+)", re.IGNORECASE)

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.buffer = b""
        self.answered: asyncio.Future[tuple[int, str, int]] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.settle((STATUS_LOST, "", 0))

    def settle(self, outcome: tuple[int, str, int]) -> None:
        if self.answered is not None and not self.answered.done():
            self.answered.set_result(outcome)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        status = int(self.buffer[9:12])
        length = self._length.search(self.buffer, 0, head + 2)
        size = int(length[1]) if length and status != 304 else 0
        if length is None and status not in (204, 304):
            self.close()
        elif len(self.buffer) >= head + 4 + size:
            etag = self._etag.search(self.buffer, 0, head + 2)
            if self._leaving.search(self.buffer, 0, head + 2):
                self.leave()
            self.buffer = b""
            self.settle((status, etag[1].decode("latin-1") if etag else "", size))

    async def connect(self, port: int) -> None:
        """Open, unless open already."""
        if self.transport is None:
            self.buffer = b""
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: self, "127.0.0.1", port)

    async def ask(self, request: bytes) -> tuple[int, str, int]:
        """Send one request's bytes; status, ETag and length of the answer."""
        if self.transport is None:
            return STATUS_LOST, "", 0
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.answered
        except TimeoutError:
            self.close()
            return STATUS_LOST, "", 0

    def leave(self) -> None:
        """The server said that this was its last answer here: the next request needs another."""
        if self.transport is not None:
            self.transport.close()
            self.transport = None

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()


def get(path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a GET request."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode()


async def _work(
    client: Client, port: int, due: Iterator[tuple[float, bytes]], kept: list[Answer]
) -> None:
    """Send what is due, each at its moment, and measure from then if we were late."""
    for moment, request in due:
        if (ahead := moment - time.perf_counter()) > 0:
            await asyncio.sleep(ahead)
        began = time.perf_counter() if ahead > 0 or not moment else moment
        try:
            await client.connect(port)
        except OSError:
            kept.append(Answer(STATUS_LOST, time.perf_counter() - began, "", 0))
            continue
        status, etag, size = await client.ask(request)
        kept.append(Answer(status, time.perf_counter() - began, etag, size))


async def _ask_all(
    port: int, requests: Iterable[bytes], connections: int, rate: float
) -> list[Answer]:
    clients = [Client() for _ in range(connections)]
    await asyncio.gather(*(client.connect(port) for client in clients))
    start = time.perf_counter()
    due = (((start + n / rate) if rate else 0.0, request) for n, request in enumerate(requests))
    kept: list[Answer] = []
    try:
        await asyncio.gather(*(_work(client, port, due, kept) for client in clients))
    finally:
        for client in clients:
            client.close()
    return kept


def ask_all(
    port: int, requests: Iterable[bytes], *, connections: int, rate: float = 0.0
) -> list[Answer]:
    """Send every request and tell every answer, in order of arrival.

    All connections are open before the first request leaves. Without a `rate` each connection asks
    again as soon as it is answered; with one (requests a second) each request has its moment, and
    waiting for a free connection counts as waiting for the answer.
    """
    return uvloop.run(_ask_all(port, requests, connections, rate))
