"""What the status page shows: the series of ``/metrics``, and how they moved in the last hour.

Knows the series' names. Must not know who looks, nor HTTP.
"""

import asyncio
import math
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any, NamedTuple

from prometheus_client.core import Metric

EVERY = 10.0
"""Seconds between two samples."""
LEAST = 1.0
"""Seconds: less is too short for a rate."""
KEPT = 361
"""Samples of an hour."""
RECENT = 31
"""Samples of the last five minutes: what the current latency is made of."""
FAILURES = 20
"""Failures that are told one by one."""
KEPT_ANSWERS = ("hit", "negative", "swr")
"""Outcomes for which nobody waited for the farm."""
HARMLESS = ("ok", "fault", "aborted")
"""Outcomes of attempts that are no failures of the farm."""
REQUESTS, ANSWERS = "rfgw_requests_total", "rfgw_cache_answers_total"
ATTEMPTS = "rfgw_upstream_attempts_total"
REQUEST_SECONDS = "rfgw_request_seconds_bucket"
ATTEMPT_SECONDS = "rfgw_upstream_attempt_seconds_bucket"
BREAKER = "rfgw_upstream_breaker"
FAILED = {
    ATTEMPTS: "farm",
    "rfgw_upstream_not_asked_total": "not asked",
    "rfgw_upstream_misread_total": "misread",
    "rfgw_upstream_credentials_refused_total": "credentials refused",
    "rfgw_refused_total": "client refused",
    "rfgw_crashes_total": "bug",
}
"""The series that count failures, and what to call them."""
LABELS = {
    REQUESTS: "status",
    ANSWERS: "outcome",
    ATTEMPTS: "outcome",
    REQUEST_SECONDS: "le",
    ATTEMPT_SECONDS: "le",
    "rfgw_upstream_not_asked_total": "cause",
    "rfgw_upstream_misread_total": "cause",
    "rfgw_upstream_credentials_refused_total": "fault_code",
    "rfgw_refused_total": "cause",
    "rfgw_crashes_total": "",
}
"""The label of each series by which its samples are told apart; those of others are added up."""

Read = Callable[[], Iterable[Metric]]


Counts = Counter[tuple[str, str]]
"""How often, by series and label."""


class Sample(NamedTuple):
    """The series at one moment, in Unix seconds."""

    at: float
    counts: Counts
    gauges: Mapping[str, float]


class StatusHistory:
    """The last hour. ``read`` gives the series' families, ``now`` Unix seconds."""

    def __init__(self, read: Read, now: Callable[[], float], limits: Mapping[str, float]) -> None:
        self._read, self._now, self._limits = read, now, limits
        self._samples: deque[Sample] = deque(maxlen=KEPT)
        self._failures: deque[dict[str, Any]] = deque(maxlen=FAILURES)

    @asynccontextmanager
    async def sampling(self) -> AsyncIterator[None]:
        """While the block runs, a sample is taken every ten seconds."""
        task = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            task.cancel()

    async def _keep(self) -> None:
        while True:
            with suppress(OSError):  # for want of memory or files: the next time will do
                self.sample()
            await asyncio.sleep(EVERY)

    def sample(self) -> None:
        """Look at the series now."""
        sample = _sample(self._now(), self._read())
        if self._samples:
            moved = _moved(self._samples[-1], sample)
            for (series, cause), times in moved.items():
                failed = times and series in FAILED
                if failed and not (series == ATTEMPTS and cause in HARMLESS):
                    told = {"at": sample.at, "kind": FAILED[series], "cause": cause}
                    self._failures.append({**told, "times": round(times)})
        self._samples.append(sample)

    def document(self) -> dict[str, Any]:
        """All that the page shows, as JSON has it. Seconds, bytes, Unix seconds."""
        last = _sample(self._now(), self._read())
        samples = [*self._samples, last]
        hour, recent = _moved(samples[0], last), _moved(samples[-RECENT:][0], last)
        return {
            "now": last.at,
            "since": samples[0].at,
            "hour": {
                "requests": _some(_by_class(_of(hour, REQUESTS))),
                "answers": _some(_of(hour, ANSWERS)),
                "hitRatio": _hit_ratio(hour),
                "attempts": _some(_of(hour, ATTEMPTS)),
            },
            "recent": {
                "requestSeconds": _quantiles(_of(recent, REQUEST_SECONDS)),
                "attemptSeconds": _quantiles(_of(recent, ATTEMPT_SECONDS)),
            },
            "gauges": dict(last.gauges),
            "limits": dict(self._limits),
            "points": [
                _point(earlier, later)
                for earlier, later in pairwise(samples)
                if later.at - earlier.at >= LEAST
            ],
            "failures": list(reversed(self._failures)),
        }


def _sample(at: float, families: Iterable[Metric]) -> Sample:
    counts, gauges = Counts(), dict[str, float]()
    for family in families:
        for name, labels, value, *_ in family.samples:
            if name in LABELS:
                counts[name, labels.get(LABELS[name], "")] += value  # type: ignore[assignment]
            elif name == BREAKER:
                gauges[f"breaker_{labels[name]}"] = value
            elif family.type == "gauge" and not labels:
                gauges[name.removeprefix("rfgw_")] = value
    return Sample(at, counts, gauges)


def _moved(earlier: Sample, later: Sample) -> Counts:
    """How much was counted in between, also where it was nothing."""
    counts, before = later.counts, earlier.counts
    return Counter({key: times - before[key] for key, times in counts.items()})


def _some(counts: Mapping[str, float]) -> dict[str, float]:
    """Those that are not zero."""
    return {label: times for label, times in counts.items() if times}


def _of(counts: Counts, series: str) -> dict[str, float]:
    """The counts of one series, by label."""
    return {label: times for (name, label), times in counts.items() if name == series}


def _by_class(statuses: Mapping[str, float]) -> dict[str, float]:
    """``2xx`` for 200 and 204."""
    classes = Counter[str]()
    for status, times in statuses.items():
        classes[f"{status[0]}xx" if status.isdigit() else status] += times  # type: ignore[assignment]
    return dict(classes)


def _point(earlier: Sample, later: Sample) -> dict[str, Any]:
    """What happened between two samples: rates a second."""
    seconds = later.at - earlier.at
    moved = _moved(earlier, later)
    attempts = _of(moved, ATTEMPTS)
    failed = sum(times for outcome, times in attempts.items() if outcome not in HARMLESS)
    return {
        "at": later.at,
        "requests": sum(_of(moved, REQUESTS).values()) / seconds,
        "hitRatio": _hit_ratio(moved),
        "p95": _quantiles(_of(moved, REQUEST_SECONDS))["p95"],
        "attempts": sum(attempts.values()) / seconds,
        "failed": failed / seconds,
    }


def _hit_ratio(counts: Counts) -> float | None:
    answers = _of(counts, ANSWERS)
    kept, every = sum(answers.get(name, 0) for name in KEPT_ANSWERS), sum(answers.values())
    return kept / every if every else None


def _quantiles(buckets: Mapping[str, float]) -> dict[str, float | None]:
    """As PromQL's histogram_quantile: linear within a bucket; None without any observation.

    ``buckets`` are how many were at most so long, by that bound in seconds.
    """
    moved = sorted((float(bound), times) for bound, times in buckets.items())
    return {f"p{part}": _quantile(moved, part / 100) for part in (50, 95, 99)}


def _quantile(buckets: list[tuple[float, float]], part: float) -> float | None:
    least = below = 0.0
    if not buckets or not buckets[-1][1]:
        return None
    for bound, times in buckets:
        if times >= part * buckets[-1][1]:
            if bound == math.inf:
                return least
            return least + (bound - least) * (part * buckets[-1][1] - below) / (times - below)
        least, below = bound, times
    return None
