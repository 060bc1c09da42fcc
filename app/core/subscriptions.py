"""Who watches which call, and the one poller that asks for all watchers of it."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from app.core import errors
from app.core.cache_entry import CacheEntry
from app.core.call import Call
from app.core.fetch_result import FetchResult
from app.core.gateway import Gateway, refusal

AGAIN = 5.0
"""Seconds after which a farm that failed is asked again, or sooner if the answer lives shorter."""

POLLS_AT_ONCE = 8
"""Questions of all pollers under way at once: they leave the bulkhead to those who wait."""

AT_LEAST = 1.0
"""Seconds between two questions when the answer is stale as soon as it comes."""


class Update(NamedTuple):
    """What a watched call is answered with: an entry, or the error that stands for one."""

    entry: CacheEntry | None
    error: errors.GatewayError | None = None

    @property
    def state(self) -> str:
        """Equal for what is no news. All failures are one state, whatever their cause."""
        if self.entry is None:
            return "failing"
        return self.entry.refused or self.entry.digest


class Subscriber:
    """One reader of one or several calls.

    It holds the newest update of each call and no queue: a slow one misses what is in between.
    """

    def __init__(self, *, over: bool) -> None:
        self.topics: list[Topic] = []
        self.is_over = over
        self._bell = asyncio.Event()
        self._first: deque[tuple[str, Update]] = deque()
        self._updates: dict[str, Update] = {}
        if over:
            self._bell.set()

    def begin(self, key: str, update: Update) -> None:
        """What the reader is told first of a call, even if there is a newer update by then."""
        self._first.append((key, update))
        self._bell.set()

    def deliver(self, key: str, update: Update) -> None:
        """There is an update of a call, in place of the one that has not been read yet."""
        self._updates[key] = update
        self._bell.set()

    def end(self) -> None:
        """There will be no more."""
        self.is_over = True
        self._bell.set()

    @property
    def has_more(self) -> bool:
        """Whether ``next`` gives an update at once."""
        return bool(self._first) or (bool(self._updates) and not self.is_over)

    async def next(self) -> tuple[str, Update] | None:
        """A call's key and its newest update, once there is one; None at the end."""
        await self._bell.wait()
        told = None
        if self._first:
            told = self._first.popleft()
        elif not self.is_over:
            key = next(iter(self._updates))
            told = key, self._updates.pop(key)
        if not (self._first or self._updates or self.is_over):
            self._bell.clear()
        return told


class Topic:
    """One watched call, its watchers, and what they know."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.subscribers: set[Subscriber] = set()
        self.update: Update | None = None
        self.lifetime = AGAIN
        self.poller: asyncio.Task[None] | None = None

    def publish(self, update: Update) -> None:
        """Tell all watchers, unless they know."""
        if update.entry is not None:
            self.lifetime = update.entry.lifetime
        if self.update is None or self.update.state != update.state:
            self.update = update
            for subscriber in self.subscribers:
                subscriber.deliver(self.call.key, update)


class Subscriptions:
    """Lets readers watch calls: ``most`` readers at once, ``per_client`` of them of one client.

    However many watch one call, it is asked for once per lifetime of its answer, by ``gateway``,
    so that cache, flights and guard hold. Once the last has left, it is no longer asked for.
    """

    def __init__(self, gateway: Gateway, *, most: int, per_client: int) -> None:
        self._gateway = gateway
        self._most = most
        self._per_client = per_client
        self._clients: Counter[str] = Counter()
        self._subscribers: set[Subscriber] = set()
        self._topics: dict[str, Topic] = {}
        self._polls = asyncio.Semaphore(POLLS_AT_ONCE)
        self._over = False
        gateway.subscribe(self.on_answer)

    def __len__(self) -> int:
        """How many are watching."""
        return self._clients.total()

    def on_answer(self, key: str, entry: CacheEntry) -> None:
        """Somebody was answered, in this process or in another: watchers may want to know."""
        topic = self._topics.get(key)
        if topic is not None:
            topic.publish(Update(entry, refusal(topic.call, entry)))

    @contextmanager
    def reader(self, client: str) -> Iterator[Subscriber]:
        """A reader who watches nothing yet, for the time of the block: see ``add``.

        Raises errors.Overloaded or errors.TooManyStreams if there is no room for one more.
        """
        if len(self) >= self._most:
            raise errors.Overloaded("watchers", asked=False)
        if self._clients[client] >= self._per_client:
            raise errors.TooManyStreams
        subscriber = Subscriber(over=self._over)
        self._subscribers.add(subscriber)
        self._clients[client] += 1
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]
            for topic in subscriber.topics:
                topic.subscribers.discard(subscriber)
                if not topic.subscribers:
                    self._close(topic)

    def add(self, subscriber: Subscriber, call: Call) -> None:
        """From now on the reader watches ``call``, too; what is known of it is told at once.

        A reader that has left meanwhile watches nothing.
        """
        if subscriber not in self._subscribers:
            return
        topic = self._topics.get(call.key) or self._open(call)
        topic.subscribers.add(subscriber)
        subscriber.topics.append(topic)
        if topic.update is not None:
            subscriber.deliver(call.key, topic.update)

    @contextmanager
    def watch(self, call: Call, client: str) -> Iterator[Subscriber]:
        """A reader of ``call`` for the time of the block. Raises as ``reader`` does."""
        with self.reader(client) as subscriber:
            self.add(subscriber, call)
            yield subscriber

    def end(self) -> None:
        """This process is about to end: watchers get what they have, and no more."""
        self._over = True
        for subscriber in self._subscribers:
            subscriber.end()

    async def aclose(self) -> None:
        """End the pollers."""
        pollers = [topic.poller for topic in self._topics.values() if topic.poller]
        for poller in pollers:
            poller.cancel()
        await asyncio.gather(*pollers, return_exceptions=True)

    def _open(self, call: Call) -> Topic:
        topic = self._topics[call.key] = Topic(call)
        topic.poller = asyncio.create_task(self._poll(topic), name=f"watch {call.key}")
        return topic

    def _close(self, topic: Topic) -> None:
        del self._topics[topic.call.key]
        if topic.poller:
            topic.poller.cancel()

    async def _poll(self, topic: Topic) -> None:
        """Ask for the call whenever its answer is no longer fresh. Cancelled from outside."""
        while True:
            async with self._polls:
                answer = await self._gateway.latest(topic.call)
            topic.publish(Update(answer.entry, answer.error))
            await asyncio.sleep(pause(answer, self._gateway.clock(), topic.lifetime))


def pause(answer: FetchResult, now: float, lifetime: float) -> float:
    """Seconds until the call is asked for again; ``lifetime`` is that of its last entry."""
    if answer.entry is not None:
        ttl = answer.entry.ttl(now)
        return ttl if ttl > 0 else AT_LEAST
    wanted = answer.error.retry_after if answer.error else None
    return max(wanted or 0.0, min(lifetime or AT_LEAST, AGAIN))
