"""``Prefer: wait=20`` (RFC 7240): an answer that has not changed may wait until it does.

Knows the preference's grammar and subscriptions. Must not know what an answer looks like.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from starlette.types import Receive

from app.api.field_lists import members
from app.core import errors
from app.core.call import Call
from app.core.fetch_result import CacheDirectives, FetchResult
from app.core.gateway import Gateway
from app.core.subscriptions import Subscriber, Subscriptions

LONGEST = 20
"""Seconds: proxies in between often give up after 30."""
LOOK_EVERY = 1.0
"""Seconds after which a request that waits looks whether it still may."""

KEPT_ONLY = CacheDirectives(only_if_cached=True)

_WAIT = re.compile(rb'[ \t]*+wait[ \t]*+=[ \t]*+("?)([0-9]{1,9}+)\1[ \t]*+(?:;|$)', re.IGNORECASE)


def wait_of(prefer: bytes) -> int:
    """Seconds that a request with this Prefer field would wait, LONGEST at most; 0 for none.

    What cannot be read is passed over, as RFC 7240 section 2 wants it.
    """
    found = next(filter(None, map(_WAIT.match, members(prefer))), None)
    return min(int(found[2]), LONGEST) if found else 0


async def changed(
    subscriptions: Subscriptions,
    gateway: Gateway,
    call: Call,
    client: str,
    receive: Receive,
    seconds: float,
    unchanged: Callable[[FetchResult], Awaitable[bool]],
    allowed: Callable[[], bool],
) -> FetchResult | None:
    """What ``call`` is answered with once it is no longer ``unchanged``, or after ``seconds``.

    None if there is no room for one more who watches: then a wish to wait is passed over. While
    the farm fails and something is kept, nothing has changed. A client that leaves waits no longer.
    Raises errors.Unauthorized soon after the request is ``allowed`` no more.
    """
    try:
        with (
            subscriptions.watch(call, client) as subscriber,
            until_gone(receive, subscriber),
        ):
            try:
                async with asyncio.timeout(seconds):
                    while await _next(subscriber, allowed) is not None:
                        answer = await gateway.fetch(call)
                        if not await unchanged(answer):
                            return answer
            except TimeoutError:
                pass  # nothing has changed, which is an answer
    except (errors.Overloaded, errors.TooManyStreams):
        return None
    return await gateway.fetch(call, KEPT_ONLY)


async def _next(subscriber: Subscriber, allowed: Callable[[], bool]) -> object:
    """What the subscriber is told next."""
    while True:
        try:
            async with asyncio.timeout(LOOK_EVERY):
                return await subscriber.next()
        except TimeoutError:
            if not allowed():
                raise errors.Unauthorized from None


@contextmanager
def until_gone(receive: Receive, subscriber: Subscriber) -> Iterator[None]:
    """For the time of the block, the subscriber's updates end as soon as its client has left."""

    async def await_end() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        subscriber.end()

    gone = asyncio.create_task(await_end())
    try:
        yield
    finally:
        gone.cancel()
