"""What is kept of a call has become wrong: it is forgotten and asked for anew, in every process.

Knows the gateway's ways. Must not know why an answer has become wrong.
"""

import asyncio
from contextlib import suppress

from app.core.call import Call
from app.core.fetch_result import CacheDirectives
from app.core.gateway import Gateway

TRIES = 3
"""A question that was under way already may have been answered before the change."""
WITHIN = 2.0
"""Seconds that the new answer is waited for; it comes later, too, if the farm is slow."""


async def renew(gateway: Gateway, call: Call) -> None:
    """Forget what is kept of ``call``, and ask anew: who watches it, here or elsewhere, is told.

    A farm that does not answer leaves nothing kept.
    """
    since = gateway.clock()
    with suppress(TimeoutError):
        async with asyncio.timeout(WITHIN):
            for _ in range(TRIES):
                await _forget(gateway, call)
                answer = await gateway.fetch(call, CacheDirectives(no_cache=True))
                if answer.entry is None or answer.entry.asked_at >= since:
                    break
    if gateway.coordinator is not None:
        await gateway.coordinator.settle()


async def _forget(gateway: Gateway, call: Call) -> None:
    gateway.store.drop(call.key)
    if gateway.coordinator is not None:
        await gateway.coordinator.forget(call.key)
