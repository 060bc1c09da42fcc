"""Header fields, and the lists in them (RFC 9110 section 5.6.1).

Lists are read in linear time and bounded in number. Must not know what a field means.
"""

import re

Header = tuple[bytes, bytes]
"""A header field: its name in lower case, and its value."""

MAX_MEMBERS = 64
"""Members of one list that are read; those behind them are as if absent."""

_MEMBER = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*+")*+', re.DOTALL)
"""Up to a comma outside quoted strings. Possessive: a string without an end is tried once."""


def members(field: bytes, most: int = MAX_MEMBERS) -> list[bytes]:
    """The first ``most`` members of a list; a comma in a quoted string separates nothing.

    A quotation mark without its counterpart begins no quoted string: from there on, every comma
    separates. (If one has no end, no later one has: all the rest is escaped in the same way.)
    """
    found: list[bytes] = []
    start = 0
    while len(found) < most:
        matched = _MEMBER.match(field, start)
        end = matched.end() if matched else start
        if field[end : end + 1] == b'"':
            return [*found, *field[start:].split(b",", most - len(found))[: most - len(found)]]
        found.append(field[start:end])
        if end >= len(field):
            break
        start = end + 1
    return found
