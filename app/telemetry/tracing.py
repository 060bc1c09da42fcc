"""Traces by OpenTelemetry: a span for each request that a route answers, below it its attempts.

Needs the extra ``otel``, and is loaded only if traces are wanted. A span tells the method, the id,
outcomes and codes, and nothing else of what was asked or answered: no text, no address, no message.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.core.ports import Attempt
from app.telemetry import logs
from app.telemetry.instrumentation import Telemetry
from app.telemetry.request_context import RequestContext, Trace
from app.version import VERSION

ANSWERED = ("ok", "fault")
"""Outcomes of attempts that are no errors."""
TIDY_WITHIN = 2.0
"""Seconds in which the last spans are sent at the end."""
PROPAGATOR = TraceContextTextMapPropagator()


class TracedTelemetry(Telemetry):
    """Metrics, log lines and spans."""

    def __init__(self, *told: Any) -> None:
        super().__init__(*told)
        self._provider = _provider()
        self._tracer = self._provider.get_tracer("rfgw", VERSION)
        self._askers: WeakKeyDictionary[object, SpanContext] = WeakKeyDictionary()

    @contextmanager
    def serving(self, request: Any) -> Iterator[None]:
        """A server's span around a request, in the trace that it names, if it names one."""
        given = dict(request.scope["headers"]).get(b"traceparent", b"") if request.trace else b""
        parent = PROPAGATOR.extract({"traceparent": given.decode()}, Context())
        with self._span(request.method, SpanKind.SERVER, parent) as span:
            own = span.get_span_context()
            request.trace = SpanTrace(f"{own.trace_id:032x}", own.trace_flags.sampled)
            try:
                yield
            finally:
                _tell_request(span, request)

    @contextmanager
    def attempting(self, method: str, told: Mapping[str, object], number: int) -> Iterator[None]:
        """A client's span around one attempt."""
        with self._span(method, SpanKind.CLIENT) as span:
            span.set_attributes(
                {"rpc.system": "xmlrpc", "rpc.method": method, "rfgw.attempt": number}
            )
            session = next((value for value in told.values() if isinstance(value, int)), None)
            if session is not None:
                span.set_attribute("rfgw.id", session)
            yield

    def attempt(self, attempt: Attempt) -> None:
        """Tell how the attempt ended whose span is the current one."""
        super().attempt(attempt)
        span = get_current_span()
        span.set_attribute("rfgw.outcome", attempt.outcome)
        if attempt.fault_code is not None:
            span.set_attribute("rpc.xmlrpc.fault_code", attempt.fault_code)
        if attempt.outcome not in ANSWERED:
            _fail(span, attempt.outcome)

    def question(self, task: object, joined: bool) -> None:
        """Link a request that joined a question to the one that asked it."""
        super().question(task, joined)
        if not joined:
            self._askers[task] = get_current_span().get_span_context()
        elif (asker := self._askers.get(task)) is not None and asker.is_valid:
            get_current_span().add_link(asker)

    def crash(self, error: BaseException, request_id: str = "-") -> None:
        """Tell the type of a bug."""
        super().crash(error, request_id)
        _fail(get_current_span(), type(error).__name__)

    async def aclose(self) -> None:
        """Send the last spans, for two seconds at most: a collector may be gone."""
        sending = Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, TIDY_WITHIN)

    @contextmanager
    def _span(self, name: str, kind: SpanKind, parent: Context | None = None) -> Iterator[Span]:
        # An exception's message may quote what came from outside: none is recorded.
        with self._tracer.start_as_current_span(
            name, parent, kind, record_exception=False, set_status_on_exception=False
        ) as span:
            yield span


class SpanTrace(Trace):
    """The trace of a span of ours."""

    def onward(self) -> str:
        """The traceparent field for what is asked within the current span."""
        own = get_current_span().get_span_context()
        return f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}"


class ToldExporter(SpanExporter):
    """The SDK's own exporter, which tells in one line that it could not send something."""

    def __init__(self) -> None:
        self._exporter = OTLPSpanExporter()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them."""
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            logs.event("traces_not_exported", level=logging.ERROR, spans=len(spans))
        return result

    def shutdown(self) -> None:
        """End it."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def _provider() -> TracerProvider:
    """What the standard variables say: sampler, limits, endpoint, header fields, names."""
    # Its lines hold messages of exceptions, which may quote what a collector said.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    resource = Resource.create({SERVICE_NAME: "rfgw", SERVICE_VERSION: VERSION})
    named = Resource.create()  # by OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES
    if not str(named.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(named)
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(ToldExporter()))
    return provider


def _tell_request(span: Span, request: RequestContext) -> None:
    route = getattr(request.scope.get("route"), "path", None)
    if route:
        span.update_name(f"{request.method} {route}")
        span.set_attribute("http.route", route)
    span.set_attributes(
        {
            "http.request.method": request.method,
            "rfgw.operation": request.operation,
            "rfgw.request_id": request.id,
        }
    )
    if request.outcome:
        span.set_attribute("rfgw.cache", request.outcome)
    if request.status:
        span.set_attribute("http.response.status_code", request.status)
    if request.status >= 500 or not request.status:
        _fail(span, str(request.status or "none"))


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)
