"""The gzip content coding: who gets which bodies in it, and what that makes of their fields.

Knows Accept-Encoding, zlib and header fields (RFC 9110 sections 8.4 and 12.5.3). Must not know
routes, nor where a body is kept.
"""

import asyncio
import gzip
from collections.abc import Callable
from functools import lru_cache
from math import inf

from app.api.field_lists import Header, members
from app.api.negotiation import weight
from app.core.single_flight import SingleFlight

GZIP: Header = (b"content-encoding", b"gzip")
SUFFIX = "-gzip"
"""What the tag of a compressed body ends with: it is another representation, so another tag."""
LEAST = 1000
"""Bytes of a body that is worth it: with less, all fits in one packet anyway."""
LARGE = 16 * 1024
"""Bytes that are compressed within a millisecond, whatever they are. More go to a thread."""
LEVEL = 6
"""A session of 1,700 bytes: 619 bytes in 20 us, where level 1 has 645 in about as long. The
document of 426 kB: 31 kB in 5 ms; level 9 has 30 kB in 16 ms."""

NO_TRANSFORM = b"no-transform"

Keep = Callable[[bytes], None]
"""Keeps a compressed body for whoever asks next."""


class ContentCoding:
    """``enabled``: answers may be compressed at all, and say that they differ by Accept-Encoding.

    ``vary`` is the Vary field of an answer that differs by Accept, too.
    """

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self.vary: Header = (b"vary", b"Accept, Accept-Encoding" if enabled else b"Accept")
        self._flights: SingleFlight[bytes] = SingleFlight()

    def least(self, accept_encoding: bytes | None, cache_control: bytes | None) -> float:
        """How many bytes a body has at least that goes out in gzip to a request with these fields.

        Infinite for a request that does not take gzip, or forbids to transform; 0 for one that
        takes nothing else.
        """
        if not accept_encoding or not self.enabled:
            return inf
        if cache_control is not None and NO_TRANSFORM in cache_control.lower():
            return inf
        read = _least if len(accept_encoding) <= 128 else _least.__wrapped__
        return read(accept_encoding)

    async def compress_once(self, body: bytes, tag: str, keep: Keep) -> bytes:
        """``body`` in gzip: who asks for the same strong ``tag`` meanwhile waits for the same.

        ``keep`` is called with it before the wait is over, so that who asks next finds it.
        """

        async def make() -> bytes:
            made = await compress(body)
            keep(made)
            return made

        if len(body) <= LARGE:  # done at once: nobody else can ask meanwhile
            return await make()
        task, _ = self._flights.join(tag, make)
        return await asyncio.shield(task)


async def compress(body: bytes) -> bytes:
    """``body`` in gzip. A large one holds up nobody."""
    if len(body) <= LARGE:
        return compressed(body)
    return await asyncio.to_thread(compressed, body)


def compressed(body: bytes) -> bytes:
    """``body`` in gzip, the same bytes each time."""
    return gzip.compress(body, LEVEL, mtime=0)


@lru_cache(256)  # browsers and libraries have few forms of it
def _least(accept_encoding: bytes) -> float:
    weights: dict[str, float] = {}
    for item in members(accept_encoding.lower()):
        name, _, parameters = item.decode("latin-1").partition(";")
        weights.setdefault(name.strip().removeprefix("x-"), weight(parameters))
    plain = weights.get("identity", weights.get("*"))
    # What is not listed is not wanted, except by those who want anything but what we have plain.
    coded = weights.get("gzip", weights.get("*", 1.0 if plain == 0 else 0.0))
    if not coded or (plain is not None and plain > coded):
        return inf
    return 0 if plain == 0 else LEAST
