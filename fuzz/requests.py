"""The readers of request header fields and ids: they judge any bytes, and never raise.

What they read is what was said: no wish, tag, weight, trace or address comes from nowhere.
"""

import ipaddress
from contextlib import suppress

from app.api.client_address import client_address, name_of
from app.api.conditional_request import matches
from app.api.negotiation import quality
from app.api.replies import JSON, takes_json, wish_of
from app.edge.api_keys import ApiKeysError, parse
from app.resources.sessions import session_id
from app.telemetry.request_context import trace_of

SEEDS = [
    b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    b"application/json; q=0.5, text/*;q=0, */*; q=1.000",
    b'no-cache, max-age=0, private="set-cookie, no-cache", only-if-cached',
    b'W/"c2Vzc2lvbi00Mg", "another", *',
    b"2147483647",
    b"203.0.113.7, 2001:db8::7, ::ffff:10.0.0.1, fe80::1%eth0",
    b"name sha256:" + b"0f" * 32 + b" # why",
    b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
]
WORDS = [
    *("application/json", "application/*", "*/*", ";q=", "nan", "inf", "1e9", "0.001", "-1", "1_0"),
    *("no-cache", "only-if-cached", "max-age=", '\\"', "W/", '"c2Vzc2lvbi00Mg"', "2147483648"),
    *("10.0.0.1", "fd00::1", "::ffff:10.0.0.1", "%1", "sha256:", "#"),
    *("00-", "-00", "-01", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"),
]
REACHES = 70
PROXIES = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))
TAG = "c2Vzc2lvbi00Mg"


def check(data: bytes) -> None:
    """Read ``data`` as every field in turn."""
    text = data.decode("latin-1")
    for media_type in (JSON, "text/html"):
        assert 0 <= quality(text, media_type) <= 1
    assert takes_json(data) == (quality(text, JSON) > 0)
    wish = wish_of(data)
    assert not wish.no_cache or b"no-cache" in data.lower()
    assert not wish.only_if_cached or b"only-if-cached" in data.lower()
    if matches(data, TAG):
        assert f'"{TAG}"' in text or text.strip() == "*"
    with suppress(ValueError):
        assert str(session_id(text)) == text
    address = client_address("10.1.2.3", data, PROXIES)
    assert address is not None
    assert name_of(address) != "-"
    trace = trace_of(data)
    if trace is not None:
        assert data.startswith(b"00-%b-" % trace.id.encode())
        assert trace_of(trace.onward().encode()) == trace
    with suppress(ApiKeysError):
        assert all(len(key.digest) == 32 for key in parse(text).values())
