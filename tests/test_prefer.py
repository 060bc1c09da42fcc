"""``Prefer: wait``: an answer that waits for a change, over real sockets."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from app.api.prefer import wait_of
from app.resources.sessions import GetSession
from tests.conftest import Farm
from tests.test_fields import rendered
from tests.test_http import problem_of
from tests.test_sse import RENDERING, SHORT, Gateway, StartLive, start_live
from tests.test_upstream import status, wait_for

__all__ = ["start_live"]  # a fixture


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=5", 5), ("Wait = 5", 5), ('wait="5"', 5), ("wait=20", 20), ("wait=21", 20),
        ("wait=999999999", 20), ("respond-async, wait=10; x=y", 10), ("wait=10, wait=1", 10),
        ("wait=0", 0), ("", 0), ("wait", 0), ("wait=", 0), ("wait=-1", 0), ("wait=1.5", 0),
        ('wait="5', 0), ("wait=٥", 0), ("await=5", 0), ("wait=9999999999", 0),
    ],
)  # fmt: skip
def test_the_preference_is_read_or_passed_over(prefer: str, seconds: int) -> None:
    assert wait_of(prefer.encode()) == seconds


def ask(gateway: Gateway, number: int, tag: str, prefer: str = "wait=20") -> httpx.Response:
    headers = {"If-None-Match": tag, "Prefer": prefer}
    return gateway.http.get(f"/sessions/{number}", headers=headers)


def tag_of(gateway: Gateway, number: int) -> str:
    tag: str = gateway.http.get(f"/sessions/{number}").headers["etag"]
    return tag


@pytest.fixture
def moving(start_live: StartLive) -> Gateway:
    """A gateway whose sessions under way are soon stale."""
    return start_live(fresh_active=SHORT, keep_not_found=SHORT)


def test_a_change_is_answered_when_it_comes(moving: Gateway, farm: Farm) -> None:
    farm.next(rendered(7), rendered(7), rendered(8))
    answer = ask(moving, 1005, tag_of(moving, 1005))
    assert (answer.status_code, answer.json()["partsRendered"]) == (200, 8)
    assert answer.headers["preference-applied"] == "wait=20"
    assert answer.headers["cache-status"].startswith("rfgw; hit")
    wait_for(lambda: len(moving.live.subscriptions) == 0)


def test_without_a_change_the_wait_ends_with_304(start_live: StartLive, farm: Farm) -> None:
    gateway = start_live(fresh_active=60)
    answer = ask(gateway, RENDERING, tag_of(gateway, RENDERING), "wait=1")
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["preference-applied"] == "wait=1"
    assert int(answer.headers["age"]) >= 1
    assert farm.calls() == 1


@pytest.mark.parametrize("prefer", ["wait=x", "wait=0", "respond-async"])
def test_who_does_not_wish_to_wait_is_answered_at_once(start_live: StartLive, prefer: str) -> None:
    gateway = start_live()
    answer = ask(gateway, RENDERING, tag_of(gateway, RENDERING), prefer)
    assert answer.status_code == 304
    assert "preference-applied" not in answer.headers


def test_what_has_changed_already_is_answered_at_once(start_live: StartLive) -> None:
    gateway = start_live()
    tag_of(gateway, RENDERING)
    for headers in ({}, {"If-None-Match": '"older"'}):
        answer = gateway.http.get(
            f"/sessions/{RENDERING}", headers={"Prefer": "wait=20", **headers}
        )
        assert answer.status_code == 200
        assert "preference-applied" not in answer.headers


def test_a_change_elsewhere_is_none_for_a_projection(moving: Gateway, farm: Farm) -> None:
    farm.next(rendered(7), rendered(8), rendered(9), rendered(250, "completed"))
    path = "/sessions/1005?fields=state"
    tag = moving.http.get(path).headers["etag"]
    answer = moving.http.get(path, headers={"If-None-Match": tag, "Prefer": "wait=20"})
    assert answer.json() == {"state": "completed"}


def test_an_outage_is_waited_through_while_something_is_kept(moving: Gateway, farm: Farm) -> None:
    farm.next(rendered(7), status(500), {"do": "html"}, rendered(8))
    answer = ask(moving, 1005, tag_of(moving, 1005))
    assert (answer.status_code, answer.json()["partsRendered"]) == (200, 8)


def test_a_refusal_ends_the_wait(moving: Gateway, farm: Farm) -> None:
    refusal: dict[str, object] = {"do": "fault", "code": 300}
    farm.next(rendered(7), *[refusal] * 50)  # if it is kept no more, it is asked for again
    answer = ask(moving, 1005, tag_of(moving, 1005))
    problem_of(answer, 404, "session_not_found")


def test_beyond_the_caps_nobody_waits(start_live: StartLive) -> None:
    for caps in ({"events_per_client": 0}, {"events_max_streams": 0}):
        gateway = start_live(**caps)
        answer = ask(gateway, RENDERING, tag_of(gateway, RENDERING))
        assert answer.status_code == 304
        assert "preference-applied" not in answer.headers


def test_who_waited_is_answered_although_nothing_is_kept_any_more(
    start_live: StartLive, farm: Farm
) -> None:
    gateway = start_live(fresh_active=60)
    tag = tag_of(gateway, RENDERING)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, gateway, RENDERING, tag)
        wait_for(lambda: len(gateway.live.subscriptions) == 1)
        gateway.store.drop(GetSession(id=RENDERING).key)
        gateway.drain.begin()
        assert waiting.result().status_code == 304
    assert farm.calls() == 1


def test_when_the_process_ends_all_who_wait_are_answered(start_live: StartLive, farm: Farm) -> None:
    gateway = start_live(events_per_client=50, fresh_active=60)
    tag = tag_of(gateway, RENDERING)
    with ThreadPoolExecutor(50) as pool:
        waiting = [pool.submit(ask, gateway, RENDERING, tag) for _ in range(50)]
        wait_for(lambda: len(gateway.live.subscriptions) == 50)
        assert farm.calls() == 1
        gateway.drain.begin()
        assert {answer.result().status_code for answer in waiting} == {304}
