"""What has become wrong is asked for anew, and nothing that was asked before is believed."""

import asyncio

from app.core.renewal import renew
from tests.test_gateway import CALL, build, settle


async def test_what_was_under_way_before_the_change_is_asked_for_again() -> None:
    gateway, farm, clock = build()
    farm.mood = "slow"
    before = asyncio.create_task(gateway.fetch(CALL))
    await settle()
    clock.now += 1.0
    renewing = asyncio.create_task(renew(gateway, CALL))
    await settle()
    farm.mood, farm.title = "healthy", "two"
    (gate,) = farm.held
    gate.set_result(None)
    await asyncio.gather(before, renewing)
    entry = gateway.store.get(CALL.key)
    assert entry is not None
    assert (farm.calls, entry.asked_at) == (2, clock.now)
