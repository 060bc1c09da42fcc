"""A server that cannot be shared is told as such, and nobody waits for what will not come."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from app.cli.doctor.finding import Finding
from app.cli.doctor.shared_cache import DOWN, examine_cache
from app.cluster.refusals import REFUSALS, refusal_of
from tests.group_member import members, until
from tests.programs import WITHIN
from tests.valkey import Valkey, clustered, valkey

pytestmark = pytest.mark.usefixtures("patience")

RIGHTS = (
    "+set +getrange +get +pttl +pexpire +del +eval +time +publish +subscribe +ping +select"
    " +client|setinfo +hello"
)
"""What a user needs: the guide for operators lists the same."""


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short: sockets live here."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def with_user(server: Valkey, rights: str) -> str:
    """The address of a user with these rights."""
    rules = f"on >any ~rfgw:* &rfgw:* -@all {rights}"
    server.client.execute_command("ACL", "SETUSER", "one", *rules.split())  # type: ignore[no-untyped-call]
    return f"unix://one:any@{server.socket}"


async def assert_alone(url: str, cause: str) -> None:
    """Two processes are told why, and each asks for itself; the doctor finds the same."""
    async with members(url, url) as (one, other):
        assert one.states == other.states == [("down", cause)]
        assert [(await member.fetch("call")).how for member in (one, other)] == ["asked"] * 2
        assert one.hows == other.hows == ["alone"]
    assert await examine_cache(url) == Finding("cache", "FAIL", *DOWN[cause])


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ((), "cluster"),
        (("--maxmemory", "1", "--maxmemory-policy", "noeviction"), "full"),
        (("--replicaof", "127.0.0.1 1"), "replica"),
        (("--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "no"), "replica"),
        (("--min-replicas-to-write", "1"), "unwritable"),
    ],
)
async def test_a_server_that_does_not_take_what_is_shared_is_down_with_its_cause(
    directory: Path, options: tuple[str, ...], cause: str
) -> None:
    with valkey(directory, *(options or clustered())) as server:
        await assert_alone(server.url, cause)


@pytest.mark.parametrize("missing", ["eval", "set", "getrange", "time", "del", "publish"])
async def test_a_user_who_may_not_do_all_that_the_gateway_does_is_told_so(
    directory: Path, missing: str
) -> None:
    with valkey(directory) as server:
        await assert_alone(with_user(server, f"{RIGHTS} -{missing}"), "denied")
        assert server.client.dbsize() == 0 or missing == "del"


async def test_a_server_without_a_command_that_is_needed_is_told_as_such(directory: Path) -> None:
    with valkey(directory, "--rename-command", "eval", "nobody") as server:
        await assert_alone(server.url, "unsupported")


@pytest.mark.parametrize("number", ["99", "400"])
async def test_a_database_that_is_not_there_is_told_as_such(directory: Path, number: str) -> None:
    with valkey(directory) as server:
        await assert_alone(f"{server.url}?db={number}", "database")


async def test_a_user_with_the_listed_rights_may_do_all(directory: Path) -> None:
    with valkey(directory) as server:
        url = with_user(server, RIGHTS)
        async with members(url, url) as (one, other):
            assert (await one.fetch("call")).how == "asked"
            await until(lambda: one.counted("total", operation="tell", outcome="ok"))
            assert (await other.fetch("call")).how == "shared"
            assert one.states == other.states == [("up", "")]
        assert (await examine_cache(url)).status == "ok"


async def test_a_cluster_of_one_is_shared(directory: Path) -> None:
    with valkey(directory, *clustered()) as server:
        server.client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")  # type: ignore[no-untyped-call]
        async with members(server.url, server.url) as (one, other):
            await until(lambda: other.states[-1:] == one.states[-1:] == [("up", "")])
            assert (await one.fetch("call")).how == "asked"
            await until(lambda: one.counted("total", operation="tell", outcome="ok"))
            assert (await other.fetch("call")).how == "shared"


async def test_a_script_that_is_refused_gives_the_lease_back(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cluster.redis_connection.WATCH", 100 * WITHIN)
    with valkey(directory) as server:
        answered = asyncio.Event()
        async with members(with_user(server, RIGHTS), server.url) as (one, other):
            asking = asyncio.create_task(one.fetch("call", answered))
            await until(lambda: one.asked)
            waiting = asyncio.create_task(other.fetch("call"))
            await until(lambda: other.counted("total", operation="meet", outcome="ok"))
            with_user(server, f"{RIGHTS} -eval")
            answered.set()
            assert (await asking).how == "asked"
            await until(lambda: other.counted("notices_total", kind="nothing"))
            assert (await waiting).how == "asked"
            assert other.hows == ["led"], "the lease was to be had again"
            await until(lambda: one.states[1:2] == [("down", "denied")])
            with_user(server, RIGHTS)
            await until(lambda: one.states[2:] == [("up", "")])


@pytest.mark.parametrize("suffix", ["", ":lease"], ids=["record", "lease"])
@pytest.mark.parametrize("kind", ["list", "text without an end", "empty text", "large text"])
async def test_whatever_stands_in_a_names_place_nobody_waits_for_it_for_long(
    directory: Path, monkeypatch: pytest.MonkeyPatch, kind: str, suffix: str
) -> None:
    with valkey(directory) as server:
        async with members(server.url, server.url) as (one, other):
            await one.fetch("first")  # so that the names are known
            await until(lambda: server.client.keys("rfgw:*:first"))
            (name,) = server.client.keys("rfgw:*:first")
            place = bytes(name).decode().replace("first", "call") + suffix  # type: ignore[arg-type]
            if kind == "list":
                server.client.rpush(place, b"x")
            else:
                size = {"empty text": 0, "large text": 10_000_000}.get(kind, 1)
                server.client.set(place, b"x" * size)
            with monkeypatch.context() as earnest:
                earnest.setattr("app.cluster.shared_store.LEASE", 1.0)
                assert (await other.fetch("call")).how == "asked"
            await until(lambda: not server.client.exists(place) or not suffix)
            assert (await one.fetch("after")).how == "asked"
            await until(lambda: server.client.keys("rfgw:*:after"))
            assert (await other.fetch("after")).how == "shared"
            assert one.states == other.states == [("up", "")]


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        ("READONLY You can't write against a read only replica.", "replica"),
        ("ERR Error running script (call to f_1): @user_script: 2: -READONLY You", "replica"),
        ("MISCONF Valkey is configured to save RDB snapshots", "unwritable"),
        ("LOADING Redis is loading the dataset in memory", "loading"),
        ("MOVED 3999 127.0.0.1:6381", "cluster"),
        ("ERR SELECT is not allowed in cluster mode", "database"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", ""),
        ("ERR value is not an integer or out of range", ""),
        ("ERR unknown command 'MOVED'", ""),
    ],
)
def test_a_refusal_is_about_the_server_or_about_one_question(reply: str, word: str) -> None:
    assert refusal_of(ResponseError(reply)) == word


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        (b"LOADING Redis is loading the dataset in memory", "loading"),
        (b"NOAUTH Authentication required.", "auth"),
        (b"WRONGPASS invalid username-password pair or user is disabled.", "auth"),
        (b"NOPERM User a has no permissions to run the 'select' command", "denied"),
        (b"ERR DB index is out of range", "database"),
    ],
)
async def test_what_ends_the_beginning_of_a_connection_is_told(reply: bytes, word: str) -> None:
    """redis-py has a class of its own for some, not all of which are replies to it."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(b"-%b\r\n" % reply)
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with members(f"redis://127.0.0.1:{port}/1") as (one,):
            await until(lambda: one.states)
            assert one.states == [("down", word)]


def test_every_word_is_told_by_the_doctor() -> None:
    assert set(REFUSALS.values()) <= DOWN.keys()
