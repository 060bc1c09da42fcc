"""API keys: names and digests, from a file that is read anew when it has changed.

Knows the file's form and when to look at it. Must not know HTTP, nor keep any key: only digests.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from secrets import token_urlsafe
from typing import NamedTuple

from app.core.watched_file import WatchedFile
from app.telemetry import logs

PREFIX = "rfgw_"
"""What every key begins with, so that people and scanners know one when they see it."""
ALGORITHM = "sha256:"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
"""A key's name: fit for logs, and never an address."""
LINE = re.compile(rf"(\S+)\s+{ALGORITHM}([0-9a-f]{{64}})(?:\s+(\S+))?")
SCOPES = frozenset({"accounts", "status"})
"""What a key may allow beyond reading: making ``accounts`` at the farm, seeing the ``status``."""
MAX_BYTES = 1024 * 1024

INDEX = slice(8)
"""The part of a digest that a key is looked up by; then the whole is compared in constant time."""


class KnownKey(NamedTuple):
    """A key of the file."""

    digest: bytes
    name: str
    scopes: frozenset[str]


KeyTable = Mapping[bytes, KnownKey]
"""Each key, by the first bytes of its digest."""


class ApiKeysError(Exception):
    """What is wrong with a file of keys, and in which line; never what stands there."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason if line is None else f"line {line}: {reason}")
        self.reason = reason
        self.line = line


class ApiKeys:
    """The keys of the file at ``path``, as it was when it was last whole.

    Raises ApiKeysError if the file holds no keys to begin with.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = WatchedFile(path)
        self._known = _read(path)

    def name_of(self, key: bytes, now: float) -> str | None:
        """The name of a valid key, else None; otherwise as ``find``."""
        known = self.find(key, now)
        return None if known is None else known.name

    def find(self, key: bytes, now: float) -> KnownKey | None:
        """A valid key, else None. ``now``: seconds on a clock that never goes back."""
        return self.find_digest(digest_of(key), now)

    def find_digest(self, digest: bytes, now: float) -> KnownKey | None:
        """The key with this digest, if it is a valid one; otherwise as ``find``."""
        if self._file.changed(now):
            self._read_anew()
        known = self._known.get(digest[INDEX])
        return known if known is not None and compare_digest(known.digest, digest) else None

    def _read_anew(self) -> None:
        """What cannot be read changes nothing, and is logged."""
        try:
            self._known = _read(self._path)
        except ApiKeysError as error:
            logs.event(
                "api_keys_refused", level=logging.ERROR, line=error.line, reason=error.reason
            )
        else:
            logs.event("api_keys_read", keys=len(self._known))


def digest_of(key: bytes) -> bytes:
    """What is known of a key."""
    return sha256(key).digest()


def parse(text: str) -> KeyTable:
    """What a file of keys says: ``name sha256:<64 hex digits>`` a line, ``#`` begins a comment.

    Behind the digest, the key's scopes may stand, with commas between. A name may stand in several
    lines: each of its keys is valid. Raises ApiKeysError.
    """
    known: dict[bytes, KnownKey] = {}
    for number, line in enumerate(text.splitlines(), 1):
        said = line.partition("#")[0].strip()
        if not said:
            continue
        parts = LINE.fullmatch(said)
        if parts is None:
            raise ApiKeysError(f"must be a name, a blank and {ALGORITHM}<64 hex digits>", number)
        if not NAME.fullmatch(parts[1]):
            allowed = "a letter, then up to 31 letters, digits, _ or -"
            raise ApiKeysError(f"the name must be {allowed}", number)
        scopes = frozenset(parts[3].split(",") if parts[3] else ())
        if not scopes <= SCOPES:
            raise ApiKeysError(f"the scopes must be of {', '.join(sorted(SCOPES))}", number)
        digest = bytes.fromhex(parts[2])
        if digest[INDEX] in known:
            raise ApiKeysError("the same key stands in a line above", number)
        known[digest[INDEX]] = KnownKey(digest, parts[1], scopes)
    if not known:
        raise ApiKeysError("holds no keys")
    return known


def new_key(name: str, scopes: Iterable[str] = ()) -> tuple[str, str]:
    """A new random key of 256 bits, and its line for the file. Raises ValueError for a bad name.

    ``scopes`` are of SCOPES.
    """
    if not NAME.fullmatch(name):
        raise ValueError("must be a letter, then up to 31 letters, digits, _ or -")
    key = PREFIX + token_urlsafe(32)
    line = f"{name} {ALGORITHM}{sha256(key.encode()).hexdigest()} {','.join(sorted(scopes))}"
    return key, line.rstrip()


def _read(path: Path) -> KeyTable:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ApiKeysError(f"cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise ApiKeysError(f"is larger than {MAX_BYTES} bytes")
    try:
        return parse(raw.decode())
    except UnicodeDecodeError:
        raise ApiKeysError("cannot be read: not UTF-8 text") from None
