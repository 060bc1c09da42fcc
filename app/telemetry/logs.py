"""One line per event. Knows the standard logging; must not know who logs what.

No line holds an exception's message: it may quote what came from outside, or a secret. An
exception is logged as its types and its places in the code, whoever logs it.
"""

import asyncio
import json
import logging
import logging.config
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from app.telemetry.log_writer import LOG_WRITER
from app.telemetry.request_context import request_context

EVENTS = logging.getLogger("rfgw")

TEMPLATE_NUMBER, TEMPLATE_MS = 9876543210, 987654321.0
"""What stands for the number and the duration in a template."""

MAX_TEMPLATES = 1000
"""Templates of one kind of event that are kept at most; there are some dozens."""

MAX_LINKS = 10
"""Of a chain of exceptions, the first so many are told."""
MAX_PLACES = 10
"""Of an exception's places, those nearest to where it was raised."""


def configure(level: str, style: Literal["json", "console"]) -> "LineFormatter":
    """Send all log lines, the server's included, to standard error, in the form that is given."""
    form = JsonLines() if style == "json" else Readable()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"lines": {"()": lambda: form}},
            "handlers": {"lines": {"()": QueueHandler, "formatter": "lines"}},
            "root": {"handlers": ["lines"], "level": "WARNING"},
            "loggers": {
                "rfgw": {"level": level.upper()},
                "uvicorn": {"handlers": [], "level": level.upper(), "propagate": True},
            },
        }
    )
    return form


def event(name: str, /, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log one event with its fields, and the request's id if there is one."""
    request = request_context.get()
    known = {"request_id": request.id} if request is not None else {}
    if request is not None and request.trace is not None:
        known["trace_id"] = request.trace.id
    if EVENTS.isEnabledFor(level):  # not ``log``, which also looks for the place in the code
        told = {"fields": {**known, **fields}}
        EVENTS.handle(EVENTS.makeRecord(EVENTS.name, level, "", 0, name, (), None, extra=told))


def crash(otherwise: str, error: BaseException) -> None:
    """Log an exception that nobody handled, and the request's id, ``otherwise`` this one."""
    request = request_context.get()
    known = {"request_id": otherwise if request is None else request.id}
    EVENTS.error("crash", exc_info=error, extra={"fields": known})


def line_formatter() -> "LineFormatter | None":
    """How lines are formatted since ``configure`` was called; None if it was not."""
    forms = [handler.formatter for handler in logging.getLogger().handlers]
    return next((form for form in forms if isinstance(form, LineFormatter)), None)


class QueueHandler(logging.Handler):
    """Leaves the writing to a thread: whoever logs never waits for a reader."""

    def emit(self, record: logging.LogRecord) -> None:
        """Add one line to those that wait. Who was cancelled did not crash: that is no event."""
        if record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError):
            return
        LOG_WRITER.add(self.format(record).encode())


class MomentText:
    """The text of a moment by ``time.perf_counter``. Many share a millisecond, and so its text."""

    def __init__(self, of_unix_time: Callable[[float], str]) -> None:
        self._of_unix_time = of_unix_time
        self.text, self.since, self.until = b"", 0.0, 0.0

    def read(self, at: float) -> None:
        """Make ``text`` that of ``at``. It is good for all from ``since`` to before ``until``."""
        offset = time.time() - time.perf_counter()
        millisecond = int((at + offset) * 1000)
        self.text = self._of_unix_time(millisecond / 1000).encode()
        self.since = millisecond / 1000 - offset
        self.until = self.since + 0.001


class LineTemplate(NamedTuple):
    """A line but for its moment, the request's id, a number, and milliseconds."""

    moment: MomentText
    start: bytes
    upto_id: bytes
    upto_number: bytes
    upto_ms: bytes
    end: bytes

    def line(self, request_id: bytes, number: bytes, at: float, seconds: float) -> bytes:
        """The line of a moment ``at`` by ``time.perf_counter``. ``number`` is JSON."""
        moment, start, upto_id, upto_number, upto_ms, end = self
        if not moment.since <= at < moment.until:
            moment.read(at)
        return b"%b%b%b%b%b%b%b%.3f%b" % (
            start,
            moment.text,
            upto_id,
            request_id,
            upto_number,
            number,
            upto_ms,
            seconds * 1000,
            end,
        )


class LineFormatter(logging.Formatter):
    """How an event becomes one line, control characters escaped."""

    def __init__(self) -> None:
        super().__init__()
        self._moment_text = MomentText(self.moment)

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return self.line(record.created, record.levelname.lower(), *_told(record))

    def line(self, at: float, level: str, name: str, fields: dict[str, Any]) -> str:
        """The line of an event at ``at``, in Unix seconds."""
        raise NotImplementedError

    def moment(self, at: float) -> str:
        """How a line tells its time."""
        raise NotImplementedError

    def template(self, name: str, fields: dict[str, Any]) -> LineTemplate:
        """The line of an event with these fields, one of which is ``TEMPLATE_NUMBER``.

        They stand between its request's id and its duration.
        """
        text = self.line(0.0, "info", name, {"request_id": "<id>", **fields, "ms": TEMPLATE_MS})
        start, _, rest = text.partition(self.moment(0.0))
        upto_id, _, rest = rest.partition("<id>")
        upto_number, _, rest = rest.partition(str(TEMPLATE_NUMBER))
        upto_ms, _, end = rest.rpartition(str(TEMPLATE_MS))
        parts = (part.encode() for part in (start, upto_id, upto_number, upto_ms, end))
        return LineTemplate(self._moment_text, *parts)


class JsonLines(LineFormatter):
    """One line of JSON."""

    def line(self, at: float, level: str, name: str, fields: dict[str, Any]) -> str:
        """``time``, ``level``, ``event`` and the event's own fields."""
        return _json({"time": self.moment(at), "level": level, "event": name, **fields})

    def moment(self, at: float) -> str:
        """``2026-01-31T12:00:00.000Z``."""
        return _moment(at)


class Readable(LineFormatter):
    """One line for people."""

    def line(self, at: float, level: str, name: str, fields: dict[str, Any]) -> str:
        """``12:00:00 info event field=value``."""
        words = [self.moment(at), level, _json(name)[1:-1]]
        return " ".join([*words, *(f"{field}={_json(value)}" for field, value in fields.items())])

    def moment(self, at: float) -> str:
        """``12:00:00``."""
        return _moment(at)[11:19]


def _told(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    """A record's event and fields. Of a library's record, its first line and its logger's name."""
    fields = dict(getattr(record, "fields", None) or {"logger": record.name})
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        # asyncio writes what else it knows below, exceptions with their messages included.
        return record.getMessage().partition("\n")[0], fields
    links = _links(error)
    types = [type(link).__name__ for link in links]
    places = [place for link in links for place in _places(link)]
    return "crash", {**fields, "types": types, "places": places}


def _links(error: BaseException) -> list[BaseException]:
    """An exception and what is behind it, causes and members of groups, the nearest first."""
    links: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting and len(links) < MAX_LINKS:
        link = waiting.pop(0)
        if link is None or any(link is known for known in links):
            continue
        links.append(link)
        members = link.exceptions if isinstance(link, BaseExceptionGroup) else ()
        waiting += [link.__cause__ or link.__context__, *members]
    return links


def _places(error: BaseException) -> list[str]:
    places = [
        f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    return places[-MAX_PLACES:]


def _moment(at: float) -> str:
    moment = datetime.fromtimestamp(round(at, 3), UTC)
    return f"{moment.isoformat(timespec='milliseconds')[:23]}Z"


# What is no JSON is told by its type alone: nobody knows what its text would hold.
_encoder = json.JSONEncoder(default=lambda odd: type(odd).__name__)


def _json(value: object) -> str:
    # The one control character that JSON lets through.
    return _encoder.encode(value).replace("\x7f", "\\u007f")
