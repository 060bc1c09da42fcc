"""A forward proxy on a real port: tunnels by CONNECT, and requests in absolute form."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from tests.running import in_thread

END = b"\r\n\r\n"


class ForwardProxy:
    """Notes the head of each request. With ``authorization`` it refuses requests without it."""

    def __init__(self, authorization: str = "") -> None:
        self._authorization = authorization
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []
        self.heads: list[str] = []
        self.port = 0

    def run(self, started: threading.Event) -> None:
        """Serve until ``stop``."""

        async def serve() -> None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            await self._stopped.wait()
            server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in self._writers:
                writer.transport.abort()
                with suppress(OSError):
                    await writer.wait_closed()

        self._loop.run_until_complete(serve())
        self._loop.close()

    def stop(self) -> None:
        """End it, with every connection."""
        self._loop.call_soon_threadsafe(self._stopped.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(END)
            self.heads.append(head.decode())
            method, target, _ = self.heads[-1].split(" ", 2)
            if self._authorization and f": {self._authorization}\r\n" not in self.heads[-1]:
                writer.write(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()
            elif method == "CONNECT":
                host, _, port = target.rpartition(":")
                await self._pass_on(host, int(port), b"", reader, writer)
            else:
                to = urlsplit(target)
                await self._pass_on(to.hostname or "", to.port or 80, head, reader, writer)
        writer.close()

    async def _pass_on(
        self,
        host: str,
        port: int,
        head: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        theirs, ours = await asyncio.open_connection(host, port)
        self._writers.append(ours)
        if head:
            ours.write(head)
        else:
            writer.write(b"HTTP/1.1 200 Go\r\n\r\n")
        back = asyncio.create_task(_copy(theirs, writer))
        await _copy(reader, ours)
        ours.close()
        await back


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(65536):
            sink.write(piece)
            await sink.drain()
    sink.close()


@contextmanager
def forward_proxy(authorization: str = "") -> Iterator[ForwardProxy]:
    """A proxy that serves until the end of the block."""
    proxy = ForwardProxy(authorization)
    with in_thread(proxy):
        yield proxy
