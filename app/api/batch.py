"""Several calls in one answer: each item has an outcome of its own, and one ETag is for all.

Knows how items are put together from kept bytes. Must not know what the items are.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from fastapi import Request, Response

from app.api.problems import CODES, Problems
from app.api.projection import Fields, prepare, project
from app.api.replies import JSON, Replies, wish_of_request
from app.core import errors
from app.core.cache_entry import CacheEntry, digest
from app.core.call import Call
from app.core.fetch_result import CacheDirectives, FetchResult
from app.core.gateway import Gateway
from app.core.subscriptions import Update
from app.telemetry.request_context import current_request

AT_ONCE = 8
"""Questions of one list under way at once: a few lists together still fit the bulkhead."""
MIXED = "mixed"
"""How the cache took part in a list whose items came in different ways."""


class Item(NamedTuple):
    """One item as JSON, and what its part of the ETag is made of."""

    body: bytes
    tag: str


class Lists:
    """Turns several calls into one answer, within ``patience`` seconds."""

    def __init__(self, replies: Replies, patience: float) -> None:
        self._replies = replies
        self._patience = patience

    async def reply(
        self, request: Request, name: str, calls: Mapping[int, Call], fields: Fields
    ) -> Response:
        """200 with ``items`` in the order of ``calls``, whatever became of each.

        An item is ``{"id", "status", name, "problem"}``; either of the last two is null. Problems
        tell the request's id, so with one of them the body is never the same twice and the tag is
        weak (RFC 9110 section 8.8.1). There is no Age: max-age is what is left to the first item
        that ends.
        """
        self._replies.check_accept(request)
        answers = await self._fetch(calls, wish_of_request(request))
        for answer in answers:
            await prepare(answer.entry, fields)
        outcomes = {answer.outcome for answer in answers}
        current_request().outcome = outcomes.pop() if len(outcomes) == 1 else MIXED
        path = request.scope["path"]
        items = [
            item_of(self._replies.problems, path, number, name, cut(answer, fields))
            for number, answer in zip(calls, answers, strict=True)
        ]
        tag = digest("\n".join(item.tag for item in items).encode())
        weak = "W/" if any(answer.error for answer in answers) else ""
        now = self._replies.gateway.clock()
        headers = {
            "cache-control": f"{self._replies.audience}, max-age={_fresh_for(answers, now)}",
            "etag": f'{weak}"{tag}"',
            "cache-status": _cache_status(answers, now),
            "vary": "Accept",
        }
        body = b'{"items":[%b]}' % b",".join(item.body for item in items)
        return Response(body, headers=headers, media_type=JSON)

    async def _fetch(self, calls: Mapping[int, Call], wish: CacheDirectives) -> list[FetchResult]:
        """The answers in their order."""
        answers: dict[int, FetchResult] = {}
        gateway = self._replies.gateway
        await fetch_each(gateway, calls, wish, self._patience, answers.__setitem__)
        return [answers[number] for number in calls]


async def fetch_each(
    gateway: Gateway,
    calls: Mapping[int, Call],
    wish: CacheDirectives,
    patience: float,
    on_answer: Callable[[int, FetchResult], None],
) -> None:
    """Fetch the calls, AT_ONCE at a time, and tell each answer with its number as it comes.

    After ``patience`` seconds the others are told as too late; what is under way goes on. What is
    kept costs no switch of tasks: the first asker finds it all.
    """
    waiting = iter(calls.items())
    missing = dict(calls)

    async def ask() -> None:
        for number, call in waiting:
            answer = await gateway.fetch(call, wish)
            del missing[number]
            on_answer(number, answer)

    askers = [asyncio.create_task(ask()) for _ in range(min(AT_ONCE, len(calls)))]
    try:
        done, _ = await asyncio.wait(askers, timeout=patience)
    finally:
        for asker in askers:
            asker.cancel()
    for asker in done:
        asker.result()  # a bug is a bug of the whole
    for number, call in missing.items():
        on_answer(number, _too_late(call))


def cut(answer: FetchResult | Update, fields: Fields) -> Update:
    """An answer with the wanted fields alone."""
    return Update(answer.entry and project(answer.entry, fields), answer.error)


def item_of(problems: Problems, path: str, number: int, name: str, update: Update) -> Item:
    """One item of a list at ``path``: the answer under ``name``, or a problem."""
    if update.error is None:
        assert update.entry is not None  # noqa: S101 - no error, so there is an entry
        body = b'{"id":%d,"status":200,"%b":%b,"problem":null}'
        words = (number, name.encode(), update.entry.body)
        return Item(body % words, f"{number} {update.entry.digest}")
    code, asked_by = CODES[type(update.error)], current_request().id
    problem = problems.document(code, asked_by, error=update.error, path=f"{path}/{number}")
    body = b'{"id":%d,"status":%d,"%b":null,"problem":%b}'
    told = problem.model_dump_json().encode()
    return Item(body % (number, problem.status, name.encode(), told), f"{number} {problem.code}")


def _too_late(call: Call) -> FetchResult:
    error = errors.UpstreamTimeout("list", method=call.method, arguments=call.arguments)
    return FetchResult(error=error)


def _fresh_for(answers: Sequence[FetchResult], now: float) -> int:
    """Whole seconds until the first item is no longer fresh; 0 if one is not kept."""

    def left(entry: CacheEntry | None) -> float:
        return 0.0 if entry is None else entry.ttl(now)

    return max(0, math.floor(min(left(answer.entry) for answer in answers)))


def _cache_status(answers: Sequence[FetchResult], now: float) -> str:
    """RFC 9211 of the whole: a hit if nothing had to be asked for, with the smallest ttl.

    ``detail=sie``: at least one item stands in for a failure.
    """
    kept = [answer.entry.ttl(now) for answer in answers if answer.hit and answer.entry]
    words = ["rfgw"]
    if any(answer.forward for answer in answers):
        words.append("fwd=miss")
    elif len(kept) == len(answers):
        words.append(f"hit; ttl={math.floor(min(kept))}")
    if any(answer.detail == "sie" for answer in answers):
        words.append("detail=sie")
    return "; ".join(words)
