"""Dates, pauses and causes, as HTTP and its client tell them."""

import errno
import gc
import os
import socket
import ssl
from email.utils import formatdate

import aiohttp
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.upstream.sockets import _Socket
from app.upstream.transport import MAX_PAUSE, cause_of, http_date, retry_after
from tests.conftest import StartGateway
from tests.hostile_farm import GOOD, raw_farm

NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ("7", 7),
        ("0", 1),
        ("300", 300),
        ("301", MAX_PAUSE),
        ("9" * 5000, MAX_PAUSE),
        (formatdate(NOW + 42, usegmt=True), 42),
        (formatdate(NOW - 42, usegmt=True), 1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_PAUSE),
        (None, None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("1e3", None),
        ("nan", None),
        ("soon", None),
        ("\u0664\u0662", None),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("Fri, 31 Dec 2027 23:59:59 +99999999999999", None),
    ],
)
def test_a_pause_is_read_and_bounded(field: str | None, seconds: float | None) -> None:
    assert retry_after(field, NOW) == seconds


def test_a_date_without_a_zone_is_universal_time() -> None:
    assert http_date("Tue, 15 Nov 1994 08:12:31 -0000") == http_date(
        "Tue, 15 Nov 1994 08:12:31 GMT"
    )


@given(
    st.text(max_size=60)
    | st.from_regex(r"(Mon, )?[0-9]{1,6} [A-Z][a-z]{2} [0-9]{1,12} [0-9:]{1,20} [-+A-Z0-9]{1,9}")
)
def test_no_text_breaks_the_reading_of_dates_and_pauses(text: str) -> None:
    assert isinstance(http_date(text), float | None)
    wait = retry_after(text, NOW)
    assert wait is None or 1 <= wait <= MAX_PAUSE


def behind(error: BaseException, *more: BaseException) -> BaseException:
    """``error``, with ``more`` as its causes one behind the other."""
    link = error
    for cause in more:
        link.__cause__ = cause
        link = cause
    return error


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (behind(httpx.ConnectError("x"), ConnectionRefusedError()), "refused"),
        (behind(httpx.ReadError("x"), OSError(), ConnectionResetError()), "reset"),
        (behind(httpx.ConnectError("x"), OSError(), socket.gaierror()), "dns"),
        (behind(httpx.ConnectError("x"), OSError(), ssl.SSLError()), "tls"),
        (behind(httpx.ConnectTimeout("x")), "connect_timeout"),
        (behind(httpx.RemoteProtocolError("x")), "closed"),
        (aiohttp.ServerDisconnectedError(), "closed"),
        (UnicodeDecodeError("utf-8", b"", 0, 1, "x"), "not_http"),
        (OSError("x"), "network"),
        (behind(httpx.ConnectError("x"), OSError(errno.EMFILE, "x")), "local_shortage"),
        (behind(httpx.ConnectTimeout("x"), OSError(errno.ENFILE, "x")), "local_shortage"),
        (behind(httpx.ConnectError("x"), OSError(errno.EADDRNOTAVAIL, "x")), "local_shortage"),
        (httpx.UnsupportedProtocol("x"), "transport"),
    ],
)
def test_the_most_telling_exception_names_the_cause(error: BaseException, cause: str) -> None:
    assert cause_of(error) == cause


def test_a_socket_that_becomes_garbage_closes_no_file() -> None:
    mine, other = socket.socketpair()
    kept = _Socket(fileno=mine.detach())
    number = kept.fileno()
    del kept
    gc.collect()
    os.fstat(number)  # uvloop may have closed it, and somebody else may have it now
    os.close(number)
    other.close()


def test_the_farm_is_called_through_such_sockets(start_gateway: StartGateway) -> None:
    def answer(connection: socket.socket) -> None:
        ports.append(connection.getpeername()[1])
        ours = [found for found in gc.get_objects() if isinstance(found, _Socket)]
        called.extend(found.getsockname()[1] for found in ours if found.fileno() >= 0)
        connection.sendall(GOOD)

    ports: list[int] = []
    called: list[int] = []
    with raw_farm(answer) as farm:
        assert start_gateway(upstream_url=farm.url).get("/sessions/1001").status_code == 200
    assert ports[0] in called
