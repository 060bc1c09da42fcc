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

    def answer_now(
        self, target: bytes, fields: Sequence[tuple[bytes, bytes]], client: tuple[str, int] | None
    ) -> bytes | None:
        """The whole answer to a GET without a body, but for whether the connection stays.

        ``target`` is in origin form; ``fields`` have lower-case names. None: ask by ASGI. Then
        nothing has been counted or logged.
        """

    def max_body(self, method: bytes, target: bytes) -> int:
        """How many bytes of a body this request may bring; 0: none is wanted, or read."""

    def refusal(self, status: int) -> Asgi:
        """What answers a request that could not be read."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """What answers all others."""
