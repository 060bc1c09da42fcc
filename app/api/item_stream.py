"""Several watched calls as one event stream: each event is an item of the list, each id tells all.

Knows items and what a reader has seen of them. Must not know what the items are, nor how an event
stream is kept open.
"""

import asyncio
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import blake2b

from fastapi import Request, Response
from starlette.types import Scope, Send

from app.api.batch import cut, fetch_each, item_of
from app.api.error_meanings import MEANINGS
from app.api.prefer import KEPT_ONLY
from app.api.problems import CODES
from app.api.projection import Fields, prepare
from app.api.replies import wish_of_request
from app.api.sse import EventStreams, ServerSentEvents, no_more, one_line
from app.core import errors
from app.core.call import Call
from app.core.fetch_result import NO_DIRECTIVES, CacheDirectives, FetchResult
from app.core.subscriptions import Subscriber, Update

MARK = 16
"""Characters that tell what a reader has seen of one id: 50 of them are less than 1 kB."""

GATHER_FOR = 0.2
"""Seconds that an update waits for others: what is sent in one piece costs a fraction. The answers
of one lifetime come close together, and each is up to a lifetime old."""

_MARKS = re.compile(r"(?:[A-Za-z0-9_-]{16}){1,50}")


class ItemStream(ServerSentEvents):
    """The events of several calls: ``item``, whose data are what the list has for it."""

    def __init__(
        self, live: EventStreams, name: str, calls: Mapping[int, Call], fields: Fields
    ) -> None:
        super().__init__(live)
        self._name = name
        self._calls = calls
        self._fields = fields
        self._numbers = {call.key: number for number, call in calls.items()}
        self._seen = dict.fromkeys(calls, "")  # the mark of what the reader has of each id
        self._final: set[int] = set()
        self._answers: dict[int, FetchResult] = {}  # fetched before the stream begins

    async def begin(self, request: Request, subscriber: Subscriber) -> Response | None:
        """204 if the reader has the last item of each; 504 if not all are kept, and must be.

        Else the stream begins before the farm is asked.
        """
        marks = read_marks(request.headers.get("last-event-id", ""))
        self._seen = {number: marks.get(number, "") for number in self._calls}
        all_final = all(map(is_final, self._seen.values()))
        kept_only = wish_of_request(request).only_if_cached
        if not (all_final or kept_only):
            return None
        wish = KEPT_ONLY if kept_only else NO_DIRECTIVES
        await self._fetch(self._calls, wish, self._answers.__setitem__)
        answers = self._answers.items()
        for _, answer in answers:
            if isinstance(answer.error, errors.NotCached):
                return self.refusal(answer, answer.error, request.scope)
            await self.prepare(Update(answer.entry))
        now = {number: self._mark(number, cut(a, self._fields)) for number, a in answers}
        return no_more() if all_final and now == self._seen else None

    async def send_updates(self, subscriber: Subscriber, scope: Scope, send: Send) -> None:
        """First what each id is answered with, then all updates."""
        asking = asyncio.create_task(self._ask(subscriber))
        try:
            if subscriber.is_over:  # the process is about to end, and still tells what it has
                await asking
            await super().send_updates(subscriber, scope, send)
        finally:
            asking.cancel()
        if asking.done():
            asking.result()  # a bug: the answer is cut off

    async def _ask(self, subscriber: Subscriber) -> None:
        """Fetch each call as the list does, and have the reader watch it from then on."""

        def on_answer(number: int, answer: FetchResult) -> None:
            call = self._calls[number]
            if not (self._seen[number] and self._is_stale(answer)):
                subscriber.begin(call.key, Update(answer.entry, answer.error))
            self._live.subscriptions.add(subscriber, call)

        try:
            for number, answer in self._answers.items():
                on_answer(number, answer)
            rest = {n: call for n, call in self._calls.items() if n not in self._answers}
            await self._fetch(rest, NO_DIRECTIVES, on_answer)
            self.gather_for = GATHER_FOR
        except Exception:
            subscriber.end()
            raise

    async def _fetch(
        self,
        calls: Mapping[int, Call],
        wish: CacheDirectives,
        on_answer: Callable[[int, FetchResult], None],
    ) -> None:
        live = self._live
        if calls:
            await fetch_each(live.gateway, calls, wish, live.patience, on_answer)

    def _is_stale(self, answer: FetchResult) -> bool:
        """Whether it may be older than what a reader has who was here before."""
        return answer.entry is not None and answer.entry.ttl(self._live.gateway.clock()) <= 0

    async def prepare(self, update: Update) -> None:
        """Cut a large answer."""
        await prepare(update.entry, self._fields)

    def frame(self, key: str, update: Update, scope: Scope) -> bytes:
        """An item, if the reader has not seen it; its id tells all that the reader has seen."""
        number, update = self._numbers[key], cut(update, self._fields)
        mark = self._mark(number, update)
        self.is_over = len(self._final) == len(self._calls)
        if self._seen[number] == mark:
            return b""
        self._seen[number] = mark
        path = scope["path"].removesuffix("/events")
        item = item_of(self._live.problems, path, number, self._name, update)
        self._live.count("item")
        seen = "".join(self._seen.values()).encode()
        return b"event: item\nid: %b\ndata: %b\n\n" % (seen, one_line(item.body))

    def _mark(self, number: int, update: Update) -> str:
        final = is_lasting(update)
        (self._final.add if final else self._final.discard)(number)
        return mark_of(number, update.state, final)


def is_lasting(update: Update) -> bool:
    """Whether nothing more is to come: what was watched has become final, or the farm has said no,
    and asking again would change nothing."""
    if update.error is None:
        return update.entry is not None and update.entry.final
    refused = isinstance(update.error, errors.Refused)
    return refused and MEANINGS[CODES[type(update.error)]].retry_after is None


@lru_cache(4096)  # many pages watch the same
def mark_of(number: int, state: str, final: bool) -> str:
    """What a reader who has seen this state of an id sends back: the id, and 64 bits of a digest.

    The last bit tells whether nothing more is to come.
    """
    digest = bytearray(blake2b(state.encode(), digest_size=8).digest())
    digest[-1] = digest[-1] & 0xFE | final
    return urlsafe_b64encode(number.to_bytes(4, "big") + digest).decode("ascii")


def read_marks(last_event_id: str) -> dict[int, str]:
    """The marks of a Last-Event-ID by their ids; none if it is none of ours."""
    if not _MARKS.fullmatch(last_event_id):
        return {}
    marks = (last_event_id[at : at + MARK] for at in range(0, len(last_event_id), MARK))
    return {int.from_bytes(urlsafe_b64decode(mark)[:4], "big"): mark for mark in marks}


def is_final(mark: str) -> bool:
    """Whether nothing more is to come of the id whose mark it is; of an empty one, more is."""
    return bool(mark) and bool(urlsafe_b64decode(mark)[-1] & 1)
