"""A client's trace, carried on to the farm (W3C Trace Context). Knows the ``traceparent`` field.

Must not know who sends it where.
"""

import re
import secrets
from contextvars import ContextVar
from typing import NamedTuple

FIELD = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class Trace(NamedTuple):
    """The trace that a request is a part of."""

    id: str
    sampled: bool

    def onward(self) -> str:
        """The field for a request of ours: the same trace, a span of its own."""
        return f"00-{self.id}-{secrets.token_hex(8)}-{int(self.sampled):02x}"


trace: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""The trace of the request that is being answered. A task takes it along: who asks, gives it."""


def trace_of(traceparent: bytes | None) -> Trace | None:
    """What the field says, or None: a field that is not valid counts for nothing.

    Of the flags only ``sampled`` is known, and no other is passed on.
    """
    match = FIELD.fullmatch(traceparent or b"")
    if match is None or not match[1].strip(b"0") or not match[2].strip(b"0"):
        return None
    return Trace(match[1].decode(), bool(int(match[3], 16) & 1))
