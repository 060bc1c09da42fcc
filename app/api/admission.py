"""Who may ask, how often, and how many at once: decided before anything is answered.

Knows how a key comes with a request (RFC 6750), and the fields that tell of it. Must not know where
keys are kept, how is counted, or what is answered.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import errors
from app.api.catalogue import Code
from app.api.clients import Clients
from app.api.keys import Keys
from app.api.problems import Problems
from app.api.rate import Counter, limit_field
from app.api.replies import Header

OPEN = {"", "demo", "docs", "health", "metrics", "openapi.json", "openapi-3.0.json", "problems"}
"""First segments of the paths that are never refused: what explains a refusal has to be readable.

Whatever is not named here needs a key and is counted.
"""

AUTHORIZATION, API_KEY = b"authorization", b"x-api-key"
CHALLENGE = b'Bearer realm="rfgw"'
WRONG_KEY = CHALLENGE + b', error="invalid_token"'
SEVERAL = b""
"""Stands for different keys in one request; it is nobody's key."""

Refused = Callable[[str], None]
"""Told why a request was refused: ``no_key``, ``wrong_key``, ``rate``, ``crowd``."""


class Verdict(NamedTuple):
    """Why a request is refused, if it is; and the header fields that its answer has to carry."""

    error: errors.GatewayError | None
    fields: list[Header]


UNCOUNTED = Verdict(None, [])


class Gate:
    """Asked once for each request, before anything else. Without keys, everybody may ask."""

    def __init__(
        self,
        clients: Clients,
        keys: Keys | None,
        counter: Counter | None,
        clock: Callable[[], float],
        refused: Refused,
    ) -> None:
        self._clients = clients
        self._keys = keys
        self._counter = counter
        self._clock = clock
        self._refused = refused

    def admit(self, scope: Scope, given: Mapping[bytes, bytes]) -> Verdict:
        """Whether this request is answered. ``given`` are its header fields by name.

        ``scope["rfgw.client"]`` becomes the client's name: its key's, or else its address.
        Preflights carry no key and ask for nothing: no OPTIONS is refused.
        """
        if scope["method"] == "OPTIONS" or is_open(scope["path"]):
            return UNCOUNTED
        now = self._clock()
        key = name = None
        if self._keys is not None:
            key = _key(scope["headers"], given)
            name = self._keys.name_of(key, now) if key else None
        client = scope["rfgw.client"] = name or self._clients.of(scope)
        fields: list[Header] = []
        if self._counter is not None:
            # Guesses of keys are counted too: of the address that they come from.
            allowance = self._counter.take(client, now)
            fields += [
                (b"ratelimit-policy", self._counter.policy),
                (b"ratelimit", limit_field(allowance)),
            ]
            if allowance.wait > 0:
                self._refused("rate")
                return Verdict(errors.RateLimited("rate", retry_after=allowance.wait), fields)
        if self._keys is not None and name is None:
            cause, challenge = ("no_key", CHALLENGE) if key is None else ("wrong_key", WRONG_KEY)
            self._refused(cause)
            return Verdict(errors.Unauthorized(cause), [*fields, (b"www-authenticate", challenge)])
        return Verdict(None, fields)


class Crowd:
    """Requests that are being answered at once: ``most``, and one more is told so at once."""

    def __init__(self, most: int, problems: Problems, refused: Refused) -> None:
        self._most = most
        self._problems = problems
        self._refused = refused
        self._under_way = 0

    def around(self, app: ASGIApp) -> ASGIApp:
        """``app`` for as many as there are places."""
        return partial(self._answer, app)

    async def _answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if is_open(scope["path"]):
            await app(scope, receive, send)
            return
        if self._under_way >= self._most:
            self._refused("crowd")
            headers = {"cache-status": "rfgw; detail=crowd"}
            full = self._problems.response(Code.OVERLOADED, scope, headers=headers)
            await full(scope, receive, send)
            return
        self._under_way += 1
        inside = True

        async def leaving(message: Message) -> None:
            nonlocal inside
            if inside and _begins_stream(message):
                inside = False
                self._under_way -= 1
            await send(message)

        try:
            await app(scope, receive, leaving)
        finally:
            if inside:
                self._under_way -= 1


def is_open(path: str) -> bool:
    """Whether whoever asks for this path is answered."""
    return path[1:].partition("/")[0] in OPEN


def _begins_stream(message: Message) -> bool:
    """Whether an answer begins that lasts as long as somebody listens."""
    return message["type"] == "http.response.start" and any(
        name == b"content-type" and text.startswith(b"text/event-stream")
        for name, text in message["headers"]
    )


def _key(fields: Sequence[Header], given: Mapping[bytes, bytes]) -> bytes | None:
    """The key that a request brings: as bearer token (RFC 6750 section 2.1) or by its own field.

    Another scheme of Authorization is another's business: a proxy's, for instance.
    """
    if AUTHORIZATION not in given and API_KEY not in given:
        return None
    keys = set()
    for name, text in fields:
        if name == API_KEY:
            keys.add(text)
        elif name == AUTHORIZATION:
            scheme, _, token = text.partition(b" ")
            if scheme.lower() == b"bearer":
                keys.add(token.strip(b" "))
    if len(keys) > 1:
        return SEVERAL
    return keys.pop() if keys else None
