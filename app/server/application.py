"""What a connection needs to know of the application behind it.

Knows ASGI's signature, header fields and bytes. Must not know what is answered.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from app.server.drain import Drain
from app.server.lingering_close import Asgi

IS_GONE = "rfgw.is_gone"
"""Where a scope tells whether nothing can be sent to its client any more."""


class Application(Protocol):
    """An ASGI application that can refuse, and that may have an answer at once."""

    drain: Drain

    def read_fields(
        self, fields: Sequence[tuple[bytes, bytes]], client: tuple[str, int] | None
    ) -> Any:
        """What ``answer_now`` has to know of a GET's fields, which have lower-case names.

        It holds for all requests of this client with the same fields. None: ask by ASGI.
        """

    def answer_now(self, target: bytes, asked: Any) -> bytes | None:
        """The whole answer to a GET without a body, but for whether the connection stays.

        ``target`` is in origin form; ``asked`` comes from ``read_fields``. None: ask by ASGI. Then
        nothing has been counted or logged.
        """

    def max_body(self, method: bytes, target: bytes) -> int:
        """How many bytes of a body this request may bring; 0: none is wanted, or read."""

    def refusal(self, status: int) -> Asgi:
        """What answers a request that could not be read."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """What answers all others."""
