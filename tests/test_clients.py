"""Who a client is, with and without proxies before the gateway."""

from ipaddress import ip_address
from typing import Any

import pytest

from app.api.client_address import ClientAddresses, client_address, name_of
from app.config.addresses import networks

PROXIES = networks("10.0.0.0/8, 192.0.2.7, 2001:db8:1::/48")


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("198.51.100.1", b"", "198.51.100.1"),
        ("198.51.100.1", b"203.0.113.9", "198.51.100.1"),  # who is no proxy is not believed
        ("127.0.0.1", b"203.0.113.9", "127.0.0.1"),  # not even from here
        ("10.0.0.1", b"203.0.113.9", "203.0.113.9"),
        ("192.0.2.7", b"203.0.113.9", "203.0.113.9"),
        ("192.0.2.8", b"203.0.113.9", "192.0.2.8"),
        ("10.0.0.1", b"1.1.1.1, 203.0.113.9", "203.0.113.9"),  # what a client claims is left of it
        ("10.0.0.1", b"1.1.1.1,203.0.113.9,10.2.3.4", "203.0.113.9"),
        ("10.0.0.1", b"203.0.113.9 ,\t10.2.3.4 , 192.0.2.7", "203.0.113.9"),
        ("10.0.0.1", b"10.9.9.9,10.2.3.4", "10.9.9.9"),  # all of them proxies: the farthest
        ("10.0.0.1", b"", "10.0.0.1"),
        ("10.0.0.1", b" ", "10.0.0.1"),
        ("10.0.0.1", b"203.0.113.9,", "10.0.0.1"),  # what is malformed ends the walk
        ("10.0.0.1", b"203.0.113.9,unknown", "10.0.0.1"),
        ("10.0.0.1", b"203.0.113.9,unknown,10.2.3.4", "10.2.3.4"),
        ("10.0.0.1", b"203.0.113.9:4711", "203.0.113.9"),
        ("10.0.0.1", b"203.0.113.9:4711, 10.2.3.4:80", "203.0.113.9"),
        ("10.0.0.1", b"[2001:db8:2::1]:80", "2001:db8:2::1"),
        ("10.0.0.1", b"203.0.113.9:", "10.0.0.1"),
        ("10.0.0.1", b"2001:db8:2::1]:80", "10.0.0.1"),
        ("10.0.0.1", b"203.0.113.09", "10.0.0.1"),
        ("10.0.0.1", b"203.0.113", "10.0.0.1"),
        ("10.0.0.1", b"3405803785", "10.0.0.1"),
        ("10.0.0.1", b"[2001:db8::1]", "2001:db8::1"),
        ("10.0.0.1", b"for=203.0.113.9", "10.0.0.1"),
        ("10.0.0.1", b"\xff\xfe", "10.0.0.1"),
        ("10.0.0.1", b"\xd9\xa1.1.1.1", "10.0.0.1"),
        ("10.0.0.1", b"2001:db8:2::1", "2001:db8:2::1"),
        ("10.0.0.1", b"fe80::1%eth0", "fe80::1"),
        ("10.0.0.1", b"::ffff:203.0.113.9", "203.0.113.9"),
        ("::ffff:10.0.0.1", b"203.0.113.9", "203.0.113.9"),
        ("2001:db8:1::5", b"2001:db8:2::1", "2001:db8:2::1"),
        ("2001:db8:9::5", b"2001:db8:2::1", "2001:db8:9::5"),
        ("10.0.0.1", b"203.0.113.9" + b",10.1.1.1" * 31, "203.0.113.9"),
        ("10.0.0.1", b"203.0.113.9" + b",10.1.1.1" * 5000, "10.1.1.1"),
    ],
)
def test_the_client_is_the_nearest_hop_that_is_no_believed_proxy(
    peer: str, forwarded: bytes, client: str
) -> None:
    assert client_address(peer, forwarded, PROXIES) == ip_address(client)


def test_without_proxies_nobody_is_believed() -> None:
    assert client_address("127.0.0.1", b"203.0.113.9", ()) == ip_address("127.0.0.1")


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:2:3:4:5:6:7", "2001:db8:2:3::/64"),
        ("2001:db8:2:3::", "2001:db8:2:3::/64"),
        ("::1", "::/64"),
    ],
)
def test_an_ipv6_network_is_one_client(address: str, name: str) -> None:
    assert name_of(ip_address(address)) == name


def scope_of(peer: Any, *forwarded: bytes) -> dict[str, Any]:
    return {"client": peer, "headers": [(b"x-forwarded-for", text) for text in forwarded]}


def test_several_fields_are_one_list() -> None:
    clients = ClientAddresses(PROXIES)
    assert clients.of(scope_of(("10.0.0.1", 1), b"1.1.1.1", b"203.0.113.9, 10.5.5.5")) == (
        "203.0.113.9"
    )
    assert ClientAddresses(()).of(scope_of(("10.0.0.1", 1), b"203.0.113.9")) == "10.0.0.1"


def test_a_peer_without_an_address_is_somebody_all_the_same() -> None:
    assert ClientAddresses(PROXIES).of(scope_of(None, b"203.0.113.9")) == "-"
    assert ClientAddresses(()).of(scope_of(("", 0))) == "-"


def test_long_fields_are_not_remembered() -> None:
    clients = ClientAddresses(PROXIES)
    for number in range(50):
        clients.of(scope_of(("10.0.0.1", 1), b"203.0.113.%d" % number + b",10.1.1.1" * 20))
    assert clients._kept.cache_info().currsize == 0
