"""The server fails over: the old one lives on, and its name leads to another."""

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.group_member import Member, members, until
from tests.programs import WITHIN, free_port
from tests.proxy import proxy
from tests.valkey import Valkey, clustered, valkey

pytestmark = pytest.mark.usefixtures("patience")

NAME = "cache.example"
FIRST, SECOND = "127.0.0.1", "127.0.0.2"


class Pair:
    """Two servers on one port of two addresses, and the name that leads to one of them."""

    def __init__(self, port: int, servers: list[Valkey]) -> None:
        self.port, (self.old, self.new) = port, servers
        self.leads_to = FIRST
        self.url = f"redis://{NAME}:{port}"

    def fail_over(self) -> None:
        """As managed servers do: the old primary lives on as a replica, and keeps its clients."""
        self.new.client.replicaof("NO", "ONE")
        self.leads_to = SECOND
        self.old.client.replicaof(SECOND, str(self.port))


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short: sockets live here."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def pair(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    port = free_port()
    with ExitStack() as stack:
        servers = []
        for address in (FIRST, SECOND):
            place = directory / address
            place.mkdir()
            options = ("--port", str(port), "--bind", address)
            servers.append(stack.enter_context(valkey(place, *options)))
        running, real = Pair(port, servers), socket.getaddrinfo

        def resolve(host: Any, *rest: Any, **options: Any) -> Any:
            return real(running.leads_to if host == NAME else host, *rest, **options)

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        yield running


async def assert_shared(group: list[Member], server: Valkey, key: str) -> None:
    """What one asks the other need not, by way of this server."""
    one, other = group
    assert (await one.fetch(key)).how == "asked"
    await until(lambda: server.client.keys(f"rfgw:*:{key}"))
    assert (await other.fetch(key)).how == "shared"


@pytest.mark.parametrize("is_busy", [True, False])
async def test_who_is_left_on_a_replica_finds_the_new_primary(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, is_busy: bool
) -> None:
    if is_busy:  # a question finds it out
        monkeypatch.setattr("app.cluster.redis_connection.WATCH", 100 * WITHIN)
    pair.new.client.replicaof(FIRST, str(pair.port))
    async with members(pair.url, pair.url) as group:
        await assert_shared(group, pair.old, "before")
        pair.fail_over()
        if is_busy:
            for member in group:
                assert (await member.fetch("meanwhile")).entry.body
        for member in group:
            await until(lambda member=member: member.states[2:] == [("up", "")])  # type: ignore[misc]
            assert member.states == [("up", ""), ("down", "replica"), ("up", "")]
        await assert_shared(group, pair.new, "after")


async def test_a_name_that_leads_elsewhere_is_followed(pair: Pair) -> None:
    async with members(pair.url, pair.url) as group:
        await assert_shared(group, pair.old, "before")
        pair.leads_to = SECOND  # the old one lives on, and would take whatever is written
        for member in group:
            await until(lambda member=member: member.states[2:] == [("up", "")])  # type: ignore[misc]
            assert member.states == [("up", ""), ("down", "moved"), ("up", "")]
        await assert_shared(group, pair.new, "after")


async def test_a_resolver_that_fails_says_nothing_of_the_server(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cluster.redis_connection.WATCH", 0.01)
    failed = 0

    def fail(*_asked: Any, **_options: Any) -> Any:
        nonlocal failed
        failed += 1
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    async with members(pair.url) as (one,):
        monkeypatch.setattr(socket, "getaddrinfo", fail)
        await until(lambda: failed >= 6)
        assert one.states == [("up", "")]


def is_replica(server: Valkey) -> None:
    server.client.replicaof("127.0.0.1", "1")


def is_replica_that_serves_nothing(server: Valkey) -> None:
    server.client.config_set("replica-serve-stale-data", "no")
    is_replica(server)


def is_primary(server: Valkey) -> None:
    server.client.replicaof("NO", "ONE")


def wants_a_password(server: Valkey) -> None:
    server.client.config_set("requirepass", "new")
    server.client.client_kill_filter(_type="normal", skipme=True)


def wants_none(server: Valkey) -> None:
    server.client.config_set("requirepass", "")


@pytest.mark.parametrize(
    ("hurt", "heal", "cause"),
    [
        (is_replica, is_primary, "replica"),
        (is_replica_that_serves_nothing, is_primary, "replica"),
        (wants_a_password, wants_none, "auth"),
    ],
)
async def test_a_server_that_refuses_for_a_while_is_left_and_found_again(
    directory: Path, hurt: Callable[[Valkey], None], heal: Callable[[Valkey], None], cause: str
) -> None:
    with valkey(directory) as server:
        async with members(server.url, server.url) as group:
            hurt(server)
            for member in group:
                assert (await member.fetch("meanwhile")).entry.body
                await until(lambda member=member: ("down", cause) in member.states)  # type: ignore[misc]
            assert [(await member.fetch("alone")).how for member in group] == ["asked"] * 2
            heal(server)
            for member in group:
                await until(lambda member=member: member.states[-1] == ("up", ""))  # type: ignore[misc]
            await assert_shared(group, server, "after")


async def test_a_cluster_without_its_slots_is_left_and_found_again(directory: Path) -> None:
    with valkey(directory, *clustered()) as server:

        def slots(verb: str) -> None:
            server.client.execute_command("CLUSTER", f"{verb}SLOTSRANGE", "0", "16383")  # type: ignore[no-untyped-call]

        slots("ADD")
        async with members(server.url, server.url) as group:
            for verb, state in ((None, "up"), ("DEL", "down"), ("ADD", "up")):
                if verb:
                    slots(verb)
                for member in group:
                    await until(lambda member=member, state=state: member.states[-1][0] == state)  # type: ignore[misc]
            assert all(("down", "cluster") in member.states for member in group)
            await assert_shared(group, server, "after")


async def test_a_server_that_still_loads_is_left_until_it_has(directory: Path) -> None:
    with valkey(directory) as server, proxy(server.socket) as way:
        async with members(way.url, way.url) as group:
            way.lie = b"-LOADING Valkey is loading the dataset in memory\r\n"
            for member in group:
                assert (await member.fetch("meanwhile")).how == "asked"
                await until(lambda member=member: member.states[1:] == [("down", "loading")])  # type: ignore[misc]
            way.lie = None
            for member in group:
                await until(lambda member=member: member.states[2:] == [("up", "")])  # type: ignore[misc]
            await assert_shared(group, server, "after")
