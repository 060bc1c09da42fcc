"""Several processes and one cache: one asks, all have the answer, and nobody needs the cache."""

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.conftest import Farm, StartGateway
from tests.programs import WITHIN
from tests.valkey import Valkey, valkey

ACTIVE, DONE = "/sessions/1005", "/sessions/1010"
METRIC = "rfgw_shared_cache"


@pytest.fixture
def server() -> Iterator[Valkey]:
    """A running Valkey server. Its socket's path must be short."""
    with tempfile.TemporaryDirectory() as directory, valkey(Path(directory)) as running:
        yield running


StartGroup = Callable[..., list[httpx.Client]]


@pytest.fixture
def start_group(server: Valkey, start_gateway: StartGateway) -> StartGroup:
    """Starts gateways that meet at the server."""

    def start(count: int = 2, **overrides: object) -> list[httpx.Client]:
        return [start_gateway(cache_url=server.url, **overrides) for _ in range(count)]

    return start


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for what is sure to come soon."""
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def counted(gateway: httpx.Client, series: str) -> float:
    """What a series of the shared cache stands at; 0 if it has not begun."""
    for line in gateway.get("/metrics").text.splitlines():
        name, _, value = line.rpartition(" ")
        if name == f"{METRIC}_{series}":
            return float(value)
    return 0.0


def status(answer: httpx.Response) -> str:
    return answer.headers["cache-status"]


def revalidate(gateway: httpx.Client, path: str) -> httpx.Response:
    return gateway.get(path, headers={"cache-control": "no-cache"})


def grow_older() -> None:
    """What is kept must be a second old before it is asked for again."""
    time.sleep(1.05)


def test_what_one_process_asked_for_another_need_not(start_group: StartGroup, farm: Farm) -> None:
    one, other = start_group()
    asked, shared = one.get(DONE), other.get(DONE)
    assert "fwd=uri-miss" in status(asked)
    assert status(shared).endswith("; detail=shared")
    assert shared.content == asked.content
    assert shared.headers["etag"] == asked.headers["etag"]
    assert shared.headers["cache-control"] == asked.headers["cache-control"]
    assert "detail" not in status(other.get(DONE))  # from its own memory now
    assert farm.calls() == 1


def test_refusals_are_shared_too(start_group: StartGroup, farm: Farm) -> None:
    one, other = start_group()
    assert [gateway.get("/sessions/300001").status_code for gateway in (one, other)] == [404, 404]
    assert farm.calls() == 1


def test_an_answer_is_as_old_in_one_process_as_in_another(start_group: StartGroup) -> None:
    one, other = start_group()
    one.get(DONE)
    grow_older()
    assert other.get(DONE).headers["age"] == one.get(DONE).headers["age"] == "1"


def test_a_process_that_begins_later_knows_what_the_others_know(
    start_group: StartGroup, farm: Farm
) -> None:
    start_group(1)[0].get(DONE)
    assert "detail=shared" in status(start_group(1)[0].get(DONE))
    assert farm.calls() == 1


def test_those_with_another_farm_or_consumer_share_nothing(
    start_group: StartGroup, start_gateway: StartGateway, server: Valkey, farm: Farm
) -> None:
    start_group(1)[0].get(DONE)
    stranger = start_gateway(
        cache_url=server.url, upstream_url=farm.url.replace("127.0.0.1", "localhost")
    )
    assert "fwd=uri-miss" in status(stranger.get(DONE))
    assert farm.calls() == 2


def test_a_replaced_answer_replaces_those_of_others(start_group: StartGroup, farm: Farm) -> None:
    one, other = start_group()
    assert {gateway.get(DONE).status_code for gateway in (one, other)} == {200}
    grow_older()
    farm.next({"do": "fault", "code": 300})
    assert revalidate(one, DONE).status_code == 404
    until(lambda: other.get(DONE).status_code == 404, "the other still has it")
    assert farm.calls() == 2


def test_an_answer_that_is_not_kept_ends_those_of_others(
    start_group: StartGroup, farm: Farm
) -> None:
    one, other = start_group()
    assert {gateway.get(DONE).status_code for gateway in (one, other)} == {200}
    grow_older()
    farm.next({"do": "fault", "code": 101})
    assert revalidate(one, DONE).status_code == 400
    only = {"cache-control": "only-if-cached"}
    until(lambda: other.get(DONE, headers=only).status_code == 504, "the other still has it")


def test_a_failure_is_told_to_those_who_wait_and_not_kept(
    start_group: StartGroup, farm: Farm
) -> None:
    (hasty,), patient = start_group(1, upstream_deadline=0.5), start_group(2)
    farm.next({"do": "hang"})
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(hasty.get, DONE)]
        until(lambda: farm.calls() == 1, "nobody asks")
        answers += [pool.submit(gateway.get, DONE) for gateway in patient]
    assert [answer.result().json()["code"] for answer in answers] == ["upstream_timeout"] * 3
    assert farm.calls() == 1
    assert patient[0].get(DONE).status_code == 200


def test_without_the_server_each_asks_for_itself_until_it_is_back(
    start_group: StartGroup, server: Valkey, farm: Farm
) -> None:
    one, other = start_group()
    server.stop()
    assert [gateway.get(DONE).status_code for gateway in (one, other)] == [200, 200]
    assert farm.calls() == 2
    until(lambda: counted(one, "up") == 0, "it is not missed")
    server.start()
    until(lambda: counted(one, "up") == counted(other, "up") == 1, "it is not found again")
    assert "fwd=uri-miss" in status(one.get(ACTIVE))
    assert "detail=shared" in status(other.get(ACTIVE))


def test_what_was_answered_anew_while_notices_were_lost_is_found_out(
    start_group: StartGroup, start_gateway: StartGateway, server: Valkey, farm: Farm
) -> None:
    one, other = start_group()
    assert {gateway.get(DONE).status_code for gateway in (one, other)} == {200}
    grow_older()
    # A notice that nobody hears: the connections of all who listen are cut, at that moment.
    server.client.client_kill_filter(_type="pubsub")
    farm.next({"do": "fault", "code": 300})
    assert revalidate(one, DONE).status_code == 404
    until(lambda: other.get(DONE).status_code == 404, "the other still has it")
