"""Records: what is written is read again, and nothing else is."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cache.codec import MAGIC, MAX_SIZE, Record, Seal, Unusable, pack, unpack
from app.core.cache_entry import CacheEntry, digest

SEAL = Seal("a secret", "record")
BODY = '{"id":42,"title":"Ü"}\n'.encode()
NOW = 1.7e9
ANSWER = Record("call(42)", CacheEntry(BODY, digest(BODY), -0.25, 5.5, 5, final=True), 606.5, NOW)
REFUSED = CacheEntry(b"", "", 0.0, 10.0, 10, 0.0, "SessionNotFound", 300)
REFUSAL = Record("call(1)", REFUSED, 11.0, NOW)


def reason(data: bytes) -> str:
    with pytest.raises(Unusable) as caught:
        unpack(data, SEAL)
    return caught.value.reason


def sealed(head: bytes, body: bytes = BODY) -> bytes:
    return MAGIC + SEAL.close(head + b"\n" + body)


def header(**changes: Any) -> bytes:
    opened = SEAL.open(pack(ANSWER, SEAL)[len(MAGIC) :])
    assert opened is not None
    return json.dumps({**json.loads(opened.partition(b"\n")[0]), **changes}).encode()


@pytest.mark.parametrize("record", [ANSWER, REFUSAL])
def test_what_was_written_is_read_again(record: Record) -> None:
    assert unpack(pack(record, SEAL), SEAL) == record


@given(body=st.binary(min_size=1), age=st.floats(0, 1e6), lifetime=st.floats(0, 1e6))
def test_any_body_and_any_times_are_read_again(body: bytes, age: float, lifetime: float) -> None:
    record = Record("k", CacheEntry(body, digest(body), -age, lifetime, 7), 1e6, NOW)
    assert unpack(pack(record, SEAL), SEAL) == record


def test_when_asking_failed_last_is_not_written() -> None:
    entry = ANSWER.entry._replace(failed_at=99.0)
    assert unpack(pack(ANSWER._replace(entry=entry), SEAL), SEAL) == ANSWER


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "foreign"),
        (b"\x80\x04K\x01.", "foreign"),
        (b'{"id": 42}', "foreign"),
        (b"rfgw2 " + pack(ANSWER, SEAL)[len(MAGIC) :], "version"),
        (b"rfgw1", "foreign"),
        (b"rfgw1 ", "seal"),
        (pack(ANSWER, Seal("another secret", "record")), "seal"),
        (pack(ANSWER, Seal("a secret", "notice")), "seal"),
        (pack(ANSWER, Seal("a secret", "lease")), "seal"),
        (pack(ANSWER, SEAL)[:-1], "seal"),
        (pack(ANSWER, SEAL) + b" ", "seal"),
        (MAGIC + b"0" * (MAX_SIZE + 1), "length"),
    ],
)
def test_what_is_no_record_of_ours_has_its_reason(data: bytes, why: str) -> None:
    assert reason(data) == why


@given(at=st.integers(0), flip=st.integers(1, 255))
def test_no_record_with_another_byte_in_it_is_read(at: int, flip: int) -> None:
    data = bytearray(pack(ANSWER, SEAL))
    data[at % len(data)] ^= flip
    assert reason(bytes(data)) in ("foreign", "version", "seal")


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"[1]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b"{}",
        header(age=-1),
        header(age=math.nan),
        header(age=math.inf),
        header(age=True),
        header(age="1"),
        header(age=None),
        header(lifetime=1e300),
        header(nominal=[]),
        header(total=-0.5),
        header(written=None),
        header(written=-1),
        header(written=math.nan),
        header(fault="x"),
        header(refused="Exception"),
        header(refused="UpstreamError"),
    ],
)
def test_a_header_that_no_gateway_writes_is_not_believed(head: bytes) -> None:
    assert reason(sealed(head)) == "header"


def test_an_answer_without_a_body_is_none() -> None:
    assert reason(sealed(header(), b"")) == "header"


def test_a_seal_does_not_show_its_secret() -> None:
    seal = Seal("hush", "record")
    assert "hush" not in f"{seal!r} {vars(seal)}"
