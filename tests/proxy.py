"""A way to a server that can be made slow, be cut, or tell lies."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.running import in_thread


class Proxy:
    """Passes bytes between a port of its own and a server's socket, in a thread of its own.

    With ``tls``, clients speak TLS with it.
    """

    def __init__(self, socket: Path, tls: ssl.SSLContext | None = None) -> None:
        self._socket, self._tls = socket, tls
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self.delay = 0.0
        """Seconds that the server's bytes are held back."""
        self.lie: bytes | None = None
        """What is sent in place of the server's bytes."""
        self.port = 0

    @property
    def url(self) -> str:
        """The address at which clients reach the server."""
        return f"redis{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break every connection that stands."""
        for writer in self._writers.copy():
            self._loop.call_soon_threadsafe(writer.transport.abort)

    def run(self, started: threading.Event) -> None:
        """Serve until ``stop``."""

        async def serve() -> None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
            self.port = server.sockets[0].getsockname()[1]
            self._stopped = asyncio.Event()
            started.set()
            await self._stopped.wait()
            server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0.1)  # in which TLS lets go of its sockets

        self._loop.run_until_complete(serve())
        self._loop.close()

    def stop(self) -> None:
        """End it, with every connection."""
        self._loop.call_soon_threadsafe(self._stopped.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            onward = await asyncio.open_unix_connection(self._socket)
            ends.append(onward[1])
            self._writers.update(ends)
            await asyncio.gather(
                self._pass(reader, onward[1], to_client=False),
                self._pass(onward[0], writer, to_client=True),
            )
        except OSError:
            pass
        finally:
            for one in ends:
                self._writers.discard(one)
                one.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_client: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if to_client:
                    await asyncio.sleep(self.delay)
                    data = data if self.lie is None else self.lie
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@contextmanager
def proxy(socket: Path, tls: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    """A proxy before the server at ``socket``, ended with the test."""
    running = Proxy(socket, tls)
    with in_thread(running):
        yield running
