"""A fixed-answer XML-RPC farm, so fast that it is never the bottleneck. Must not verify anything.

`python -m bench.farm --port N [--delay S]` answers every POST with one session under the id that
was asked for; with a title of LARGE bytes for ids from LARGE_FROM on, with fault 300 for those from
NOT_FOUND_FROM on. `GET /` tells how many calls came and how many were under way at most, as JSON.
"""

import argparse
import asyncio
import json
import re
import xmlrpc.client

import uvloop

from bench.sample import PLACEHOLDER, answer_xml, wire_session

LARGE_FROM, LARGE = 900_000_000, 400_000
NOT_FOUND_FROM = 1_000_000_000
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
SESSION_ID = re.compile(rb"<(?:int|i4)>(\d+)</(?:int|i4)>")


def http_answer(body: bytes, content_type: str = "text/xml") -> bytes:
    """A whole HTTP answer."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Tally:
    """What the farm was asked, and its prepared answers."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.calls = self.under_way = self.most_at_once = 0
        self.before, self.after = answer_xml().split(str(PLACEHOLDER).encode())
        title = wire_session()["title"].encode()
        self.large = self.after.replace(title, b"x" * LARGE)
        fault = xmlrpc.client.Fault(300, "Session doesn't exist")
        self.not_found = xmlrpc.client.dumps(fault, methodresponse=True).encode()

    def answer(self, call: bytes) -> bytes:
        """The answer to one methodCall, whose last int is the session's id."""
        session_id = SESSION_ID.findall(call)[-1]
        if int(session_id) >= NOT_FOUND_FROM:
            return http_answer(self.not_found)
        after = self.large if int(session_id) >= LARGE_FROM else self.after
        return http_answer(self.before + session_id + after)

    def told(self) -> bytes:
        """The counts as JSON."""
        counts = {"calls": self.calls, "most_at_once": self.most_at_once}
        return http_answer(json.dumps(counts).encode(), "application/json")


class Connection(asyncio.Protocol):
    """One keep-alive connection of a client."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.buffer = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (head := self.buffer.find(b"\r\n\r\n")) >= 0:
            found = LENGTH.search(self.buffer, 0, head)
            end = head + 4 + (int(found[1]) if found else 0)
            if len(self.buffer) < end:
                return
            request, self.buffer = self.buffer[:end], self.buffer[end:]
            self.answer(request)

    def answer(self, request: bytes) -> None:
        """Answer now, or after the delay."""
        tally = self.tally
        if request.startswith(b"GET"):
            self.transport.write(tally.told())
            return
        tally.calls += 1
        tally.under_way += 1
        tally.most_at_once = max(tally.most_at_once, tally.under_way)
        answer = tally.answer(request)
        if tally.delay:
            asyncio.get_running_loop().call_later(tally.delay, self.finish, answer)
        else:
            self.finish(answer)

    def finish(self, answer: bytes) -> None:
        """Send an answer that was under way."""
        self.tally.under_way -= 1
        self.transport.write(answer)


async def serve(port: int, delay: float) -> None:
    """Serve on loopback until ended from outside."""
    tally = Tally(delay)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(tally), "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay", type=float, default=0.0)
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.delay))
