"""One call to the sandbox farm: when it is tried again, and when it is not even made."""

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.core import errors
from app.core.ports import Attempt, Instrumentation
from app.resources.sessions import GetSession
from app.sandbox.server import DEMO_CONSUMER_KEY, DEMO_CONSUMER_SECRET
from app.upstream.bulkhead import Bulkhead
from app.upstream.circuit_breaker import Breaker, Guard, Verdict
from app.upstream.client import DECODE_IN_THREAD, UpstreamClient
from app.upstream.oauth import Signer
from app.upstream.refusals import FAULTS
from app.upstream.retry import RetryPolicy
from app.upstream.sockets import FarmConnections
from app.upstream.tls import Trust
from app.upstream.transport import Message, Transport
from app.upstream.verdicts import verdict_of
from app.upstream.xmlrpc.codec import dump_call, load_answer
from tests import conftest
from tests.hostile_farm import (
    RawFarm,
    Scene,
    closed_port,
    full_backlog,
    greeted,
    http,
    member,
    raw_farm,
    reset,
    reset_after,
    server_tls,
    session,
    silent_after,
    speaking,
)
from tests.programs import WITHIN

KNOWN = {**FAULTS, **GetSession.faults}
ASKED = GetSession(id=1001)
BAD_GATEWAY: dict[str, object] = {"do": "status", "status": 502}


class Told(Instrumentation):
    """What a farm under test reported."""

    def __init__(self, drift: Callable[[str], None]) -> None:
        self.attempts: list[Attempt] = []
        self.causes: list[str] = []
        self._drift = drift

    def attempt(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)

    def not_asked(self, cause: str) -> None:
        self.causes.append(cause)

    def drift(self, field: str) -> None:
        self._drift(field)


@asynccontextmanager
async def calling(
    farm: conftest.Farm | RawFarm,
    uniform: Callable[[float, float], float] = min,
    calls: int = 32,
    drift: Callable[[str], None] = lambda field: None,
    connect_timeout: float = 4,
) -> AsyncIterator[tuple[UpstreamClient, Told]]:
    """The client of a farm, with jitter at its least, and what it tells."""
    told = Told(drift)
    client = UpstreamClient(
        transport=Transport(
            http=FarmConnections(connections=40, trust=Trust(None), max_age=60),
            connect_timeout=connect_timeout,
            max_body=2**19,
            now=time.time,
        ),
        base=farm.url,
        signer=Signer(DEMO_CONSUMER_KEY, DEMO_CONSUMER_SECRET),
        bulkhead=Bulkhead(calls=calls, queue=0, wait=0),
        login_bulkhead=Bulkhead(calls=1, queue=0, wait=0),
        guard=Guard(Breaker(uniform=min), RetryPolicy(uniform)),
        deadline=WITHIN,
        now=time.time,
        instrumentation=told,
    )
    try:
        yield client, told
    finally:
        await client.aclose()


async def plain(value: object) -> Any:
    """The answer as it was decoded."""
    return value


async def ask(client: UpstreamClient, **more: Any) -> Any:
    return await client.call(ASKED, read=plain, **more)


async def test_a_call_that_somebody_waits_for_is_tried_again(farm: conftest.Farm) -> None:
    async with calling(farm) as (client, told):
        farm.next(BAD_GATEWAY)
        answer: Any = await ask(client)
    assert answer["id"] == 1001
    assert [(attempt.number, attempt.outcome) for attempt in told.attempts] == [
        (1, "http_502"),
        (2, "ok"),
    ]


async def test_a_call_in_the_background_is_not(farm: conftest.Farm) -> None:
    async with calling(farm) as (client, told):
        farm.next(BAD_GATEWAY)
        with pytest.raises(errors.UpstreamNoAnswer, match="http_502") as failed:
            await ask(client, background=True)
    assert [attempt.outcome for attempt in told.attempts] == ["http_502"]
    assert (failed.value.method, failed.value.arguments) == (ASKED.method, ASKED.arguments)
    assert farm.calls() == 1


async def test_a_pause_that_begins_before_the_retry_prevents_it(farm: conftest.Farm) -> None:
    def wait(low: float, high: float) -> float:
        client.guard.pause(60, client.clock())
        return low

    async with calling(farm, wait) as (client, told):
        farm.next(BAD_GATEWAY)
        with pytest.raises(errors.UpstreamNoAnswer) as failed:
            await ask(client)
        assert failed.value.asked
        with pytest.raises(errors.UpstreamUnavailable, match="paused") as refused:
            await ask(client)
        assert not refused.value.asked
    assert farm.calls() == len(told.attempts) == 1
    assert told.causes == ["paused"]


async def test_who_must_not_ask_is_told_so_even_if_all_places_are_taken(
    farm: conftest.Farm,
) -> None:
    async with calling(farm, calls=1) as (client, told), client.bulkhead.place():
        with pytest.raises(errors.Overloaded):
            await ask(client)
        client.guard.pause(60, client.clock())
        with pytest.raises(errors.UpstreamUnavailable):
            await ask(client)
    assert told.causes == ["queue_full", "paused"]
    assert told.attempts == []


async def test_a_pause_that_begins_while_waiting_for_a_place_is_kept(farm: conftest.Farm) -> None:
    async with calling(farm, calls=1) as (client, told):
        client.bulkhead = Bulkhead(calls=1, queue=1, wait=5)
        async with client.bulkhead.place():
            waiting = asyncio.create_task(ask(client))
            await asyncio.sleep(0)
            client.guard.pause(60, client.clock())
        with pytest.raises(errors.UpstreamUnavailable):
            await waiting
    assert told.attempts == []
    assert farm.calls() == 0


async def test_no_byte_beyond_the_bound_of_a_body_is_handed_on() -> None:
    call = dump_call("community.getSession", [1001])
    most, more = (http(session().ljust(2**19 + beyond), declare=False) for beyond in (0, 1))
    with raw_farm(most, more) as raw:
        async with calling(raw) as (client, _):
            received = await client.transport.post(Message(f"{raw.url}/x", call))
            assert len(received.body) == client.transport.max_body == 2**19
            with pytest.raises(errors.UpstreamUnreadable, match="too_large"):
                await client.transport.post(Message(f"{raw.url}/x", call))


async def test_a_second_attempt_is_signed_with_its_own_time() -> None:
    with raw_farm(http("", status="502 Bad Gateway"), http(session())) as raw:
        async with calling(raw) as (client, told):
            client.now = lambda: 1_790_000_000 + 100 * len(told.attempts)
            await ask(client)
    stamps = [
        re.findall(rb"oauth_timestamp</name><value><string>(\d+)", sent) for sent in raw.requests
    ]
    assert stamps == [[b"1790000000"], [b"1790000100"]]


@pytest.mark.parametrize(("size", "beside"), [(1000, False), (DECODE_IN_THREAD, True)])
async def test_a_large_answer_is_decoded_beside_the_event_loop(size: int, beside: bool) -> None:
    decoding: list[int] = []

    def drift(_field: str) -> None:
        decoding.append(threading.get_ident())

    twice = [member("title", "x" * size), member("title", "x")]
    with raw_farm(http(session(*twice))) as raw:
        async with calling(raw, drift=drift) as (client, _):
            await ask(client)
    assert [thread != threading.get_ident() for thread in decoding] == [beside]


async def test_a_second_attempt_has_what_the_first_left_of_the_deadline() -> None:
    with raw_farm(http("", status="502 Bad Gateway"), silent_after(b"")) as raw:
        async with calling(raw) as (client, told), asyncio.timeout(WITHIN / 2):
            used = WITHIN - 0.5  # the first attempt takes so long by the client's clock
            client.clock = lambda: time.monotonic() + used * len(told.attempts)
            with pytest.raises(errors.UpstreamTimeout):
                await ask(client)
    assert [attempt.outcome for attempt in told.attempts] == ["http_502", "deadline"]


async def test_who_is_cancelled_in_the_queue_leaves_its_place_there() -> None:
    bulkhead = Bulkhead(calls=1, queue=1, wait=WITHIN)

    async def enter() -> None:
        async with bulkhead.place():
            pass

    async with bulkhead.place():
        for _ in range(3):
            waiting = asyncio.create_task(enter())
            await asyncio.sleep(0)
            assert bulkhead.waiting == 1
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert bulkhead.waiting == 0


async def test_large_answers_are_decoded_one_at_a_time() -> None:
    busy, met = threading.Lock(), []

    def drift(_field: str) -> None:  # amid the decoding
        alone = busy.acquire(blocking=False)
        met.append(alone)
        time.sleep(0.0001)
        if alone:
            busy.release()

    duplicates = [member("title", "x" * 1000)] * 200
    with raw_farm(http(session(*duplicates))) as raw:
        async with calling(raw, drift=drift) as (client, _):
            ids = range(1001, 1009)
            answers: Any = await asyncio.gather(
                *(client.call(GetSession(id=number), read=plain) for number in ids)
            )
    assert [answer["id"] for answer in answers] == list(ids)
    assert len(met) == 8 * 199
    assert all(met)


async def test_a_call_that_is_cut_short_is_observed_and_frees_its_place(
    farm: conftest.Farm,
) -> None:
    async with calling(farm, calls=1) as (client, told):
        farm.next({"do": "hang"})
        task = asyncio.create_task(ask(client))
        while not await asyncio.to_thread(farm.calls):
            pass
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ask(client)
    assert [attempt.outcome for attempt in told.attempts] == ["aborted", "ok"]


async def test_an_answer_of_no_use_is_a_failure_to_the_breaker(farm: conftest.Farm) -> None:
    async def read(value: object) -> Any:
        raise errors.UpstreamMismatch("other_id")

    async with calling(farm) as (client, told):
        for number in range(1001, 1006):
            with pytest.raises(errors.UpstreamMismatch) as failed:
                await client.call(GetSession(id=number), read=read)
            assert failed.value.arguments == {"sessionId": number}
        with pytest.raises(errors.UpstreamUnavailable, match="breaker_open"):
            await ask(client)
    assert [attempt.outcome for attempt in told.attempts] == ["ok"] * 5


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        *[(KNOWN[code](fault_code=code), Verdict.ANSWER) for code in KNOWN if code != 104],
        (KNOWN[104](fault_code=104), Verdict.UNSIGNED),
        (errors.UpstreamRefusedCredentials("http_status"), Verdict.ANSWER),
        (errors.UpstreamFault(fault_code=0), Verdict.FAILURE),
        (errors.UpstreamFault(fault_code=-1), Verdict.FAILURE),
        (errors.UpstreamUnavailable("http_status"), Verdict.UNKNOWN),
        (errors.UpstreamTimeout("deadline"), Verdict.FAILURE),
        (errors.UpstreamUnreadable("not_xml"), Verdict.FAILURE),
        (errors.UpstreamMismatch("other_id"), Verdict.FAILURE),
        (errors.UpstreamUnreachable("refused"), Verdict.UNREACHABLE),
        (errors.UpstreamNoAnswer("http_status"), Verdict.FAILURE),
    ],
    ids=repr,
)
def test_every_error_teaches_its_lesson(error: errors.GatewayError, verdict: Verdict) -> None:
    assert verdict_of(error) is verdict
    of_visitors = Verdict.UNKNOWN if verdict in (Verdict.FAILURE, Verdict.UNSIGNED) else verdict
    assert verdict_of(error, is_visitors=True) is of_visitors


@pytest.mark.parametrize(
    ("scene", "tls", "cause"),
    [
        (closed_port, False, "refused"),
        (full_backlog, False, "connect_timeout"),
        (speaking("self-signed"), True, "tls"),
        (greeted(reset_after(b"\x16\x03\x03")), True, "reset|tls"),
        (greeted(silent_after(b"")), True, "connect_timeout"),
    ],
)
async def test_a_call_that_could_not_be_sent_found_the_farm_unreachable(
    scene: Scene, tls: bool, cause: str
) -> None:
    with raw_farm(b"", tls=server_tls("proper") if tls else None) as farm, scene(farm):
        async with calling(farm, connect_timeout=1 if "timeout" in cause else 4) as (client, _):
            with pytest.raises(errors.UpstreamUnreachable, match=cause):
                await ask(client)


@pytest.mark.parametrize(
    ("does", "cause"),
    [
        (reset, "reset"),
        (b"", "closed"),
        (b"HTTP/1.1 200", "closed_early"),
        (b"220 smtp.example", "not_http"),
        (http("", status="500 Oops"), "http_status"),
        (http("", status="502 Oops"), "http_502"),
    ],
)
async def test_a_call_that_was_sent_found_no_answer(does: Any, cause: str) -> None:
    with raw_farm(does) as farm:
        async with calling(farm) as (client, _):
            with pytest.raises(errors.UpstreamNoAnswer, match=cause):
                await ask(client)


async def test_large_answers_are_decoded_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lock, under_way, most = threading.Lock(), 0, 0

    def counted(*given: Any, **more: Any) -> Any:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        try:
            return load_answer(*given, **more)
        finally:
            with lock:
                under_way -= 1

    monkeypatch.setattr("app.upstream.client.load_answer", counted)
    many = "".join(member(f"{number}", "x") for number in range(4000))
    with raw_farm(http(session(member("thumbnails", f"<struct>{many}</struct>")))) as farm:
        async with calling(farm) as (client, _):
            answers = await asyncio.gather(*(ask(client) for _ in range(8)))
    assert {len(answer["thumbnails"]) for answer in answers} == {4000}
    assert most == 1


async def test_what_ends_amid_an_answer_is_not_asked_again_though_it_was_reset() -> None:
    with raw_farm(reset_after(b"HTTP/1.1 200 OK\r\n")) as farm:
        async with calling(farm) as (client, told):
            with pytest.raises(errors.UpstreamNoAnswer):
                await ask(client)
    assert [attempt.outcome for attempt in told.attempts] == ["closed_early"]
