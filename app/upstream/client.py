"""A signed call goes out, once or twice; a value or one of our errors comes back.

Knows the codec, the signer and what the farm's codes mean. Must not know HTTP, caching, models or
JSON.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from app.core import errors
from app.core.call import NO_FAULTS, Faults
from app.core.ports import Attempt, Instrumentation
from app.telemetry.request_context import current_request, step
from app.upstream.bulkhead import Bulkhead
from app.upstream.circuit_breaker import Guard, Verdict
from app.upstream.oauth import FarmClock, Signer, new_nonce
from app.upstream.recorder import Recorder
from app.upstream.retry import TRY_AGAIN
from app.upstream.transport import Hear, Received, Transport
from app.upstream.xmlrpc.codec import Fault, Value, dump_call, load_answer

FAULTS: Faults = MappingProxyType(
    {
        100: errors.UpstreamRejectedCall,
        101: errors.UpstreamRejectedParameters,
        104: errors.UpstreamRefusedCredentials,
        400: errors.UpstreamRefusedCredentials,
    }
)
"""What every method may answer. A call brings its own; all other codes are UpstreamFault."""

INVALID_SIGNATURE = 104

VERDICTS: tuple[tuple[type[errors.GatewayError], Verdict], ...] = (
    (errors.UpstreamUnavailable, Verdict.UNKNOWN),  # it asked for a pause, and gets it
    (errors.Overloaded, Verdict.UNKNOWN),  # our own shortage
    (errors.UpstreamFault, Verdict.ODD),
    (errors.UpstreamRejectedCall, Verdict.ANSWER),
    (errors.UpstreamRefusedCredentials, Verdict.ANSWER),
    (errors.Refused, Verdict.ANSWER),
    (errors.UpstreamError, Verdict.FAILURE),
)
"""What an error teaches about the farm: the first row that fits."""

DECODE_IN_THREAD = 64 * 1024
"""Bytes: a larger answer is decoded beside the event loop, not in it.

One at a time: several threads would leave the loop, and so all kept answers, only a share of it.
"""


class Question(NamedTuple):
    """What is asked, and the monotonic moment at which the answer must be here."""

    method: str
    arguments: Mapping[str, int | str]
    faults: Faults
    deadline: float


@dataclass(slots=True)
class UpstreamClient:
    """The farm at ``base``. ``now`` gives Unix seconds, ``clock`` monotonic ones."""

    transport: Transport
    base: str
    signer: Signer
    bulkhead: Bulkhead
    guard: Guard
    deadline: float
    now: Callable[[], float]
    instrumentation: Instrumentation = field(default_factory=Instrumentation)
    clock: Callable[[], float] = time.monotonic
    farm_clock: FarmClock = field(default_factory=FarmClock)
    recorder: Recorder | None = None
    _decoding: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def call(
        self,
        method: str,
        arguments: Mapping[str, int | str],
        *,
        faults: Faults = NO_FAULTS,
        background: bool = False,
    ) -> Value:
        """The decoded answer. Raises errors.Refused or errors.UpstreamError, nothing else.

        The deadline is absolute: it covers the wait for a place, the retry, and a farm that drips.
        A call in the ``background``, for which nobody waits, is not tried again. ``faults`` are
        those that mean something with this method alone.
        """
        question = Question(method, arguments, faults, self.clock() + self.deadline)
        try:
            if refusal := self.guard.refusal(self.clock()):
                raise refusal  # at once: who must not ask need not wait for a place
            async with self.bulkhead.place():
                with self._judged(question):
                    return await self._tried(question, background)
        except errors.GatewayError as error:
            error.method, error.arguments = method, arguments
            if not error.asked:
                self.instrumentation.not_asked(error.cause)
            raise

    @contextmanager
    def _judged(self, question: Question) -> Iterator[None]:
        """Tell the guard what the call taught, whatever happens."""
        ticket = self.guard.begin(self.clock())
        verdict = Verdict.UNKNOWN
        try:
            yield
            verdict = Verdict.ANSWER
        except errors.GatewayError as error:
            verdict = verdict_of(error)
            raise
        finally:
            self.guard.end(ticket, verdict, self.clock(), str(question.arguments))

    async def _tried(self, question: Question, background: bool) -> Value:
        """One attempt, or two if that is worth it."""
        timestamp = self.farm_clock.timestamp(self.now())
        try:
            return await self._attempt(question, 1, timestamp)
        except errors.UpstreamError as error:
            worth = self._may_heal(error, timestamp) and not background
            delay = self.guard.retry(self.clock(), question.deadline) if worth else None
            if delay is None:
                raise
            await asyncio.sleep(delay)
            if self.guard.refusal(self.clock()):
                raise
        return await self._attempt(question, 2, self.farm_clock.timestamp(self.now()))

    def _may_heal(self, error: errors.UpstreamError, timestamp: int) -> bool:
        """Whether the same question, signed anew, may fare better."""
        if error.fault_code == INVALID_SIGNATURE:
            return self.farm_clock.explains(timestamp, self.now())
        return error.cause in TRY_AGAIN

    async def _attempt(self, question: Question, number: int, timestamp: int) -> Value:
        """One message there and one back."""
        with self._observed(question, number):
            async with asyncio.timeout(question.deadline - self.clock()):
                message = self._message(question, timestamp)
                url = self.signer.url(self.base, question.method)
                if self.recorder is None:
                    return await self._exchange(url, message)
                with self.recorder.watch(message) as exchange:
                    return await self._exchange(url, message, exchange.hear)

    async def _exchange(self, url: str, message: bytes, hear: Hear | None = None) -> Value:
        with step("upstream"):
            received = await self.transport.post(url, message, _trace_fields(), hear)
        if received.date is not None:
            self.farm_clock.hear(received.date, self.now())
        return await self._decode(received)

    @contextmanager
    def _observed(self, question: Question, number: int) -> Iterator[None]:
        """Report one attempt. Its fault or timeout becomes one of our errors."""
        started = self.clock()
        outcome, fault_code = "aborted", None
        try:
            yield
            outcome = "ok"
        except TimeoutError:
            outcome = "deadline"
            raise errors.UpstreamTimeout(outcome) from None
        except Fault as fault:
            outcome, fault_code = "fault", fault.code
            kind = {**FAULTS, **question.faults}.get(fault.code, errors.UpstreamFault)
            if issubclass(kind, errors.UpstreamRefusedCredentials):
                self.instrumentation.credentials_refused(fault.code)
            raise kind(outcome, fault_code=fault.code) from None
        except errors.UpstreamError as error:
            outcome = error.cause
            if isinstance(error, errors.UpstreamUnavailable):
                error.retry_after = self.guard.pause(error.retry_after, self.clock())
            raise
        finally:
            seconds = self.clock() - started
            self.instrumentation.attempt(
                Attempt(question.method, question.arguments, number, outcome, fault_code, seconds)
            )

    def _message(self, question: Question, timestamp: int) -> bytes:
        """The signed call."""
        method, arguments, *_ = question
        with step("sign"):
            parameters = self.signer.sign(
                self.base, method, arguments, timestamp=timestamp, nonce=new_nonce()
            )
            struct: dict[str, Value] = {**parameters}
            return dump_call(method, [struct, *arguments.values()])

    async def _decode(self, received: Received) -> Value:
        """The value of an answer. Raises Fault or errors.UpstreamUnreadable."""
        load = functools.partial(
            load_answer,
            received.body,
            charset=received.charset,
            max_bytes=self.transport.max_body,
            on_drift=self.instrumentation.drift,
        )
        with step("decode"):
            if len(received.body) > DECODE_IN_THREAD:
                async with self._decoding:
                    return await asyncio.to_thread(load)
            return load()

    async def aclose(self) -> None:
        """Close the connections."""
        await self.transport.aclose()


def _trace_fields() -> Mapping[str, str]:
    trace = current_request().trace
    return {"traceparent": trace.onward()} if trace else {}


def verdict_of(error: errors.GatewayError) -> Verdict:
    """What a call that ended with this error taught about the farm."""
    if error.fault_code == INVALID_SIGNATURE:
        return Verdict.UNSIGNED
    return next(verdict for kind, verdict in VERDICTS if isinstance(error, kind))
