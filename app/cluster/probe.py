"""What the gateway does with the server, tried on names of its own: whoever may do that may all.

Knows the scripts and the commands. Must not know what a refusal means.
"""

from collections.abc import Callable, Sequence

from app.cluster.leases import RELEASE, RENEW, new_token
from app.cluster.rate_limit_sync import TAKE
from app.cluster.redis_connection import Command

KEPT = 1000
"""Milliseconds after which the server drops what was written, should this process end first."""

Probe = Callable[[], Sequence[Command]]
"""The commands of one try."""


def probe_of(prefix: str, channel: str) -> Probe:
    """Tries the commands of the group with this ``prefix`` and ``channel``."""

    def commands() -> list[Command]:
        token = new_token()
        name = f"{prefix}:probe:{token}"
        lease, taken = f"{name}:lease", f"{name}:taken"
        return [
            ("SET", lease, token, "NX", "PX", KEPT),
            ("GETRANGE", lease, 0, 1),
            ("PEXPIRE", lease, KEPT),
            ("EVAL", RENEW, 1, lease, token, token, KEPT),
            ("EVAL", RELEASE, 2, name, lease, token, b"probe", KEPT, f"{channel}:probe", b""),
            ("PTTL", name),
            ("EVAL", TAKE, 2, taken, f"{taken}:too", 1, 1, KEPT),
            ("PUBLISH", f"{channel}:probe", b""),
            ("DEL", name, lease, taken, f"{taken}:too"),
            ("TIME",),
        ]

    return commands
