"""``GET /sessions?ids=``: every item has its own outcome, and the whole is kept like one answer."""

import time

import httpx
import pytest

from app.core.cache_entry import digest
from app.sandbox.data import LIVES
from tests.conftest import Farm, StartGateway
from tests.programs import WITHIN
from tests.test_caching import Clock, clock, wound
from tests.test_http import problem_of

__all__ = ["clock", "wound"]  # fixtures

GOOD = [42, *range(1001, 1005), *range(1006, 1013)]
BAD = {
    300001: "session_not_found", 300002: "session_not_found", 300003: "session_not_found",
    301001: "session_not_attached", 301002: "session_not_attached",
    103001: "session_forbidden", 103002: "session_forbidden",
    706001: "upstream_mismatch", 101001: "upstream_rejected_parameters",
    100001: "upstream_rejected_call",
}  # fmt: skip
KEPT = {"session_not_found", "session_not_attached", "session_forbidden"}


def ask(gateway: httpx.Client, ids: list[int], **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return gateway.get("/sessions", params={"ids": ",".join(map(str, ids))}, headers=given)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Fifty more sessions, which the sandbox knows for the time of a test."""
    ids = list(range(2001, 2051))
    for id in ids:
        monkeypatch.setitem(LIVES, id, ("completed", 400))
    return ids


@pytest.fixture
def fifty(many: list[int]) -> list[int]:
    """Forty ids that are answered, with ten that are not between them."""
    good = [*GOOD, *many[: 40 - len(GOOD)]]
    bad = list(BAD)
    return [id for number in range(10) for id in (*good[number * 4 : number * 4 + 4], bad[number])]


def test_each_of_fifty_has_the_outcome_that_it_has_alone(
    start_gateway: StartGateway, farm: Farm, fifty: list[int]
) -> None:
    gateway = start_gateway(upstream_deadline=60)  # of all fifty together
    answer = ask(gateway, fifty)
    assert answer.status_code == 200
    items = answer.json()["items"]
    assert [item["id"] for item in items] == fifty
    for item in items:
        assert list(item) == ["id", "status", "session", "problem"]
        if item["id"] in BAD:
            assert item["session"] is None
            assert item["problem"]["code"] == BAD[item["id"]]
            assert item["problem"]["status"] == item["status"]
            assert item["problem"]["instance"] == f"/sessions/{item['id']}"
            assert item["problem"]["requestId"] == answer.headers["x-request-id"]
        else:
            assert item["problem"] is None
            assert item["status"] == 200
    assert farm.calls() == 50
    alone = gateway.get("/sessions/42")
    assert alone.headers["cache-status"].startswith("rfgw; hit")
    assert [item["session"] for item in items if item["id"] == 42] == [alone.json()]


def test_the_same_again_asks_the_farm_only_for_what_cannot_be_kept(
    wound: httpx.Client, clock: Clock, farm: Farm, fifty: list[int]
) -> None:
    ask(wound, fifty)
    clock.passed += 1  # a failure is remembered for so long
    kept = [id for id in fifty if BAD.get(id, "session_not_found") in KEPT]
    asked = farm.calls()
    again = ask(wound, kept)
    assert again.headers["cache-status"].startswith("rfgw; hit; ttl=")
    assert farm.calls() == asked
    ask(wound, fifty)
    assert farm.calls() == asked + len(fifty) - len(kept)


def test_order_is_kept_and_what_comes_twice_counts_once(gateway: httpx.Client) -> None:
    for query in ("ids=1002,42,1002,1001,42", "ids=1002,42&ids=1001,42"):
        items = gateway.get(f"/sessions?{query}").json()["items"]
        assert [item["id"] for item in items] == [1002, 42, 1001]


def test_the_tag_is_strong_while_all_is_well_and_weak_with_a_problem(
    gateway: httpx.Client,
) -> None:
    well = ask(gateway, [42, 1001])
    tag = digest("\n".join(f"{id} {tag_of(gateway, id)}" for id in (42, 1001)).encode())
    assert well.headers["etag"] == f'"{tag}"'
    assert ask(gateway, [1001, 42]).headers["etag"] != well.headers["etag"]
    assert ask(gateway, [42, 1001], if_none_match=well.headers["etag"]).status_code == 304

    first, second = ask(gateway, [42, 300001]), ask(gateway, [42, 300001])
    assert first.content != second.content, "each tells its own request's id"
    assert first.headers["etag"] == second.headers["etag"]
    assert first.headers["etag"].startswith('W/"')
    unchanged = ask(gateway, [42, 300001], if_none_match=first.headers["etag"])
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    for name in ("etag", "cache-control", "cache-status", "vary", "access-control-allow-origin"):
        assert name in unchanged.headers
    assert ask(gateway, [42, 301001]).headers["etag"] != first.headers["etag"]


def tag_of(gateway: httpx.Client, number: int) -> str:
    return gateway.get(f"/sessions/{number}").headers["etag"].strip('"')


def test_fields_are_cut_in_every_item_and_change_the_tag(gateway: httpx.Client) -> None:
    whole = ask(gateway, [42, 300001])
    some = gateway.get("/sessions?ids=42,300001&fields=state,title")
    first, second = some.json()["items"]
    assert first["session"] == {"title": "Sandbox session 42", "state": "completed"}
    assert second["problem"]["code"] == "session_not_found"
    assert some.headers["etag"] != whole.headers["etag"]


def test_max_age_is_what_is_left_to_the_first_that_ends(
    wound: httpx.Client, clock: Clock, farm: Farm
) -> None:
    first = ask(wound, [42, 1011])
    assert first.headers["cache-status"] == "rfgw; fwd=miss"
    assert first.headers["cache-control"] == "public, max-age=15"
    assert "age" not in first.headers
    clock.passed = 4.5
    kept = ask(wound, [1011, 42])
    assert kept.headers["cache-control"] == "public, max-age=10"
    assert kept.headers["cache-status"] == "rfgw; hit; ttl=10"
    failing = ask(wound, [1011, 706001])
    assert failing.headers["cache-control"] == "public, max-age=0"
    clock.passed = 20
    stale = ask(wound, [1011, 42])
    assert stale.headers["cache-control"] == "public, max-age=0"
    assert stale.headers["cache-status"] == "rfgw; hit; ttl=-5"


def test_a_list_tells_that_an_item_stands_in_for_a_failure(
    wound: httpx.Client, clock: Clock, farm: Farm
) -> None:
    ask(wound, [42, 1011])
    clock.passed = 60  # past stale-while-revalidate, for 1011 alone
    farm.next({"do": "status", "status": 503})
    failed = ask(wound, [42, 1011])
    assert failed.headers["cache-status"] == "rfgw; fwd=miss; detail=sie"
    not_asked = ask(wound, [42, 1011])
    assert not_asked.headers["cache-status"] == "rfgw; hit; ttl=-45; detail=sie"
    assert ask(wound, [42]).headers["cache-status"].startswith("rfgw; hit; ttl=3")


def test_the_requests_wishes_hold_for_each_item(
    wound: httpx.Client, clock: Clock, farm: Farm
) -> None:
    ask(wound, [42])
    mixed = ask(wound, [42, 1001], cache_control="only-if-cached")
    assert mixed.headers["cache-status"] == "rfgw", "no hit: one of them is not there"
    kept, missing = mixed.json()["items"]
    assert (kept["status"], missing["status"]) == (200, 504)
    assert missing["problem"]["code"] == "not_cached"
    assert farm.calls() == 1
    neither = ask(wound, [1001, 1002], cache_control="only-if-cached")
    assert neither.headers["cache-status"] == "rfgw"
    clock.passed = 2
    ask(wound, [42], cache_control="no-cache")
    assert farm.calls() == 2


def test_what_takes_too_long_fails_only_itself(start_gateway: StartGateway, farm: Farm) -> None:
    gateway = start_gateway(upstream_deadline=3)
    slow = [700001 + n for n in range(20)]
    answer = ask(gateway, [42, *slow, 1001])
    items = {item["id"]: item for item in answer.json()["items"]}
    assert items[42]["status"] == 200
    assert {items[id]["problem"]["code"] for id in slow} <= {
        "upstream_timeout",
        "upstream_unavailable",  # the breaker opened meanwhile
    }
    assert items[slow[-1]]["status"] in (503, 504)


def test_a_list_that_is_answered_asks_no_more(start_gateway: StartGateway, farm: Farm) -> None:
    gateway = start_gateway(upstream_deadline=1.5)
    farm.next(*({"do": "late", "seconds": 1} for _ in range(50)))
    answer = ask(gateway, list(range(1001, 1051)))
    assert {item["status"] for item in answer.json()["items"]} >= {504}
    until = time.monotonic() + WITHIN
    while "rfgw_flights 0.0" not in gateway.get("/metrics").text:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert farm.calls() < 50, "whoever asks goes on where the others left off, until the answer"


def test_a_cold_list_never_fills_the_bulkhead(start_gateway: StartGateway, many: list[int]) -> None:
    gateway = start_gateway(upstream_concurrency=8, upstream_queue=0, upstream_deadline=60)
    answer = ask(gateway, many)
    assert {item["status"] for item in answer.json()["items"]} == {200}


@pytest.fixture
def queries() -> dict[str, str]:
    """Bad queries, and what is told about each."""
    bad = "must be a whole number from 1 to 2147483647"
    return {
        "": "is missing",
        "ids=": f"number 1 of the list {bad}",
        "ids=42,007": f"number 2 of the list {bad}",
        "ids=42,,43": f"number 2 of the list {bad}",
        "ids=2147483648": f"number 1 of the list {bad}",
        "ids=42&ids=x": f"number 2 of the list {bad}",
        "ids=" + ",".join(map(str, range(1, 52))): "must be at most 50 values",
        "ids=" + "1," * 5000: "must be at most 50 values",
    }


def test_a_bad_list_is_refused_and_told_where(
    gateway: httpx.Client, farm: Farm, queries: dict[str, str]
) -> None:
    for query, message in queries.items():
        problem = problem_of(gateway.get(f"/sessions?{query}"), 422, "invalid_request")
        (part,) = problem["errors"]
        assert (part["parameter"], part["message"]) == ("ids", message)
    assert farm.calls() == 0


def test_what_is_no_json_is_not_sent(gateway: httpx.Client, farm: Farm) -> None:
    answer = gateway.get("/sessions?ids=42", headers={"Accept": "image/png"})
    problem_of(answer, 406, "not_acceptable")
    assert farm.calls() == 0


def test_head_is_answered_like_get(gateway: httpx.Client) -> None:
    got = ask(gateway, [42])
    head = gateway.head("/sessions?ids=42")
    assert head.headers["etag"] == got.headers["etag"]
    assert head.headers["content-length"] == got.headers["content-length"]
    assert head.content == b""
