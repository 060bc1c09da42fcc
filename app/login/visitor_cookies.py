"""The cookies of a login: one for each request token, and one for who is logged in.

Knows the Cookie and Set-Cookie fields (RFC 6265bis). Must not know what the farm answers.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

from app.core.call import Token
from app.login.sealed_cookies import CookieSeal

BEGUN_LIFETIME = 600
"""Seconds that a visitor may take to say yes or no at the farm."""
MOST_BEGUN = 4
"""Logins that one browser may have begun; one more forgets the oldest."""
MOST_READ = 16
"""Cookies of ours that are opened, or forgotten, in one request, whatever their number is."""


class Begun(NamedTuple):
    """A login that this browser has begun: the cookie's name, and what it says."""

    name: str
    since: float
    token: Token
    return_to: str


class VisitorCookies:
    """Writes and reads the cookies. ``secure`` is for a gateway that browsers reach by https.

    ``lifetime`` is in seconds, ``now`` gives Unix ones.
    """

    def __init__(
        self, seal: CookieSeal, *, secure: bool, lifetime: int, now: Callable[[], float]
    ) -> None:
        self._seal, self._lifetime, self._now = seal, lifetime, now
        prefix = "__Host-" if secure else ""
        self.user_name, self._begun_prefix = f"{prefix}rfgw_user", f"{prefix}rfgw_login_"
        self._attributes = f"Path=/; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"

    def begin(self, cookies: str, token: Token, return_to: str) -> list[str]:
        """The Set-Cookie fields of a login that begins. Raises ValueError if it is too long.

        What cannot be read any more goes, and the oldest of too many.
        """
        name = self._begun_prefix + sha256(token.key.encode()).hexdigest()[:16]
        value = self._seal.seal(name, (token.key, token.secret, return_to), self._now())
        kept = {begun.name for begun in self.begun(cookies)[: MOST_BEGUN - 1]}
        there = {name for name, _ in _named(cookies, self._begun_prefix)}
        cleared = [self._clear(other) for other in sorted(there - kept - {name})]
        return [*cleared, self._set(name, value, BEGUN_LIFETIME)]

    def begun(self, cookies: str) -> list[Begun]:
        """The logins that this browser has begun, the youngest first."""
        found: dict[str, Begun] = {}
        for name, texts, since in self._opened(cookies, self._begun_prefix, BEGUN_LIFETIME):
            if len(texts) == 3:
                found.setdefault(name, Begun(name, since, Token(*texts[:2]), texts[2]))
        return sorted(found.values(), key=lambda begun: begun.since, reverse=True)

    def end(self, begun: Begun) -> str:
        """The Set-Cookie field that forgets a login which is no longer under way."""
        return self._clear(begun.name)

    def log_in(self, token: Token) -> str:
        """The Set-Cookie field for who is logged in with ``token``."""
        value = self._seal.seal(self.user_name, (token.key, token.secret), self._now())
        return self._set(self.user_name, value, self._lifetime)

    def user(self, cookies: str) -> Token | None:
        """The token of who is logged in; None if nobody is."""
        for name, texts, _ in self._opened(cookies, self.user_name, self._lifetime):
            if name == self.user_name and len(texts) == 2:
                return Token(*texts)
        return None

    def log_out(self) -> str:
        """The Set-Cookie field that forgets who is logged in."""
        return self._clear(self.user_name)

    def _opened(
        self, cookies: str, prefix: str, lifetime: int
    ) -> Iterator[tuple[str, Sequence[str], float]]:
        for name, value in _named(cookies, prefix):
            opened = self._seal.open(name, value, self._now(), lifetime)
            if opened is not None:
                yield name, opened.texts, opened.issued

    def _set(self, name: str, value: str, max_age: int) -> str:
        return f"{name}={value}; Max-Age={max_age}; {self._attributes}"

    def _clear(self, name: str) -> str:
        return self._set(name, "", 0)


def _named(cookies: str, prefix: str) -> list[tuple[str, str]]:
    """The names and values of a Cookie field whose names begin so: the first MOST_READ of them."""
    parts = (part.strip(" ").partition("=") for part in cookies.split(";"))
    return [(name, value) for name, _, value in parts if name.startswith(prefix)][:MOST_READ]
