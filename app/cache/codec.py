"""Records: an entry as plain bytes that may rest outside this process, and back.

Knows the form of a record and what a believable one looks like. Must not know where it rests.

    rfgw1 <seal> <header as one line of JSON>
    <body>

The seal is a keyed BLAKE2b over header and body (RFC 7693). A record that was cut, altered, or
written by a stranger or in another form is no record: ``unpack`` says why, and nothing of it.
"""

import hmac
import json
import re
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from app.core.cache_entry import CacheEntry, digest
from app.core.errors import Refused

MAGIC = b"rfgw1 "
ANY_MAGIC = re.compile(rb"rfgw[0-9]+ ")
SEAL_SIZE = 32
"""Hexadecimal digits of a seal: 128 bits."""
MAX_SIZE = 4_194_304
"""Bytes of the largest record that is written or read."""
YEARS = 100 * 31_536_000.0
"""Seconds: no lifetime is longer than this."""

REFUSALS = frozenset(kind.__name__ for kind in Refused.__subclasses__())


class Unusable(Exception):
    """These bytes are no record of ours.

    ``reason`` is one of foreign, version, length, seal, header, and of those who read records
    too: key, age.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Record(NamedTuple):
    """What was written. The entry's ``asked_at`` counts from the moment of writing: it is not
    above zero. ``total`` is for how many seconds from then on the record is kept. ``written`` is
    that moment in Unix seconds, by the clock of the place where the record rests."""

    key: str
    entry: CacheEntry
    total: float
    written: float


class Seal:
    """Marks bytes as written by someone who knows the ``secret``, for one ``purpose``.

    Each purpose has a key of its own: a record that is sent as a notice opens as nothing.
    """

    def __init__(
        self, secret: str, purpose: Literal["record", "notice", "lease", "snapshot"]
    ) -> None:
        self._key = blake2b(secret.encode(), person=f"rfgw {purpose}".encode()).digest()

    def close(self, data: bytes) -> bytes:
        """The bytes with their seal before them."""
        return self._of(data) + b" " + data

    def open(self, sealed: bytes) -> bytes | None:
        """The bytes that were sealed; None if they were not, or not like this."""
        data = sealed[SEAL_SIZE + 1 :]
        return data if hmac.compare_digest(sealed[: SEAL_SIZE + 1], self._of(data) + b" ") else None

    def _of(self, data: bytes) -> bytes:
        return blake2b(data, key=self._key, digest_size=SEAL_SIZE // 2).hexdigest().encode()


def group_name(*identity: str) -> str:
    """The name of those who may share: the same farm, consumer and form of answers."""
    return blake2b("\0".join(identity).encode(), digest_size=12, person=b"rfgw group").hexdigest()


def pack(record: Record, seal: Seal) -> bytes:
    """The record as bytes. Only what outlives this process is told: not when asking failed."""
    entry = record.entry
    header = {
        "key": record.key,
        "age": -entry.asked_at,
        "lifetime": entry.lifetime,
        "nominal": entry.nominal,
        "total": record.total,
        "written": record.written,
        "refused": entry.refused,
        "fault": entry.fault_code,
        "final": entry.final,
    }
    return MAGIC + seal.close(json.dumps(header).encode() + b"\n" + entry.body)


def unpack(data: bytes, seal: Seal) -> Record:
    """The record, or Unusable."""
    if len(data) > MAX_SIZE:
        raise Unusable("length")
    if not data.startswith(MAGIC):
        raise Unusable("version" if ANY_MAGIC.match(data) else "foreign")
    opened = seal.open(data[len(MAGIC) :])
    if opened is None:
        raise Unusable("seal")
    head, _, body = opened.partition(b"\n")
    try:
        return _record(json.loads(head, parse_constant=_no_number), body)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise Unusable("header") from None


def _record(header: dict[str, Any], body: bytes) -> Record:
    """Raises one of the errors that unpack expects for what no gateway would have written."""
    entry = CacheEntry(
        body=body,
        digest=digest(body) if body else "",
        asked_at=-_seconds(header["age"]),
        lifetime=_seconds(header["lifetime"]),
        nominal=int(_seconds(header["nominal"])),
        refused=str(header["refused"]),
        fault_code=int(header["fault"]),
        final=bool(header["final"]),
    )
    if entry.refused not in REFUSALS if entry.refused else not body:
        raise ValueError("neither an answer nor a refusal")
    return Record(str(header["key"]), entry, _seconds(header["total"]), _seconds(header["written"]))


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value <= YEARS:
        raise ValueError("no believable time")
    return float(value)


def _no_number(_text: str) -> float:
    raise ValueError("not a number")
