"""Log lines: one a line, for machines or for people, and never an exception's message."""

import asyncio
import contextvars
import json
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from app.core.ports import Attempt
from app.core.single_flight import SingleFlight
from app.telemetry import logs
from app.telemetry.instrumentation import AttemptLog
from app.telemetry.log_writer import LogWriter
from app.telemetry.request_context import RequestContext, Trace, request_context
from app.telemetry.state_log import StateLog
from tests.conftest import Farm
from tests.programs import DEMO, RFGW, WITHIN, await_port, finish, free_port, started
from tests.running import client_of

SECRET = "s3cret-message"


def record(message: str, *, name: str = "other", error: BaseException | None = None) -> Any:
    caught = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord(name, logging.INFO, __file__, 1, message, None, caught)


def line(given: logging.LogRecord) -> dict[str, Any]:
    """A record's line of JSON, decoded."""
    text = logs.JsonLines().format(given)
    assert text.isascii()
    assert text.isprintable()
    told: dict[str, Any] = json.loads(text)
    return told


def raised(fail: Callable[[], object]) -> BaseException:
    try:
        fail()
    except BaseException as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("nothing was raised")


class Keeper(logging.Handler):
    """Keeps the records that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def ours() -> Iterator[list[logging.LogRecord]]:
    """The records that our own events make."""
    keeper, level = Keeper(), logs.EVENTS.level
    logs.EVENTS.addHandler(keeper)
    logs.EVENTS.setLevel(logging.DEBUG)
    yield keeper.records
    logs.EVENTS.setLevel(level)
    logs.EVENTS.removeHandler(keeper)


def test_an_event_is_one_line_of_json_with_its_fields(ours: list[logging.LogRecord]) -> None:
    logs.event("asked", method="m", arguments={"sessionId": 42}, ms=1.5, fault_code=None)
    ours[0].created, ours[0].msecs = 1_700_000_000.042, 42.0
    assert logs.JsonLines().format(ours[0]) == (
        '{"time": "2023-11-14T22:13:20.042Z", "level": "info", "event": "asked", "method": "m", '
        '"arguments": {"sessionId": 42}, "ms": 1.5, "fault_code": null}'
    )


def test_an_event_is_one_line_for_people(ours: list[logging.LogRecord]) -> None:
    logs.event("asked", level=logging.WARNING, method="m\x1b[31m", n=1)
    ours[0].created = 1_700_000_000.0
    assert logs.Readable().format(ours[0]) == ('22:13:20 warning asked method="m\\u001b[31m" n=1')


@pytest.mark.parametrize("form", [logs.JsonLines(), logs.Readable()])
@pytest.mark.parametrize("text", ["a\rb", "a\x00\x1b[2Jb", "a\x7f\x85b", "a\u202eb", "a\u2028b"])
def test_control_characters_are_escaped(form: logging.Formatter, text: str) -> None:
    for message in (text, f"{text}\nmore"):
        shown = form.format(record(message))
        assert shown.isprintable()
        assert "more" not in shown


def test_a_librarys_line_names_its_logger() -> None:
    told = line(record("Shutting down", name="uvicorn.error"))
    assert told.pop("time").endswith("Z")
    assert told == {"level": "info", "event": "Shutting down", "logger": "uvicorn.error"}


def test_of_a_librarys_lines_only_the_first_is_told() -> None:
    # As asyncio's default handler writes them.
    text = f"Task exception was never retrieved\nfuture: <Task exception=ValueError('{SECRET}')>"
    told = line(record(text, name="asyncio"))
    assert told["event"] == "Task exception was never retrieved"


@pytest.mark.parametrize("form", [logs.JsonLines(), logs.Readable()])
def test_a_librarys_crash_tells_types_and_places_only(form: logging.Formatter) -> None:
    error = raised(lambda: int(SECRET))
    text = f"Exception in callback handle({SECRET})\nhandle: {SECRET}"
    shown = form.format(record(text, name="asyncio", error=error))
    assert SECRET not in shown
    assert "ValueError" in shown
    assert "test_logs.py:" in shown


def test_a_crash_tells_everything_behind_it(ours: list[logging.LogRecord]) -> None:
    def inner() -> None:
        raise KeyError(SECRET)

    def outer() -> None:
        try:
            inner()
        except KeyError as error:
            raise ExceptionGroup(SECRET, [ValueError(SECRET), OSError(SECRET)]) from error

    logs.crash("id-1", raised(outer))
    told = line(ours[0])
    assert (told["event"], told["level"], told["request_id"]) == ("crash", "error", "id-1")
    assert told["types"] == ["ExceptionGroup", "KeyError", "ValueError", "OSError"]
    assert [place.rpartition(" ")[2] for place in told["places"]] == [
        "raised", "outer", "outer", "inner",
    ]  # fmt: skip
    assert SECRET not in repr(told)


def test_exceptions_that_stand_behind_one_another_end_somewhere() -> None:
    first, second = ValueError(), TypeError()
    first.__cause__, second.__context__ = second, first
    assert line(record("x", error=first))["types"] == ["ValueError", "TypeError"]


def test_a_deep_recursion_is_told_by_its_end() -> None:
    def dig() -> None:
        dig()

    told = line(record("x", error=raised(dig)))
    assert told["types"] == ["RecursionError"]
    assert len(told["places"]) == logs.MAX_PLACES


def test_of_many_places_those_nearest_to_the_crash_are_told() -> None:
    def strike() -> None:
        raise ValueError

    def dig(depth: int) -> None:
        strike() if depth == 0 else dig(depth - 1)

    told = line(record("x", error=raised(lambda: dig(50))))
    assert len(told["places"]) == logs.MAX_PLACES
    assert told["places"][-1].endswith(" strike")


def test_a_long_chain_is_told_by_its_beginning() -> None:
    error = first = ValueError()
    for _ in range(50):
        error.__cause__ = error = ValueError()
    assert len(line(record("x", error=first))["types"]) == logs.MAX_LINKS


def test_what_is_no_json_is_told_by_its_type(ours: list[logging.LogRecord]) -> None:
    logs.event("odd", error=ValueError(SECRET))
    assert line(ours[0])["error"] == "ValueError"


def test_a_crash_that_knows_no_request_is_logged_under_the_one_being_answered(
    ours: list[logging.LogRecord],
) -> None:
    def crash_within() -> None:
        request_context.set(RequestContext("id-2"))
        logs.crash("-", ValueError())

    contextvars.copy_context().run(crash_within)
    logs.crash("-", ValueError())
    assert [line(crash)["request_id"] for crash in ours] == ["id-2", "-"]


async def test_what_many_ask_together_is_logged_under_the_first(
    ours: list[logging.LogRecord],
) -> None:
    flights = SingleFlight[None]()

    async def question() -> None:
        await asyncio.sleep(0)
        logs.event("asked")

    async def ask(request_id: str) -> None:
        request_context.set(RequestContext(request_id))
        task, _ = flights.join("key", question)
        await asyncio.shield(task)

    await asyncio.gather(ask("first"), ask("second"))
    assert [line(event)["request_id"] for event in ours] == ["first"]


def test_what_the_farm_is_asked_is_logged_under_the_request_that_asked(
    tmp_path: Path, farm: Farm
) -> None:
    port = free_port()
    settings = {**DEMO, "RFGW_UPSTREAM_URL": farm.url, "RFGW_PORT": str(port)}
    failing = [f"failing-{number}" for number in range(5)]
    steps: list[dict[str, object]] = [{"do": "html"}] * len(failing)
    farm.next({"do": "status", "status": 502}, {"do": "answer"}, {"do": "answer"}, *steps)
    with started(tmp_path, *RFGW, "serve", settings=settings) as program:
        await_port(port, program)
        with client_of(f"http://127.0.0.1:{port}") as client:
            client.get("/sessions/1001", headers={"X-Request-ID": "retried"})
            minted = client.get("/sessions/1002").headers["x-request-id"]
            for number, request_id in enumerate(failing):
                client.get(f"/sessions/{1003 + number}", headers={"X-Request-ID": request_id})
        program.send_signal(signal.SIGTERM)
        told = [json.loads(text) for text in finish(program).stderr.splitlines()]
    known = [event for event in told if "request_id" in event and event["event"] != "request"]
    by = [(event["event"], event["request_id"]) for event in known]
    asking = ["retried", "retried", minted, *failing]
    assert by == [
        *[("upstream_attempt", request_id) for request_id in asking],
        ("upstream_breaker", failing[-1]),
    ]


Told = list[dict[str, Any]]


@contextmanager
def serving_told(tmp_path: Path, farm: Farm, told: Told, **settings: str) -> Iterator[httpx.Client]:
    """A gateway of its own process; what it says is ``told`` once it has ended."""
    port = free_port()
    given = {**DEMO, "RFGW_UPSTREAM_URL": farm.url, "RFGW_PORT": str(port), **settings}
    with started(tmp_path, *RFGW, "serve", settings=given) as program:
        await_port(port, program)
        with client_of(f"http://127.0.0.1:{port}") as client:
            yield client
        program.send_signal(signal.SIGTERM)
        done = finish(program)
        assert done.returncode == 0
        told += [json.loads(text) for text in done.stderr.splitlines()]


def test_every_request_has_one_line_and_every_problem_is_found_by_its_id(
    tmp_path: Path, farm: Farm
) -> None:
    told: Told = []
    asked: list[tuple[str, int, str, int | None, str | None]] = []
    odd = f"/{SECRET}?{SECRET}=%0a"
    requests = [
        ("GET", "/sessions/1008", "getSession", 1008, "miss"),
        ("GET", "/sessions/1008", "getSession", 1008, "hit"),
        ("HEAD", "/sessions/1008", "getSession", 1008, "hit"),
        ("GET", f"/sessions/1008?{SECRET}", "getSession", 1008, "hit"),
        ("GET", "/sessions/300001", "getSession", 300001, "miss"),
        ("GET", "/sessions/300001", "getSession", 300001, "negative"),
        ("GET", "/sessions/707001", "getSession", 707001, "failed"),
        ("GET", "/sessions?ids=1008", "getSessions", None, "hit"),
        ("GET", "/sessions?ids=1008,300001", "getSessions", None, "mixed"),
        ("GET", "/sessions/007", "getSession", None, None),
        ("GET", f"/sessions/{SECRET}", "getSession", None, None),
        ("POST", "/sessions/1008", "getSession", 1008, None),
        ("GET", "/problems/overloaded", "getProblem", None, None),
        ("GET", "/health/live", "getLiveness", None, None),
        ("GET", "/metrics", "other", None, None),
        ("PURGE", odd, "other", None, None),
        ("GET", odd, "other", None, None),
    ]
    problems = []
    with serving_told(tmp_path, farm, told) as client:
        for method, path, operation, number, cache in requests:
            answer = client.request(method, path)
            asked.append((method, answer.status_code, operation, number, cache))
            if answer.is_error and method != "HEAD":
                problems.append(answer.json()["requestId"])
        tag = client.get("/sessions/1008", headers={"X-Request-ID": "mine"}).headers["etag"]
        asked.append(("GET", 200, "getSession", 1008, "hit"))
        client.get("/sessions/1008", headers={"If-None-Match": tag})
        asked.append(("GET", 304, "getSession", 1008, "hit"))
    lines = [event for event in told if event["event"] == "request"]
    assert [
        (line["method"], line["status"], line["operation"], line["id"], line["cache"])
        for line in lines
    ] == asked
    ids = [line["request_id"] for line in lines]
    assert len(set(ids)) == len(ids)
    assert len(problems) == 8
    assert set(problems) <= set(ids)
    assert ids[-2] == "mine"
    assert all(0 < line["ms"] < 60_000 for line in lines)
    assert len({tuple(line) for line in lines}) == 1, "all have the same members"
    assert SECRET not in json.dumps(told)
    assert "127.0.0.1" not in json.dumps(lines), "no address of a client"


def test_a_valid_trace_is_in_every_line_of_its_request(tmp_path: Path, farm: Farm) -> None:
    told: Told = []
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    with serving_told(tmp_path, farm, told) as client:
        for trace in (trace_id, trace_id, "0" * 32, SECRET):
            given = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "x-request-id": trace}
            client.get("/sessions/1008", headers=given)
    known = [event for event in told if "request_id" in event]
    assert [(event["event"], event.get("cache"), event.get("trace_id")) for event in known] == [
        ("upstream_attempt", None, trace_id),
        ("request", "miss", trace_id),
        ("request", "hit", trace_id),
        ("request", "hit", None),
        ("request", "hit", None),
    ]


def test_the_line_of_an_attempt_tells_the_call_and_its_arguments(
    tmp_path: Path, farm: Farm
) -> None:
    told: Told = []
    with serving_told(tmp_path, farm, told) as client:
        client.get("/sessions/1008")
    (attempt,) = [event for event in told if event["event"] == "upstream_attempt"]
    assert (attempt["method"], attempt["arguments"]) == (
        "community.getSession",
        {"sessionId": 1008},
    )


@pytest.mark.parametrize("kind", [logs.JsonLines, logs.Readable])
def test_a_line_that_is_formatted_beforehand_is_what_logging_would_write(
    monkeypatch: pytest.MonkeyPatch, ours: list[logging.LogRecord], kind: type[logs.LineFormatter]
) -> None:
    written: list[bytes] = []
    writer = LogWriter(written.append, every=0)
    monkeypatch.setattr("app.telemetry.instrumentation.LOG_WRITER", writer)
    monkeypatch.setattr(kind, "moment", lambda _form, _at: "now")
    form = kind()
    prepared, plain = AttemptLog(form), AttemptLog(None)
    request_context.set(RequestContext("r-1"))
    first, second, third = (1, "ok", None, False), (2, "fault", 300, False), (1, "dns", None, True)
    for number, outcome, code, changes in (first, second, third, first):
        for given, seconds in ((42, 0.012345), (7, 1.0)):
            called = Attempt("a.b", {'the"Id': given}, number, outcome, code, changes, seconds)
            prepared.add(called)
            plain.add(called)
    writer.flush(WITHIN)
    told = b"".join(written).decode().replace("1000.000", "1000.0").splitlines()
    assert told == [form.format(record) for record in ours]


@pytest.mark.parametrize(
    ("arguments", "trace"),
    [({}, False), ({"a": "x"}, False), ({"a": True}, False), ({"a": 1, "b": 2}, False),
     ({"a": 1}, True)],
)  # fmt: skip
def test_any_other_attempt_is_an_event_like_any_other(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, object], trace: bool
) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(logs, "event", lambda *_, **fields: told.append(fields))
    of = Trace("0" * 31 + "1", sampled=False) if trace else None
    request_context.set(RequestContext("r-1", trace=of))
    AttemptLog(logs.JsonLines()).add(Attempt("a.b", arguments, 1, "ok", None, False, 0.5))
    assert told == [
        {"method": "a.b", "arguments": arguments, "changes": False, "attempt": 1,
         "outcome": "ok", "fault_code": None, "ms": 500.0}
    ]  # fmt: skip


def test_of_a_path_a_line_holds_its_number_and_nothing_else(tmp_path: Path, farm: Farm) -> None:
    told: Told = []
    with serving_told(tmp_path, farm, told) as client:
        for last in ("1008", "1008x", '1008,"event":"x"', "1008 ", "01", "10000000000000"):
            client.get(f"/sessions/{quote(last)}")
    assert [event["id"] for event in told if event["event"] == "request"] == [1008, *[None] * 5]


@pytest.mark.parametrize("settings", [{"RFGW_LOG_REQUESTS": "false"}, {"RFGW_LOG_LEVEL": "error"}])
def test_the_lines_of_requests_can_be_left_out(
    tmp_path: Path, farm: Farm, settings: dict[str, str]
) -> None:
    told: Told = []
    with serving_told(tmp_path, farm, told, **settings) as client:
        for path in ("/sessions/1008", "/sessions/1008", "/sessions/007"):
            client.get(path)
    assert "request" not in {event["event"] for event in told}


def test_a_reader_that_has_stopped_holds_nobody_up(tmp_path: Path, farm: Farm) -> None:
    port = free_port()
    settings = {**DEMO, "RFGW_UPSTREAM_URL": farm.url, "RFGW_PORT": str(port)}
    with started(tmp_path, *RFGW, "serve", settings=settings) as program:
        await_port(port, program)
        with client_of(f"http://127.0.0.1:{port}") as client:
            for _ in range(700):  # a pipe holds some 400 lines
                assert client.get("/sessions/1008").status_code == 200
        program.send_signal(signal.SIGTERM)
        assert program.wait(WITHIN) == 0


async def test_a_state_that_stays_is_told_once_and_leaves_no_timer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = StateLog("shared_cache")
    with caplog.at_level(logging.INFO, logger="rfgw"):
        log.update(state="up", cause="")
        assert log._timer is not None
        log._timer.cancel()
        log._log()  # as the timer does
    assert caplog.messages == ["shared_cache"]
    assert log._timer is None


def test_of_two_traces_none_is_believed(tmp_path: Path, farm: Farm) -> None:
    told: Told = []
    one = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    other = one.replace("0af", "1af")
    with serving_told(tmp_path, farm, told) as client:
        client.get("/sessions/1008", headers=[("traceparent", one), ("traceparent", other)])
    known = [event for event in told if "request_id" in event]
    assert [(event["event"], event.get("trace_id")) for event in known] == [
        ("upstream_attempt", None),
        ("request", None),
    ]
