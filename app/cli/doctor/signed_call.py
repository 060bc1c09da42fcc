"""One call as the gateway makes it: is it answered, how soon, by which clock, signed in which way.

Knows the gateway's own parts and what a refusal means. Must not know sockets or TLS.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import get_args

from app.cache.memory import MemoryStore
from app.cli.doctor.finding import Finding, skipped
from app.config.settings import Settings
from app.core import errors
from app.core.ports import Attempt, Instrumentation
from app.resources.sessions import GetSession
from app.upstream.circuit_breaker import Breaker, Guard
from app.upstream.client import UpstreamClient
from app.upstream.oauth import Reading, Signer
from app.upstream.refusals import INVALID_SIGNATURE
from app.wiring import farm_of, gateway_of

CHECKS = ("clock", "call", "latency")
MOST_CALLS = 8
"""Calls, signed in whatever way, after which the farm is left alone."""
LONGEST = 10.0
"""Seconds for one call, however long the gateway would wait."""
OFF, FAR_OFF = 60.0, 300.0
"""Seconds between the clocks: worth a word; refused by farms with the usual window."""

Error = errors.GatewayError | None
ACCEPTED = (errors.SessionNotFound, errors.SessionNotAttached, errors.SessionForbidden)
"""The farm knows who asks: it answers about the session."""
HINTS: dict[int, tuple[str, str]] = {
    100: (
        "the farm misses something in the call (fault 100)",
        "try RFGW_OAUTH_VERSION=true; some farms want RFGW_OAUTH_TOKEN",
    ),
    101: (
        "the farm does not take something in the call (fault 101)",
        "try RFGW_OAUTH_VERSION=false, or another --id",
    ),
    400: ("the farm does not know the consumer key (fault 400)", "check RFGW_CONSUMER_KEY"),
}
ASK = "try again; if it stays so, ask whoever runs the farm"
BROKEN_OFF = ("the farm, or a server before it, breaks off", ASK)
NO_FARM = (
    "something else answers in the farm's place, or the farm has changed",
    "check RFGW_UPSTREAM_URL, and ask it by hand (curl -i)",
)
FAILURES: dict[type[errors.GatewayError], tuple[str, str]] = {
    errors.UpstreamRefusedCredentials: (
        "a server before the farm refuses the call (HTTP 401 or 403)",
        "check RFGW_UPSTREAM_URL, and whether that server lets this machine in",
    ),
    errors.UpstreamFault: ("the farm reports a fault of its own", ASK),
    errors.UpstreamUnreadable: NO_FARM,
    errors.UpstreamMismatch: ("the farm's answer is not about the session asked for", ASK),
    errors.UpstreamUnreachable: BROKEN_OFF,
    errors.UpstreamNoAnswer: BROKEN_OFF,
    errors.UpstreamUnavailable: ("the farm asks for a pause (HTTP 429 or 503)", ASK),
    errors.UpstreamTimeout: (
        "the farm does not answer in time",
        "try again; if it is always slow, raise RFGW_UPSTREAM_DEADLINE",
    ),
}
"""For the operator: the catalogue's remedies are for clients."""
FAILURES_BY_CAUSE: dict[tuple[type[errors.GatewayError], str], tuple[str, str]] = {
    (errors.UpstreamUnreachable, "proxy"): (
        "the forward proxy cannot be reached, or refuses",
        "check RFGW_UPSTREAM_PROXY, and whether the proxy lets calls to the farm through",
    ),
    (errors.UpstreamNoAnswer, "http_status"): NO_FARM,
    (errors.UpstreamNoAnswer, "not_http"): NO_FARM,
    (errors.UpstreamUnreadable, "truncated"): BROKEN_OFF,
}
BUG = ("the call failed by a bug", "report it")


class AttemptRecorder(Instrumentation):
    """Remembers each attempt."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    def attempt(self, attempt: Attempt) -> None:
        """Remember one attempt."""
        self.attempts.append(attempt)


class Caller:
    """Asks the farm for one session, again and again if need be; remembers each attempt."""

    def __init__(self, settings: Settings, session: int) -> None:
        self._settings = settings
        self._session = session
        self._recorder = AttemptRecorder()
        self.attempts = self._recorder.attempts
        self.farm = dataclasses.replace(
            farm_of(settings, self._recorder),
            deadline=min(settings.upstream_deadline, LONGEST),
        )

    @property
    def url(self) -> str:
        """Where calls are posted."""
        return self.farm.signer.url(self.farm.base, GetSession.method)

    async def ask(self, signer: Signer) -> Error:
        """One call, by a guard and a gateway that remember nothing; None if it was answered."""
        guard = Guard(Breaker(lambda state: None))
        farm: UpstreamClient = dataclasses.replace(self.farm, signer=signer, guard=guard)
        store = MemoryStore(max_entries=1, max_bytes=self._settings.cache_max_bytes)
        gateway = gateway_of(self._settings, farm, store, self._recorder, None)
        try:
            return (await gateway.fetch(GetSession(id=self._session))).error
        finally:
            await gateway.aclose()


async def examine_call(settings: Settings, session: int) -> list[Finding]:
    """What one signed call for ``session`` tells, or up to eight if its signature is refused."""
    caller = Caller(settings, session)
    try:
        error = await caller.ask(caller.farm.signer)
        last = caller.attempts[-1]
        clock = about_clock(caller.farm.farm_clock.ahead)
        if error is not None and error.fault_code == INVALID_SIGNATURE:
            call = await _try_readings(caller)
        else:
            call = about_call(error, caller.farm.signer, len(caller.attempts))
        return [clock, call, about_latency(last, settings.upstream_deadline)]
    finally:
        await caller.farm.aclose()


def about_clock(ahead: float | None) -> Finding:
    """How far the farm's clock is ``ahead`` of ours, in seconds, by the Date of its answers."""
    if ahead is None:
        return skipped("no answer of the farm told its Date", "clock")[0]
    if abs(ahead) <= OFF:
        return Finding("clock", "ok", "with the farm's, to a minute")
    says = f"this machine's clock is {abs(ahead):.0f} s {'behind' if ahead > 0 else 'ahead of'}"
    says += " the farm's"
    do = "set it (timedatectl, chrony): until then some calls cost the farm two"
    if abs(ahead) > FAR_OFF:
        return Finding("clock", "FAIL", f"{says}, and signatures will be refused", do)
    return Finding("clock", "warn", says, do)


def about_latency(last: Attempt, deadline: float) -> Finding:
    """How long the farm took, its connection included."""
    if last.outcome not in ("ok", "fault"):
        return skipped("no answer", "latency")[0]
    says = f"{last.seconds * 1000:.0f} ms, of {deadline:g} s that a call may take"
    if last.seconds > deadline / 2:
        do = "raise RFGW_UPSTREAM_DEADLINE if clients can wait"
        return Finding("latency", "warn", says, do)
    return Finding("latency", "ok", says)


def about_call(error: Error, signer: Signer, attempts: int) -> Finding:
    """What came of a call that took so many attempts."""
    told = _signed(signer)
    if error is None or isinstance(error, ACCEPTED):
        what = "answered" if error is None else f"answered with fault {error.fault_code}"
        if attempts > 1:
            return Finding("call", "warn", f"{what}, at the second attempt ({told})", "try again")
        return Finding("call", "ok", f"{what}: the signature is accepted ({told})")
    if error.fault_code in HINTS:
        return Finding("call", "FAIL", *HINTS[error.fault_code])
    says, do = FAILURES_BY_CAUSE.get((type(error), error.cause)) or FAILURES.get(type(error), BUG)
    cause = error.cause if error.fault_code is None else f"fault {error.fault_code}"
    return Finding("call", "FAIL", f"{says} ({cause})", do)


def _signed(signer: Signer) -> str:
    return f"reading {signer.reading}, {'with' if signer.version else 'without'} oauth_version"


async def _try_readings(caller: Caller) -> Finding:
    """After fault 104: which other way to sign the farm accepts, if any."""
    refused = "the farm refuses the signature (fault 104)"
    for signer in _others(caller.farm.signer):
        if len(caller.attempts) >= MOST_CALLS:
            break
        error = await caller.ask(signer)
        if error is None or isinstance(error, ACCEPTED):
            version = str(signer.version).lower()
            do = f"set RFGW_SIGNING={signer.reading} and RFGW_OAUTH_VERSION={version}"
            return Finding("call", "FAIL", f"{refused}, but accepts {_signed(signer)}", do)
    says = f"{refused}, in {len(caller.attempts)} calls, each signed in another way"
    do = "check RFGW_CONSUMER_SECRET, RFGW_OAUTH_TOKEN and its secret, and the clock"
    return Finding("call", "FAIL", says, do)


def _others(signer: Signer) -> Iterator[Signer]:
    """The other ways to sign, those that are most like this one first."""
    ways = sorted(
        itertools.product(get_args(Reading), (True, False)),
        key=lambda way: (way[0] != signer.reading) + (way[1] is not signer.version),
    )
    for reading, version in ways[1:]:
        yield dataclasses.replace(signer, reading=reading, version=version)
