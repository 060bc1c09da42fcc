"""The connections to a real Valkey server: made from behind, of no use while odd or late."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from redis._parsers.encoders import Encoder
from redis.exceptions import InvalidResponse, ResponseError

from app.cluster.handshake import shake
from app.cluster.redis_connection import LATE_ROW, RedisConnection, Unreachable
from app.cluster.redis_url import MAX_REPLY, BoundedParser, RedisServer, drop
from tests.group_member import until
from tests.hostile_farm import server_tls, write_authority
from tests.programs import WITHIN
from tests.proxy import Proxy, proxy
from tests.valkey import Valkey, impatient, valkey

pytestmark = pytest.mark.usefixtures("patience")


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def server(directory: Path) -> Iterator[Valkey]:
    with valkey(directory) as running:
        yield running


@pytest.fixture
def way(server: Valkey) -> Iterator[Proxy]:
    with proxy(server.socket) as running:
        yield running


class Heard:
    """What the link told."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.states: list[str] = []

    def on_message(self, message: bytes) -> None:
        self.messages.append(message)

    def on_connected(self) -> None:
        self.states.append("up")

    def on_disconnected(self, cause: str) -> None:
        self.states.append(cause)


@asynccontextmanager
async def linked(url: str, *, well: bool = True) -> AsyncIterator[tuple[RedisConnection, Heard]]:
    """A link that is up, or has tried in vain; afterwards nothing of it is left."""
    connection, on_message, before = RedisConnection(url, "news"), Heard(), asyncio.all_tasks()
    running = asyncio.create_task(connection.run(on_message))
    try:
        await until(lambda: connection.is_up if well else bool(on_message.states))
        del on_message.states[:-1]
        yield connection, on_message
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert asyncio.all_tasks() == before
        assert not connection.is_up


async def outcome(connection: RedisConnection) -> str:
    """How a question ends, in a word."""
    try:
        return "ok" if await connection.ask(("PING",)) == [b"PONG"] else "wrong"
    except Unreachable as error:
        return error.outcome


async def test_many_questions_at_once_have_each_their_answers(server: Valkey) -> None:
    async with linked(server.url) as (connection, on_message):
        assert on_message.states == ["up"]
        asked = [connection.ask(("ECHO", number), ("ECHO", f"{number}!")) for number in range(500)]
        answers = await asyncio.gather(*asked)
    assert answers == [[b"%d" % number, b"%d!" % number] for number in range(500)]


async def test_an_error_answer_is_an_answer(server: Valkey) -> None:
    async with linked(server.url) as (connection, _):
        wrong, right = await connection.ask(("NONSENSE",), ("PING",))
        assert isinstance(wrong, ResponseError)
        assert right == b"PONG"


async def test_messages_are_heard(server: Valkey) -> None:
    async with linked(server.url) as (_, on_message):
        server.client.publish("other", b"not this")
        server.client.publish("news", b"\x00this")
        await until(lambda: bool(on_message.messages))
        assert on_message.messages == [b"\x00this"]


async def test_without_a_server_nobody_waits(directory: Path) -> None:
    async with linked(f"unix://{directory}/nothing", well=False) as (connection, on_message):
        assert on_message.states[0] == "refused"
        assert await outcome(connection) == "down"


async def test_a_wrong_password_is_told_as_such(directory: Path) -> None:
    with valkey(directory, "--requirepass", "right") as server:
        url = f"unix://:{{}}@{server.socket}"
        async with linked(url.format("wrong"), well=False) as (connection, on_message):
            assert on_message.states[0] == "auth"
            assert await outcome(connection) == "down"
        async with linked(url.format("right")) as (connection, _):
            assert await outcome(connection) == "ok"


async def test_a_server_that_ended_is_found_again(server: Valkey) -> None:
    async with linked(server.url) as (connection, on_message):
        server.stop()
        await until(lambda: on_message.states[1:2] == ["closed"])
        assert await outcome(connection) == "down"
        server.start()
        await until(lambda: on_message.states[-1] == "up")
        assert await outcome(connection) == "ok"


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections ask nothing by themselves: every late answer is one to the test."""
    monkeypatch.setattr("app.cluster.redis_connection.WATCH", 100 * WITHIN)


@pytest.mark.usefixtures("unwatched")
async def test_a_frozen_server_is_left_alone_after_some_late_answers(server: Valkey) -> None:
    async with linked(server.url) as (connection, on_message):
        with server.frozen(), impatient():
            assert [await outcome(connection) for _ in range(LATE_ROW)] == ["late"] * LATE_ROW
            assert await outcome(connection) == "down"
            await until(lambda: on_message.states[1:2] == ["late"])
        await until(lambda: on_message.states[-1] == "up")
        assert await outcome(connection) == "ok"


async def test_a_frozen_server_is_noticed_though_nobody_asks(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cluster.redis_connection.QUIET", 1.0)
    async with linked(server.url) as (_, on_message):
        with server.frozen():
            await until(lambda: on_message.states[1:2] == ["late"])


async def test_a_late_answer_is_never_taken_for_anothers(server: Valkey) -> None:
    async with linked(server.url) as (connection, on_message):
        with server.frozen(), impatient(), pytest.raises(Unreachable):
            await connection.ask(("ECHO", "late"))
        for number in range(20):
            assert await connection.ask(("ECHO", number)) == [b"%d" % number]
        assert on_message.states == ["up"]


async def test_a_slow_server_is_not_used_until_it_is_quick(way: Proxy) -> None:
    way.delay = 0.05
    with ExitStack() as while_slow:
        while_slow.enter_context(impatient())
        async with linked(way.url, well=False) as (connection, on_message):
            assert on_message.states[0] == "late"
            assert await outcome(connection) == "down"
            way.delay = 0.0
            while_slow.close()
            await until(lambda: on_message.states[-1] == "up")
            assert await outcome(connection) == "ok"


async def test_silence_that_is_broken_each_time_is_no_end(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cluster.redis_connection.QUIET", 0.5)

    def pings() -> int:
        return int(server.client.info("commandstats")["cmdstat_ping"]["calls"])

    async with linked(server.url) as (_, on_message):
        known, before = 0, 0

        def thrice() -> bool:
            """Whether one connection has been pinged so often: a pong of its own may be late."""
            nonlocal known, before
            if len(on_message.states) != known:
                known, before = len(on_message.states), pings()
            return on_message.states[-1] == "up" and pings() >= before + 3

        await until(thrice)


async def test_look_ups_that_differ_now_and_then_are_no_move(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    async def has_moved(*_given: object) -> bool:
        nonlocal looks
        looks += 1
        return looks % 2 == 1

    monkeypatch.setattr("app.cluster.redis_connection.WATCH", 0.01)
    monkeypatch.setattr("app.cluster.redis_url.RedisServer.has_moved", has_moved)
    async with linked(server.url) as (_, on_message):
        await until(lambda: looks >= 6)
        assert on_message.states == ["up"]


class SlowSoon:
    """A connection on which the server answers so many pings, and then no more."""

    def __init__(self, answered: int) -> None:
        self._left = answered

    async def connect(self) -> None:
        """At once."""

    async def send_command(self, *words: str, check_health: bool) -> None:
        if words[0] == "PING":
            self._left -= 1

    async def read_response(self, **_given: float) -> bytes:
        if self._left < 0:
            await asyncio.Event().wait()
        return b"PONG"

    def pack_commands(self, commands: object) -> object:
        return commands

    async def send_packed_command(self, packed: object, check_health: bool) -> None:
        """There are none."""


@pytest.mark.parametrize(("answered", "cause"), [(0, "late"), (1, "late"), (2, "late"), (3, "")])
async def test_a_server_that_is_quick_once_or_twice_is_not_used(answered: int, cause: str) -> None:
    server = SlowSoon(answered)
    assert await shake(server, server, "news", [], deadline=0.02) == cause


async def test_broken_connections_are_made_anew(way: Proxy) -> None:
    async with linked(way.url) as (connection, on_message):
        way.cut()
        await until(lambda: on_message.states == ["up", "closed", "up"])
        assert await outcome(connection) == "ok"


@pytest.mark.parametrize(
    "lie",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\xff\x00\xff\r\n",
        b"$99999999999999999999\r\n",
        b"*-7\r\n",
        b"*1\r\n" * 5000,
        b"+PONG\r\n" * 3,
        b"$3\r\nab",
        b"$2000000000\r\n" + b"x" * 1_000_000,
        b"*2000000000\r\n" + b":1\r\n" * 100_000,
    ],
)
async def test_a_server_that_lies_is_left_alone(way: Proxy, lie: bytes) -> None:
    async with linked(way.url) as (connection, on_message):
        way.lie = lie
        with impatient():
            for _ in range(LATE_ROW):
                with suppress(Unreachable):
                    await connection.ask(("GET", "something"), ("GET", "else"))
            await until(lambda: len(on_message.states) > 1)
        assert on_message.states[1] in ("odd", "late", "closed")
        way.lie = None
        await until(lambda: on_message.states[-1] == "up")
        assert await outcome(connection) == "ok"


def announcing(reply: bytes) -> asyncio.StreamReader:
    """What a server sends: a length that it announces, and as much of it as it likes."""
    reader = asyncio.StreamReader(limit=2**16)
    reader.feed_data(reply)
    return reader


@pytest.mark.parametrize(
    "reply",
    [
        b"$%d\r\n" % (MAX_REPLY + 1),
        b"$2000000000\r\n",
        b"*2\r\n$%d\r\n" % MAX_REPLY,
        b"*2000000000\r\n" + b":10000000\r\n" * (MAX_REPLY // 9 + 1),
    ],
    ids=range(4),
)
async def test_a_reply_beyond_the_bound_is_not_waited_for(reply: bytes) -> None:
    parser = BoundedParser(65_536)
    encoder = Encoder("utf-8", "strict", False)  # type: ignore[no-untyped-call]
    parser.on_connect(SimpleNamespace(_reader=announcing(reply), encoder=encoder))  # type: ignore[no-untyped-call]
    with pytest.raises(InvalidResponse):
        await parser.read_response()


async def test_every_connection_has_the_bound() -> None:
    async def announce(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING\r\n")
        writer.write(b"$2000000000\r\n")
        writer.close()

    async with await asyncio.start_server(announce, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connection = RedisServer(f"redis://127.0.0.1:{port}").connection()
        await connection.connect()
        await connection.send_command("PING")
        with pytest.raises(InvalidResponse):
            await connection.read_response()
        await drop(connection)


async def test_each_reply_has_the_whole_bound() -> None:
    size = MAX_REPLY // 2
    parser = BoundedParser(65_536)
    encoder = Encoder("utf-8", "strict", False)  # type: ignore[no-untyped-call]
    replies = announcing(b"$%d\r\n%b\r\n" % (size, b"x" * size) * 3)
    parser.on_connect(SimpleNamespace(_reader=replies, encoder=encoder))  # type: ignore[no-untyped-call]
    assert [len(await parser.read_response()) for _ in range(3)] == [size] * 3


async def test_a_link_does_not_show_its_password(server: Valkey) -> None:
    assert "hush" not in repr(RedisConnection("redis://:hush@127.0.0.1", "news"))


# TLS


@pytest.fixture
def authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's authorities, for this test."""
    monkeypatch.setenv("SSL_CERT_FILE", str(write_authority(tmp_path / "authorities.pem")))


@pytest.mark.usefixtures("authorities")
async def test_a_server_is_asked_and_listened_to_over_tls(server: Valkey) -> None:
    with proxy(server.socket, server_tls("proper")) as way:
        assert way.url.startswith("rediss://")
        async with linked(way.url) as (connection, on_message):
            assert await outcome(connection) == "ok"
            server.client.publish("news", b"this")
            await until(lambda: on_message.messages == [b"this"])
            way.cut()
            await until(lambda: on_message.states[-1] == "up" and len(on_message.states) > 1)
            assert await outcome(connection) == "ok"


@pytest.mark.usefixtures("authorities")
@pytest.mark.parametrize(
    "kind", ["of another host", "of an unknown authority", "self-signed", "expired", "of tomorrow"]
)
async def test_a_server_with_a_wrong_certificate_is_not_asked(server: Valkey, kind: str) -> None:
    with proxy(server.socket, server_tls(kind)) as way:
        async with linked(way.url, well=False) as (connection, on_message):
            assert on_message.states[0] == "tls"
            assert await outcome(connection) == "down"


def test_the_authorities_are_read_once_and_not_at_each_try() -> None:
    server = RedisServer("rediss://127.0.0.1")
    contexts = {id(server.connection().ssl_context.get()) for _ in range(3)}
    assert len(contexts) == 1


async def test_one_that_speaks_something_else_is_odd(way: Proxy) -> None:
    way.lie = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    async with linked(way.url, well=False) as (_, on_message):
        assert on_message.states[0] == "odd"
