"""Makes a pair of connections, and sees that the server is quick and takes what it will be told.

Knows redis-py. Must not know who asks, or what a command is for.
"""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ResponseError

from app.cluster.redis_url import CONNECT, cause_of
from app.cluster.refusals import refusal_of

UNSUPPORTED = "unsupported"
"""The server does not know, or does not allow, a command that the gateway needs."""


async def shake(
    asking: Any, listening: Any, channel: str, tried: Sequence[Any], *, deadline: float
) -> str:
    """Connect both, and try these commands; gives why the server is of no use, or nothing.

    Three times it has to answer within the ``deadline``, in seconds.
    """
    try:
        async with asyncio.timeout(2 * CONNECT):
            await asking.connect()
            await listening.connect()
            await listening.send_command("SUBSCRIBE", channel, check_health=False)
            await listening.read_response(timeout=math.inf)
        for _ in range(3):
            async with asyncio.timeout(deadline):
                await asking.send_command("PING", check_health=False)
                await asking.read_response(timeout=math.inf)
        async with asyncio.timeout(CONNECT):
            return await _tried(asking, tried)
    except TimeoutError:
        return "late"
    except Exception as error:  # noqa: BLE001 - whatever speaks there may say anything
        return cause_of(error)


async def _tried(asking: Any, commands: Sequence[Any]) -> str:
    """What the first refusal means; empty if there is none."""
    await asking.send_packed_command(asking.pack_commands(commands), check_health=False)
    refusals = []
    for _ in commands:
        try:
            await asking.read_response(timeout=math.inf)
        except ResponseError as error:
            refusals.append(refusal_of(error) or UNSUPPORTED)
    return refusals[0] if refusals else ""
