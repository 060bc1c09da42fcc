"""A name server on loopback (RFC 1035) whose answers a test changes while others ask it."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

HEADER = 12
A, IN = 1, 1


class NameServer(asyncio.DatagramProtocol):
    """Answers questions for IPv4 addresses from ``names``; any other name does not exist."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.asked = 0

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """The socket is open."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one question."""
        self.asked += 1
        end = data.index(0, HEADER) + 5
        labels, at = [], HEADER
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode())
            at += 1 + data[at]
        address = self.names.get(".".join(labels))
        wanted = int.from_bytes(data[end - 4 : end - 2], "big") == A
        flags = b"\x81\x80" if address else b"\x81\x83"  # NXDOMAIN
        count = int(bool(address) and wanted)
        head = data[:2] + flags + b"\0\1" + count.to_bytes(2, "big") + b"\0\0\0\0"
        answer = head + data[HEADER:end]
        if address and wanted:
            fixed = b"\xc0\x0c\0\1\0\1" + (1).to_bytes(4, "big") + b"\0\4"
            answer += fixed + socket.inet_aton(address)
        self._transport.sendto(answer, addr)


@contextmanager
def name_server() -> Iterator[tuple[NameServer, int]]:
    """One that runs, and its port."""
    loop, server = asyncio.new_event_loop(), NameServer()
    opening = loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", 0))
    transport, _ = loop.run_until_complete(opening)
    port: int = transport.get_extra_info("sockname")[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server, port
    finally:
        loop.call_soon_threadsafe(transport.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(
            asyncio.sleep(0)
        )  # the transport closes its socket in a turn of its own
        loop.close()
