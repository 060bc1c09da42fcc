"""Opens the sockets that the server listens on: IPv4, IPv6 and Unix domain sockets."""

import errno
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

UNIX = "unix:"
"""An address that begins like this names a Unix domain socket by its path."""


UNHEARD = 30
"""Seconds for which a client may not confirm what it was sent: then it has vanished. Without a
word: a radio cell that was left, a cable. The kernel itself would try for a quarter of an hour."""
PROBES = 3


def _vanished() -> list[tuple[int, int, int]]:
    """Socket options by which the kernel ends the connections of vanished clients.

    Those of a listener are those of what it accepts. Where the kernel does not count the time by
    itself, probes have to do.
    """
    tcp = socket.IPPROTO_TCP
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        return [(tcp, socket.TCP_USER_TIMEOUT, UNHEARD * 1000)]
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    every = UNHEARD // (PROBES + 1)
    named = {"TCP_KEEPALIVE": every, "TCP_KEEPINTVL": every, "TCP_KEEPCNT": PROBES}
    return options + [
        (tcp, getattr(socket, name), value)
        for name, value in named.items()
        if hasattr(socket, name)
    ]


VANISHED = _vanished()


FileIdentity = tuple[int, int, int]
"""A file's device, inode and time of change: an inode's number is soon given away again."""


class ListenError(Exception):
    """One address cannot be listened on. The text names it and the reason, ``why``."""

    def __init__(self, where: str, error: OSError) -> None:
        self.why = (error.strerror or "no such address").partition(" (")[0]
        self.in_use = error.errno == errno.EADDRINUSE
        super().__init__(f"{where}: {self.why}")


@contextmanager
def listeners(hosts: Sequence[str], port: int) -> Iterator[list[socket.socket]]:
    """A listening socket for each of ``hosts``, closed at the end. Raises ListenError.

    Port 0 picks a free one, the same for all. Who may connect to a Unix socket is said by the
    permissions of its folder; its file goes away at the end.
    """
    with ExitStack() as stack:
        opened = list[socket.socket]()
        for host in hosts:
            try:
                listener = _listener(host, port)
            except OSError as error:
                where = host if host.startswith(UNIX) else f"{host} port {port}"
                raise ListenError(where, error) from None
            opened.append(stack.enter_context(listener))
            if listener.family == socket.AF_UNIX:
                path = Path(listener.getsockname())
                stack.callback(_remove, path, _identity_of(path))
            else:
                port = listener.getsockname()[1]
        yield opened


def address(listener: socket.socket) -> dict[str, Any]:
    """Where it listens: ``host`` and ``port``, or ``host`` alone for a Unix socket."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return {"host": f"{UNIX}{name}"}
    return {"host": name[0], "port": name[1]}


def _listener(host: str, port: int) -> socket.socket:
    if not host.startswith(UNIX):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
        for level, option, value in VANISHED:
            listener.setsockopt(level, option, value)
        return listener
    path = Path(host.removeprefix(UNIX))
    listener = socket.socket(socket.AF_UNIX)
    try:
        if path.is_socket() and not _is_answered(path):
            path.unlink()  # of a process that was killed
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def _is_answered(path: Path) -> bool:
    """Whether a process listens on this socket, or may: only a refusal says that none does."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        return client.connect_ex(str(path)) != errno.ECONNREFUSED


def _identity_of(path: Path) -> FileIdentity:
    """What tells the file of a socket from one that another process makes in its place."""
    state = path.stat()
    return state.st_dev, state.st_ino, state.st_ctime_ns


def _remove(path: Path, identity: FileIdentity) -> None:
    with suppress(FileNotFoundError):
        if _identity_of(path) == identity:
            path.unlink()
