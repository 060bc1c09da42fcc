"""Whether a farm does what the gateway counts on: the questions of ``rfgw doctor --farm``.

Knows what a compatible farm answers. Must not know how the way to it was found to be open.
"""

import asyncio
import http.client
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

from app.cli.doctor.finding import Finding, skipped
from app.cli.doctor.signed_call import ACCEPTED, LONGEST, Caller, Error, about_call, about_clock
from app.cli.doctor.way import Target
from app.config.settings import Settings
from app.core import errors
from app.resources.sessions import GetSession
from app.upstream.oauth import Signer, new_nonce
from app.upstream.refusals import INVALID_SIGNATURE, error_of
from app.upstream.tls import tls_context
from app.upstream.transport import HEADERS, Message
from app.upstream.xmlrpc.codec import Fault, dump_call, load_answer

FARM_CHECKS = ("session", "clock", "unknown", "signed", "nonce", "window", "reuse", "parallel")
NO_SESSION = 2**31 - 1
"""An id that no session has."""
LATE = 3600
"""Seconds by which a timestamp is too old for any window."""
ALONE = 3.0
"""Seconds in which a farm answers although another connection is open and idle."""
REPLAYS = "whoever overhears a call can repeat it: use https, and tell whoever runs the farm"


class Questions:
    """Signed calls, each made in a way of its own."""

    def __init__(self, caller: Caller, session: int) -> None:
        self._caller, self._session = caller, session
        self.signer = caller.farm.signer

    def message(self, session: int, signer: Signer, late: int = 0) -> bytes:
        """A call for a session, signed so many seconds ago."""
        farm = self._caller.farm
        timestamp = farm.farm_clock.timestamp(time.time()) - late
        call = GetSession(id=session)
        parameters = signer.sign(
            farm.base, call.method, call.arguments, timestamp=timestamp, nonce=new_nonce()
        )
        return dump_call(call.method, [{**parameters}, *call.arguments.values()])

    async def send(self, session: int, message: bytes) -> Error:
        """Post it; None if a session was answered."""
        farm, call = self._caller.farm, GetSession(id=session)
        try:
            async with asyncio.timeout(farm.deadline):
                received = await farm.transport.post(Message(self._caller.url, message))
            value = load_answer(
                received.body, charset=received.charset, max_bytes=farm.transport.max_body
            )
            call.read(value, lambda field: None)
        except TimeoutError:
            return errors.UpstreamTimeout("deadline")
        except Fault as fault:
            return error_of(fault, call)
        except errors.GatewayError as error:
            return error
        return None

    async def findings(self) -> list[Finding]:
        """What the farm makes of an unknown session, a wrong signature, a replay, an old call."""
        forger = replace(self.signer, consumer_secret=self.signer.consumer_secret + "x")
        unknown = await self.send(NO_SESSION, self.message(NO_SESSION, self.signer))
        forged = await self.send(self._session, self.message(self._session, forger))
        message = self.message(self._session, self.signer)
        await self.send(self._session, message)
        again = await self.send(self._session, message)
        message = self.message(self._session, self.signer, late=LATE)
        late = await self.send(self._session, message)
        return [
            _about_unknown(unknown),
            _refused("signed", forged, "a wrong signature", "anybody can ask in this site's name"),
            _refused("nonce", again, "a repeated nonce", REPLAYS),
            _refused("window", late, "a call of an hour ago", REPLAYS),
        ]


def examine_farm(settings: Settings, session: int, to: Target) -> Iterator[Finding]:
    """A finding for each question. ``session`` should be one that this site may read."""
    findings, message = asyncio.run(_ask(settings, session))
    yield from findings
    if message is None:
        yield from skipped("no signed call is answered", *FARM_CHECKS[2:])
        return
    if to.proxy is not None:
        yield from skipped("not seen through a proxy", "reuse", "parallel")
        return
    path = urlsplit(Caller(settings, session).url).path
    yield _about_reuse(to, path, message)
    yield _about_parallel(to, path, message, settings.upstream_concurrency)


async def _ask(settings: Settings, session: int) -> tuple[list[Finding], bytes | None]:
    """What signed calls tell, and one more to send."""
    caller = Caller(settings, session)
    try:
        error = await caller.ask(caller.farm.signer)
        first = about_call(error, caller.farm.signer, len(caller.attempts))
        first = first._replace(check="session")
        clock = about_clock(caller.farm.farm_clock.ahead)
        if first.status == "FAIL":
            return [first, clock], None
        if error is not None:
            do = "give the --id of a session that this site may read"
            first = Finding("session", "warn", f"fault {error.fault_code}, no session", do)
        questions = Questions(caller, session)
        told = [first, clock, *await questions.findings()]
        return told, questions.message(session, questions.signer)
    finally:
        await caller.farm.aclose()


def _about_unknown(error: Error) -> Finding:
    if isinstance(error, errors.SessionNotFound):
        return Finding("unknown", "ok", f"no session {NO_SESSION} (fault {error.fault_code})")
    says = f"session {NO_SESSION}: {_told(error)}"
    if isinstance(error, ACCEPTED):
        return Finding("unknown", "warn", says, "it should be fault 300: clients are misled")
    return Finding("unknown", "FAIL", says, "it should be fault 300")


def _refused(check: str, error: Error, what: str, otherwise: str) -> Finding:
    if error is None or isinstance(error, ACCEPTED):
        return Finding(check, "warn", f"{what} is accepted", otherwise)
    if error.fault_code == INVALID_SIGNATURE or isinstance(
        error, errors.UpstreamRefusedCredentials
    ):
        return Finding(check, "ok", f"{what} is refused ({_told(error)})")
    return Finding(check, "warn", f"{what}: {_told(error)}", "it should be fault 104")


def _told(error: Error) -> str:
    if error is None:
        return "a session is answered"
    return error.cause if error.fault_code is None else f"fault {error.fault_code}"


def _about_reuse(to: Target, path: str, message: bytes) -> Finding:
    """Whether a connection takes a second call."""
    connection = _connection(to, LONGEST)
    try:
        _post(connection, path, message)
        connection.auto_open = 0
        _post(connection, path, message)
    except (OSError, http.client.HTTPException):
        says = "a connection takes one call only"
        return Finding("reuse", "warn", says, "keep-alive would make each call faster")
    finally:
        connection.close()
    return Finding("reuse", "ok", "connections are kept")


def _about_parallel(to: Target, path: str, message: bytes, concurrency: int) -> Finding:
    """Whether the farm answers while another connection is open."""
    with socket.create_connection((to.host, to.port), timeout=to.within):
        if _is_answered(to, path, message, ALONE):
            return Finding("parallel", "ok", "several connections at a time")
    if not _is_answered(to, path, message, LONGEST):
        return Finding("parallel", "warn", "no answer any more", "try again")
    says = "one connection at a time"
    if concurrency == 1:
        return Finding("parallel", "ok", f"{says}, as RFGW_UPSTREAM_CONCURRENCY=1 has it")
    return Finding("parallel", "FAIL", says, "set RFGW_UPSTREAM_CONCURRENCY=1")


def _is_answered(to: Target, path: str, message: bytes, within: float) -> bool:
    connection = _connection(to, within)
    try:
        _post(connection, path, message)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _connection(to: Target, within: float) -> http.client.HTTPConnection:
    if to.encrypted:
        context = tls_context(to.ca_file)
        return http.client.HTTPSConnection(to.host, to.port, timeout=within, context=context)
    return http.client.HTTPConnection(to.host, to.port, timeout=within)


def _post(connection: http.client.HTTPConnection, path: str, message: bytes) -> None:
    """One call and its answer, whatever it is. Raises OSError or HTTPException."""
    connection.request("POST", path, message, dict(HEADERS))
    connection.getresponse().read()
