"""The parts of one process end in order: what was begun comes to its end, and nothing stays."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.core.performer import Performer
from app.edge.api_keys import new_key
from app.login.sealed_cookies import new_cookie_key
from app.resources.sessions import GetSession
from app.services import Services, build_services
from tests.conftest import Farm, settings_for
from tests.hostile_farm import http, hung_up, raw_farm, session
from tests.programs import WITHIN
from tests.test_upstream import Held, held, wait_for

__all__ = ["held"]
CALL = GetSession(id=1001)


def with_login(_directory: Path) -> dict[str, object]:
    return {
        "login": True,
        "cookie_key": new_cookie_key(),
        "cors_origins": "https://site.example",
        "public_url": "http://127.0.0.1:8000",
    }


def with_accounts(directory: Path) -> dict[str, object]:
    (directory / "keys").write_text(new_key("site", ["accounts"])[1])
    return {"accounts": True, "api_keys_file": directory / "keys"}


def performer_of(services: Services) -> Performer:
    if services.visits is not None:
        return services.visits.performer
    assert services.accounts is not None
    return services.accounts._performer


@pytest.mark.parametrize("given", [with_login, with_accounts])
async def test_what_was_begun_for_a_visitor_comes_to_its_end(
    given: object, held: Held, tmp_path: Path
) -> None:
    assert callable(given)
    services = build_services(settings_for(held.url, **given(tmp_path)))
    block = services.running()
    await block.__aenter__()
    begun = asyncio.create_task(performer_of(services).perform(GetSession(id=Held.number)))
    await asyncio.to_thread(wait_for, lambda: held.asked > 0)
    ending = asyncio.create_task(block.__aexit__(None, None, None))
    for _ in range(100):  # whatever does not wait for the farm comes to its end
        await asyncio.sleep(0)
    assert not ending.done(), "the end did not wait"
    held.release()
    answer = await begun
    await ending
    assert answer.model_dump()["id"] == Held.number


async def test_at_the_end_nobody_asks_on_for_those_who_watched(farm: Farm) -> None:
    services = build_services(settings_for(farm.url))
    with ExitStack() as stack:
        async with services.running():
            stack.enter_context(services.subscriptions.watch(CALL, "a client"))
            assert _watching() == 1
        assert _watching() == 0


def _watching() -> int:
    return sum(task.get_name().startswith("watch ") for task in asyncio.all_tasks())


async def test_at_the_end_no_connection_to_the_farm_is_left() -> None:
    left: list[bool] = []
    with raw_farm(keep_alive=True) as farm:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def answer(connection: object) -> None:
            connection.sendall(http(session(), close=False))  # type: ignore[attr-defined]
            left.append(not hung_up(connection, 5))  # type: ignore[arg-type]
            loop.call_soon_threadsafe(ended.set)

        farm.script.append(answer)
        services = build_services(settings_for(farm.url))
        async with services.running():
            assert (await services.gateway.fetch(CALL)).entry is not None
        async with asyncio.timeout(WITHIN):
            await ended.wait()
    assert left == [False]


def test_lists_of_visitors_are_kept_for_seconds_and_for_a_thousand_at_most(
    tmp_path: Path,
) -> None:
    services = build_services(settings_for("http://127.0.0.1:1", **with_login(tmp_path)))
    assert services.visits is not None
    gateway = services.visits.replies.gateway
    entry = gateway.freshness.answer(0.0, b"[]", "active", min)
    assert entry.lifetime == 5.0
    for number in range(1010):
        gateway.store.put(f"of visitor {number}", entry)
    assert len(gateway.store) == 1000
