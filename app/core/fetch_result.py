"""What a fetch found and how, and what a request's Cache-Control wants of the cache.

Knows entries and errors. Must not know who fetches, HTTP's syntax or its statuses.
"""

from typing import NamedTuple

from app.core import errors
from app.core.cache_entry import CacheEntry


class FetchResult(NamedTuple):
    """What fetch found, and how: the words of Cache-Status (RFC 9211) without their syntax."""

    entry: CacheEntry | None = None
    error: errors.GatewayError | None = None  # a refusal, or the failure that stands for an answer
    hit: bool = False  # answered without waiting for the farm
    forward: str = ""  # why the farm was asked: uri-miss, stale, request
    failure: errors.UpstreamError | None = None  # what asking brought, when a kept answer stood in
    stored: bool = False
    collapsed: bool = False  # another request's question answered this one too
    detail: str = ""  # swr, sie, slow, shared

    @property
    def outcome(self) -> str:
        """How the cache took part, in one word of OUTCOMES."""
        if self.detail:
            return self.detail
        if self.hit:
            return "negative" if self.error else "hit"
        if self.entry is None:
            return "not_cached" if isinstance(self.error, errors.NotCached) else "failed"
        return "collapsed" if self.collapsed else FORWARDED[self.forward]


FORWARDED = {"uri-miss": "miss", "stale": "refreshed", "request": "refreshed"}

OUTCOMES = (
    "hit",  # kept and fresh
    "negative",  # the same, and it is a refusal
    "swr",  # stale, while it is asked for anew
    "sie",  # stale, because asking failed or must wait
    "slow",  # stale, because the farm is slow
    "shared",  # another process has it, fresh
    "miss",  # nothing was kept: the farm was asked
    "refreshed",  # what was kept was too old, or not wanted: the farm was asked
    "collapsed",  # the farm had been asked already
    "failed",  # nothing was kept, and the farm gave no answer
    "not_cached",  # nothing was kept, and the farm was not to be asked
)
"""All that metrics and log lines say of the cache."""


class CacheDirectives(NamedTuple):
    """What the request's Cache-Control wanted (RFC 9111 section 5.2.1)."""

    no_cache: bool = False
    only_if_cached: bool = False


NO_DIRECTIVES = CacheDirectives()
