"""What has become wrong is asked for anew, and nothing that was asked before is believed."""

import asyncio
import tempfile
from pathlib import Path

import pytest

from app.core.renewal import renew
from app.resources.sessions import GetSession
from app.services import build_services
from tests.conftest import Farm, settings_for
from tests.group_member import until
from tests.test_gateway import CALL, build, settle
from tests.valkey import valkey

ASKED = GetSession(id=1005)


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


@pytest.mark.usefixtures("patience")
async def test_once_it_is_done_the_other_processes_have_been_told(farm: Farm) -> None:
    with tempfile.TemporaryDirectory() as directory, valkey(Path(directory)) as server:
        services = build_services(settings_for(farm.url, cache_url=server.url))
        coordinator = services.coordinator
        assert coordinator is not None
        async with services.running():
            await until(lambda: coordinator.shared_store._connection.is_up)
            await services.gateway.fetch(ASKED)
            await coordinator.settle()
            await renew(services.gateway, ASKED)
            assert not coordinator._invalidation._tasks
