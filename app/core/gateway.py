"""fetch(call): a kept answer while it is good, else one question to the farm, whoever asks.

The one place where the cache, the flights and the upstream meet. Must not know the HTTP client,
the web framework or status codes.
"""

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from app.core import errors
from app.core.cache_entry import CacheEntry, EntryState
from app.core.call import Call, Pace, is_large, render_answer
from app.core.fetch_result import NO_DIRECTIVES, CacheDirectives, FetchResult
from app.core.freshness import FailureCache, FreshnessPolicy, Uniform
from app.core.ports import Coordinator, Instrumentation, OnUpdate, SharedResult, Store, Upstream
from app.core.single_flight import SingleFlight

REVALIDATE_AT_MOST_EVERY = 1.0
"""Seconds: a request's ``no-cache`` makes no younger answer be asked for again."""

SAME = 0.1
"""Seconds by which the ages of one answer may differ from process to process."""


@dataclass(slots=True)
class Gateway:
    """Answers calls from the store, from a question under way, or from the farm.

    ``clock`` gives monotonic seconds. A call that meets a bug fails like any other, and a kept
    answer stands in. With a ``coordinator``, one process of several asks, and all have the answer.
    """

    upstream: Upstream
    store: Store
    freshness: FreshnessPolicy
    clock: Callable[[], float]
    instrumentation: Instrumentation = field(default_factory=Instrumentation)
    coordinator: Coordinator | None = None
    uniform: Uniform = random.uniform
    failures: FailureCache = field(default_factory=FailureCache, init=False)
    single_flight: SingleFlight[SharedResult] = field(default_factory=SingleFlight, init=False)
    _listeners: list[OnUpdate] = field(default_factory=list, init=False)
    _healthy_at: float = field(default=0.0, init=False)  # when the farm last answered anything

    def __post_init__(self) -> None:
        if self.coordinator is not None:
            self.coordinator.subscribe(self.keep, self.remember)

    def subscribe(self, on_update: OnUpdate) -> None:
        """Call ``on_update`` with every new answer, of this process or of another."""
        self._listeners.append(on_update)

    async def fetch(self, call: Call, wish: CacheDirectives = NO_DIRECTIVES) -> FetchResult:
        """The answer to ``call``; errors come as values, so that each has its Cache-Status.

        Raises ValueError for a call that changes something: a ``Performer`` makes it.
        """
        if call.changes:
            raise ValueError("a call that changes something is neither kept nor joined")
        answer = await self._fetch(call, wish)
        stale_for = -answer.entry.ttl(self.clock()) if answer.detail and answer.entry else 0.0
        self.instrumentation.answered(answer.outcome, stale_for)
        return answer

    async def _fetch(self, call: Call, wish: CacheDirectives) -> FetchResult:
        now = self.clock()
        entry = self.store.get(call.key)
        state = entry.state(now, self.freshness.windows) if entry else EntryState.SPENT
        if entry is None or state is EntryState.SPENT:
            if wish.only_if_cached:
                return FetchResult(error=errors.NotCached())
            return await self._ask(call, REVALIDATE_AT_MOST_EVERY if wish.no_cache else math.inf)
        if wish.only_if_cached or (state is EntryState.FRESH and not wish.no_cache):
            return self._kept(call, entry, state)
        may_ask = entry.may_ask(now, self._healthy_at) and not self.failures.recall(call.key, now)
        if wish.no_cache and may_ask and entry.age(now) >= REVALIDATE_AT_MOST_EVERY:
            return await self._ask_or(call, entry, "request", REVALIDATE_AT_MOST_EVERY)
        if state is EntryState.ON_ERROR and may_ask:
            return await self._ask_or(call, entry, "stale")
        if may_ask and state is not EntryState.FRESH:
            self._join(call, background=True)
        return self._kept(call, entry, state)

    async def latest(self, call: Call) -> FetchResult:
        """A fresh answer, or what the farm says now: for those who watch, and can wait."""
        entry = self.store.get(call.key)
        if entry is None or entry.ttl(self.clock()) <= 0:
            return await self._ask(call)
        return self._kept(call, entry, EntryState.FRESH)

    def _kept(self, call: Call, entry: CacheEntry, state: EntryState) -> FetchResult:
        detail = "" if state is EntryState.FRESH else state.value
        return FetchResult(entry, refusal(call, entry), hit=True, detail=detail)

    async def _ask(self, call: Call, max_age: float = math.inf) -> FetchResult:
        """Nothing is kept: wait for the farm, whatever it says, or said just now."""
        if failure := self.failures.recall(call.key, self.clock()):
            failure.method, failure.arguments = call.method, call.arguments
            self.instrumentation.not_asked("failing")
            return FetchResult(error=failure)
        task, joined = self._join(call, max_age=max_age)
        try:
            shared = await asyncio.shield(task)
        except errors.UpstreamError as error:
            return FetchResult(
                error=error,
                forward="uri-miss" if error.asked else "",
                collapsed=joined and error.asked,
            )
        return self._result(call, shared, "uri-miss", joined)

    async def _ask_or(
        self, call: Call, kept: CacheEntry, why: str, max_age: float = math.inf
    ) -> FetchResult:
        """Something is kept: it stands in if the farm fails or takes too long (RFC 5861)."""
        task, joined = self._join(call, max_age=max_age)
        done, _ = await asyncio.wait({task}, timeout=self.freshness.if_slow)
        if not done:
            return FetchResult(kept, refusal(call, kept), hit=True, detail="slow")
        try:
            shared = task.result()
        except errors.UpstreamError as failure:
            if not failure.asked:
                return self._kept(call, kept, EntryState.ON_ERROR)
            return FetchResult(
                kept,
                refusal(call, kept),
                forward=why,
                failure=failure,
                collapsed=joined,
                detail=EntryState.ON_ERROR.value,
            )
        return self._result(call, shared, why, joined)

    def _result(self, call: Call, shared: SharedResult, why: str, joined: bool) -> FetchResult:
        entry, how = shared
        refused = refusal(call, entry)
        if how == "shared":
            return FetchResult(entry, refused, hit=True, detail=how)
        return FetchResult(
            entry,
            refused,
            forward=why,
            stored=self.store.get(call.key) is entry,
            collapsed=joined or how == "collapsed",
        )

    def _join(
        self, call: Call, *, background: bool = False, max_age: float = math.inf
    ) -> tuple[asyncio.Task[SharedResult], bool]:
        found = self.single_flight.join(
            call.key, partial(self._question, call, background, max_age)
        )
        self.instrumentation.question(*found)
        return found

    async def _question(self, call: Call, background: bool, max_age: float) -> SharedResult:
        """One answer for everyone here who asks. Runs in a task that no client can cancel.

        Another process's answer will do if it is fresh and as young as was asked for.
        """
        kept = self.store.get(call.key)
        younger_than = -math.inf if kept is None else kept.asked_at - SAME

        def good(found: CacheEntry) -> bool:
            now = self.clock()
            return found.ttl(now) > 0 and found.age(now) < max_age and found.asked_at > younger_than

        ask = partial(self._ask_farm, call, background)
        try:
            if self.coordinator is None:
                return SharedResult(await ask(), "asked")
            result = await self.coordinator.fetch(call.key, good, ask)
        except errors.UpstreamError as error:
            error.method, error.arguments = call.method, call.arguments
            self._failed(call.key, error)
            raise
        if result.how != "asked":
            self.keep(call.key, result.entry)
        return result

    async def _ask_farm(self, call: Call, background: bool) -> CacheEntry:
        """One upstream call, its answer kept.

        An answer's age counts from the moment of asking (RFC 9111 section 4.2.3): the farm may
        have looked then, and one call per lifetime holds for a slow farm too.
        """
        asked_at = self.clock()
        try:
            body, pace = await self.upstream.call(
                call,
                read=partial(self._read, call),
                background=background or call.key in self.failures,  # which is tried once, too
            )
            entry = self.freshness.answer(asked_at, body, pace, self.uniform)
        except errors.Refused as refused:
            entry = self.freshness.refusal(asked_at, refused, self.uniform)
        except errors.UpstreamError as error:
            self.remember(call.key, error)  # the group learns how long
            raise
        except Exception as error:  # noqa: BLE001 - a bug fails one call, and is logged
            self.instrumentation.crash(error)
            raise errors.Crashed("bug") from None
        self._healthy_at = self.clock()
        self.keep(call.key, entry)
        return entry

    async def _read(self, call: Call, value: object) -> tuple[bytes, Pace]:
        """The answer as it is kept, and how soon it is expected to change."""
        told = self.instrumentation
        render = partial(render_answer, call, value, told.drift, told.misread)
        return await asyncio.to_thread(render) if is_large(value) else render()

    def keep(self, key: str, entry: CacheEntry) -> None:
        """A new answer is here, from the farm or from another process."""
        self.failures.forget(key)
        if entry.lifetime > 0:
            self.store.put(key, entry)
        else:
            self.store.drop(key)  # what was kept has been answered anew
        for on_update in self._listeners:
            on_update(key, entry)

    def remember(self, key: str, error: errors.UpstreamError) -> None:
        """A call failed, here or in another process."""
        self.failures.remember(key, error, self.clock())

    def _failed(self, key: str, error: errors.UpstreamError) -> None:
        self.remember(key, error)
        kept = self.store.get(key)
        if kept is not None:
            self.store.put(key, kept._replace(failed_at=self.clock()))

    async def aclose(self) -> None:
        """End the flights."""
        await self.single_flight.aclose()


def refusal(call: Call, entry: CacheEntry) -> errors.Refused | None:
    """The refusal that an entry keeps, anew: an exception that many raise must not be shared."""
    if not entry.refused:
        return None
    kind: type[errors.Refused] = getattr(errors, entry.refused)
    return kind(method=call.method, arguments=call.arguments, fault_code=entry.fault_code)
