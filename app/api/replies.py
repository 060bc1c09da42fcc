"""A fetched answer becomes 200, 304 or a problem, with the headers that tell how it was kept.

Knows HTTP caching (RFC 9110, 9111, 9211). Must not know what is answered, nor where it was kept.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response

from app import errors
from app.api.accept import quality
from app.api.catalogue import MEANINGS
from app.api.problems import CODES, Problems
from app.call import Call
from app.entry import Entry, Windows
from app.gateway import Answer, Gateway, Wish

MAX_TAGS = 64
"""If-None-Match may name many tags; those behind the 64th are not looked at."""


@dataclass(frozen=True, slots=True)
class Replies:
    """Turns calls into HTTP answers. ``private`` keeps shared caches downstream out of it."""

    gateway: Gateway
    problems: Problems
    windows: Windows
    private: bool = False

    async def reply(self, request: Request, call: Call) -> Response:
        """The answer to one call: 200, 304 (RFC 9110 section 13.1.2) or a problem."""
        if quality(request.headers.get("accept"), "application/json") == 0:
            raise errors.NotAcceptable
        answer = await self.gateway.fetch(call, wish_of(request.headers.getlist("cache-control")))
        headers = self._headers(answer)
        if answer.error is not None:
            return self.problems.of(answer.error, request.scope, headers)
        assert answer.entry is not None  # noqa: S101 - no error, so there is an entry
        if matches(request.headers.getlist("if-none-match"), answer.entry.digest):
            return Response(status_code=304, headers=headers)
        return Response(answer.entry.body, headers=headers, media_type="application/json")

    def _headers(self, answer: Answer) -> dict[str, str]:
        now = self.gateway.clock()
        headers = {"cache-status": cache_status(answer, now)}
        entry = answer.entry
        if entry is None or entry.nominal <= 0:
            return headers
        headers["age"] = str(int(entry.age(now)))
        headers["cache-control"] = self.cache_control(entry)
        if not entry.refused:
            headers["etag"] = f'"{entry.digest}"'
        return headers

    def cache_control(self, entry: Entry) -> str:
        """max-age is the whole lifetime: caches downstream subtract Age themselves."""
        scope = "private" if self.private else "public"
        if entry.refused:
            return f"{scope}, max-age={entry.nominal}"
        swr, sie = self.windows
        return (
            f"{scope}, max-age={entry.nominal}, "
            f"stale-while-revalidate={swr:.0f}, stale-if-error={sie:.0f}"
        )


def cache_status(answer: Answer, now: float) -> str:
    """The Cache-Status field (RFC 9211) of an answer."""
    words = ["rfgw"]
    if answer.hit and answer.entry is not None:
        words += ["hit", f"ttl={int(answer.entry.ttl(now) // 1)}"]
    elif answer.forward:
        words.append(f"fwd={answer.forward}")
        error = answer.failure or answer.error
        words.append(f"fwd-status={MEANINGS[CODES[type(error)]].status if error else 200}")
    if answer.stored:
        words.append("stored")
    if answer.collapsed:
        words.append("collapsed")
    if answer.detail:
        words.append(f"detail={answer.detail}")
    return "; ".join(words)


def wish_of(fields: list[str]) -> Wish:
    """What the request's Cache-Control asks for; directives that would cost the farm are not
    all honoured: max-age and no-store in a request are passed over."""
    if not fields:
        return Wish()
    directives = {word.strip().lower() for word in ",".join(fields).split(",")}
    return Wish("no-cache" in directives, "only-if-cached" in directives)


def matches(fields: list[str], digest: str) -> bool:
    """Whether If-None-Match names this entity tag, by weak comparison (RFC 9110 section 8.8.3.2).

    Our tags hold no comma, so a list may be split at commas. Unquoted text never matches.
    """
    tags = [tag.strip() for tag in ",".join(fields).split(",", MAX_TAGS)[:MAX_TAGS]]
    wanted = f'"{digest}"'
    return tags == ["*"] or any(tag.removeprefix("W/") == wanted for tag in tags)


async def _reply(request: Request) -> Callable[[Call], Awaitable[Response]]:
    replies: Replies = request.app.state.replies
    return lambda call: replies.reply(request, call)


Reply = Annotated[Callable[[Call], Awaitable[Response]], Depends(_reply)]
"""What a route answers with: ``return await reply(GetSession(id=id))``."""
