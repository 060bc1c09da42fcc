"""Runs ASGI applications on free ports of this machine, each in a thread of its own."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import httpx
import uvicorn

from app.server.server import Config, Server

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients that speak plain HTTP: by default each reads all authorities, for 20 ms."""


class Ticks:
    """The main loop of a uvicorn server, but one that is woken up to end."""

    def __init__(self, server: uvicorn.Server) -> None:
        self._server = server
        self._is_over = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """As uvicorn's ``main_loop``."""
        self._loop, counter = asyncio.get_running_loop(), 0
        while not await self._server.on_tick(counter):
            counter += 1
            if self._is_over.is_set():  # the grace is not
                await asyncio.sleep(0.02)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_over.wait(), 0.1)

    def end(self) -> None:
        """Let the server shut down, from another thread."""
        self._server.should_exit = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._is_over.set)


@contextmanager
def running(server: uvicorn.Server, listener: socket.socket | None = None) -> Iterator[str]:
    """The base address of a server that runs inside the ``with`` block."""
    listener = listener or socket.create_server(("127.0.0.1", 0))
    ticks = Ticks(server)
    server.main_loop = ticks.run  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the server did not start")
        thread.join(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ticks.end()
        thread.join(20)
        listener.close()
        assert not thread.is_alive(), "the server did not stop"


class Runnable(Protocol):
    """A server with an event loop of its own."""

    def run(self, started: threading.Event) -> None:
        """Serve until ``stop``, and set ``started`` once it does."""

    def stop(self) -> None:
        """End it."""


@contextmanager
def in_thread(server: Runnable) -> Iterator[None]:
    """``server`` serves, in a thread of its own, until the end of the block."""
    started = threading.Event()
    thread = threading.Thread(target=server.run, args=(started,), daemon=True)
    thread.start()
    assert started.wait(20)
    try:
        yield
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive(), "it did not stop"


PLAIN = {"Accept-Encoding": "identity"}
"""httpx takes gzip unless told otherwise; tests/test_content_coding.py tests that."""


def client_of(url: httpx.URL | str, **more: Any) -> httpx.Client:
    """A client that gives its server time, for one thread or many; ``more`` as httpx takes it.

    httpx's own bound on idle connections may close one just as another thread takes it.
    """
    options = {"limits": httpx.Limits(max_connections=200), "timeout": 60.0, **more}
    options["headers"] = {**PLAIN, **more.get("headers", {})}
    return httpx.Client(base_url=url, verify=NO_TLS, trust_env=False, **options)


class Wrapped:
    """An application around a gateway: the server asks the gateway itself for the rest.

    It has no answer at once: all come by ASGI.
    """

    def __init__(self, app: Any, gateway: Any) -> None:
        self.app = app
        self.drain = gateway.drain
        self.refusal = gateway.refusal

    def max_body(self, *_: Any) -> int:
        """None is wanted."""
        return 0

    def read_fields(self, *_: Any) -> None:
        """Nothing, so that the application is asked."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """As the application does."""
        await self.app(scope, receive, send)


def serving(app: Any, **more: Any) -> Server:
    """A server for ``app``, as ``rfgw serve`` runs it; ``more`` as ``Config`` takes it."""
    return Server(Config(lambda: app, **more))
