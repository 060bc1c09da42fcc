"""Who may ask, how often, and how many at once: decided before anything is answered.

Knows how a key comes with a request (RFC 6750), and the fields that tell of it. Must not know where
keys are kept, how requests are counted, or what is answered.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import partial
from types import MappingProxyType
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.client_address import ClientAddresses
from app.api.error_codes import Code
from app.api.problems import Problems
from app.api.replies import Header
from app.api.route_path import first_segment, route_path
from app.core import errors
from app.edge.api_keys import ApiKeys
from app.edge.rate_limit import RateLimiter, limit_field

OPEN = {"", "demo", "docs", "health", "metrics", "openapi.json", "openapi-3.0.json", "problems"}
"""First segments of the paths that are never refused: what explains a refusal has to be readable.

Whatever is not named here needs a key and is counted.
"""

AUTHORIZATION, API_KEY = b"authorization", b"x-api-key"
CHALLENGE = b'Bearer realm="rfgw"'
WRONG_KEY = CHALLENGE + b', error="invalid_token"'
SEVERAL = b""
"""Stands for different keys, or one field twice, in one request; it is nobody's key."""

OnRefused = Callable[[str], None]
"""Told why a request was refused: ``no_key``, ``wrong_key``, ``rate``, ``crowd``."""


Decision = tuple[errors.GatewayError | None, list[Header]]
"""Why a request is refused, if it is; and the header fields that its answer has to carry."""

ADMITTED: Decision = (None, [])
NO_LISTS: Mapping[str, str] = MappingProxyType({})


class Admission:
    """Asked once for each request, before anything else. Without keys, everybody may ask.

    ``by_key`` counts requests by the names of their keys; a name that is not there counts as 0.
    ``lists`` names the paths that answer many at once, and the parameter that lists their ids: to
    a rate limit such a request costs as many as it has ids.
    """

    def __init__(
        self,
        clients: ClientAddresses,
        keys: ApiKeys | None,
        counter: RateLimiter | None,
        clock: Callable[[], float],
        refused: OnRefused,
        by_key: MutableMapping[str, int],
        lists: Mapping[str, str] = NO_LISTS,
    ) -> None:
        self._clients = clients
        self._keys = keys
        self._counter = counter
        self._clock = clock
        self._refused = refused
        self._by_key = by_key
        self._lists = lists

    def admit(self, scope: Scope, given: Mapping[bytes, bytes]) -> Decision:
        """Whether this request is answered. ``given`` are its header fields by name.

        ``scope["rfgw.client"]`` becomes the client's name: its key's, or else its address.
        Preflights carry no key and ask for nothing: no OPTIONS is refused.
        """
        now = self._clock()
        key = name = None
        if self._keys is not None:
            key = _key(scope["headers"], given)
            name = None if key is None else self._keys.name_of(key, now)
            if key is not None and name is not None:
                self._by_key[name] += 1
                scope["rfgw.is_authorized"] = partial(self._is_valid, key)
                if self._counter is None:
                    scope["rfgw.client"] = name
                    return ADMITTED
        client = scope["rfgw.client"] = name or self._clients.of(scope)
        if is_open(route_path(scope)) or scope["method"] == "OPTIONS":
            return ADMITTED
        fields: list[Header] = []
        if self._counter is not None:
            # Guesses of keys are counted too: of the address that they come from.
            left, whole_in, wait = self._counter.take(client, now, self._cost(scope))
            fields += [
                (b"ratelimit-policy", self._counter.policy),
                (b"ratelimit", limit_field(left, whole_in)),
            ]
            if wait > 0:
                self._refused("rate")
                return errors.RateLimited("rate", retry_after=wait), fields
        if self._keys is not None and name is None:
            cause, challenge = ("no_key", CHALLENGE) if key is None else ("wrong_key", WRONG_KEY)
            self._refused(cause)
            return errors.Unauthorized(cause), [*fields, (b"www-authenticate", challenge)]
        return None, fields

    def admit_now(
        self, fields: Sequence[Header], given: Mapping[bytes, bytes], client: tuple[str, int] | None
    ) -> list[Header] | None:
        """The fields that tell of the limit, if a request for a path that is not open is answered.

        None if it is not: then nothing was counted, and ``admit`` is to be asked for the reason.
        """
        now = self._clock()
        name, told = None, list[Header]()
        if self._keys is not None:
            key = _key(fields, given)
            name = None if key is None else self._keys.name_of(key, now)
            if name is None:
                return None
        if self._counter is not None:
            asker = name or self._clients.of({"client": client, "headers": fields})
            left, whole_in, wait = self._counter.take(asker, now)
            if wait > 0:
                return None
            told = [
                (b"ratelimit-policy", self._counter.policy),
                (b"ratelimit", limit_field(left, whole_in)),
            ]
        if name is not None:
            self._by_key[name] += 1
        return told

    def _is_valid(self, key: bytes) -> bool:
        """Whether the key is in the file now."""
        return self._keys is not None and self._keys.name_of(key, self._clock()) is not None

    def _cost(self, scope: Scope) -> int:
        parameter = self._lists.get(route_path(scope))
        if parameter is None:
            return 1
        return max(1, len(_ids(scope["query_string"], parameter)))


def _ids(query: bytes, parameter: str) -> set[str]:
    """The different ids in a query; a parameter that is repeated goes on where it left off."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return {one for name, text in pairs if name == parameter for one in text.split(",")}


class ConcurrencyLimit:
    """Requests that are being answered at once: ``most``, and one more is told so at once."""

    def __init__(self, most: int, problems: Problems, refused: OnRefused) -> None:
        self._most = most
        self._problems = problems
        self._refused = refused
        self._under_way = 0

    def around(self, app: ASGIApp) -> ASGIApp:
        """``app`` for as many as there are places."""
        return partial(self._answer, app)

    async def _answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if is_open(route_path(scope)):
            await app(scope, receive, send)
            return
        if self._under_way >= self._most:
            self._refused("crowd")
            full = self._problems.response(Code.OVERLOADED, scope)
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
    """Whether whoever asks for this path, below any prefix, is answered."""
    return first_segment(path) in OPEN


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
    named, authorization = given.get(API_KEY), given.get(AUTHORIZATION)
    if authorization is None and named is None:
        return None
    if len(given) != len(fields):
        names = [name for name, _ in fields]
        if names.count(API_KEY) > 1 or names.count(AUTHORIZATION) > 1:
            return SEVERAL
    if authorization is None:
        return named
    scheme, _, token = authorization.partition(b" ")
    bearer = token.strip(b" ") if scheme.lower() == b"bearer" else None
    if bearer is None or named is None:
        return named if bearer is None else bearer
    return bearer if bearer == named else SEVERAL
