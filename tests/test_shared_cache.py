"""Several processes and one cache: one asks, all have the answer, and nobody needs the cache."""

import itertools
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.conftest import Farm, StartGateway
from tests.hostile_farm import GOOD, raw_farm
from tests.programs import WITHIN
from tests.proxy import proxy
from tests.valkey import Valkey, impatient, valkey

pytestmark = pytest.mark.usefixtures("patience")

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
        coordinator = [start_gateway(cache_url=server.url, **overrides) for _ in range(count)]
        until(lambda: all(counted(one, "up") for one in coordinator), "it is not found")
        return coordinator

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
    """What is kept must be a second old before it is asked for again.

    To another process it seems younger, by as much as its question took.
    """
    time.sleep(1.3)


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
    one, other, who_wants_a_younger_one = start_group(3)
    one.get(DONE)
    time.sleep(2)
    shared, own = other.get(DONE), one.get(DONE)
    assert "detail=shared" in status(shared)
    assert 1 <= int(shared.headers["age"]) <= int(own.headers["age"])
    assert "fwd=uri-miss" in status(revalidate(who_wants_a_younger_one, DONE))


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


def test_who_wants_no_kept_answer_gets_none_of_another_process(
    start_group: StartGroup, farm: Farm
) -> None:
    one, other = start_group()
    one.get(DONE)
    grow_older()
    assert "fwd=uri-miss" in status(revalidate(other, DONE))
    assert farm.calls() == 2


def test_who_watches_in_one_process_hears_of_an_answer_that_another_got(
    start_group: StartGroup, farm: Farm
) -> None:
    one, other = start_group(fresh_active=60)
    with other.stream("GET", f"{ACTIVE}/events", timeout=WITHIN) as stream:
        events = (line for line in stream.iter_lines() if line.startswith("id: "))
        first = next(events)
        grow_older()  # and the session goes on rendering
        assert f"id: {revalidate(one, ACTIVE).headers['etag']}" != first
        assert next(events) != first
    assert farm.calls() == 2


def test_a_failure_is_told_to_those_who_wait_and_remembered(
    start_group: StartGroup, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.freshness.FIRST_WAIT", WITHIN)
    (hasty,), patient = start_group(1, upstream_deadline=2), start_group(2)
    farm.next({"do": "hang"})
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(hasty.get, DONE)]
        until(lambda: farm.calls() == 1, "nobody asks")
        answers += [pool.submit(gateway.get, DONE) for gateway in patient]
    problems = [answer.result().json() for answer in answers]
    assert [problem["code"] for problem in problems] == ["upstream_timeout"] * 3
    asked = {"method": "community.getSession", "faultCode": None}
    assert [problem["upstream"] for problem in problems] == [asked] * 3
    assert [gateway.get(DONE).status_code for gateway in patient] == [504, 504]
    assert farm.calls() == 1


def test_a_failure_is_remembered_by_all_and_one_asks_again(
    start_group: StartGroup, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.freshness.FIRST_WAIT", WITHIN)
    group = start_group(3)
    bad = "/sessions/707001"
    assert group[0].get(bad).json()["retryAfterMs"] == 1000 * WITHIN

    def remembered() -> bool:
        return all("rfgw_cache_failures 1.0" in one.get("/metrics").text for one in group)

    until(remembered, "not all remember it")
    for gateway in group:
        answer = gateway.get(bad)
        assert answer.json()["code"] == "upstream_unreadable"
        assert 0 < answer.json()["retryAfterMs"] <= 1000 * WITHIN
    assert farm.calls() == 1


def test_an_answer_ends_the_failure_that_all_remember(
    start_group: StartGroup, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.freshness.FIRST_WAIT", 0.01)
    group = start_group(2)
    farm.next({"do": "html"})
    assert group[0].get(DONE).status_code == 502
    until(lambda: group[1].get(DONE).status_code == 200, "it is never asked again")
    until(lambda: group[0].get(DONE).status_code == 200, "it is never looked up again")
    assert farm.calls() == 2


def test_one_late_answer_does_not_end_the_right_to_ask(
    start_gateway: StartGateway, server: Valkey
) -> None:
    done = threading.Event()

    def answer_when_done(connection: socket.socket) -> None:
        done.wait(WITHIN)
        connection.sendall(GOOD)

    def renewals(gateway: httpx.Client, outcome: str) -> float:
        return counted(gateway, f'total{{operation="renew",outcome="{outcome}"}}')

    with raw_farm(answer_when_done) as farm, ThreadPoolExecutor(1) as pool:
        gateway = start_gateway(
            upstream_url=farm.url, cache_url=server.url, upstream_deadline=2 * WITHIN
        )
        answer = pool.submit(gateway.get, "/sessions/1001", timeout=2 * WITHIN)
        until(lambda: len(farm.requests) == 1, "nobody asks")
        with impatient(), server.frozen():
            until(lambda: renewals(gateway, "late") > 0, "the right is not renewed")
        before = renewals(gateway, "ok")
        until(lambda: renewals(gateway, "ok") > before, "the right is given up")
        done.set()
        assert answer.result().status_code == 200


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


def full(server: Valkey) -> None:
    server.client.config_set("maxmemory", "1")


def roomy(server: Valkey) -> None:
    server.client.config_set("maxmemory", "0")


def read_only(server: Valkey) -> None:
    server.client.replicaof("127.0.0.1", "1")


def writable(server: Valkey) -> None:
    server.client.replicaof("NO", "ONE")


def flushed(server: Valkey) -> None:
    server.client.flushall()


def garbage(server: Valkey) -> None:
    for name in server.client.keys("rfgw:*"):
        server.client.set(name, b"rfgw1 \x00 rubbish", ex=60)


def nothing(_server: Valkey) -> None:
    """It needs no help to be well again."""


def frozen(server: Valkey) -> None:
    server.signal(signal.SIGSTOP)


def thawed(server: Valkey) -> None:
    server.signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("hurt", "heal"),
    [
        (Valkey.stop, Valkey.start),
        (frozen, thawed),
        (full, roomy),
        (read_only, writable),
        (flushed, nothing),
        (garbage, nothing),
    ],
)
def test_under_load_a_sick_server_costs_calls_and_no_answers(
    start_group: StartGroup,
    server: Valkey,
    farm: Farm,
    hurt: Callable[[Valkey], None],
    heal: Callable[[Valkey], None],
) -> None:
    lifetime, ids = 0.3, (1003, 1004, 1005)
    coordinator = start_group(fresh_active=lifetime, stale_while_revalidate=0)
    ask_often(coordinator, ids)
    farm.forget()
    began = time.monotonic()
    with impatient():
        hurt(server)
        try:
            assert ask_often(coordinator, ids) == {200}
        finally:
            heal(server)
    lifetimes = (time.monotonic() - began) / lifetime
    assert farm.calls() <= len(coordinator) * len(ids) * (lifetimes + 1)
    until(lambda: all(counted(one, "up") for one in coordinator), "it is not found again")
    until(lambda: all_know_what_one_asked(coordinator, farm), "they do not share again")


def ask_often(coordinator: list[httpx.Client], ids: tuple[int, ...]) -> set[int]:
    """Every process is asked for every id for three lifetimes, by two at a time."""

    def ask(gateway: httpx.Client) -> set[int]:
        ends = time.monotonic() + 1.0
        seen = set()
        while time.monotonic() < ends:
            seen |= {gateway.get(f"/sessions/{number}").status_code for number in ids}
        return seen

    with ThreadPoolExecutor(2 * len(coordinator)) as pool:
        return set().union(*pool.map(ask, 2 * coordinator))


def all_know_what_one_asked(coordinator: list[httpx.Client], farm: Farm) -> bool:
    """Of an id that nobody has asked for; one that was just asked for alone proves nothing."""
    number = next(NEW)
    before = farm.calls()
    for gateway in coordinator:
        gateway.get(f"/sessions/{number}")
    return farm.calls() == before + 1


NEW = itertools.count(20_000)


def test_a_slow_way_to_the_server_costs_no_answers(
    start_gateway: StartGateway, server: Valkey, farm: Farm
) -> None:
    with proxy(server.socket) as way, impatient():
        coordinator = [start_gateway(cache_url=way.url, fresh_active=0.3) for _ in range(2)]
        for way.delay in (0.015, 0.03, 0.2):
            assert ask_often(coordinator, (1003, 1005)) == {200}
        way.delay = 0.0
        until(lambda: all(counted(one, "up") for one in coordinator), "it is not found again")


def test_values_that_are_no_records_of_ours_are_counted(
    start_group: StartGroup, server: Valkey
) -> None:
    one, other = start_group()

    def kept(number: int) -> tuple[bytes | str, bytes]:
        """The name and the record of a session that one of them was asked for."""
        one.get(f"/sessions/{number}")
        pattern = f"rfgw:*({number})"
        until(lambda: bool(server.client.keys(pattern)), "it is not kept")
        (name,) = server.client.keys(pattern)
        record = server.client.get(name)
        assert isinstance(record, bytes)
        return name, record

    _, of_another = kept(1005)
    spoils: list[tuple[Callable[[bytes], bytes], int | None, str]] = [
        (lambda record: b"rfgw2 later", 60, "version"),
        (lambda record: b"rubbish", 60, "foreign"),
        (lambda record: record[:-1], 60, "seal"),
        (lambda record: record, 9_999, "age"),
        (lambda record: record, None, "age"),
        (lambda record: of_another, 60, "key"),
    ]
    for number, (spoilt, lifetime, reason) in zip(range(1006, 1012), spoils, strict=True):
        series = f'rejected_total{{reason="{reason}"}}'
        before = counted(other, series)
        name, record = kept(number)
        server.client.set(name, spoilt(record), ex=lifetime)
        assert other.get(f"/sessions/{number}").json()["id"] == number
        assert counted(other, series) == before + 1, reason


@pytest.mark.parametrize("expiry", [None, 3_600_000])
def test_a_lease_that_never_ends_delays_nobody(
    server: Valkey,
    start_group: StartGroup,
    farm: Farm,
    monkeypatch: pytest.MonkeyPatch,
    expiry: int | None,
) -> None:
    monkeypatch.setattr("app.cluster.shared_store.LEASE", 1.0)
    one, other = start_group()
    assert one.get(ACTIVE).status_code == 200
    names = [bytes(name).decode() for name in server.client.keys("rfgw:*")]  # type: ignore[arg-type]
    (record,) = [name for name in names if "getSession" in name]
    server.client.delete(record)
    server.client.set(f"{record}:lease", b"of a broken tool", px=expiry)
    farm.begin()
    answer = other.get(ACTIVE)
    assert answer.status_code == 200
    assert farm.calls() == 1
    left = server.client.pttl(f"{record}:lease")
    assert left == -2 or 0 < left <= 1000, "it ends soon, and then leases work again"


def a_record(server: Valkey) -> str:
    """The name of the one record that is kept for the session of ``ACTIVE``."""
    (name,) = server.client.keys("rfgw:*(1005)")
    return bytes(name).decode()  # type: ignore[arg-type]


def test_an_old_record_that_is_put_back_is_as_old_as_it_is(
    start_group: StartGroup, server: Valkey, farm: Farm
) -> None:
    one, other = start_group(fresh_active=60)
    one.get(ACTIVE)
    until(lambda: bool(server.client.keys("rfgw:*(1005)")), "it is not kept")
    name = a_record(server)
    sealed, whole = server.client.get(name), server.client.pttl(name)
    assert isinstance(sealed, bytes)
    server.client.delete(name)
    grow_older()
    server.client.set(name, sealed, px=whole)
    answer = other.get(ACTIVE)
    assert status(answer).endswith("detail=shared")
    assert int(answer.headers["age"]) >= 1
    assert farm.calls() == 1


def test_a_record_that_is_put_back_after_its_time_is_none(
    start_group: StartGroup, server: Valkey, farm: Farm
) -> None:
    brief = {"fresh_active": 0.1, "stale_if_error": 0, "stale_while_revalidate": 0}
    one, other = start_group(**brief)
    found: list[tuple[bytes | str, bytes, int]] = []

    def is_found() -> bool:
        """Whether it could be read before it ended; else it is asked for anew."""
        one.get(ACTIVE)
        for name in server.client.keys("rfgw:*(1005)"):
            sealed, whole = server.client.get(name), server.client.pttl(name)
            if isinstance(sealed, bytes) and whole > 0:
                found.append((name, sealed, whole))
        return bool(found)

    until(is_found, "it is not kept")
    ((name, sealed, whole),) = found
    until(lambda: not server.client.exists(name), "it stays")
    grow_older()
    farm.forget()
    server.client.set(name, sealed, px=whole)
    assert "fwd=uri-miss" in status(other.get(ACTIVE))
    assert counted(other, 'rejected_total{reason="age"}') == 1
    assert farm.calls() == 1


@pytest.mark.parametrize("is_forged", [True, False])
def test_a_lease_that_somebody_renews_for_ever_delays_nobody_for_long(
    start_gateway: StartGateway, server: Valkey, is_forged: bool
) -> None:
    ask = threading.Event()

    def answer_when_asked(connection: socket.socket) -> None:
        ask.wait(WITHIN)
        connection.sendall(GOOD)

    with raw_farm(answer_when_asked) as farm, ThreadPoolExecutor(1) as pool:
        settings = {"upstream_url": farm.url, "cache_url": server.url, "upstream_deadline": WITHIN}
        one, other = (start_gateway(**settings, keep_refused=0, fresh_active=0) for _ in "12")
        begun = pool.submit(one.get, "/sessions/1001", timeout=WITHIN)
        until(lambda: bool(server.client.keys("*:lease")), "nobody leads")
        (name,) = server.client.keys("*:lease")
        lease = server.client.get(name)
        assert isinstance(lease, bytes)
        ask.set()
        assert begun.result().status_code == 200
        until(lambda: not server.client.exists(name), "it is not given back")
        renewed = b"of a tool" if is_forged else lease
        server.client.set(name, renewed, px=int(900 * WITHIN))  # less than LEASE: no endless one
        alone = other.get("/sessions/1001", headers={"cache-control": "no-cache"})
        assert alone.status_code == 200
        assert counted(other, 'questions_total{how="alone"}') == 1


def test_a_record_that_is_sent_as_a_notice_is_counted_and_ends_nothing(
    start_group: StartGroup, server: Valkey
) -> None:
    one, other = start_group()
    assert one.get(ACTIVE).status_code == 200
    (channel,) = server.client.pubsub_channels()
    (record,) = server.client.keys("rfgw:*(1005)")
    sealed = server.client.get(record)
    assert isinstance(sealed, bytes)
    unreadable = 'notices_total{kind="unreadable"}'
    before = counted(other, unreadable)
    server.client.publish(channel, sealed[:1000])
    server.client.publish(channel, sealed.removeprefix(b"rfgw1 ")[:1000])
    until(lambda: counted(other, unreadable) == before + 2, "it is not counted")
    assert counted(other, "up") == 1
    one.get(DONE)
    assert status(other.get(DONE)).endswith("detail=shared")
