"""Ids as clients write them: each in one way, so that one resource has one address.

Knows digits. Must not know whose ids they are.
"""

import re
from collections.abc import Callable

from pydantic_core import PydanticCustomError

MAX_ID = 2**31 - 1
"""The largest argument that XML-RPC's ``<int>`` takes."""

_DIGITS = re.compile(r"[1-9][0-9]{0,9}")


def id_reader(code: str) -> Callable[[object], int]:
    """Reads decimal digits without sign, blanks or leading zero, up to MAX_ID.

    It raises PydanticCustomError, which is a ValueError, with this ``code``.
    """

    def read(text: object) -> int:
        if isinstance(text, str) and _DIGITS.fullmatch(text) and int(text) <= MAX_ID:
            return int(text)
        raise PydanticCustomError(code, f"must be a whole number from 1 to {MAX_ID}")

    return read
