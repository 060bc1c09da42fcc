"""Keeps what the farm was asked and what it answered, where that could not be read.

A recording is a JSON document. Its ``question`` is made anew from the call, of which it keeps
what is known to be harmless: the method, the arguments that are numbers, and three of the OAuth
parameters. Its ``answer`` is a step that the sandbox can perform, with our secrets, and whatever
else the call said, taken out. Knows codec and files; must not know HTTP or what an answer means.
"""

import asyncio
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.core.errors import UpstreamUnreadable
from app.telemetry import logs
from app.upstream.redaction import redacted
from app.upstream.xmlrpc.codec import Value, dump_call, load_call

MAX_BODY = 1024 * 1024
"""Bytes of an answer that are kept."""
MAX_OMITTED = 2**27
PAUSE = 1.0
"""Seconds between two recordings with one cause, of one process."""
HARMLESS = ("oauth_signature_method", "oauth_timestamp", "oauth_version")
"""The OAuth parameters that are kept."""
FIELDS = ("content-type", "content-encoding")
"""The header fields of an answer that are kept."""
MASK = "redacted"
PATTERN = "recording-*.json"


@dataclass(slots=True)
class Exchange:
    """One call as it went out, and its answer as far as it came."""

    message: bytes
    status: int | None = None  # None: no answer came
    fields: Mapping[str, str] | None = None
    body: bytes = b""

    def hear(self, status: int, fields: Mapping[str, str], body: bytes) -> None:
        """This is the answer."""
        self.status, self.fields, self.body = status, fields, body


class Recorder:
    """Watches calls. This one keeps nothing; others override ``keep``."""

    def __init__(self) -> None:
        self._latest: ContextVar[Exchange] = ContextVar("latest exchange")

    @contextmanager
    def watch(self, message: bytes) -> Iterator[Exchange]:
        """The exchange of a call that is made in the block. What cannot be read there is kept."""
        exchange = Exchange(message)
        self._latest.set(exchange)
        cause = ""
        try:
            yield exchange
        except UpstreamUnreadable as error:
            cause = error.cause
            raise
        finally:
            if exchange.status is not None:
                self.keep(exchange, cause)

    def misread(self, cause: str) -> None:
        """The latest answer of this task was XML-RPC, but not what was asked for."""
        exchange = self._latest.get(None)
        if exchange is not None:  # else it was for a visitor
            self.keep(exchange, cause)

    def keep(self, exchange: Exchange, cause: str) -> None:
        """Keep it, if there is something wrong with it: ``cause`` is empty if it was read."""


class FileRecorder(Recorder):
    """Keeps the last exchange for one file, whatever came of it."""

    def __init__(self, path: Path, secrets: Sequence[str]) -> None:
        super().__init__()
        self._path, self._secrets = path, secrets
        self._kept: tuple[Exchange, str] | None = None

    def keep(self, exchange: Exchange, cause: str) -> None:
        """Keep it, in place of the one before."""
        self._kept = exchange, cause

    def write(self) -> bool:
        """Write the file; False if no answer came. Raises OSError."""
        document = recording(*self._kept, self._secrets) if self._kept else None
        if document is not None:
            _write(self._path, document)
        return document is not None


class FolderRecorder(Recorder):
    """Keeps the newest ``most`` exchanges of no use, each in a file of its own.

    ``clock`` gives monotonic seconds. Files are written beside the event loop.
    """

    def __init__(
        self, folder: Path, secrets: Sequence[str], most: int, clock: Callable[[], float]
    ) -> None:
        super().__init__()
        self._folder, self._secrets, self._most, self._clock = folder, secrets, most, clock
        self._not_before: dict[str, float] = {}
        folder.mkdir(mode=0o700, exist_ok=True)

    def keep(self, exchange: Exchange, cause: str) -> None:
        """Write it, unless one with this cause was written just now."""
        now = self._clock()
        if not cause or now < self._not_before.get(cause, now):
            return
        self._not_before[cause] = now + PAUSE
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # large answers are read beside the event loop already
            self._keep(exchange, cause)
        else:
            loop.run_in_executor(None, self._keep, exchange, cause)

    def _keep(self, exchange: Exchange, cause: str) -> None:
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        path = self._folder / f"recording-{moment}-{os.getpid()}-{cause}.json"
        document = recording(exchange, cause, self._secrets)
        if document is None:
            return
        try:
            _write(path, document)
            for old in sorted(self._folder.glob(PATTERN))[: -self._most]:
                old.unlink(missing_ok=True)  # another process may have been first
        except OSError as error:
            logs.event("not_recorded", level=logging.ERROR, reason=error.strerror)
            return
        logs.event("recorded", cause=cause, file=path.name)


def recording(exchange: Exchange, cause: str, secrets: Sequence[str]) -> dict[str, Any] | None:
    """The document of an exchange, without secrets, nonces and signatures.

    None for a call that our own consumer and token did not sign in its struct: what is said for a
    visitor is nobody else's business.
    """
    method, (struct, *arguments) = load_call(exchange.message)
    if not isinstance(struct, dict) or struct.get("oauth_token", secrets[0]) not in secrets:
        return None
    kept = {name: value if name in HARMLESS else MASK for name, value in struct.items()}
    named: list[Value] = [each if isinstance(each, int) else MASK for each in arguments]
    said = [*(text for name, text in struct.items() if name not in HARMLESS), *arguments]
    hidden = [*secrets, *(text for text in said if isinstance(text, str))]
    body = redacted(exchange.body[:MAX_BODY], hidden)
    return {
        "recorded": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "cause": cause,
        "withheld": body is None,  # it hid what must not be kept
        "question": {
            "method": method,
            "arguments": named,
            "call": dump_call(method, [kept, *named]).decode(),
        },
        "answer": _answer(exchange, cause, body or b"", hidden),
    }


def _answer(exchange: Exchange, cause: str, body: bytes, hidden: Sequence[str]) -> dict[str, Any]:
    """The answer as a ``raw`` step of the sandbox."""
    heard = exchange.fields or {}
    there = max(len(exchange.body), _length(heard) if cause == "too_large" else 0)
    shown = dict[str, str]()
    for name in FIELDS:
        if text := redacted(heard.get(name, "").encode("latin-1", "replace"), hidden):
            shown[name] = text.decode("latin-1")
    try:
        charset, text_of_body = "utf-8", body.decode()
    except UnicodeDecodeError:
        charset, text_of_body = "latin-1", body.decode("latin-1")
    return {
        "do": "raw",
        "status": exchange.status,
        "content_type": shown.pop("content-type", ""),
        "headers": shown,
        "body": text_of_body,
        "charset": charset,
        "omitted": min(there - len(body), MAX_OMITTED),
        "cut": cause == "truncated",
    }


def _length(fields: Mapping[str, str]) -> int:
    text = fields.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _write(path: Path, document: dict[str, Any]) -> None:
    """All or nothing; for the owner alone."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".recording-")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            json.dump(document, file, indent=1)
            file.write("\n")
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
