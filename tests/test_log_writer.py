"""Lines are written soon and together; whoever adds one never waits, and none is kept for ever."""

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from app.telemetry import logs
from app.telemetry.log_writer import EVERY, SLICE, LogWriter, to_stderr
from tests.programs import WITHIN


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + WITHIN
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_lines_are_written_in_their_order_and_together() -> None:
    written: list[bytes] = []
    lines = LogWriter(written.append, every=0)
    for number in range(2000):
        lines.add(b"%d" % number)
    lines.flush(WITHIN)
    assert b"".join(written).split() == [b"%d" % number for number in range(2000)]
    assert len(written) < 2000
    lines.add(b"again")
    until(lambda: written[-1] == b"again\n")
    assert lines.dropped == 0


class Waits(threading.Event):
    """Notes how long it was waited for, and lets nobody wait."""

    def __init__(self, noted: list[float]) -> None:
        super().__init__()
        self._noted = noted

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self._noted.append(timeout)
        return True


def steps_of(number: int, *, room: int) -> list[float]:
    """What a writer does about so many waiting lines: how many it writes, how long it waits."""
    steps: list[float] = []
    lines = LogWriter(lambda text: steps.append(text.count(b"\n")), room=room)
    lines._hurry = Waits(steps)
    lines._waiting.extend([b"waits"] * (number - 1))
    lines.add(b"last")
    lines.flush(WITHIN)
    assert lines.dropped == 0
    return steps


def test_lines_are_gathered_and_then_written_in_slices() -> None:
    steps = steps_of(3 * SLICE + 7, room=20_000)
    assert steps == [EVERY, SLICE, SLICE, SLICE, EVERY, 7, EVERY]


def test_a_full_slice_waits_for_no_more() -> None:
    written: list[int] = []
    lines = LogWriter(lambda text: written.append(text.count(b"\n")), every=3600)
    for times in (1, 2):
        for _ in range(SLICE):
            lines.add(b"line")
        until(lambda: len(written) == times)  # noqa: B023 - called before the next round
    assert written == [SLICE, SLICE]
    lines.add(b"one more")
    lines.flush(WITHIN)
    assert written[-1] == 1


def test_lines_of_many_threads_are_all_written() -> None:
    written: list[bytes] = []
    lines = LogWriter(written.append, every=0)

    def add(name: str) -> None:
        for number in range(500):
            lines.add(b"%b-%d" % (name.encode(), number))

    threads = [threading.Thread(target=add, args=[name]) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: len(b"".join(written).split()) == 2000)


def test_a_reader_that_has_stopped_costs_lines_and_nothing_else() -> None:
    stuck = threading.Event()
    written: list[bytes] = []

    def write(text: bytes) -> None:
        stuck.wait(WITHIN)
        written.append(text)

    lines = LogWriter(write, room=10, every=0)
    lines.add(b"first")
    until(lambda: not lines._waiting)
    for number in range(25):
        lines.add(b"%d" % number)
    assert lines.dropped == 15
    lines.flush(within=0.01)  # returns
    assert written == []
    stuck.set()
    lines.flush(WITHIN)
    assert b"".join(written).split() == [b"first", *(b"%d" % number for number in range(10))]


def test_nobody_there_to_read_is_no_error() -> None:
    def write(text: bytes) -> None:
        raise BrokenPipeError

    lines = LogWriter(write, every=0)
    lines._waiting.extend([b"lost"] * (SLICE + 1))  # which are two slices
    lines.add(b"lost")
    lines.flush(WITHIN)
    assert lines.dropped == SLICE + 2


def test_a_forked_process_writes_its_own_lines_and_none_of_its_parent_s() -> None:
    reader, writer = os.pipe()

    def to_pipe(text: bytes) -> None:
        os.write(writer, text)

    lines = LogWriter(to_pipe, every=3600)
    lines.add(b"parent")
    child = os.fork()
    if not child:
        lines.add(b"child")
        lines.flush(WITHIN)
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as told:
        assert told.read() == "child\n"
    lines._write = lambda text: None
    lines.flush(WITHIN)


def test_the_lines_of_processes_that_share_a_pipe_stay_whole() -> None:
    script = (
        "import sys; from app.telemetry.log_writer import to_stderr\n"
        "print(flush=True); sys.stdin.read()\n"
        "for _ in range(100): to_stderr(b'%s\\n' % (sys.argv[1] * 200).encode() * 500)"
    )
    go, told = os.pipe(), os.pipe()
    code = [sys.executable, "-c", script]
    writers = [
        subprocess.Popen([*code, letter], stdin=go[0], stdout=subprocess.PIPE, stderr=told[1])
        for letter in "ab"
    ]
    os.close(told[1])
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()  # it has begun
    os.close(go[1])
    with os.fdopen(told[0], "rb") as lines:
        assert Counter(lines.read().split()) == {b"a" * 200: 50_000, b"b" * 200: 50_000}
    os.close(go[0])
    for writer in writers:
        writer.communicate()


def test_what_stands_in_for_standard_error_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stand_in)
    to_stderr(b"told\n")
    assert stand_in.getvalue() == "told\n"


def test_what_is_written_in_part_is_written_to_its_end(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda number, data: write(number, data[:7]))
        to_stderr(b"one line\nanother line\n")
    assert capfd.readouterr().err == "one line\nanother line\n"


def test_a_full_pipe_that_does_not_block_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    lines = b"%b\n" % (b"x" * 99) * 20_000  # much more than a pipe takes
    with (
        os.fdopen(reader, "rb") as told,
        ThreadPoolExecutor() as pool,
        os.fdopen(writer, "w") as shared,
        monkeypatch.context() as patched,
    ):
        patched.setattr(sys, "stderr", shared)
        written = pool.submit(to_stderr, lines)
        assert told.read(len(lines)) == lines
        written.result(WITHIN)


def test_the_lock_on_a_shared_file_is_given_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever kept it would be the only process to write."""
    with (tmp_path / "log").open("w") as log:
        monkeypatch.setattr(sys, "stderr", log)
        to_stderr(b"one\n")
        take = "import fcntl; fcntl.lockf(1, fcntl.LOCK_EX | fcntl.LOCK_NB)"
        subprocess.run([sys.executable, "-c", take], stdout=log, check=True, timeout=WITHIN)


def test_a_process_without_standard_error_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as Python does if it was closed at the start
    lines = LogWriter(every=0)
    lines.add(b"lost")
    until(lambda: lines.dropped == 1)
    lines.add(b"lost")
    until(lambda: lines.dropped == 2)


def test_the_last_lines_are_written_before_the_process_ends() -> None:
    script = (
        "from app.telemetry import logs; logs.configure('info', 'json')\n"
        "logs.event('x'); logs.event('y')"
    )
    code = [sys.executable, "-c", script]
    told = subprocess.run(code, capture_output=True, text=True, check=True, timeout=WITHIN)
    assert [json.loads(line)["event"] for line in told.stderr.splitlines()] == ["x", "y"]


@pytest.mark.parametrize("form", [logs.JsonLines(), logs.Readable()])
def test_a_template_gives_the_line_that_any_event_would_be(form: logs.LineFormatter) -> None:
    fields = {"method": "GET", "id": logs.TEMPLATE_NUMBER, "cache": "hit", "odd": "\x1b%{}"}
    template = form.template("request", fields)
    at, offset = time.perf_counter(), time.time() - time.perf_counter()
    told, again = (template.line(b"r-1", b"42", at, 0.012345).decode() for _ in "12")
    fields = {"request_id": "r-1", **fields, "id": 42, "ms": 12.345}
    same = [form.line(at + offset + odd, "info", "request", fields) for odd in (0.0, 0.001, -0.001)]
    assert told == again
    assert told in same, "to the millisecond"
    assert told.isprintable()


def test_each_line_has_its_own_moment() -> None:
    form = logs.JsonLines()
    template, at = form.template("request", {"id": logs.TEMPLATE_NUMBER}), time.perf_counter()
    later = [0, 0.5, 60, -1]
    told = [json.loads(template.line(b"r", b"1", at + seconds, 0))["time"] for seconds in later]
    moments = [datetime.fromisoformat(text).timestamp() for text in told]
    apart = [moment - moments[0] for moment in moments]
    assert apart == pytest.approx(later, abs=0.0021), "each is cut to a millisecond"
