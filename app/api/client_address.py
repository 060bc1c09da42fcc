"""Who a client is: an address, behind proxies the one that they vouch for. Pure.

Knows X-Forwarded-For. Must not know keys, limits or settings. ``Forwarded`` (RFC 7239) is not read,
nor is X-Forwarded-Host; X-Forwarded-Proto is for the documents' server alone.
"""

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache

from starlette.types import Scope

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Networks = Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]

FORWARDED = b"x-forwarded-for"
NOBODY = "-"
"""The client of a connection without an address: a Unix domain socket."""
MAX_KEPT_LENGTH = 128
MAX_HOPS = 32
_WITH_PORT = re.compile(r"([0-9.]{7,15}):[0-9]{1,5}|\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?")
"""``203.0.113.7:4711``, ``[2001:db8::1]:80`` or ``[2001:db8::1]``: each connection has its port."""
MAX_ADDRESS = 64
"""Characters of the longest text that may be an address; IPv6 with a zone needs about 55."""


class ClientAddresses:
    """Tells clients apart; ``proxies`` are the networks whose X-Forwarded-For is believed.

    ``unix`` says that a peer without an address, on a Unix socket, is such a proxy too.
    """

    def __init__(self, proxies: Networks, *, unix: bool = False) -> None:
        self._proxies = tuple(proxies)
        self._unix = unix
        self._kept = lru_cache(4096)(self._name)  # few peers ask often

    def of(self, scope: Scope) -> str:
        """The client's name: its IPv4 address, or the /64 network of its IPv6 address."""
        peer = scope["client"][0] if scope["client"] else ""
        if not (self._unix if not peer else self._proxies):
            return self._kept(peer, b"")
        forwarded = b",".join(text for name, text in scope["headers"] if name == FORWARDED)
        tell = self._kept if len(forwarded) <= MAX_KEPT_LENGTH else self._name
        return tell(peer, forwarded)

    def _name(self, peer: str, forwarded: bytes) -> str:
        if not peer:
            peer, forwarded = _last_hop(forwarded)
        return name_of(client_address(peer, forwarded, self._proxies))


def _last_hop(forwarded: bytes) -> tuple[str, bytes]:
    """Whom a peer on a Unix socket was asked by, and what that one says further."""
    before, _, last = forwarded.rpartition(b",")
    return last.strip(b" \t").decode("latin-1"), before


def client_address(peer: str, forwarded: bytes, proxies: Networks) -> Address | None:
    """The address of the client: of all hops, from the nearest on, the first that is no proxy.

    ``forwarded`` are the X-Forwarded-For fields, joined by commas: each proxy appends whom it was
    asked by. What is not an address, as it may stand there, ends the walk: who wrote it is the
    last that is known. None if the peer itself has no address.
    """
    address = _address(peer)
    for hop in reversed(forwarded.rsplit(b",", MAX_HOPS)[-MAX_HOPS:]):
        if address is None or not any(address in network for network in proxies):
            break
        further = _address(hop.strip(b" \t").decode("latin-1"))
        if further is None:
            break
        address = further
    return address


def name_of(address: Address | None) -> str:
    """An address as the name of a client. A customer's IPv6 network is one client, not 2**64."""
    if address is None:
        return NOBODY
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))


def _address(text: str) -> Address | None:
    """An address without its port, brackets and zone; IPv4 mapped into IPv6 is IPv4."""
    if len(text) > MAX_ADDRESS:
        return None
    with_port = _WITH_PORT.fullmatch(text)
    if with_port is not None:
        text = with_port[1] or with_port[2]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            address = ipaddress.IPv6Address(int(address))
        return address.ipv4_mapped or address
    return address
