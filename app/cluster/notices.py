"""Notices: what came of a question, sealed, for all who listen.

Knows the form of a notice. Must not know who waits for one.
"""

import json
from collections.abc import Callable
from typing import NamedTuple
from uuid import uuid4

from app.cache.codec import Seal
from app.core.cache_entry import CacheEntry
from app.core.errors import UpstreamError

FRESH = 2.0
"""Seconds for which a failure counts: an old notice that somebody repeats fails nobody."""
NOTICE_SIZE = 1024
"""Bytes of the longest notice that is read."""
FAILURES = {kind.__name__: kind for kind in UpstreamError.__subclasses__()}


class Notice(NamedTuple):
    """Somebody's question has ended: with an answer of this ``tag``, with a ``failure``, or not."""

    key: str
    tag: str = ""
    failure: UpstreamError | None = None

    @property
    def kind(self) -> str:
        """How it is counted: answer, failure or nothing."""
        return "failure" if self.failure else "answer" if self.tag else "nothing"


class Unreadable(Exception):
    """This message is no notice of the group."""


class NoticeCodec:
    """Writes notices in the name of this process, and reads those of others.

    ``now`` gives Unix seconds, the same to all.
    """

    def __init__(self, seal: Seal, now: Callable[[], float]) -> None:
        self._seal, self._now = seal, now
        self._me = uuid4().hex

    def pack(self, notice: Notice) -> bytes:
        """The message that is published."""
        fields = {
            "from": self._me,
            "at": self._now(),
            "key": notice.key,
            "tag": notice.tag,
            "failure": _failure_fields(notice.failure) if notice.failure else None,
        }
        return self._seal.close(json.dumps(fields).encode())

    def unpack(self, message: bytes) -> Notice | None:
        """The notice of another process; None for our own. Raises Unreadable."""
        if self._me.encode() in message:  # for a forged one it is as well
            return None
        opened = self._seal.open(message) if len(message) <= NOTICE_SIZE else None
        if opened is None:
            raise Unreadable
        # Sealed, so written by a gateway of the same form: its fields need no second look.
        fields = json.loads(opened)
        is_fresh = abs(self._now() - fields["at"]) <= FRESH
        failure = _failure(fields["failure"]) if fields["failure"] and is_fresh else None
        return Notice(fields["key"], fields["tag"], failure)


def tag_of(entry: CacheEntry) -> str:
    """Tells answers apart by what they say."""
    return entry.refused or entry.digest


def _failure_fields(error: UpstreamError) -> list[str | int | float | None]:
    return [type(error).__name__, error.cause, error.fault_code, error.retry_after]


def _failure(fields: list[str | int | float | None]) -> UpstreamError | None:
    kind, cause, fault_code, retry_after = fields
    return FAILURES[str(kind)](
        str(cause),
        fault_code=None if fault_code is None else int(fault_code),
        retry_after=None if retry_after is None else float(retry_after),
    )
