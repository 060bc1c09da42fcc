"""The signed call as most would write it: oauthlib's Client and xmlrpc.client. Does no I/O."""

import xmlrpc.client
from typing import Any
from urllib.parse import parse_qsl

from oauthlib.oauth1 import SIGNATURE_TYPE_BODY, Client

METHOD = "community.getSession"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SIGNER = Client("demo-consumer", "demo-secret", signature_type=SIGNATURE_TYPE_BODY)


def request_body(url: str, session_id: int) -> bytes:
    """The methodCall for one session, signed for `url`."""
    _, _, form = SIGNER.sign(url, "POST", body="", headers=FORM)
    return xmlrpc.client.dumps((dict(parse_qsl(form)), session_id), METHOD).encode()


def answer_of(body: bytes) -> dict[str, Any]:
    """The struct in a methodResponse; raises xmlrpc.client.Fault if the farm says no."""
    (answer,), _ = xmlrpc.client.loads(body)
    assert isinstance(answer, dict)
    return answer
