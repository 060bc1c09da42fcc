"""Every fault of the list, met twice: with nothing kept, and with a kept answer that is stale.

Each row is played against a real gateway over a farm of raw bytes, several rows at a time; what was
seen is then asserted row by row. Must not know how the gateway is built inside.
"""

import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.main import create_app
from app.telemetry import logs
from app.telemetry.log_writer import LOG_WRITER
from tests.conftest import settings_for
from tests.hostile_farm import (
    CERTIFICATES,
    LEAK,
    RawFarm,
    http,
    member,
    raw_farm,
    server_tls,
    session,
    write_authority,
)
from tests.hostile_faults import ROWS, Row
from tests.running import client_of, running, serving
from tests.test_canary import KEY, SECRET, TOKEN, TOKEN_SECRET, WORD, Sent, leaks
from tests.test_http import problem_of

COLD, STALE, OTHER, THIRD = 2000, 4000, 6000, 3000
"""Numbers of sessions begin here, by what they are for: each play has its own."""
KEPT = 1008
"""A session that every gateway keeps."""
AT_ONCE = 12
"""Rows played at the same time: most of them wait."""
WAIT = 60
"""Seconds for which a failure is remembered at first: longer than a play takes."""
SLACK = 5.0
"""Seconds beyond the deadline: what takes longer hangs."""

STATUSES = {
    "session_not_found": 404,
    "session_not_attached": 409,
    "session_forbidden": 403,
    "upstream_rejected_parameters": 400,
    "upstream_unavailable": 503,
    "upstream_timeout": 504,
}
"""Of the problem codes; the others are 502."""
REPLACING = ("session_not_found", "session_not_attached", "session_forbidden")
"""Answers like any other: they are kept, and no older answer stands in for them."""
REFUSED = (*REPLACING, "upstream_rejected_parameters")


@dataclass
class Lane:
    """A farm and a gateway over it, and what has been counted there so far."""

    farm: RawFarm
    gateway: httpx.Client
    deadline: float

    def get(self, number: int) -> httpx.Response:
        origin = {"origin": "https://site.example"}
        return self.gateway.get(f"/sessions/{number}", headers=origin, timeout=30)

    def counted(self) -> Counter[str]:
        """The attempts so far by outcome, and under ``retries`` those that were retries."""
        counts: Counter[str] = Counter()
        for line in self.gateway.get("/metrics").text.splitlines():
            series, _, value = line.rpartition(" ")
            if series == "rfgw_upstream_retries_total":
                counts["retries"] = int(float(value))
            elif series.startswith("rfgw_upstream_attempts_total{"):
                counts[series.split('"')[1]] = int(float(value))
        return counts


@dataclass
class RoutedRequest:
    """What one play of a row brought."""

    row: Row
    number: int
    kept: httpx.Response | None  # what was answered before, if that was kept
    answer: httpx.Response
    seconds: float
    deadline: float
    heard: int
    counted: Counter[str]
    hit: httpx.Response  # another session that is kept
    other: httpx.Response  # another session that nobody has asked for
    again: httpx.Response  # the same session, right after the fault


def taken(requests: list[bytes]) -> list[bytes]:
    """The bodies of the requests that came in; they are forgotten there."""
    came = requests[:]
    del requests[: len(came)]
    return [request.partition(b"\r\n\r\n")[2] for request in came]


@dataclass
class Stage:
    """Where rows are played. ``lines`` are the log lines of all, ``answers`` all that came out."""

    stack: ExitStack
    authority: Path
    lines: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    lanes: dict[str, queue.SimpleQueue[Lane]] = field(default_factory=dict)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def play(self, row: Row, number: int, *, stale: bool) -> RoutedRequest:
        with self.lane(row) as lane:
            kept = lane.get(number) if stale else None
            heard, counted = lane.farm.asked.count(number), lane.counted()
            lane.farm.scripts[number] = list(row.does)
            with row.scene(lane.farm):
                started = time.monotonic()
                answer = lane.get(number)
                seconds = time.monotonic() - started
            heard, counted = lane.farm.asked.count(number) - heard, lane.counted() - counted
            others = lane.get(KEPT), lane.get(OTHER - COLD + number), lane.get(number)
            lane.get(THIRD - COLD + number)  # most sessions are well: the breaker has no part in it
            for given in (answer, *others):
                self.answers.append(f"{given.headers}\n{given.text}")
            self.requests += taken(lane.farm.requests)
        return RoutedRequest(
            row, number, kept, answer, seconds, lane.deadline, heard, counted, *others
        )

    @contextmanager
    def lane(self, row: Row) -> Iterator[Lane]:
        """A lane for the row: one of its own, or one that others had before."""
        key = json.dumps([dict(row.settings), row.tls])
        with self.turn:
            free = self.lanes.setdefault(key, queue.SimpleQueue())
        with ExitStack() as own:
            try:
                lane = None if row.alone else free.get_nowait()
            except queue.Empty:
                lane = None
            if lane is None:
                with self.turn:  # FastAPI silences warnings for a moment, in all threads
                    lane = self.new_lane(own if row.alone else self.stack, row)
            yield lane
            if not row.alone:
                free.put(lane)

    def new_lane(self, stack: ExitStack, row: Row) -> Lane:
        """A gateway that keeps ended sessions long, and others no moment."""
        active = http(session(member("state", "active")))
        farm = stack.enter_context(raw_farm(active, tls=server_tls("proper") if row.tls else None))
        farm.scripts[KEPT] = [http(session(member("state", "completed")))]
        settings = settings_for(
            farm.url,
            consumer_key=KEY,
            consumer_secret=SECRET,
            oauth_token=TOKEN,
            oauth_token_secret=TOKEN_SECRET,
            upstream_ca_file=self.authority if row.tls else None,
            fresh_queued=0.001,
            stale_while_revalidate=0,
            stale_if_slow=60,
            **{"upstream_connect_timeout": 5, **row.settings},
        )
        url = stack.enter_context(running(serving(create_app(settings))))
        gateway = stack.enter_context(client_of(url))
        lane = Lane(farm, gateway, settings.upstream_deadline)
        assert lane.get(KEPT).status_code == 200
        return lane

    def attempts(self, number: int) -> list[dict[str, Any]]:
        """The events about attempts to ask for this session."""
        told = [json.loads(line) for line in self.lines if f": {number}}}" in line]
        return [line for line in told if line["event"] == "upstream_attempt"]


@contextmanager
def staged(directory: Path) -> Iterator[Stage]:
    """A stage whose gateways all log to it alone."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        stage = Stage(stack, write_authority(directory / "authority.pem"))
        for kind in CERTIFICATES:
            server_tls(kind)  # here and not in a thread: it silences a warning for a moment
        patch.setattr("app.core.freshness.FIRST_WAIT", float(WAIT))
        logs.configure("debug", "json")
        patch.setattr(LOG_WRITER, "add", lambda line: stage.lines.append(line.decode()))
        # Each gateway would configure anew, while others log.
        patch.setattr(logs, "configure", lambda level, style: None)
        yield stage
        stack.close()


Play = tuple[Row, bool]
PLAYS: list[Play] = [(row, stale) for row in ROWS for stale in (False, True)]
Plays = Mapping[str, Future[RoutedRequest]]


def name_of(play: Play) -> str:
    row, stale = play
    return f"{row.name}{' over a kept answer' if stale else ''}"


@dataclass
class Run:
    """A whole run: its stage, and each play by its name."""

    stage: Stage
    plays: dict[str, Future[RoutedRequest]]


@pytest.fixture(scope="module")
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Begins all plays that the session's tests ask for."""
    asked = [
        item.callspec.params.get("play")
        for item in request.session.items
        if hasattr(item, "callspec")
    ]
    with staged(tmp_path_factory.mktemp("stage")) as stage, ThreadPoolExecutor(AT_ONCE) as pool:
        run = Run(stage, {})
        for index, play in enumerate(PLAYS):
            if play in asked:
                row, stale = play
                number = (STALE if stale else COLD) + index
                run.plays[name_of(play)] = pool.submit(stage.play, row, number, stale=stale)
        yield run
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("play", PLAYS, ids=name_of)
def test_a_fault_costs_what_the_list_says(run: Run, play: Play) -> None:
    seen = run.plays[name_of(play)].result()
    assert seen.seconds < seen.deadline + SLACK
    assert_attempts(run.stage, seen)
    assert_answer(seen)
    assert_others(seen)


def assert_attempts(stage: Stage, seen: RoutedRequest) -> None:
    """One request, one event and one count for each attempt, under the cause that is listed."""
    row = seen.row
    assert seen.heard == (len(row.outcomes) if row.heard is None else row.heard)
    assert seen.counted == Counter([*row.outcomes, *["retries"] * (len(row.outcomes) - 1)])
    told = stage.attempts(seen.number)[0 if seen.kept is None else 1 :][: len(row.outcomes)]
    assert [line["outcome"] for line in told] == list(row.outcomes)
    assert [line["attempt"] for line in told] == [1, 2][: len(row.outcomes)]
    assert told[-1]["fault_code"] == row.fault_code


def assert_answer(seen: RoutedRequest) -> None:
    """The problem that is listed, or the answer that was kept: with all that each promises."""
    row, answer, code = seen.row, seen.answer, seen.row.code
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["x-request-id"]
    why = "uri-miss" if seen.kept is None else "stale"
    told = f"rfgw; fwd={why}; fwd-status={STATUSES.get(code, 502) if code else 200}"
    if not code or code in REPLACING:
        assert answer.headers["cache-status"] == f"{told}; stored"
    elif seen.kept is not None and code not in REFUSED:
        assert answer.headers["cache-status"] == f"{told}; detail=sie"
        assert (answer.status_code, answer.content) == (200, seen.kept.content)
        assert answer.headers["etag"] == seen.kept.headers["etag"]
        return
    else:
        assert answer.headers["cache-status"] == told
        assert answer.headers["cache-control"] == "no-store"
    if not code:
        assert (answer.status_code, answer.json()["id"]) == (200, seen.number)
        return
    problem = problem_of(answer, STATUSES.get(code, 502), code)
    assert problem["upstream"] == {
        "method": "community.getSession",
        "faultCode": row.fault_code,
    }
    assert ("retry-after" in answer.headers) == problem["retryable"]


def assert_others(seen: RoutedRequest) -> None:
    """Who is kept is a hit; who is not is served too, unless the farm asked for a pause."""
    assert seen.hit.headers["cache-status"].startswith("rfgw; hit; ttl=")
    assert seen.hit.json()["id"] == KEPT
    if seen.row.code == "upstream_unavailable":
        problem = problem_of(seen.other, 503, "upstream_unavailable")
        assert problem["retryAfterMs"] > 0
        assert seen.again.status_code == (503 if seen.kept is None else 200)
        return
    assert seen.other.json()["id"] == OTHER - COLD + seen.number
    if is_of_the_session(seen.row) and seen.kept is None:
        assert_told_again(seen)
    elif seen.row.code in REPLACING:
        assert seen.again.status_code == seen.answer.status_code
    else:
        assert seen.again.json()["id"] == seen.number, "the failure is not kept"


def is_of_the_session(row: Row) -> bool:
    """Whether it is a failure after the call was sent."""
    return row.code not in ("", *REFUSED, "upstream_unavailable") and row.heard != 0


def assert_told_again(seen: RoutedRequest) -> None:
    """The failure is remembered: the same problem at once, and when to come back."""
    told, again = (
        problem_of(answer, answer.status_code, seen.row.code)
        for answer in (seen.answer, seen.again)
    )
    assert again["upstream"] == told["upstream"]
    assert seen.again.headers["cache-status"] == "rfgw"
    if told["retryable"]:
        assert told["retryAfterMs"] == 1000 * WAIT
        assert 0 < again["retryAfterMs"] <= 1000 * WAIT


def test_the_run_tells_no_secret_nonce_or_signature_and_none_of_the_farms_words(run: Run) -> None:
    for play in run.plays.values():
        play.result()
    stage = run.stage
    shown = "\n".join([*stage.answers, *stage.lines])
    assert len(stage.answers) == 4 * len(run.plays)
    assert "upstream_attempt" in shown
    sent = Sent()
    for request in stage.requests:
        sent.note(request)
    secrets = LEAK, WORD, KEY, SECRET, TOKEN, TOKEN_SECRET
    assert not leaks(shown, *secrets, *sent.nonces, *sent.signatures)
