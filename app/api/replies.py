"""A fetched answer becomes 200 or a problem, with the headers that tell how it was kept.

Knows HTTP caching (RFC 9110, 9111, 9211). Must not know what is answered, nor where it was kept.
"""

from functools import lru_cache, partial

from fastapi import Request, Response

from app.api.authorization import KEY_INVALID, client_of, is_authorized
from app.api.conditional_request import matches
from app.api.content_coding import GZIP, SUFFIX, ContentCoding
from app.api.error_meanings import MEANINGS
from app.api.field_lists import Header, members
from app.api.negotiation import quality
from app.api.prefer import changed, wait_of
from app.api.problems import CODES, Problems
from app.api.projection import Fields, prepare, project
from app.core import errors
from app.core.cache_entry import CacheEntry
from app.core.call import Call
from app.core.fetch_result import NO_DIRECTIVES, CacheDirectives, FetchResult
from app.core.gateway import Gateway
from app.core.subscriptions import Subscriptions
from app.telemetry.request_context import current_request

Prepared = tuple[list[Header], bytes]
"""Header fields and body of an answer."""

JSON = "application/json"


class Replies:
    """Turns calls into HTTP answers. ``private`` keeps shared caches downstream out of it."""

    def __init__(
        self,
        gateway: Gateway,
        subscriptions: Subscriptions,
        problems: Problems,
        coding: ContentCoding,
        *,
        private: bool = False,
    ) -> None:
        windows = gateway.freshness.windows
        self._subscriptions = subscriptions
        self.gateway = gateway
        self.problems = problems
        self.coding = coding
        self.audience = "private" if private else "public"
        self._refusal = f"{self.audience}, max-age=%d"
        self._answer = (
            f"{self.audience}, max-age=%d, stale-while-revalidate={windows.while_revalidate:.0f}, "
            f"stale-if-error={windows.if_error:.0f}"
        )

    async def reply(self, request: Request, call: Call, fields: Fields = ()) -> Response:
        """The answer to one call: 200 or a problem. Whether the client has it is seen later."""
        self.check_accept(request)
        tags = if_none_match(request)

        async def unchanged(answer: FetchResult) -> bool:
            await prepare(answer.entry, fields)
            if answer.error is not None or answer.entry is None:
                return False
            return matches(tags, project(answer.entry, fields).digest)

        answer = await self.gateway.fetch(call, wish_of_request(request))
        applied: list[Header] = []
        seconds = wait_of(joined(request, b"prefer")) if tags else 0
        if seconds and await unchanged(answer):
            client = client_of(request.scope)
            watched = self._subscriptions, self.gateway, call, client, request.receive
            allowed = partial(is_authorized, request.scope)
            try:
                later = await changed(*watched, seconds, unchanged, allowed)
                if not allowed():  # its key was taken back while it waited
                    raise errors.Unauthorized
            except errors.Unauthorized as error:
                challenge = {"www-authenticate": KEY_INVALID.decode()}
                return self.problems.of(error, request.scope, challenge)
            if later is not None:
                applied = [(b"preference-applied", b"wait=%d" % seconds)]
                answer = answer if isinstance(later.error, errors.NotCached) else later
        await prepare(answer.entry, fields)
        response = await self._response(request, call.key, answer, fields)
        if answer.error is None:
            response.raw_headers += applied
        return response

    async def _response(
        self, request: Request, key: str, answer: FetchResult, fields: Fields
    ) -> Response:
        current_request().outcome = answer.outcome
        now = self.gateway.clock()
        status = cache_status(answer, now)
        if answer.error is not None:
            headers = dict(self._kept(answer.entry, now)) if answer.entry else {}
            told = {name.decode(): value.decode() for name, value in headers.items()}
            return self.problems.of(answer.error, request.scope, {**told, "cache-status": status})
        assert answer.entry is not None  # noqa: S101 - no error, so there is an entry
        entry = project(answer.entry, fields)
        least = self.coding.least(
            joined(request, b"accept-encoding"), joined(request, b"cache-control")
        )
        coded = not fields and len(entry.body) >= least
        if coded:
            entry = await self._compressed(key, entry)
        response = Response()
        response.raw_headers, response.body = self.prepared(
            entry, now, status.encode(), coded=coded
        )
        return response

    async def _compressed(self, key: str, entry: CacheEntry) -> CacheEntry:
        """The entry with its body in gzip, too: from now on it is kept with it."""
        if entry.gzip:
            return entry
        kept = self.gateway.store.get(key)  # who waited for the same answer may have been quicker
        if kept is not None and kept.digest == entry.digest and kept.gzip:
            return entry._replace(gzip=kept.gzip)
        keep = partial(self.gateway.store.put_gzip, key, entry.digest)
        return entry._replace(gzip=await self.coding.compress_once(entry.body, entry.digest, keep))

    def check_accept(self, request: Request) -> None:
        """Raises errors.NotAcceptable if the request does not take JSON."""
        if not takes_json(joined(request, b"accept")):
            raise errors.NotAcceptable

    def prepared(
        self, entry: CacheEntry, now: float, status: bytes, *, coded: bool = False
    ) -> Prepared:
        """The answer with a kept entry: the one place that knows its header fields' order.

        What changes from second to second comes last.
        """
        body = entry.gzip if coded else entry.body
        fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        if coded:
            fields.append(GZIP)
        kept = self._kept(entry, now, SUFFIX if coded else "")
        return [*fields, self.coding.vary, *kept, (b"cache-status", status)], body

    def _kept(self, entry: CacheEntry, now: float, suffix: str = "") -> list[Header]:
        """What tells caches downstream about a kept answer. Its tag ends with the ``suffix``.

        max-age is the whole lifetime: they subtract Age themselves (RFC 9111 section 4.2).
        """
        if entry.lifetime <= 0:
            return [(b"cache-control", b"no-store")]
        form = self._refusal if entry.refused else self._answer
        fields = [(b"cache-control", (form % entry.nominal).encode())]
        if not entry.refused:
            fields.append((b"etag", f'"{entry.digest}{suffix}"'.encode()))
        return [*fields, (b"age", b"%d" % entry.age(now))]


def cache_status(answer: FetchResult, now: float) -> str:
    """The Cache-Status field (RFC 9211) of an answer."""
    words = ["rfgw"]
    if answer.hit and answer.entry is not None:
        words.append(hit_words(answer.entry, now))
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


HIT_WORDS = "hit; ttl=%d"


def hit_words(entry: CacheEntry, now: float) -> str:
    """``hit; ttl=4``: whole seconds of freshness left, negative once stale."""
    return HIT_WORDS % (entry.ttl(now) // 1)


def joined(request: Request, name: bytes) -> bytes:
    """A field that may come in several lines, as one (RFC 9110 section 5.3)."""
    return b",".join([text for field, text in request.scope["headers"] if field == name])


def if_none_match(request: Request) -> bytes:
    """The request's If-None-Match field, empty if there is none."""
    return joined(request, b"if-none-match")


def wish_of_request(request: Request) -> CacheDirectives:
    """What the request's Cache-Control asks for."""
    return wish_of(joined(request, b"cache-control"))


def takes_json(accept: bytes | None) -> bool:
    """Whether a request with this Accept field takes what we send."""
    if accept is None or accept == b"*/*":
        return True
    return (_weighs_json if len(accept) <= 128 else _weighs_json.__wrapped__)(accept)


@lru_cache(256)  # browsers and libraries have few forms of it
def _weighs_json(accept: bytes) -> bool:
    return quality(accept.decode("latin-1"), JSON) > 0


def wish_of(cache_control: bytes) -> CacheDirectives:
    """What the request's Cache-Control asks for (RFC 9111 section 5.2.1).

    Directives that would make every reload cost the farm, max-age and no-store, are passed over.
    """
    if not cache_control or cache_control == b"max-age=0":  # what browsers send when they reload
        return NO_DIRECTIVES
    directives = {word.strip().lower() for word in members(cache_control)}
    return CacheDirectives(b"no-cache" in directives, b"only-if-cached" in directives)
