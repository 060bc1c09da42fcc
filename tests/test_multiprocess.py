"""Counts of several processes told as one: the sums, and real workers that die and are replaced."""

import asyncio
import json
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from app.cli.main import main
from app.telemetry.metrics import Metrics
from app.telemetry.multiprocess import MultiprocessMetrics, multiprocess_for
from tests.conftest import Farm
from tests.programs import DEMO, WITHIN, finish
from tests.running import NO_TLS
from tests.test_server import children, serving

REQUESTS = 'rfgw_requests_total{operation="getSession",status="200"}'


def told(text: str) -> dict[str, float]:
    """All series of an exposition."""
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


class Together:
    """Processes with one directory, played by this one under several pids."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.multiprocess = MultiprocessMetrics(directory)
        self.metrics = {pid: Metrics(self.multiprocess) for pid in (11, 22, 33)}
        self._patch = monkeypatch

    def _be(self, pid: int) -> None:
        self._patch.setattr("os.getpid", lambda: pid)

    def save(self, pid: int) -> None:
        self._be(pid)
        self.multiprocess.save(self.metrics[pid].registry)

    def scrape(self, pid: int) -> dict[str, float]:
        self._be(pid)
        return told(self.metrics[pid].exposition().decode())


@pytest.fixture
def together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Together:
    return Together(tmp_path, monkeypatch)


def test_counters_histograms_and_gauges_are_added_up(together: Together) -> None:
    for pid, count in ((11, 3), (22, 4)):
        for _ in range(count):
            together.metrics[pid].requests.count("getSession", 200, 0.01 * pid)
        together.metrics[pid].streams.set(pid)
        together.metrics[pid].refused.labels("rate").inc(pid)
        together.save(pid)
    series = together.scrape(11)
    assert series == together.scrape(22)
    assert series[REQUESTS] == 7
    assert series['rfgw_request_seconds_bucket{le="0.1",operation="getSession"}'] == 0
    assert series['rfgw_request_seconds_bucket{le="0.25",operation="getSession"}'] == 7
    assert series['rfgw_request_seconds_sum{operation="getSession"}'] == pytest.approx(1.21)
    assert series["rfgw_streams"] == 33
    assert series['rfgw_refused_total{cause="rate"}'] == 33
    assert series["rfgw_workers"] == 2
    assert series['rfgw_upstream_breaker{rfgw_upstream_breaker="closed"}'] == 2


def test_the_sum_has_the_form_of_a_single_process(together: Together) -> None:
    def form(metrics: Metrics) -> list[str]:
        metrics.count_refused("rate")
        text = metrics.exposition().decode()
        return [line.rpartition(" ")[0] for line in text.splitlines()]

    together.save(22)
    assert form(together.metrics[11]) == form(Metrics())


def test_what_began_first_is_when_counting_began(together: Together) -> None:
    alone = together.scrape(11)["rfgw_crashes_created"]
    together.save(22)  # it was made later
    assert together.scrape(22)["rfgw_crashes_created"] == alone


def test_the_ended_leave_their_counts_and_nothing_else(together: Together) -> None:
    for pid in (11, 22, 33):
        together.metrics[pid].streams.set(1)
        together.metrics[pid].requests.count("getSession", 200, 0.01)
        together.save(pid)
    before = together.scrape(11)
    together.multiprocess.fold([11, 22])
    together.multiprocess.fold([11])
    after = together.scrape(11)
    assert before["rfgw_streams"] == 3
    assert after["rfgw_streams"] == after["rfgw_workers"] == 1
    assert after[REQUESTS] == before[REQUESTS] == 3
    lasting = {name for name in before if "_total" in name or "_seconds_" in name}
    assert {name: after[name] for name in lasting} == {name: before[name] for name in lasting}


def test_restarts_do_not_pile_up(tmp_path: Path, together: Together) -> None:
    for _ in range(5):
        together.save(22)
        (tmp_path / "22.new").write_text("[half")  # it was killed while it wrote
        together.multiprocess.fold([])
    assert {path.name for path in tmp_path.iterdir()} == {"ended.json", "lock"}


async def test_at_the_end_no_counts_are_written_any_more(tmp_path: Path) -> None:
    metrics, before = Metrics(MultiprocessMetrics(tmp_path)), asyncio.all_tasks()
    async with metrics.shown():
        assert len(asyncio.all_tasks() - before) == 1
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


def test_what_was_counted_since_the_last_time_is_saved_at_the_end(tmp_path: Path) -> None:
    metrics = Metrics(MultiprocessMetrics(tmp_path))

    async def live() -> None:
        async with metrics.shown():
            await asyncio.sleep(0)  # the first time
            metrics.requests.count("getSession", 200, 0.01)

    asyncio.run(live())
    (saved,) = tmp_path.glob("*.json")
    families = {name: samples for name, _, _, samples in json.loads(saved.read_text())}
    assert [value for *_, value in families["rfgw_requests"]] == [1]


def test_a_sum_never_falls_whoever_tells_it_and_whoever_dies(together: Together) -> None:
    last = 0.0
    for step in range(30):
        one, other = ((11, 22), (22, 11), (22, 33))[step % 3]
        together.metrics[one].requests.count("getSession", 200, 0.01)
        together.metrics[other].requests.count("getSession", 200, 0.01)
        if step % 7 == 6:
            together.multiprocess.fold([one])
            together.metrics[other] = Metrics(
                together.multiprocess
            )  # killed, with what it had not told
        total = together.scrape(one)[REQUESTS]
        assert total >= last
        last = total


def test_who_looks_while_counts_are_folded_sees_each_once(
    tmp_path: Path, together: Together
) -> None:
    together.metrics[22].requests.count("getSession", 200, 0.01)
    together.save(22)
    pinned = (tmp_path / "22.json").rename(tmp_path / "template").read_text()
    together.scrape(11)
    begun = done = 0

    def workers_come_and_go() -> None:
        nonlocal begun, done
        for _ in range(200):
            begun += 1
            (tmp_path / "next").write_text(pinned)
            (tmp_path / "next").rename(tmp_path / "22.json")
            done += 1
            together.multiprocess.fold([11])

    with ThreadPoolExecutor(1) as pool:
        folding = pool.submit(workers_come_and_go)
        while not folding.done():
            least = done
            total = together.scrape(11).get(REQUESTS, 0)
            assert least <= total <= begun
        folding.result()


def test_the_directory_goes_with_its_processes_and_one_process_has_none() -> None:
    with multiprocess_for(1) as multiprocess:
        assert multiprocess is None
    with multiprocess_for(2) as multiprocess:
        assert multiprocess is not None
        multiprocess.save(CollectorRegistry())
        (directory,) = {path.parent for path in multiprocess.files()}
        assert directory.stat().st_mode & 0o777 == 0o700
    assert not directory.exists()


def test_several_workers_and_nowhere_to_write_is_one_plain_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("app.telemetry.multiprocess.MEMORY", tmp_path / "none")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    for name, value in {**DEMO, "RFGW_WORKERS": "2", "RFGW_PORT": "0"}.items():
        monkeypatch.setenv(name, value)
    assert main(["serve"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("rfgw serve: several workers need a place for their counts")
    assert "TMPDIR" in line


async def test_a_directory_that_is_out_of_reach_stops_nobody_but_a_scrape_fails(
    tmp_path: Path,
) -> None:
    multiprocess = MultiprocessMetrics(tmp_path / "gone")
    async with multiprocess.shown(CollectorRegistry()):
        with pytest.raises(OSError, match="gone"):
            multiprocess.exposition(CollectorRegistry())


# --- Real workers ------------------------------------------------------------------------------


def fetch(port: int, path: str) -> httpx.Response:
    """The answer of whichever worker is first, on a connection of its own."""
    address = f"http://127.0.0.1:{port}{path}"
    return httpx.get(address, trust_env=False, verify=NO_TLS, timeout=WITHIN)


def scrape(port: int) -> dict[str, float]:
    """The series, from whichever worker answers."""
    return told(fetch(port, "/metrics").text)


def await_sum(port: int, requests: int, workers: int = 2) -> None:
    """Scrape until the sum is there; on the way it never falls."""
    deadline, last = time.monotonic() + WITHIN, 0.0
    while True:
        series = scrape(port)
        total = series.get(REQUESTS, 0.0)
        assert last <= total <= requests
        if total == requests and series["rfgw_workers"] == workers:
            return
        last = total
        assert time.monotonic() < deadline, series
        time.sleep(0.05)


def ask(port: int, times: int) -> None:
    """So many requests, for whichever worker is first."""
    for _ in range(times):
        assert fetch(port, "/sessions/1008").status_code == 200


def test_a_scrape_of_one_worker_tells_of_all_that_live_and_lived(
    tmp_path: Path, farm: Farm
) -> None:
    settings = {"RFGW_WORKERS": "2", "RFGW_SHUTDOWN_GRACE": "1"}
    with serving(tmp_path, farm, **settings) as (program, port):
        ask(port, 60)
        await_sum(port, 60)

        os.kill(min(children(program.pid)), signal.SIGKILL)
        await_sum(port, 60)

        before = children(program.pid)
        program.send_signal(signal.SIGHUP)
        asked = 60
        while children(program.pid) & before or len(children(program.pid)) != 2:
            ask(port, 5)
            asked += 5
        await_sum(port, asked)

        program.send_signal(signal.SIGTERM)
        assert finish(program).returncode == 0
        assert not re.search('"crash"|Traceback', (tmp_path / "log").read_text())
