"""Two connections to a Redis or Valkey server, kept up from behind: one asks, one listens.

Knows redis-py, deadlines and when the server is to be left alone. Must not know entries or keys.

Requests never wait for a connection: a background task makes both, and drops both when something
is wrong with either. While it has none, and from the moment on at which answers are late or odd,
``ask`` raises Unreachable at once. The same task tries again, so no request pays for a probe.

What is asked goes out at once, and answers are matched by their order, so that one connection is
enough for all. Who gives up waiting keeps its place in the row: the late answer is passed over.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Protocol

from redis.exceptions import InvalidResponse, RedisError, ResponseError

from app.cluster.handshake import shake
from app.cluster.redis_url import RedisServer, drop
from app.cluster.refusals import refusal_of

DEADLINE = 0.02
"""Seconds that anyone waits for an answer."""
LATE_ROW = 5
"""So many late answers in a row end a connection."""
BACKLOG = 10_000
"""One question more while so many answers are outstanding ends it too."""
QUIET = 1.0
"""Seconds without a message after which the listening connection is pinged."""
WATCH = 4.0
"""Seconds after which the server is tried anew, and its name looked up, while it is used."""
PAUSES = (0.1, 0.5, 1.0, 2.0)
"""Seconds between tries to connect; the last holds until one succeeds."""

Command = tuple[bytes | str | int, ...]
RedisReply = Any
"""bytes, int, list, None, or the ResponseError that the server answered."""


class Unreachable(Exception):
    """The server gives no answer now. ``outcome`` is down or late."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class ConnectionListener(Protocol):
    """Who hears what the channel brings."""

    def on_message(self, message: bytes) -> None:
        """One message."""

    def on_connected(self) -> None:
        """Both connections are there. Messages of before may have been missed."""

    def on_disconnected(self, cause: str) -> None:
        """They are gone, and why: refused, tls, late, closed, odd, moved, or what refusals tell."""


class PendingCommands(NamedTuple):
    """So many commands, sent together, and who waits for their answers; None: there are none."""

    commands: int
    replies: asyncio.Future[list[RedisReply] | None]


class RedisConnection:
    """The server at ``url``, and the ``channel`` that is listened to. ``run`` keeps it up.

    A server that refuses one of the commands that ``probe`` gives is of no use.
    """

    def __init__(
        self, url: str, channel: str, probe: Callable[[], Sequence[Command]] = lambda: [("PING",)]
    ) -> None:
        self._server, self._channel, self._probe = RedisServer(url), channel, probe
        self._asking: Any = None
        self._row: deque[PendingCommands] = deque()
        self._late = 0
        self._trouble: asyncio.Future[str] | None = None

    @property
    def is_up(self) -> bool:
        """Whether it is worth asking."""
        return self._asking is not None and self._asking.is_connected

    async def ask(self, *commands: Command) -> list[RedisReply]:
        """The server's answers, error answers among them. Raises Unreachable."""
        if len(self._row) >= BACKLOG:
            self.give_up("late")
        if not self.is_up:
            raise Unreachable("down")
        replies: asyncio.Future[list[RedisReply] | None] = (
            asyncio.get_running_loop().create_future()
        )
        self._row.append(PendingCommands(len(commands), replies))
        try:
            async with asyncio.timeout(DEADLINE):
                # Yields only after it has written: what is sent is in the order of the row.
                await self._asking.send_packed_command(
                    self._asking.pack_commands(commands), check_health=False
                )
        except (TimeoutError, RedisError, OSError):
            self.give_up("closed")  # a half command may have gone out
            raise Unreachable("down") from None
        await _within_deadline(replies)
        if not replies.done():
            self._late += 1
            if self._late >= LATE_ROW:
                self.give_up("late")
            raise Unreachable("late")
        self._late = 0
        answers = replies.result()
        if answers is None:
            raise Unreachable("down")
        return answers

    def give_up(self, cause: str) -> None:
        """From now on nobody asks. The background task hears why, and connects anew."""
        self._asking, self._late = None, 0
        if self._trouble is not None and not self._trouble.done():
            self._trouble.set_result(cause)

    async def run(self, listener: ConnectionListener) -> None:
        """Keep both connections until cancelled."""
        tries = 0
        while True:
            asking, listening = self._server.connection(), self._server.connection()
            try:
                cause = await shake(
                    asking, listening, self._channel, self._probe(), deadline=DEADLINE
                )
                if cause:
                    listener.on_disconnected(cause)
                else:
                    tries = 0
                    await self._used(asking, listening, listener)
            finally:
                for connection in (asking, listening):
                    await drop(connection)
            await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            tries += 1

    async def _used(self, asking: Any, listening: Any, listener: ConnectionListener) -> None:
        """Work until something is wrong, and tell what."""
        loop = asyncio.get_running_loop()
        self._trouble = loop.create_future()
        self._asking = asking
        listener.on_connected()
        tasks = {
            loop.create_task(self._read(asking)),
            loop.create_task(self._listen(listening, listener)),
            loop.create_task(self._watch(asking)),
        }
        try:
            await asyncio.wait({self._trouble, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            done = [task for task in tasks if task.done()]
            cause = self._trouble.result() if self._trouble.done() else done[0].result()
        finally:
            self.give_up("closed")
            for connection in (asking, listening):
                await drop(connection)  # before redis-py does, whose reader may not be cancelled
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            while self._row:
                _reply(self._row.popleft(), None)
        listener.on_disconnected(cause)

    async def _read(self, connection: Any) -> str:
        """Hand out answers in the order of the questions, until the server says no more."""
        with _odd() as odd:
            answers: list[RedisReply] = []
            while True:
                try:
                    answers.append(await connection.read_response(timeout=math.inf))
                except ResponseError as error:
                    answers.append(error)
                if not self._row:
                    return "odd"  # an answer that nobody asked for
                if len(answers) == self._row[0].commands:
                    _reply(self._row.popleft(), answers)
                    answers = []
        return odd[0]

    async def _watch(self, connection: Any) -> str:
        """Until the server refuses what it took before, or is no longer where its name leads.

        Nobody may be asking: who fails over would go unnoticed.
        """
        away = 0
        while away < 2:  # look-ups that differ are no move: a name may have many addresses
            await asyncio.sleep(WATCH)
            with suppress(Unreachable):
                for reply in await self.ask(*self._probe()):
                    if isinstance(reply, ResponseError) and (cause := refusal_of(reply)):
                        return cause
            away = away + 1 if await self._server.has_moved(connection) else 0
        return "moved"

    async def _listen(self, connection: Any, listener: ConnectionListener) -> str:
        """Hand out messages. Silence is broken by a ping, whose answer may not be late."""
        with _odd() as odd:
            asked = False
            while True:
                message = await connection.read_response(timeout=QUIET)
                if message is None:
                    if asked:
                        return "late"
                    await connection.send_command("PING", check_health=False)
                    asked = True
                    continue
                asked = False
                if isinstance(message, list) and message[:1] == [b"message"]:
                    listener.on_message(bytes(message[2]))
        return odd[0]


def _reply(question: PendingCommands, answers: list[RedisReply] | None) -> None:
    if not question.replies.done():
        question.replies.set_result(answers)


async def _within_deadline(replies: asyncio.Future[Any]) -> None:
    """Wait for the answers; once more if this process itself was too busy to look in time."""
    now = asyncio.get_running_loop().time
    for _ in range(2):
        began = now()
        await asyncio.wait({replies}, timeout=DEADLINE)
        if replies.done() or now() - began < 1.5 * DEADLINE:
            return


@contextmanager
def _odd() -> Iterator[list[str]]:
    """Ends with the word for what ended the connection."""
    cause = ["odd"]
    try:
        yield cause
    except Exception as error:  # noqa: BLE001 - whatever speaks there may say anything
        if isinstance(error, (RedisError, OSError)) and not isinstance(error, InvalidResponse):
            cause[0] = refusal_of(error) or "closed"
