"""What is sent of an answer: nothing if the client has it (304), else its body, plain or in gzip.

Knows RFC 9110 sections 8.4, 8.8 and 13.1.2, and ASGI. Must not know what is answered. What carries
a content coding already stays as it is.
"""

from collections.abc import Iterable, Mapping
from functools import partial

from cachetools import LRUCache
from starlette.types import Message, Send

from app.api.conditional_request import digest_in, matches
from app.api.content_coding import GZIP, SUFFIX, ContentCoding, compress
from app.api.field_lists import Header

START, BODY = "http.response.start", "http.response.body"
OF_THE_BODY = frozenset((b"content-type", b"content-length", GZIP[0]))
"""Fields that a 304 does without: it has no body."""
TEXTS = (b"text/", b"application/", b"image/svg")
"""How the types of bodies begin that become smaller by a coding."""
MAX_BYTES = 16 * 1024 * 1024
"""Compressed files, lists and parts are kept in so much, least recently used out first."""
OVERHEAD = 300
"""Bytes that one costs besides its body."""


class Representations:
    """Selects what is sent of each answer; keeps compressed bodies by their strong tags."""

    def __init__(self, coding: ContentCoding) -> None:
        self.coding = coding
        self._kept: LRUCache[bytes, bytes] = LRUCache(
            MAX_BYTES, getsizeof=lambda body: len(body) + OVERHEAD
        )

    def selecting(self, fields: Iterable[Header], send: Send) -> Send:
        """A ``send`` for the answer to a GET with these header ``fields``."""
        given: dict[bytes, bytes] = {}
        for name, value in fields:
            given[name] = b"%b,%b" % (given[name], value) if name in given else value
        held: Message | None = None

        async def select(message: Message) -> None:
            nonlocal held
            if message["type"] == START and is_whole(message):
                held = message  # until its body is here
                return
            if held is not None:
                start, held = held, None
                if not message.get("more_body", False):
                    start, message = await self._select(given, start, message)
                await send(start)
            await send(message)

        return select

    async def _select(
        self, given: Mapping[bytes, bytes], start: Message, message: Message
    ) -> tuple[Message, Message]:
        fields: list[Header] = list(start["headers"])
        told = dict(fields)
        body = message["body"]
        tag, tags = told.get(b"etag", b""), given.get(b"if-none-match", b"")
        may_be_known = bool(tag and tags) and start["status"] == 200
        is_known = may_be_known and matches(tags, digest_in(tag))
        if self.coding.enabled and GZIP[0] not in told and is_text(told):
            if b"Accept-Encoding" not in told.get(b"vary", b""):
                fields.append((b"vary", b"Accept-Encoding"))
            least = self.coding.least(given.get(b"accept-encoding"), given.get(b"cache-control"))
            if len(body) >= least:
                tag = tag and b'%b%b"' % (tag[:-1], SUFFIX.encode())
                if not is_known:
                    body = await self._compressed(body, tag)
                    fields.append(GZIP)
                new = {b"etag": tag, b"content-length": b"%d" % len(body)}
                fields = [(name, new.get(name, value)) for name, value in fields]
        if is_known:
            start, body = {**start, "status": 304}, b""
            fields = of_not_modified(fields)
        return {**start, "headers": fields}, {**message, "body": body}

    async def _compressed(self, body: bytes, tag: bytes) -> bytes:
        """The body in gzip; kept if a strong tag says that it will be the same next time."""
        if not tag.startswith(b'"'):
            return await compress(body)
        kept = self._kept.get(tag)
        if kept is not None:
            return kept
        return await self.coding.compress_once(body, tag.decode(), partial(self._keep, tag))

    def _keep(self, tag: bytes, body: bytes) -> None:
        if len(body) + OVERHEAD <= MAX_BYTES:
            self._kept[tag] = body


def is_whole(start: Message) -> bool:
    """Whether an answer that begins so may have a body that comes in one piece."""
    return any(name == b"content-length" for name, _ in start["headers"])


def is_text(told: Mapping[bytes, bytes]) -> bool:
    """Whether a coding makes a body with these fields smaller."""
    return told.get(b"content-type", b"").startswith(TEXTS)


def of_not_modified(fields: Iterable[Header]) -> list[Header]:
    """What a 304 tells of a 200 with these fields (RFC 9110 section 15.4.5)."""
    return [field for field in fields if field[0] not in OF_THE_BODY]
