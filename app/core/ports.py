"""What the core needs of other packages: the protocols that they fulfil, and instrumentation."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from app.core.cache_entry import CacheEntry
from app.core.call import Call
from app.core.errors import UpstreamError

T = TypeVar("T")

OnUpdate = Callable[[str, CacheEntry], None]
"""Called with every new answer and its call's key: the same as before, another, or a refusal."""

OnFailure = Callable[[str, UpstreamError], None]
"""Called with a call's key and how it failed; ``retry_after`` tells for how long that holds."""


NOTHING = nullcontext()


class Attempt(NamedTuple):
    """One attempt to call the farm, as logs and metrics show it."""

    method: str
    arguments: Mapping[str, object]
    number: int  # 1, or 2 for a retry
    outcome: str  # ok, fault, aborted (by a shutdown or a bug), or the cause of the failure
    fault_code: int | None
    changes: bool  # whether the call changes something at the farm
    seconds: float


class Instrumentation:
    """What is reported of calls and answers. This one ignores it all; others override methods."""

    def attempt(self, attempt: Attempt) -> None:
        """One attempt to call the farm ended."""

    def credentials_refused(self, fault: int | str) -> None:
        """The farm refused the gateway's own key or signature, with this fault, or this word."""

    def not_asked(self, cause: str) -> None:
        """A call was not even made."""

    def breaker(self, state: str) -> None:
        """The circuit breaker changed its state: closed, open or probing."""

    def drift(self, field: str) -> None:
        """A field of an answer was not as documented."""

    def misread(self, cause: str) -> None:
        """An answer could not be read, though it was XML-RPC."""

    def answered(self, outcome: str, stale_seconds: float) -> None:
        """A fetch ended, with an answer so many seconds past freshness (0: fresh)."""

    def crash(self, error: BaseException, request_id: str = "-") -> None:
        """A bug: an exception that nobody handled."""

    def serving(self, request: Any) -> AbstractContextManager[None]:
        """Around the answer that a route gives; ``request`` is what is known of the request."""
        return NOTHING

    def attempting(
        self, method: str, told: Mapping[str, object], number: int
    ) -> AbstractContextManager[None]:
        """Around one attempt and its ``attempt``."""
        return NOTHING

    def question(self, task: object, joined: bool) -> None:
        """A request wants what ``task`` asks; ``joined``: it was under way."""

    async def aclose(self) -> None:
        """Nothing more will be reported."""


class Upstream(Protocol):
    """What the gateway asks."""

    async def call(
        self, call: Call, *, read: Callable[[object], Awaitable[T]], background: bool = False
    ) -> T:
        """What ``read`` makes of the decoded answer of one upstream call.

        In the ``background`` nobody waits for it, and it is tried once. Raises errors.Refused or
        errors.UpstreamError, and what ``read`` raises.
        """


class Store(Protocol):
    """Entries by key. A store may forget anything at any time; it never fails.

    What is looked at without counting as use must be counted once in each ``generation``, which
    changes as new entries come: else it may be forgotten although it is in use.
    """

    generation: int

    def get(self, key: str) -> CacheEntry | None:
        """The entry kept for ``key``, fresh or not."""

    def peek(self, key: str) -> CacheEntry | None:
        """The same, if it is an answer and no refusal. Looking does not count as use."""

    def put(self, key: str, entry: CacheEntry) -> None:
        """Keep ``entry``, in place of what was kept for ``key``."""

    def put_gzip(self, key: str, digest: str, body: bytes) -> None:
        """Keep the compressed ``body`` with the entry for ``key``, if that has this ``digest``."""

    def drop(self, key: str) -> None:
        """Keep nothing for ``key``."""

    def items(self) -> list[tuple[str, CacheEntry]]:
        """All that is kept, in no order. Looking does not count as use."""

    def __len__(self) -> int:
        """How many entries are kept."""


ResultSource = Literal["asked", "shared", "collapsed"]
"""Whose question an answer came from: this process asked, another had asked, or was asking."""


class SharedResult(NamedTuple):
    """An answer, and whose question it came from."""

    entry: CacheEntry
    how: ResultSource


class Coordinator(Protocol):
    """Coalesces requests between processes: one of them asks the farm, and all have the answer."""

    def subscribe(self, on_update: OnUpdate, on_failure: OnFailure) -> None:
        """Call ``on_update`` with each answer of another process that replaces a kept one, and
        ``on_failure`` with each failure of another process."""

    async def fetch(
        self, key: str, good: Callable[[CacheEntry], bool], ask: Callable[[], Awaitable[CacheEntry]]
    ) -> SharedResult:
        """A ``good`` answer that another process has or brings, else the one that ``ask`` gives.

        Raises what ``ask`` raises: errors.UpstreamError, in this process or in another.
        """

    async def forget(self, key: str) -> None:
        """What is kept for ``key`` is wrong, in every process: it is dropped."""

    async def settle(self) -> None:
        """What has been told is on its way to all."""
