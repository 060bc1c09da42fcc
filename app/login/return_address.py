"""Where a login may lead back to: pages of the gateway and of listed origins, and nowhere else.

Pure. Must not know cookies or the farm.
"""

import re
from collections.abc import Collection
from posixpath import normpath
from urllib.parse import unquote, urlencode, urlsplit

MAX_ADDRESS = 512
_VISIBLE = re.compile(r"[!-\[\]-~]+")
"""ASCII without blanks, control characters and backslashes, which browsers read as slashes."""


def is_return_address(text: str, origins: Collection[str], login: str = "/login") -> bool:
    """Whether ``text`` is a path, or an address of one of these origins, as browsers read it.

    The path ``login`` and those below it are none: there the next login would begin.
    """
    if not _VISIBLE.fullmatch(text) or len(text) > MAX_ADDRESS:
        return False
    if text.startswith("/"):
        return not text.startswith("//") and not _is_below(text, login)
    return any(text == origin or text.startswith(_ways_on(origin)) for origin in origins)


def _is_below(text: str, path: str) -> bool:
    """Whether ``text``, as browsers and servers read it, is at ``path`` or below."""
    return f"{normpath(unquote(urlsplit(text).path))}/".startswith(f"{path}/")


def with_outcome(address: str, login: str, code: str = "") -> str:
    """``address`` with ``login=denied`` or another word in its query, and ``login_code``."""
    told = urlencode({"login": login} | ({"login_code": code} if code else {}))
    page, hash_mark, fragment = address.partition("#")
    return f"{page}{'&' if '?' in page else '?'}{told}{hash_mark}{fragment}"


def _ways_on(origin: str) -> tuple[str, str, str]:
    """What may follow an origin; an @ or another label would make it somebody else's."""
    return f"{origin}/", f"{origin}?", f"{origin}#"
