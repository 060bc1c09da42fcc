"""A signed call goes out, once or twice; a value or one of our errors comes back.

Knows the codec, the signer and what the farm's codes mean. Must not know HTTP, caching, models or
JSON.
"""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from app.core import errors
from app.core.call import Call, OAuthStep, VisitorCall
from app.core.ports import Attempt, Instrumentation
from app.telemetry.request_context import TimedStep, current_request
from app.upstream.bulkhead import Bulkhead
from app.upstream.circuit_breaker import DEFAULT_PAUSE, Guard, Verdict
from app.upstream.oauth import FarmClock, Signer, new_nonce
from app.upstream.recorder import Recorder
from app.upstream.refusals import (
    INVALID_SIGNATURE,
    TIMESTAMP_REFUSED,
    OAuthRefusal,
    check_refusal,
    error_of,
    is_form,
    read_form,
)
from app.upstream.retry import TRY_AGAIN, UNHEARD
from app.upstream.transport import Hear, Message, Received, Transport
from app.upstream.verdicts import verdict_of
from app.upstream.visitor_messages import UserSigning, visitor_message
from app.upstream.xmlrpc.codec import Fault, Value, dump_call, load_answer

T = TypeVar("T")

DECODE_IN_THREAD = 64 * 1024
"""Bytes: a larger answer is decoded beside the event loop, not in it.

One at a time: several threads would leave the loop, and so all kept answers, only a share of it.
"""


class Question(NamedTuple):
    """What is asked, and the monotonic moment at which the answer must be here."""

    call: Call
    deadline: float

    @property
    def is_visitors(self) -> bool:
        """Whether it is asked for a visitor: then refusals come in other forms, too."""
        return isinstance(self.call, VisitorCall | OAuthStep)


@dataclass(slots=True)
class UpstreamClient:
    """The farm at ``base``. ``now`` gives Unix seconds, ``clock`` monotonic ones.

    Steps of logins are in the ``login_bulkhead``, which may be that of all other calls.
    """

    transport: Transport
    base: str
    signer: Signer
    bulkhead: Bulkhead
    login_bulkhead: Bulkhead
    guard: Guard
    deadline: float
    now: Callable[[], float]
    user_signing: UserSigning = "header"
    instrumentation: Instrumentation = field(default_factory=Instrumentation)
    clock: Callable[[], float] = time.monotonic
    farm_clock: FarmClock = field(default_factory=FarmClock)
    recorder: Recorder | None = None
    _decoding: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def call(
        self, call: Call, *, read: Callable[[Value], Awaitable[T]], background: bool = False
    ) -> T:
        """What ``read`` makes of the decoded answer. Raises errors.Refused or errors.UpstreamError.

        ``read`` raises the same if the answer is of no use, or about something else. The deadline
        is absolute: it covers the wait for a place, the retry, and a farm that drips. A call in
        the ``background``, for which nobody waits, is not tried again.
        """
        question = Question(call, self.clock() + self.deadline)
        bulkhead = self.login_bulkhead if isinstance(call, OAuthStep) else self.bulkhead
        try:
            if refusal := self.guard.refusal(self.clock()):
                raise refusal  # at once: who must not ask need not wait for a place
            async with bulkhead.place():
                with self._judged(question):
                    return await read(await self._tried(question, background))
        except errors.GatewayError as error:
            error.method, error.arguments = call.method, call.told
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
            verdict = verdict_of(error, question.is_visitors)
            raise
        finally:
            self.guard.end(ticket, verdict, self.clock(), question.call.key)

    async def _tried(self, question: Question, background: bool) -> Value:
        """One attempt, or two if that is worth it."""
        timestamp = self.farm_clock.timestamp(self.now())
        try:
            return await self._attempt(question, 1, timestamp)
        except errors.UpstreamError as error:
            worth = self._may_heal(question.call, error, timestamp) and not background
            delay = self.guard.retry(self.clock(), question.deadline) if worth else None
            if delay is None:
                raise
            await asyncio.sleep(delay)
            if self.guard.refusal(self.clock()):
                raise
        return await self._attempt(question, 2, self.farm_clock.timestamp(self.now()))

    def _may_heal(self, call: Call, error: errors.UpstreamError, timestamp: int) -> bool:
        """Whether the same question, signed anew, may fare better, and may be asked twice."""
        if error.fault_code == INVALID_SIGNATURE or error.cause == TIMESTAMP_REFUSED:
            return self.farm_clock.explains(timestamp, self.now()) and not call.changes
        return error.cause in (UNHEARD if call.changes else TRY_AGAIN)

    async def _attempt(self, question: Question, number: int, timestamp: int) -> Value:
        """One message there and one back."""
        with self._observed(question, number):
            async with asyncio.timeout(question.deadline - self.clock()):
                message = self._message(question.call, timestamp)
                with self._recorded(question, message) as hear:
                    with TimedStep("upstream"):
                        received = await self.transport.post(
                            message, hear, refusals=question.is_visitors
                        )
                    if received.date is not None:
                        self.farm_clock.hear(received.date, self.now())
                    return await self._decode(question, received)

    @contextmanager
    def _recorded(self, question: Question, message: Message) -> Iterator[Hear | None]:
        """What hears the answer, if answers are recorded. Those of visitors never are."""
        if self.recorder is None or question.is_visitors:
            yield None
        else:
            with self.recorder.watch(message.body) as exchange:
                yield exchange.hear

    @contextmanager
    def _observed(self, question: Question, number: int) -> Iterator[None]:
        """Report one attempt. Its fault or timeout becomes one of our errors."""
        call = question.call
        with self.instrumentation.attempting(call.method, call.told, number):
            yield from self._outcome(question, number)

    def _outcome(self, question: Question, number: int) -> Iterator[None]:
        call = question.call
        started = self.clock()
        outcome, fault_code = "aborted", None
        try:
            yield
            outcome = "ok"
        except TimeoutError:
            outcome = "deadline"
            raise errors.UpstreamTimeout(outcome) from None
        except (Fault, OAuthRefusal) as refusal:
            error = error_of(refusal, call)
            outcome, fault_code = error.cause, error.fault_code
            if isinstance(error, errors.UpstreamRefusedCredentials):
                self.instrumentation.credentials_refused(fault_code or error.cause)
            raise error from None
        except errors.UpstreamError as error:
            outcome = error.cause
            if isinstance(error, errors.UpstreamUnavailable):
                wish = DEFAULT_PAUSE if error.retry_after is None else error.retry_after
                is_ours = not question.is_visitors  # no visitor makes the others wait
                error.retry_after = self.guard.pause(wish, self.clock()) if is_ours else wish
            raise
        finally:
            seconds = self.clock() - started
            self.instrumentation.attempt(
                Attempt(call.method, call.told, number, outcome, fault_code, call.changes, seconds)
            )

    def _message(self, call: Call, timestamp: int) -> Message:
        """The signed call."""
        with TimedStep("sign"):
            if isinstance(call, VisitorCall | OAuthStep):
                message = visitor_message(
                    call, self.signer, self.base, self.user_signing, timestamp
                )
                return message._replace(fields={**message.fields, **_trace_fields()})
            method, arguments = call.method, call.arguments
            parameters = self.signer.sign(
                self.base, method, arguments, timestamp=timestamp, nonce=new_nonce()
            )
            struct: dict[str, Value] = {**parameters}
            body = dump_call(method, [struct, *arguments.values()])
            return Message(self.signer.url(self.base, method), body, _trace_fields())

    async def _decode(self, question: Question, received: Received) -> Value:
        """The value of an answer. Raises Fault, OAuthRefusal or errors.UpstreamUnreadable."""
        if question.is_visitors:
            check_refusal(received.status, received.body, received.challenge)
            if isinstance(question.call, OAuthStep) and is_form(received.body):
                return {**read_form(received.body)}
        load = functools.partial(
            load_answer,
            received.body,
            charset=received.charset,
            max_bytes=self.transport.max_body,
            on_drift=self.instrumentation.drift,
        )
        with TimedStep("decode"):
            if len(received.body) > DECODE_IN_THREAD:
                async with self._decoding:
                    return await asyncio.to_thread(load)
            return load()

    @property
    def bulkheads(self) -> set[Bulkhead]:
        """Where calls are under way, and wait."""
        return {self.bulkhead, self.login_bulkhead}

    async def aclose(self) -> None:
        """Close the connections."""
        await self.transport.aclose()


def _trace_fields() -> Mapping[str, str]:
    trace = current_request().trace
    return {"traceparent": trace.onward()} if trace else {}
