"""The XML-RPC decoder: a value, a Fault or the one typed error; nothing else, and nothing unfolds.

A value weighs no more than the bytes that it came from: no document can grow in memory. And the
reader of records that rest outside this process, sealed or not: a record, or unusable.
"""

from pathlib import Path

from app.cache.codec import MAGIC, SEAL_SIZE, Record, Seal, Unusable, pack, unpack
from app.core.cache_entry import CacheEntry, digest
from app.upstream.xmlrpc.codec import (
    CAUSES,
    Fault,
    UpstreamUnreadable,
    Value,
    dump_answer,
    load_answer,
    load_call,
)

CORPUS = Path(__file__).parents[1] / "tests" / "wire" / "xmlrpc"
SEAL = Seal("fuzz", "record")
UNUSABLE = {"foreign", "version", "length", "seal", "header"}
RECORDS = [
    pack(Record("42", entry, 3600.0, 1.7e9), SEAL)
    for entry in (
        CacheEntry(b"{}", digest(b"{}"), -1.5, 60.0, 60, final=True),
        CacheEntry(b"", "", 0.0, 10.0, 10, refused="SessionNotFound", fault_code=300),
    )
]
UNSEALED = [record[len(MAGIC) + SEAL_SIZE + 1 :] for record in RECORDS]
SEEDS = [path.read_bytes() for path in sorted(CORPUS.glob("*.xml"))] + RECORDS + UNSEALED
WORDS = [
    *("<value>", "</value>", "<struct>", "</struct>", "<member>", "</member>", "<name>", "</name>"),
    *("<array>", "</array>", "<data>", "</data>", "<fault>", "</fault>", "<params>", "<param>"),
    *("<int>", "</int>", "<i8>", "<ex:i8>", "<boolean>", "<double>", "<string>", "<base64>"),
    *(
        "<nil/>",
        "<ex:nil/>",
        "<ex:float>",
        "<dateTime.iso8601>",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<?",
        "?>",
    ),
    *(
        "<!DOCTYPE",
        "&amp;",
        "&#0;",
        "&#x",
        "&#55357;&#56832;",
        "encoding=",
        "utf-16",
        "latin-1",
        "faultCode",
        "1e999",
    ),
    *("-0", "+1", "9223372036854775807", "nan", "true", "20100406T08:59:33Z", "AA=="),
    *(
        '{"key": ',
        '"age": ',
        '"lifetime": ',
        '"nominal": ',
        '"total": ',
        '"refused": ',
        '"fault": ',
    ),
    *('"final": ', "SessionNotFound", "NaN", "null", "}", "rfgw1 "),
]
REACHES = 140


def check(data: bytes) -> None:
    """Decode ``data`` as an answer, as a call, as a record and as what somebody has sealed."""
    for load in (load_answer, load_call):
        try:
            value = load(data)
        except UpstreamUnreadable as error:
            assert error.cause in CAUSES, error.cause
        except Fault as fault:
            assert -(2**63) <= fault.code < 2**63
            assert len(fault.text) <= len(data)
        else:
            found: Value = list(value) if isinstance(value, tuple) else value
            assert weight(found) <= len(data)
            if load is load_answer and fits(found):
                assert repr(load_answer(dump_answer(found))) == repr(found)
    for record in (data, MAGIC + SEAL.close(data)):
        try:
            kept = unpack(record, SEAL)
        except Unusable as unusable:
            assert unusable.reason in UNUSABLE
        else:
            assert unpack(pack(kept, SEAL), SEAL) == kept


def weight(value: object) -> int:
    """How many values there are, and the letters of all texts."""
    if isinstance(value, dict):
        return 1 + sum(len(name) + weight(item) for name, item in value.items())
    if isinstance(value, list):
        return 1 + sum(weight(item) for item in value)
    return 1 + (len(value) if isinstance(value, (str, bytes)) else 0)


def fits(value: object) -> bool:
    """Whether what was read can be written: our calls hold 32-bit integers only."""
    try:
        dump_answer(value)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return False
    return True
