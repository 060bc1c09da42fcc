"""What the shared cache leaves behind, and what a failure must not change for the next one."""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from app.cache.codec import MAX_SIZE
from app.cluster.notices import Notice
from app.cluster.redis_connection import LATE_ROW, RedisConnection, Unreachable
from app.cluster.shared_store import YOUNGER
from app.core.cache_entry import CacheEntry, digest
from app.core.errors import Overloaded, UpstreamTimeout
from tests.group_member import members, until
from tests.programs import WITHIN
from tests.proxy import proxy
from tests.test_redis import linked, outcome, unwatched
from tests.valkey import Valkey, impatient, valkey

__all__ = ["unwatched"]  # a fixture

pytestmark = pytest.mark.usefixtures("patience")

NEVER = 100 * WITHIN
"""Seconds: longer than any test."""


@pytest.fixture
def server() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory() as directory, valkey(Path(directory)) as running:
        yield running


# --- Nothing stays behind ----------------------------------------------------------------------


async def test_a_question_leaves_no_task_and_no_lease(server: Valkey) -> None:
    async with members(server.url) as (one,):
        before, answered = asyncio.all_tasks(), asyncio.Event()
        asking = asyncio.create_task(one.fetch("call", answered))
        await until(lambda: one.counted("total", operation="renew", outcome="ok"))
        answered.set()
        await asking
        await until(lambda: asyncio.all_tasks() <= before)
        assert server.client.keys("*:lease") == []
        assert one.coordinator._waiting == {}


async def test_a_question_that_fails_or_is_given_up_leaves_no_task_and_no_lease(
    server: Valkey,
) -> None:
    async with members(server.url) as (one,):
        before = asyncio.all_tasks()
        asking = asyncio.create_task(one.fetch("call", asyncio.Event()))
        await until(lambda: one.asked)
        asking.cancel()
        await until(lambda: asyncio.all_tasks() <= before)
        assert server.client.keys("*:lease") == []


async def test_a_lease_is_given_back_if_an_answer_was_found(server: Valkey) -> None:
    async with members(server.url, server.url) as (one, other):
        await one.fetch("call")
        await until(lambda: one.counted("total", operation="tell", outcome="ok"))
        assert (await other.fetch("call")).how == "shared"
        await until(lambda: one.counted("notices_total", kind="nothing"))
        assert server.client.keys("*:lease") == []


async def test_the_row_of_questions_has_a_bound(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cluster.redis_connection.BACKLOG", 20)
    monkeypatch.setattr("app.cluster.redis_connection.QUIET", NEVER)
    async with linked(server.url) as (connection, heard):
        with server.frozen():
            asked = [asyncio.create_task(connection.ask(("PING",))) for _ in range(20)]
            await asyncio.sleep(0)
            assert await outcome(connection) == "down", "and not late, after a while"
            ends = await asyncio.gather(*asked, return_exceptions=True)
            assert {end.outcome for end in ends if isinstance(end, Unreachable)} == {"down"}
            await until(lambda: heard.states[1:2] == ["late"])


async def test_what_could_not_be_told_has_a_bound(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cluster.invalidation.MAX_UNPUBLISHED", 3)
    async with members(server.url) as (one,):
        server.stop()
        await until(lambda: one.states[-1][0] == "down")
        for number in range(5):
            assert (await one.fetch(f"call{number}")).how == "asked"
        server.start()
        await until(lambda: one.states[-1][0] == "up")
        await until(lambda: one.counted("total", operation="compare", outcome="ok"))
        assert len(server.client.keys("rfgw:*:call*")) == 3


async def test_what_could_not_be_told_is_not_told_over_a_younger_answer(server: Valkey) -> None:
    """One asks while it is cut off. The other asks later, and its answer is told at once."""
    with proxy(server.socket) as way:
        async with members(way.url, server.url) as (one, other):
            way.lie = b"-LOADING Valkey is loading the dataset in memory\r\n"
            way.cut()
            await until(lambda: one.states[-1][0] == "down")
            assert (await one.fetch("call", body=b"older")).how == "asked"
            await asyncio.sleep(YOUNGER)  # by less, nobody tells which is the younger
            assert (await other.fetch("call", body=b"younger")).how == "asked"
            await until(lambda: server.client.keys("rfgw:*:call"))
            way.lie = None
            await until(lambda: one.states[-1][0] == "up")
            await until(lambda: one.counted("total", operation="compare", outcome="ok"))
        async with members(server.url) as (late,):
            assert (await late.fetch("call")).entry.body == b"younger"


async def test_a_refusal_that_is_stale_by_now_is_told_to_who_missed_its_notice(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refusals are fresh for seconds, and who is cut off may be so for longer."""
    monkeypatch.setattr("app.cluster.shared_store.SPARE", 0.001)
    now = time.monotonic()
    old = CacheEntry(b"old", digest(b"old"), now - 10, 60.0, 60)
    refusal = CacheEntry(b"", "", now - 5, 1.0, 1, refused="SessionNotFound", fault_code=300)

    async def refuse() -> CacheEntry:
        return refusal

    with proxy(server.socket) as way:
        async with members(way.url, server.url) as (one, other):
            one.coordinator.subscribe(one.store.put, lambda key, error: None)
            way.lie = b"-LOADING Valkey is loading the dataset in memory\r\n"
            way.cut()
            await until(lambda: one.states[-1][0] == "down")
            one.store.put("call", old)
            await other.coordinator.fetch("call", lambda entry: False, refuse)
            await until(lambda: other.counted("total", operation="tell", outcome="ok"))
            server.client.set("spare", b"", px=1)
            await until(lambda: not server.client.exists("spare"))
            way.lie = None
            await until(lambda: one.states[-1][0] == "up")
            await until(lambda: one.counted("total", operation="compare", outcome="ok"))
            await until(lambda: not one.coordinator._invalidation._tasks)
            kept = one.store.get("call")
            assert kept is not None
            assert kept.refused == "SessionNotFound"


async def test_what_nobody_would_read_is_not_written(server: Valkey) -> None:
    async with members(server.url) as (one,):
        assert (await one.fetch("call", body=bytes(MAX_SIZE))).how == "asked"
        await until(lambda: one.counted("total", operation="tell", outcome="ok"))
        assert server.client.keys("rfgw:*:call") == []


async def test_what_is_known_to_be_forgotten_has_a_bound(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cluster.invalidation.MAX_UNPUBLISHED", 3)
    async with members(server.url, server.url) as (one, other):
        for number in range(5):
            await one.coordinator.forget(f"call{number}")
        await until(lambda: other.counted("notices_total", kind="answer") == 5)
        assert len(other.coordinator._invalidation._forgotten) == 3


async def test_what_was_forgotten_is_fetched_anew_once(server: Valkey) -> None:
    async with members(server.url, server.url) as (one, other):
        fetched: list[str] = []
        other.coordinator.subscribe(lambda key, entry: fetched.append(key), lambda key, error: None)
        for times in range(2):
            if times == 0:
                await one.coordinator.forget("call")
            server.client.flushdb()
            assert (await one.fetch("call")).how == "asked"
            other.store.put("after", CacheEntry(b"old", digest(b"old"), 0.0, 60.0, 60))
            assert (await one.fetch("after")).how == "asked"
            await until(lambda times=times: fetched.count("after") == times + 1)  # type: ignore[misc]
        assert fetched.count("call") == 1


async def test_beyond_a_bound_a_changed_answer_is_dropped_and_not_fetched(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with members(server.url, server.url) as (one, other):
        mine = CacheEntry(b"mine", digest(b"mine"), time.monotonic() - 10, 60.0, 60)
        other.store.put("call", mine)
        await until(lambda: not other.coordinator._invalidation._tasks)
        monkeypatch.setattr("app.cluster.invalidation.AT_ONCE", 0)
        await one.fetch("call")
        await until(lambda: other.store.get("call") != mine)
        assert other.store.get("call") is None


async def test_a_changed_answer_is_dropped_if_the_new_one_is_gone_already(server: Valkey) -> None:
    async with members(server.url, server.url) as (one, other):
        other.store.put("call", CacheEntry(b"old", digest(b"old"), time.monotonic(), 60.0, 60))
        shared = one.coordinator.shared_store
        notice = shared._notices.pack(Notice("call", "another"))
        await shared.do("tell", ("PUBLISH", shared._channel, notice))
        await until(lambda: other.store.get("call") is None)


# --- The next failure is as the first ----------------------------------------------------------


async def late(connection: RedisConnection, server: Valkey, times: int) -> None:
    """So many answers in a row come too late."""
    with server.frozen(), impatient():
        assert [await outcome(connection) for _ in range(times)] == ["late"] * times


@pytest.mark.usefixtures("unwatched")
async def test_late_answers_count_in_a_row_and_not_over_a_lifetime(server: Valkey) -> None:
    async with linked(server.url) as (connection, heard):
        for _ in range(3):
            await late(connection, server, LATE_ROW - 1)
            assert await outcome(connection) == "ok"
        assert heard.states == ["up"]


@pytest.mark.usefixtures("unwatched")
async def test_a_connection_after_a_late_one_may_be_late_as_often(server: Valkey) -> None:
    async with linked(server.url) as (connection, heard):
        await late(connection, server, LATE_ROW)
        await until(lambda: heard.states == ["up", "late", "up"])
        await late(connection, server, LATE_ROW - 1)
        assert heard.states == ["up", "late", "up"]


async def test_after_each_loss_the_first_try_comes_as_soon_as_after_the_first(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cluster.redis_connection.PAUSES", (0.01, NEVER))
    with proxy(server.socket) as way:
        async with linked(way.url) as (_, heard):
            for losses in (1, 2, 3):
                way.cut()
                await until(lambda losses=losses: heard.states.count("up") == losses + 1)  # type: ignore[misc]


async def test_who_waits_when_the_connection_ends_asks_for_itself(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cluster.coordinator.RECHECK", NEVER)
    async with members(server.url, server.url, deadline=NEVER) as (one, other):
        answered = asyncio.Event()
        asking = asyncio.create_task(one.fetch("call", answered))
        await until(lambda: one.asked)
        waiting = asyncio.create_task(other.fetch("call"))
        await until(lambda: other.counted("total", operation="meet", outcome="ok"))
        server.stop()
        await until(waiting.done)
        assert waiting.result().how == "asked"
        assert other.hows == ["alone"]
        answered.set()
        await asking


async def test_who_waits_for_one_that_has_no_place_asks_for_itself(server: Valkey) -> None:
    full = asyncio.Event()

    async def refuse() -> CacheEntry:
        await full.wait()
        raise Overloaded("queue_full", asked=False)

    async with members(server.url, server.url) as (one, other):
        asking = asyncio.create_task(one.coordinator.fetch("call", lambda entry: True, refuse))
        await until(lambda: server.client.keys("*:lease"))
        waiting = asyncio.create_task(other.fetch("call"))
        await until(lambda: other.counted("total", operation="meet", outcome="ok"))
        full.set()
        with pytest.raises(Overloaded):
            await asking
        assert (await waiting).how == "asked"


async def test_who_asks_after_it_has_waited_has_what_is_left_of_its_time(server: Valkey) -> None:
    full = asyncio.Event()

    async def refuse() -> CacheEntry:
        await full.wait()
        raise Overloaded("queue_full", asked=False)

    async with members(server.url, server.url, deadline=NEVER) as (one, other):
        began = time.monotonic()
        other.clock = lambda: began  # stands still
        asking = asyncio.create_task(one.coordinator.fetch("call", lambda entry: True, refuse))
        await until(lambda: server.client.keys("*:lease"))
        never = asyncio.Event()
        waiting = asyncio.create_task(other.fetch("call", never))
        await until(lambda: other.counted("total", operation="meet", outcome="ok"))
        other.clock = lambda: began + NEVER - 0.1
        full.set()
        with pytest.raises(Overloaded):
            await asking
        with pytest.raises(UpstreamTimeout):
            await asyncio.wait_for(waiting, WITHIN / 2)
        assert other.hows == ["led"]


async def test_who_renews_a_lease_that_it_has_lost_takes_it_from_nobody(server: Valkey) -> None:
    async with members(server.url, server.url) as (one, other):
        sleeper, successor = one.coordinator.shared_store, other.coordinator.shared_store
        lost = (await sleeper.acquire("call")).lease
        server.client.delete(*server.client.keys("*:lease"))  # it slept past the end of it
        held = (await successor.acquire("call")).lease
        assert lost
        assert held
        await sleeper.renew("call", lost)
        answer = CacheEntry(b"new", digest(b"new"), time.monotonic(), 60.0, 60)
        await successor.publish("call", held, answer)
        found = await sleeper.get("call")
        assert found is not None, "the answer was thrown away"
        assert found.body == b"new"
        assert server.client.keys("*:lease") == []


async def test_a_pause_of_our_own_is_not_the_servers(server: Valkey) -> None:
    server.client.set("large", b"x" * 1_000_000)  # more than is read in one turn of the loop
    async with linked(server.url) as (connection, _):

        def pause() -> None:
            """Until the server has answered, and then for longer than an answer may take."""
            while not server.client.getdel("asked"):
                pass
            time.sleep(0.1)

        ends = []
        for _ in range(LATE_ROW - 1):  # any will do: the machine may make a pause of its own
            asyncio.get_running_loop().call_later(0, pause)
            with impatient(), suppress(Unreachable):
                ends.append(await connection.ask(("SET", "asked", 1), ("GET", "large")))
        assert ends


async def test_what_a_leaving_process_has_just_learnt_is_shared(server: Valkey) -> None:
    body = b"x" * 2_000_000  # more than a socket takes at once
    async with members(server.url, server.url) as (one, other):
        answered = asyncio.Event()
        asking = asyncio.create_task(one.fetch("call", answered, body))
        await until(lambda: one.asked)
        with server.frozen():
            answered.set()
            await asking
            leaving = asyncio.create_task(one.coordinator.aclose())
            for _ in range(10):
                await asyncio.sleep(0)
        await leaving
        found = await other.fetch("call")
        assert (found.how, found.entry.body) == ("shared", body)
