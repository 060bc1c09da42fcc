"""One line of JSON per event. Knows the standard logging; must not know who logs what.

No line ever holds exception messages: they may quote what came from outside. A crash is logged as
its types and its places in our code.
"""

import json
import logging
import logging.config
import time
import traceback
from typing import Any, Literal

EVENTS = logging.getLogger("rfgw")


def configure(level: str, style: Literal["json", "console"]) -> None:
    """Send all log lines, the server's included, to standard error."""
    formatter = {"()": JsonLines} if style == "json" else {"()": Readable}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"lines": formatter},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
            "root": {"handlers": ["stderr"], "level": "WARNING"},
            "loggers": {
                "rfgw": {"level": level.upper()},
                "uvicorn": {"handlers": [], "level": level.upper(), "propagate": True},
            },
        }
    )


def event(name: str, /, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log one event with its fields."""
    EVENTS.log(level, name, extra={"fields": fields})


def crash(request_id: str, error: BaseException) -> None:
    """Log an exception that nobody handled: types and places, no messages."""
    kinds = [type(link).__name__ for link in _chain(error)]
    places = [
        f"{frame.filename}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    event("crash", level=logging.ERROR, request_id=request_id, types=kinds, places=places)


def _chain(error: BaseException | None) -> list[BaseException]:
    links: list[BaseException] = []
    while error is not None and error not in links:
        links.append(error)
        error = error.__cause__ or error.__context__
    return links


def _moment(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


class JsonLines(logging.Formatter):
    """A record as one line of JSON, control characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """``time``, ``level``, ``event`` and the event's own fields."""
        line = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        return json.dumps(line, default=str)


class Readable(logging.Formatter):
    """A record as one line for people."""

    def format(self, record: logging.LogRecord) -> str:
        """``12:00:00 info event field=value``."""
        fields = getattr(record, "fields", {})
        told = "".join(
            f" {name}={json.dumps(value, default=str)}" for name, value in fields.items()
        )
        message = json.dumps(record.getMessage())[1:-1]
        return f"{_moment(record)[11:19]} {record.levelname.lower()} {message}{told}"
