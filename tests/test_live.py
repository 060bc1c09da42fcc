"""The hub: who hears what, how often the farm is asked for it, and how many may watch."""

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest

from app.core import errors
from app.core.cache_entry import CacheEntry
from app.core.fetch_result import FetchResult
from app.core.subscriptions import Subscriber, Subscriptions, Update, pause
from app.resources.sessions import GetSession
from tests.test_gateway import CALL, FRESH, Clock, Farm, build

ENTRY = CacheEntry(b"{}", "one", 1000.0, 5.0, 5)


@pytest.fixture
def parts() -> tuple[Subscriptions, Farm, Clock]:
    """A hub over a gateway whose clock is wound by hand."""
    gateway, farm, clock = build()
    return Subscriptions(gateway, most=3, per_client=2), farm, clock


async def on_answer(subscriber: Subscriber) -> Update | None:
    async with asyncio.timeout(5):
        told = await subscriber.next()
    assert told is None or told[0] == CALL.key
    return told and told[1]


def is_silent(subscriber: Subscriber) -> bool:
    return not subscriber._bell.is_set()


@pytest.mark.parametrize(
    ("answer", "lifetime", "seconds"),
    [
        (FetchResult(ENTRY), 5.0, 3.0),
        (FetchResult(ENTRY._replace(lifetime=3600.0)), 5.0, 3598.0),
        (FetchResult(ENTRY._replace(lifetime=1.0)), 1.0, 1.0),  # stale already: not at once
        (FetchResult(ENTRY._replace(lifetime=0.0)), 0.0, 1.0),
        (FetchResult(error=errors.UpstreamTimeout()), 3.0, 3.0),
        (FetchResult(error=errors.UpstreamTimeout()), 60.0, 5.0),
        (FetchResult(error=errors.UpstreamTimeout()), 0.0, 1.0),
        (FetchResult(error=errors.UpstreamUnavailable(retry_after=12.0)), 3.0, 12.0),
        (FetchResult(error=errors.UpstreamUnavailable(retry_after=0.5)), 3.0, 3.0),
    ],
)
def test_the_pause_is_what_is_left_of_the_answer_or_short_after_a_failure(
    answer: FetchResult, lifetime: float, seconds: float
) -> None:
    assert pause(answer, 1002.0, lifetime) == seconds


def test_failures_are_one_state_whatever_their_cause() -> None:
    assert Update(None, errors.UpstreamTimeout()).state == Update(None, errors.Overloaded()).state
    refused = ENTRY._replace(refused="SessionNotFound", digest="")
    states = [Update(ENTRY).state, Update(refused).state, Update(None, errors.Overloaded()).state]
    assert len(set(states)) == 3


async def test_all_watchers_hear_of_a_change_and_the_farm_is_asked_once(
    parts: tuple[Subscriptions, Farm, Clock],
) -> None:
    subscriptions, farm, _ = parts
    with subscriptions.watch(CALL, "a") as first, subscriptions.watch(CALL, "b") as second:
        update = [await on_answer(subscriber) for subscriber in (first, second)]
        assert update[0] == update[1]
        assert farm.calls == 1


async def test_a_fetch_of_anyone_is_news_at_once(parts: tuple[Subscriptions, Farm, Clock]) -> None:
    subscriptions, farm, clock = parts
    gateway = subscriptions._gateway
    with subscriptions.watch(CALL, "a") as subscriber:
        await on_answer(subscriber)
        clock.now += FRESH
        await gateway.latest(CALL)
        assert is_silent(subscriber), "nothing has changed"
        clock.now += FRESH
        farm.title = "two"
        await gateway.latest(CALL)
        update = await on_answer(subscriber)
        assert update is not None
        assert update.entry is not None
        assert b"two" in update.entry.body
        clock.now += FRESH
        farm.mood = "refusing"
        await gateway.latest(CALL)
        update = await on_answer(subscriber)
        assert update is not None
        assert isinstance(update.error, errors.SessionNotFound)


async def test_what_another_process_found_is_news_too(
    parts: tuple[Subscriptions, Farm, Clock],
) -> None:
    subscriptions, farm, _ = parts
    with subscriptions.watch(CALL, "a") as subscriber:
        await on_answer(subscriber)
        subscriptions.on_answer(CALL.key, ENTRY)
        assert await on_answer(subscriber) == Update(ENTRY)
        subscriptions.on_answer(GetSession(id=43).key, ENTRY)  # nobody watches
        assert is_silent(subscriber)
    assert farm.calls == 1


async def test_a_slow_reader_gets_the_newest_alone(
    parts: tuple[Subscriptions, Farm, Clock],
) -> None:
    subscriptions, _, _ = parts
    with subscriptions.watch(CALL, "a") as subscriber:
        for digest in ("two", "three", "four"):
            subscriptions.on_answer(CALL.key, ENTRY._replace(digest=digest))
        assert await on_answer(subscriber) == Update(ENTRY._replace(digest="four"))
        assert is_silent(subscriber)


async def test_who_comes_later_hears_what_is_known(
    parts: tuple[Subscriptions, Farm, Clock],
) -> None:
    subscriptions, farm, _ = parts
    farm.mood = "failing"
    with subscriptions.watch(CALL, "a") as first:
        update = await on_answer(first)
        assert update is not None
        assert update.state == "failing"
        with subscriptions.watch(CALL, "b") as second:
            assert await on_answer(second) is update


async def test_of_several_calls_a_slow_reader_gets_the_newest_of_each(
    parts: tuple[Subscriptions, Farm, Clock],
) -> None:
    subscriptions, _, _ = parts
    other = GetSession(id=43)
    with subscriptions.reader("a") as subscriber:
        assert is_silent(subscriber)
        for call in (CALL, other):
            subscriber.begin(call.key, Update(ENTRY))
            subscriptions.add(subscriber, call)
        for digest in ("two", "three", "four"):
            subscriptions.on_answer(CALL.key, ENTRY._replace(digest=digest))
        subscriptions.on_answer(other.key, ENTRY._replace(digest="five"))
        assert len(subscriptions) == 1
        async with asyncio.timeout(5):
            told = [await subscriber.next() for _ in range(4)]
        assert told == [
            (CALL.key, Update(ENTRY)),
            (other.key, Update(ENTRY)),
            (CALL.key, Update(ENTRY._replace(digest="four"))),
            (other.key, Update(ENTRY._replace(digest="five"))),
        ]
        assert is_silent(subscriber)
    assert subscriptions._topics == {}


async def test_there_is_room_for_so_many_in_all_and_of_one_client(
    parts: tuple[Subscriptions, Farm, Clock],
) -> None:
    subscriptions, _, _ = parts
    with ExitStack() as stack:
        for client in ("a", "a"):
            stack.enter_context(subscriptions.watch(CALL, client))
        with pytest.raises(errors.TooManyStreams):
            stack.enter_context(subscriptions.watch(CALL, "a"))
        stack.enter_context(subscriptions.watch(GetSession(id=43), "b"))
        with pytest.raises(errors.Overloaded):
            stack.enter_context(subscriptions.watch(CALL, "c"))
        assert len(subscriptions) == 3
    assert len(subscriptions) == 0
    with subscriptions.watch(CALL, "a"):
        assert len(subscriptions) == 1


async def test_when_the_last_has_left_nothing_is_left_behind(
    parts: tuple[Subscriptions, Farm, Clock],
) -> None:
    subscriptions, _, _ = parts
    before = asyncio.all_tasks()
    with subscriptions.watch(CALL, "a") as subscriber, subscriptions.watch(CALL, "b"):
        await on_answer(subscriber)
        assert len(asyncio.all_tasks() - before) == 1
    assert subscriptions._topics == {}
    assert not subscriptions._clients
    assert not subscriptions._subscribers
    await asyncio.wait(asyncio.all_tasks() - before, timeout=5)
    assert asyncio.all_tasks() == before


async def test_a_reader_that_has_left_watches_nothing_more(
    parts: tuple[Subscriptions, Farm, Clock],
) -> None:
    subscriptions, _, _ = parts
    with subscriptions.reader("a") as subscriber:
        pass
    subscriptions.add(subscriber, CALL)
    assert subscriptions._topics == {}


async def test_at_the_end_everyone_hears_that_there_is_no_more(
    parts: tuple[Subscriptions, Farm, Clock],
) -> None:
    subscriptions, _, _ = parts
    with subscriptions.watch(CALL, "a") as first:
        subscriptions.end()
        assert await on_answer(first) is None
        with subscriptions.watch(CALL, "b") as late:
            assert await on_answer(late) is None
        await subscriptions.aclose()
        poller: Any = subscriptions._topics[CALL.key].poller
        assert poller.cancelled()
