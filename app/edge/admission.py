"""Who may ask, and how often: decided before anything is answered.

Must not know where keys are kept, how requests are counted, or what is answered.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import parse_qsl

from starlette.types import Scope

from app.api.authorization import KEY_INVALID, KEY_WANTED
from app.api.client_address import ClientAddresses
from app.api.field_lists import Header
from app.api.route_path import is_keyless, is_open, route_path
from app.core import errors
from app.edge.api_keys import ApiKeys, digest_of
from app.edge.common_fields import field_lines
from app.edge.credentials import key_of
from app.edge.rate_limit import LIMIT, RateLimiter, limit_fields

OnRefused = Callable[[str], None]
"""Called with why a request is refused: ``no_key``, ``wrong_key``, ``rate``, ``crowd``."""

Decision = tuple[errors.GatewayError | None, list[Header]]
"""Why a request is refused, if it is; and the header fields that its answer has to carry."""

ADMITTED: Decision = (None, [])
NO_LISTS: Mapping[str, str] = MappingProxyType({})


class Asker(NamedTuple):
    """Who asks, by the fields of a request alone."""

    digest: bytes | None  # of its key; None if no keys are wanted
    address: str  # else its client's name


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
        limits = limit_fields(counter.policy, LIMIT) if counter is not None else []
        self._limit_lines = field_lines(limits)

    def admit(self, scope: Scope, given: Mapping[bytes, bytes]) -> Decision:
        """Whether this request is answered. ``given`` are its header fields by name.

        ``scope["rfgw.client"]`` becomes the client's name: its key's, or else its address;
        ``scope["rfgw.scopes"]`` what its key allows, if it has one.
        Preflights carry no key and ask for nothing: no OPTIONS is refused.
        """
        now = self._clock()
        key = name = None
        if self._keys is not None:
            key = key_of(scope["headers"], given)
            known = None if key is None else self._keys.find(key, now)
            if key is not None and known is not None:
                name = known.name
                self._by_key[name] += 1
                scope["rfgw.scopes"] = known.scopes
                scope["rfgw.is_authorized"] = partial(self._is_valid, key)
                if self._counter is None:
                    scope["rfgw.client"] = name
                    return ADMITTED
        client = scope["rfgw.client"] = name or self._clients.of(scope)
        path = route_path(scope)
        if is_open(path) or scope["method"] == "OPTIONS":
            return ADMITTED
        fields: list[Header] = []
        if self._counter is not None:
            # Guesses of keys are counted too: of the address that they come from.
            allowance = self._counter.take(client, now, self._cost(path, scope))
            fields = limit_fields(self._counter.policy, LIMIT % allowance.values())
            if allowance.wait > 0:
                self._refused("rate")
                return errors.RateLimited("rate", retry_after=allowance.wait), fields
        if self._keys is not None and name is None and not is_keyless(path):
            cause, challenge = ("no_key", KEY_WANTED) if key is None else ("wrong_key", KEY_INVALID)
            self._refused(cause)
            return errors.Unauthorized(cause), [*fields, (b"www-authenticate", challenge)]
        return None, fields

    def asker(
        self, fields: Sequence[Header], given: Mapping[bytes, bytes], client: tuple[str, int] | None
    ) -> Asker | None:
        """Who asks with these fields; None if a key is wanted and there is none."""
        if self._keys is None:
            return Asker(None, self._clients.of({"client": client, "headers": fields}))
        key = key_of(fields, given)
        return None if key is None else Asker(digest_of(key), "")

    def admit_now(self, asker: Asker) -> bytes | None:
        """The lines that tell of the limit, if a request for a path that is not open is answered.

        None if it is not: then nothing was counted, and ``admit`` is to be asked for the reason.
        """
        now = self._clock()
        digest, name = asker
        if digest is not None:
            known = self._keys.find_digest(digest, now) if self._keys is not None else None
            if known is None:
                return None
            name = known.name
        lines = b""
        if self._counter is not None:
            allowance = self._counter.take(name, now)
            if allowance.wait > 0:
                return None
            lines = self._limit_lines % allowance.values()
        if digest is not None:
            self._by_key[name] += 1
        return lines

    def _is_valid(self, key: bytes) -> bool:
        """Whether the key is in the file now."""
        return self._keys is not None and self._keys.name_of(key, self._clock()) is not None

    def _cost(self, path: str, scope: Scope) -> int:
        """Requests that this one is worth."""
        parameter = self._lists.get(path)
        if parameter is None:
            return 1
        return max(1, len(_ids(scope["query_string"], parameter)))


def _ids(query: bytes, parameter: str) -> set[str]:
    """The different ids in a query; a parameter that is repeated goes on where it left off."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return {one for name, text in pairs if name == parameter for one in text.split(",")}
