"""The connections to a real Valkey server: made from behind, of no use while odd or late."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from app.cluster.redis_connection import LATE_ROW, RedisConnection, Unreachable
from app.cluster.redis_url import RedisServer
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

    def heard(self, message: bytes) -> None:
        self.messages.append(message)

    def up(self) -> None:
        self.states.append("up")

    def down(self, cause: str) -> None:
        self.states.append(cause)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what is sure to come soon."""
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


@asynccontextmanager
async def linked(url: str, *, well: bool = True) -> AsyncIterator[tuple[RedisConnection, Heard]]:
    """A link that is up, or has tried in vain; afterwards nothing of it is left."""
    link, heard, before = RedisConnection(url, "news"), Heard(), asyncio.all_tasks()
    running = asyncio.create_task(link.run(heard))
    try:
        await until(lambda: link.is_up if well else bool(heard.states))
        del heard.states[:-1]
        yield link, heard
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert asyncio.all_tasks() == before
        assert not link.is_up


async def outcome(link: RedisConnection) -> str:
    """How a question ends, in a word."""
    try:
        return "ok" if await link.ask(("PING",)) == [b"PONG"] else "wrong"
    except Unreachable as error:
        return error.outcome


async def test_many_questions_at_once_have_each_their_answers(server: Valkey) -> None:
    async with linked(server.url) as (link, heard):
        assert heard.states == ["up"]
        asked = [link.ask(("ECHO", number), ("ECHO", f"{number}!")) for number in range(500)]
        answers = await asyncio.gather(*asked)
    assert answers == [[b"%d" % number, b"%d!" % number] for number in range(500)]


async def test_an_error_answer_is_an_answer(server: Valkey) -> None:
    async with linked(server.url) as (link, _):
        wrong, right = await link.ask(("NONSENSE",), ("PING",))
        assert isinstance(wrong, ResponseError)
        assert right == b"PONG"


async def test_messages_are_heard(server: Valkey) -> None:
    async with linked(server.url) as (_, heard):
        server.client.publish("other", b"not this")
        server.client.publish("news", b"\x00this")
        await until(lambda: bool(heard.messages))
        assert heard.messages == [b"\x00this"]


async def test_without_a_server_nobody_waits(directory: Path) -> None:
    async with linked(f"unix://{directory}/nothing", well=False) as (link, heard):
        assert heard.states[0] == "refused"
        assert await outcome(link) == "down"


async def test_a_wrong_password_is_told_as_such(directory: Path) -> None:
    with valkey(directory, "--requirepass", "right") as server:
        url = f"unix://:{{}}@{server.socket}"
        async with linked(url.format("wrong"), well=False) as (link, heard):
            assert heard.states[0] == "auth"
            assert await outcome(link) == "down"
        async with linked(url.format("right")) as (link, _):
            assert await outcome(link) == "ok"


async def test_a_server_that_ended_is_found_again(server: Valkey) -> None:
    async with linked(server.url) as (link, heard):
        server.stop()
        await until(lambda: heard.states[1:2] == ["closed"])
        assert await outcome(link) == "down"
        server.start()
        await until(lambda: heard.states[-1] == "up")
        assert await outcome(link) == "ok"


async def test_a_frozen_server_is_left_alone_after_some_late_answers(server: Valkey) -> None:
    async with linked(server.url) as (link, heard):
        with server.frozen(), impatient():
            assert [await outcome(link) for _ in range(LATE_ROW)] == ["late"] * LATE_ROW
            assert await outcome(link) == "down"
            await until(lambda: heard.states[1:2] == ["late"])
        await until(lambda: heard.states[-1] == "up")
        assert await outcome(link) == "ok"


async def test_a_frozen_server_is_noticed_though_nobody_asks(server: Valkey) -> None:
    async with linked(server.url) as (_, heard):
        with server.frozen():
            await until(lambda: heard.states[1:2] == ["late"])


async def test_a_late_answer_is_never_taken_for_anothers(server: Valkey) -> None:
    async with linked(server.url) as (link, heard):
        with server.frozen(), impatient(), pytest.raises(Unreachable):
            await link.ask(("ECHO", "late"))
        for number in range(20):
            assert await link.ask(("ECHO", number)) == [b"%d" % number]
        assert heard.states == ["up"]


async def test_a_slow_server_is_not_used_until_it_is_quick(way: Proxy) -> None:
    way.delay = 0.05
    with ExitStack() as while_slow:
        while_slow.enter_context(impatient())
        async with linked(way.url, well=False) as (link, heard):
            assert heard.states[0] == "late"
            assert await outcome(link) == "down"
            way.delay = 0.0
            while_slow.close()
            await until(lambda: heard.states[-1] == "up")
            assert await outcome(link) == "ok"


async def test_broken_connections_are_made_anew(way: Proxy) -> None:
    async with linked(way.url) as (link, heard):
        way.cut()
        await until(lambda: heard.states == ["up", "closed", "up"])
        assert await outcome(link) == "ok"


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
    ],
)
async def test_a_server_that_lies_is_left_alone(way: Proxy, lie: bytes) -> None:
    async with linked(way.url) as (link, heard):
        way.lie = lie
        with impatient():
            for _ in range(LATE_ROW):
                with suppress(Unreachable):
                    await link.ask(("GET", "something"), ("GET", "else"))
            await until(lambda: len(heard.states) > 1)
        assert heard.states[1] in ("odd", "late", "closed")
        way.lie = None
        await until(lambda: heard.states[-1] == "up")
        assert await outcome(link) == "ok"


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
        async with linked(way.url) as (link, heard):
            assert await outcome(link) == "ok"
            server.client.publish("news", b"this")
            await until(lambda: heard.messages == [b"this"])
            way.cut()
            await until(lambda: heard.states[-1] == "up" and len(heard.states) > 1)
            assert await outcome(link) == "ok"


@pytest.mark.usefixtures("authorities")
@pytest.mark.parametrize(
    "kind", ["of another host", "of an unknown authority", "self-signed", "expired", "of tomorrow"]
)
async def test_a_server_with_a_wrong_certificate_is_not_asked(server: Valkey, kind: str) -> None:
    with proxy(server.socket, server_tls(kind)) as way:
        async with linked(way.url, well=False) as (link, heard):
            assert heard.states[0] == "tls"
            assert await outcome(link) == "down"


def test_the_authorities_are_read_once_and_not_at_each_try() -> None:
    server = RedisServer("rediss://127.0.0.1")
    contexts = {id(server.connection().ssl_context.get()) for _ in range(3)}
    assert len(contexts) == 1


async def test_one_that_speaks_something_else_is_odd(way: Proxy) -> None:
    way.lie = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    async with linked(way.url, well=False) as (_, heard):
        assert heard.states[0] == "odd"
