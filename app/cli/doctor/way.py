"""The way to the farm, step by step: its addresses, a connection, its TLS.

Knows sockets and what goes wrong with certificates. Must not know what is said over a connection.
Each step has a time limit of its own; the first that fails ends the way.
"""

import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Generator, Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from app.cli.doctor.finding import Finding, skipped
from app.config.addresses import ForwardProxy
from app.upstream.tls import tls_context

LOOKUP = 5.0
"""Seconds for a look-up of addresses."""
HANDSHAKE = 5.0
"""Seconds for a TLS handshake."""
MOST = 4
"""Addresses that are tried."""
MAX_HEAD = 16_384
"""Bytes of a proxy's answer that are read."""
TUNNEL = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")
EXPIRES_SOON = 14
"""Days that a certificate should still be good for."""

Steps = Generator[Finding, None, bool]
SocketAddress = tuple[Any, ...]


class Target(NamedTuple):
    """Where to: ``ca_file`` as the settings have it, ``within`` seconds for one connection."""

    host: str
    port: int
    encrypted: bool
    ca_file: str | None
    within: float
    proxy: ForwardProxy | None = None

    @property
    def first(self) -> tuple[str, int, str]:
        """Host and port of the first connection, and the setting that names them."""
        if self.proxy is None:
            return self.host, self.port, "RFGW_UPSTREAM_URL"
        return self.proxy.host, self.proxy.port, "RFGW_UPSTREAM_PROXY"


def target(
    url: str, ca_file: str | None, within: float, proxy: ForwardProxy | None = None
) -> Target:
    """The target that a base address names."""
    parts = urlsplit(url)
    encrypted = parts.scheme == "https"
    port = parts.port or (443 if encrypted else 80)
    return Target(parts.hostname or "", port, encrypted, ca_file, within, proxy)


def examine_way(to: Target) -> Steps:
    """One finding for each step; gives whether the farm can be spoken to."""
    addresses, finding = _look_up(to)
    yield finding
    if not addresses:
        yield from skipped("no address to connect to", "tcp", "tls")
        return False
    address, finding = _connect(to, addresses)
    yield finding
    if address is None:
        yield from skipped("no connection", "tls")
        return False
    finding = greet(to, address) if to.encrypted else Finding("tls", "skip", "plain http")
    yield finding
    return finding.status != "FAIL"


def _look_up(to: Target) -> tuple[list[SocketAddress], Finding]:
    host, port, setting = to.first
    check = f"check the host in {setting} and this machine's resolver"
    found: queue.SimpleQueue[list[SocketAddress] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.put([address for *_, address in infos])
        except (OSError, UnicodeError) as error:
            found.put(error if isinstance(error, OSError) else OSError("no host name"))

    # A thread that nobody waits for: the system's resolver may take a minute to give up.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = found.get(timeout=LOOKUP)
    except queue.Empty:
        return [], Finding("dns", "FAIL", f"no answer within {LOOKUP:.0f} s", check)
    if isinstance(answer, OSError):
        whose = "the proxy's" if to.proxy else "the farm's"
        return [], Finding("dns", "FAIL", f"no address is known for {whose} host", check)
    return answer, Finding("dns", "ok", ", ".join(dict.fromkeys(str(a[0]) for a in answer)))


def _connect(
    to: Target, addresses: Iterable[SocketAddress]
) -> tuple[SocketAddress | None, Finding]:
    """The first address that takes a connection, and how the others fared."""
    first, told, failed = None, [], False
    for address in list(addresses)[:MOST]:
        started = time.monotonic()
        try:
            socket.create_connection(address[:2], timeout=to.within).close()
        except OSError as error:
            failed = True
            told.append(f"{address[0]} {_why(error)}")
        else:
            first = first or address
            told.append(f"{address[0]} in {(time.monotonic() - started) * 1000:.1f} ms")
    _, port, setting = to.first
    says = f"{'the proxy, ' if to.proxy else ''}port {port}: {', '.join(told)}"
    if first is None:
        who = "the proxy" if to.proxy else "the farm"
        do = f"check {setting}, the network and its firewalls, and whether {who} runs"
        return None, Finding("tcp", "FAIL", says, do)
    if failed:
        return first, Finding("tcp", "warn", says, "some calls may be slow to connect")
    return first, Finding("tcp", "ok", says)


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "takes too long"
    if isinstance(error, ConnectionRefusedError):
        return "refuses connections"
    return "cannot be reached"


def greet(to: Target, address: SocketAddress) -> Finding:
    """The handshake, as the gateway's own connections make it."""
    try:
        with socket.create_connection(address[:2], timeout=to.within) as plain:
            plain.settimeout(HANDSHAKE)
            if to.proxy is not None and (refused := _tunnel(plain, to, to.proxy)):
                return refused
            with tls_context(to.ca_file).wrap_socket(plain, server_hostname=to.host) as secure:
                return judged(secure.version() or "TLS", secure.getpeercert() or {}, time.time())
    except ssl.SSLCertVerificationError as error:
        return Finding("tls", "FAIL", *CERTIFICATES.get(error.verify_code, ODD_CERTIFICATE))
    except ssl.SSLError as error:
        return Finding("tls", "FAIL", *HANDSHAKES.get(error.reason or "", ODD_HANDSHAKE))
    except OSError as error:
        says = f"no handshake within {HANDSHAKE:.0f} s" if isinstance(error, TimeoutError) else ""
        return Finding("tls", "FAIL", says or ODD_HANDSHAKE[0], ODD_HANDSHAKE[1])


def _tunnel(plain: socket.socket, to: Target, proxy: ForwardProxy) -> Finding | None:
    """Ask the proxy for a tunnel (RFC 9110 section 9.3.6): None if there is one."""
    farm = f"[{to.host}]:{to.port}" if ":" in to.host else f"{to.host}:{to.port}"
    lines = [f"CONNECT {farm} HTTP/1.1", f"Host: {farm}"]
    lines += [f"Proxy-Authorization: {proxy.authorization}"] if proxy.authorization else []
    plain.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while b"\r\n\r\n" not in head and len(head) < MAX_HEAD and (piece := plain.recv(1)):
        head += piece  # byte by byte: what comes behind it is the farm's
    status = TUNNEL.match(head)
    if status and status[1] == b"200":
        return None
    if status and status[1] == b"407":
        do = "check user and password in RFGW_UPSTREAM_PROXY"
        return Finding("tls", "FAIL", "the proxy wants other credentials (407)", do)
    said = f" ({status[1].decode()})" if status else ""
    do = "check RFGW_UPSTREAM_PROXY, and whether the proxy lets calls to the farm through"
    return Finding("tls", "FAIL", f"the proxy makes no tunnel to the farm{said}", do)


def judged(version: str, certificate: Any, now: float) -> Finding:
    """A good handshake; ``certificate`` as the ``ssl`` module tells it, ``now`` in Unix seconds."""
    ends = ssl.cert_time_to_seconds(certificate["notAfter"])
    days = int((ends - now) // 86_400)
    names = {name: text for part in certificate.get("issuer", ()) for name, text in part}
    issuer = names.get("organizationName") or names.get("commonName") or "no name"
    says = f"{version}, certificate by {issuer}, good for {days} more days"
    if days < EXPIRES_SOON:
        return Finding("tls", "warn", says, "whoever runs the farm has to renew it soon")
    return Finding("tls", "ok", says)


TRUST = "if it is the farm's own, put its certificate (or its authority's) into a PEM file and name"
TRUST += " that in RFGW_UPSTREAM_CA_FILE"
WRONG_HOST = (
    "the certificate is for another host",
    "use the name that the certificate has in RFGW_UPSTREAM_URL",
)
UNKNOWN_AUTHORITY = ("an unknown authority made the certificate, or no chain is sent", TRUST)
STRICT = (
    "the certificate or its authority breaks RFC 5280, which Python 3.13 and newer refuse",
    "whoever made it has to make it anew, with key usage and key identifiers; Python 3.12 takes it",
)
CERTIFICATES: dict[int, tuple[str, str]] = {
    **dict.fromkeys(range(80, 94), STRICT),
    9: ("the certificate is not yet good", "check this machine's clock"),
    10: (
        "the certificate has expired",
        "whoever runs the farm has to renew it; check this machine's clock too",
    ),
    18: ("the certificate is self-signed", TRUST),
    19: ("an unknown authority made the certificate", TRUST),
    20: UNKNOWN_AUTHORITY,
    21: UNKNOWN_AUTHORITY,
    62: WRONG_HOST,
    64: WRONG_HOST,
}
"""Why OpenSSL refused a certificate (X509_V_ERR_* numbers), in plain words, and what to do."""
ODD_CERTIFICATE = ("the certificate cannot be verified", "ask whoever runs the farm")
OLD = ("no TLS 1.2 or newer is spoken there", "whoever runs the farm has to update it")
HANDSHAKES: dict[str, tuple[str, str]] = {
    "WRONG_VERSION_NUMBER": (
        "no TLS is spoken there",
        "check scheme and port of RFGW_UPSTREAM_URL",
    ),
    "RECORD_LAYER_FAILURE": (
        "no TLS is spoken there",
        "check scheme and port of RFGW_UPSTREAM_URL",
    ),
    "UNSUPPORTED_PROTOCOL": OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": OLD,
}
"""OpenSSL's reasons for a handshake that failed otherwise."""
ODD_HANDSHAKE = ("the handshake failed", "check RFGW_UPSTREAM_URL, or ask whoever runs the farm")
