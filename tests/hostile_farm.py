"""A farm of raw bytes: it writes what no HTTP library would, over TCP or TLS, on a real port.

Knows sockets and what an answer looks like. Must not know the gateway, nor which fault is which.
"""

import functools
import re
import select
import socket
import ssl
import struct
import threading
import warnings
import xmlrpc.client
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

LEAK = "s3cr3t-inner-workings"
"""Stands wherever the farm may put text: no client may ever read it."""

NUMBER = b"1001"
"""Where it stands in what a farm writes, the number of the session asked for is written."""

HOST = "127.0.0.1"

PATIENCE = 20.0
"""Seconds after which the farm gives a connection up."""

EMPTY = re.compile(rb"\r\ncontent-length: 0\r\n(.*\r\n)?\r\n", re.IGNORECASE | re.DOTALL)
"""The whole head of a request without a body."""

Behaviour = Callable[[socket.socket], None]


# --- What an answer looks like -----------------------------------------------------------------


def session(*members: str, number: object = 1001) -> str:
    """An answer's document by hand: ``members`` are XML of ``<member>`` elements."""
    return (
        '<?xml version="1.0"?><methodResponse><params><param><value><struct>'
        f"<member><name>id</name><value><i4>{number}</i4></value></member>{''.join(members)}"
        "</struct></value></param></params></methodResponse>"
    )


def member(name: str, value: str) -> str:
    return f"<member><name>{name}</name><value>{value}</value></member>"


def whole(value: str) -> str:
    return (
        f"<methodResponse><params><param><value>{value}</value></param></params></methodResponse>"
    )


def fault(*members: str) -> str:
    return (
        f"<methodResponse><fault><value><struct>{''.join(members)}</struct></value></fault>"
        "</methodResponse>"
    )


def http(
    text: str | bytes,
    *headers: str,
    status: str = "200 OK",
    declare: bool = True,
    close: bool = True,
) -> bytes:
    """A whole HTTP answer."""
    content = text.encode() if isinstance(text, str) else text
    lines = [f"HTTP/1.1 {status}", "Content-Type: text/xml", *headers]
    lines += [f"Content-Length: {len(content)}"] if declare else []
    lines += ["Connection: close"] if close else []
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


GOOD = http(session())
BODY = session().encode()
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


# --- What no answer looks like -----------------------------------------------------------------


def reset(connection: socket.socket) -> None:
    """Ends it with a reset as soon as it is closed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset_after(sent: bytes) -> Behaviour:
    def write(connection: socket.socket) -> None:
        connection.sendall(sent)
        reset(connection)

    return write


def silent_after(sent: bytes) -> Behaviour:
    """Writes no more, and holds the connection until the other side gives it up."""

    def write(connection: socket.socket) -> None:
        connection.sendall(sent)
        hung_up(connection, PATIENCE)

    return write


def drip(first: bytes, rest: bytes, pause: float = 0.05) -> Behaviour:
    """Writes ``rest`` one byte at a time, ``pause`` seconds after each."""

    def write(connection: socket.socket) -> None:
        connection.sendall(first)
        for byte in rest:
            connection.sendall(bytes([byte]))
            if hung_up(connection, pause):
                return

    return write


def endless(piece: bytes, first: bytes = b"HTTP/1.1 200 OK\r\n") -> Behaviour:
    """Writes ``piece`` until the other side hangs up, 64 MB at most."""

    def write(connection: socket.socket) -> None:
        connection.sendall(first)
        for _ in range(2**26 // len(piece)):
            connection.sendall(piece)

    return write


def hung_up(connection: socket.socket, seconds: float) -> bool:
    """Whether the other side ends the connection within so many seconds of its silence."""
    while select.select([connection], [], [], seconds)[0]:
        if not connection.recv(65536):
            return True
    return False


# --- The farm ----------------------------------------------------------------------------------


class RawFarm:
    """A listener that answers each request with raw bytes, in its own thread.

    ``script`` holds what to do per request, the last entry for ever: bytes to write before the
    connection closes, or a function that is handed the connection. What ``scripts`` holds under
    a session's number is for the calls about that session. ``requests`` are the raw requests as
    they came, ``asked`` the sessions' numbers in them, ``connections`` how many were opened.
    With ``tls`` it speaks TLS, and a ``greeting`` is all that it does with a connection; both may
    be changed at any time.
    """

    def __init__(
        self,
        *script: bytes | Behaviour,
        keep_alive: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.script = list(script)
        self.scripts: dict[int, list[bytes | Behaviour]] = {}
        self.keep_alive = keep_alive
        self.tls = tls
        self.greeting: Behaviour | None = None
        self.requests: list[bytes] = []
        self.asked: list[int] = []
        self.connections = 0
        self.kept: list[socket.socket] = []
        self.stopping = threading.Event()
        self.away = threading.Event()
        self.listener = listening(0)
        self.port: int = self.listener.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://{HOST}:{self.port}"

    def run(self) -> None:
        with ThreadPoolExecutor(40) as pool:
            while not self.stopping.is_set():
                if self.away.is_set():
                    self.stopping.wait(0.01)
                    continue
                with suppress(OSError):  # nobody came, or nobody may come
                    connection, _ = self.listener.accept()
                    self.connections += 1
                    pool.submit(self.serve, connection)
            for connection in self.kept:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def serve(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        # What has been sent has arrived: it waits for no acknowledgement of what was sent before.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError), self.secured(connection) as secured:
            self.kept.append(secured)
            while request := read_request(secured):
                self.requests.append(request)
                self.asked.append(asked_for(request))
                do = self.step(self.asked[-1])
                if isinstance(do, bytes):
                    secured.sendall(do)
                else:
                    do(secured)
                if not self.keep_alive:
                    return

    def secured(self, connection: socket.socket) -> socket.socket:
        """The connection after its handshake, if there is one. A greeting is all that it gets."""
        try:
            if self.greeting:
                self.greeting(connection)
                raise ConnectionAbortedError
            return self.tls.wrap_socket(connection, server_side=True) if self.tls else connection
        except OSError:
            connection.close()
            raise

    def step(self, number: int) -> bytes | Behaviour:
        script = self.scripts.get(number) or self.script
        own = script is not self.script
        do = script.pop(0) if own or len(script) > 1 else script[0]
        return do.replace(NUMBER, b"%d" % number) if isinstance(do, bytes) else do


def listening(port: int) -> socket.socket:
    listener = socket.create_server((HOST, port))
    listener.settimeout(0.05)
    return listener


def read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"</methodCall>" not in data and not EMPTY.search(data):
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    return data


def asked_for(request: bytes) -> int:
    """The number of the session that a request is about; 0 if it is about none."""
    body = request.partition(b"\r\n\r\n")[2]
    arguments = xmlrpc.client.loads(body)[0] if body else ()
    return next((number for number in arguments if isinstance(number, int)), 0)


@contextmanager
def raw_farm(
    *script: bytes | Behaviour, keep_alive: bool = False, tls: ssl.SSLContext | None = None
) -> Iterator[RawFarm]:
    farm = RawFarm(*script, keep_alive=keep_alive, tls=tls)
    thread = threading.Thread(target=farm.run, daemon=True)
    thread.start()
    try:
        yield farm
    finally:
        farm.stopping.set()
        thread.join(2 * PATIENCE)
        farm.listener.close()
        assert not thread.is_alive()


# --- What it can do before anyone has asked ----------------------------------------------------


@contextmanager
def closed_port(farm: RawFarm) -> Iterator[None]:
    """The farm refuses connections for a while."""
    farm.away.set()
    farm.listener.shutdown(socket.SHUT_RDWR)
    try:
        yield
    finally:
        farm.listener.close()
        farm.listener = listening(farm.port)
        farm.away.clear()


@contextmanager
def full_backlog(farm: RawFarm) -> Iterator[None]:
    """Whoever wants to connect is not answered for a while: so many others wait already."""
    farm.away.set()
    farm.listener.listen(0)
    waiting: list[socket.socket] = []
    try:
        concurrency_limit(farm, waiting)
        concurrency_limit(farm, waiting)  # the farm may have let somebody in while it went away
        yield
    finally:
        for connection in waiting:
            connection.close()
        farm.listener.listen()
        farm.away.clear()


def concurrency_limit(farm: RawFarm, waiting: list[socket.socket]) -> None:
    """Connect until that is no longer answered."""
    with suppress(TimeoutError):
        for _ in range(8):
            waiting.append(socket.socket())
            waiting[-1].settimeout(0.2)
            waiting[-1].connect((HOST, farm.port))
        raise AssertionError("there is always room")


Scene = Callable[[RawFarm], AbstractContextManager[None]]


def greeted(do: Behaviour) -> Scene:
    """For a while it does this with each connection, and nothing more."""

    @contextmanager
    def scene(farm: RawFarm) -> Iterator[None]:
        farm.greeting = do
        try:
            yield
        finally:
            farm.greeting = None

    return scene


def speaking(kind: str) -> Scene:
    """For a while its TLS is of this kind, a key of CERTIFICATES, or it is none at all."""

    @contextmanager
    def scene(farm: RawFarm) -> Iterator[None]:
        proper, farm.tls = farm.tls, server_tls(kind) if kind else None
        try:
            yield
        finally:
            farm.tls = proper

    return scene


@functools.cache
def authority(name: str) -> trustme.CA:
    return trustme.CA(organization_name=name)


def _self_signed() -> trustme.LeafCert:
    alone = trustme.CA()
    return trustme.LeafCert(alone.private_key_pem.bytes(), alone.cert_pem.bytes(), [])


CERTIFICATES: dict[str, Callable[[], trustme.LeafCert]] = {
    "proper": lambda: authority("known").issue_cert(HOST),
    "of another host": lambda: authority("known").issue_cert("farm.example"),
    "of an unknown authority": lambda: authority("unknown").issue_cert(HOST),
    "self-signed": _self_signed,
    "expired": lambda: authority("known").issue_cert(
        HOST, not_after=datetime.now(UTC) - timedelta(days=1)
    ),
    "of tomorrow": lambda: authority("known").issue_cert(
        HOST, not_before=datetime.now(UTC) + timedelta(days=1)
    ),
    "too old a version": lambda: authority("known").issue_cert(HOST),
}


@functools.cache
def server_tls(kind: str) -> ssl.SSLContext:
    """A server's side of TLS with this kind of certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CERTIFICATES[kind]().configure_cert(context)
    if kind == "too old a version":
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def write_authority(path: Path) -> Path:
    """The certificate that the gateway is to trust, as a PEM file."""
    authority("known").cert_pem.write_to_path(str(path))
    return path
