"""Texts that only the gateways with one key can read, as the value of a cookie.

Knows AES-256-GCM and a cookie's name. Must not know what the texts mean, nor HTTP.
"""

import base64
import binascii
import json
import secrets
import struct
from collections.abc import Sequence
from typing import NamedTuple

KEY_BYTES = 32
NONCE_BYTES = 12
VERSION = b"\x01"
"""The form of what is sealed: this byte, a nonce, the sealed rest."""
ISSUED = struct.Struct(">d")
"""When it was sealed, in Unix seconds: the first of the sealed bytes."""
MAX_VALUE = 4000
"""Characters of a value: browsers keep a cookie of 4096 bytes, its name and attributes included."""
FUTURE = 60.0
"""Seconds that another gateway's clock may be ahead of ours."""


class Unsealed(NamedTuple):
    """What a value says, and when it was sealed, in Unix seconds."""

    issued: float
    texts: tuple[str, ...]


class CookieSeal:
    """Seals texts with the first of ``keys``, 32 bytes each, and opens with any of them.

    A cookie's name is sealed with its value: a value under another name is nobody's.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        # Here, because the library takes 6 MiB, and a gateway without logins needs none of them.
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        self._ciphers = [AESGCM(key) for key in keys]
        self._refusals = (InvalidTag, ValueError)  # ValueError: too short to be sealed

    def seal(self, name: str, texts: Sequence[str], now: float) -> str:
        """The value of the cookie ``name``, in visible ASCII. ``now`` is in Unix seconds.

        Raises ValueError if browsers would not keep so much.
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        plain = ISSUED.pack(now) + json.dumps(list(texts)).encode()
        sealed = self._ciphers[0].encrypt(nonce, plain, _bound(name))
        value = _text(VERSION + nonce + sealed)
        if len(value) > MAX_VALUE:
            raise ValueError("too long for a cookie")
        return value

    def open(self, name: str, value: str, now: float, lifetime: float) -> Unsealed | None:
        """What was sealed at most ``lifetime`` seconds ago; None for all else."""
        raw = _bytes(value)
        if raw is None or raw[:1] != VERSION:
            return None
        nonce, sealed = raw[1 : 1 + NONCE_BYTES], raw[1 + NONCE_BYTES :]
        for cipher in self._ciphers:
            try:
                plain = cipher.decrypt(nonce, sealed, _bound(name))
            except self._refusals:
                continue
            (issued,) = ISSUED.unpack_from(plain)
            unsealed = Unsealed(issued, tuple(json.loads(plain[ISSUED.size :])))
            return unsealed if now - lifetime < issued <= now + FUTURE else None
        return None


def new_cookie_key() -> str:
    """A new random key, as settings take it."""
    return _text(secrets.token_bytes(KEY_BYTES))


def _bound(name: str) -> bytes:
    """What a value is bound to, though it is not in it."""
    return VERSION + name.encode()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes | None:
    """The bytes of a text, if it is the one way of writing them."""
    if len(text) > MAX_VALUE or not text.isascii():
        return None
    padded = text + "=" * (-len(text) % 4)
    try:
        raw = base64.b64decode(padded, altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    return raw if _text(raw) == text else None
