"""What a GET's header fields say to a kept answer, whatever its path.

Knows header fields. Must not know paths or entries. Clients repeat their fields from request to
request: they are read once, and nothing in here goes out of date.
"""

from collections.abc import Sequence
from typing import NamedTuple

from app.api.conditional_request import digests_in
from app.api.content_coding import ContentCoding
from app.api.field_lists import Header
from app.api.replies import takes_json, wish_of
from app.core.fetch_result import NO_DIRECTIVES
from app.edge.admission import Admission, Asker
from app.edge.common_fields import CommonFields, field_lines


class HitRequest(NamedTuple):
    """A request that a kept answer may serve."""

    least: float  # bytes of a body that goes out in gzip; infinite if none does
    known: frozenset[str]  # digests in If-None-Match
    may_wait: bool  # for a change
    request_id: bytes | None  # its own, if it has a good one
    cors: bytes  # lines of the answer for its sake
    traceparent: bytes | None
    asker: Asker | None  # None: everybody may ask, as often as they like


class HitRequestReader:
    """Leaves to the route whoever wants anything special, and whatever comes twice."""

    def __init__(
        self, coding: ContentCoding, common: CommonFields, admission: Admission | None
    ) -> None:
        self._coding = coding
        self._common = common
        self._admission = admission

    def read(self, fields: Sequence[Header], client: tuple[str, int] | None) -> HitRequest | None:
        """The request with these ``fields``; None if the route has to answer it."""
        given = dict(fields)
        control = given.get(b"cache-control")
        least = self._coding.least(given.get(b"accept-encoding"), control)
        if len(given) != len(fields) or not least or not takes_json(given.get(b"accept")):
            return None
        if control is not None and wish_of(control) != NO_DIRECTIVES:
            return None
        asker = None
        if self._admission is not None:
            asker = self._admission.asker(fields, given, client)
            if asker is None:
                return None
        return HitRequest(
            least,
            digests_in(given.get(b"if-none-match", b"")),
            b"prefer" in given,
            self._common.given_id(given),
            field_lines(self._common.cors(fields, given)),
            given.get(b"traceparent"),
            asker,
        )
