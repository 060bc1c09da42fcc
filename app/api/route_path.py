"""The path of a request below the prefix that the gateway is served at (ASGI's ``root_path``).

Whatever judges a path - keys, limits, the fast path, Allow - asks here, as the router does: what is
judged and what is served can never differ.
"""

from collections.abc import Collection

from starlette.types import Scope

OPEN = {"", "demo", "docs", "health", "metrics", "openapi.json", "openapi-3.0.json", "problems"}
OPEN |= {"status"}  # the page, where a key can be given; its numbers are status.json
"""First segments of the paths that are never refused: what explains a refusal has to be readable.

Whatever is not named here needs a key and is counted.
"""


KEYLESS = {"login"}
"""First segments of paths that browsers go to by themselves: they bring no key, and are counted."""


def route_path(scope: Scope) -> str:
    """The path without ``root_path``, cut at a segment's boundary; without a prefix, the path."""
    path, root = str(scope["path"]), str(scope.get("root_path") or "")
    return path[len(root) :] if _is_below(path, root) else path


def first_segment(path: str) -> str:
    """``sessions`` of ``/sessions/42``; empty for ``/`` and for no path at all."""
    return path[1:].partition("/")[0]


def is_open(path: str) -> bool:
    """Whether whoever asks for this path, below any prefix, is answered."""
    return first_segment(path) in OPEN


def is_keyless(path: str) -> bool:
    """Whether whoever asks for this path, below any prefix, needs no key."""
    return first_segment(path) in KEYLESS


def at_prefix(scope: Scope, prefix: str, heads: Collection[str]) -> Scope:
    """The scope of a request that came through a proxy which serves the gateway at ``prefix``.

    Some proxies cut the prefix off, others pass it on: it is there if one of our paths follows it,
    which ``heads``, the first segments of all our paths, tell. A prefix may be called like one of
    our own paths (``/docs``).
    """
    path = scope["path"]
    if not _comes_along(prefix, path, heads):
        raw_path = prefix.encode() + (scope.get("raw_path") or b"")
        return {**scope, "root_path": prefix, "path": prefix + path, "raw_path": raw_path}
    return {**scope, "root_path": prefix}


def target_below(target: bytes, prefix: str, heads: Collection[str]) -> bytes:
    """A request's target without the prefix, if a proxy has passed it on: as ``at_prefix`` does."""
    came_along = _comes_along(prefix, target.decode("latin-1"), heads)
    return target[len(prefix) :] if came_along else target


def _comes_along(prefix: str, path: str, heads: Collection[str]) -> bool:
    if not _is_below(path, prefix):
        return False
    rest = path[len(prefix) :]
    return first_segment(rest) in heads and (rest != "" or prefix[1:] not in heads)


def _is_below(path: str, root: str) -> bool:
    return bool(root) and (path == root or path.startswith(root + "/"))
