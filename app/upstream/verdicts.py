"""What the end of a call teaches about the farm.

Knows our errors, and which fault refuses a signature. Must not know how the guard uses a verdict.
"""

from app.core import errors
from app.upstream.circuit_breaker import Verdict
from app.upstream.refusals import INVALID_SIGNATURE

VERDICTS: tuple[tuple[type[errors.GatewayError], Verdict], ...] = (
    (errors.UpstreamUnavailable, Verdict.UNKNOWN),  # it asked for a pause, and gets it
    (errors.Overloaded, Verdict.UNKNOWN),  # our own shortage
    (errors.UpstreamUnreachable, Verdict.UNREACHABLE),
    (errors.UpstreamRejectedCall, Verdict.ANSWER),
    (errors.UpstreamRefusedCredentials, Verdict.ANSWER),
    (errors.UpstreamCallbackUnconfirmed, Verdict.ANSWER),
    (errors.Refused, Verdict.ANSWER),
    (errors.UpstreamError, Verdict.FAILURE),
)
"""What an error teaches about the farm: the first row that fits."""

OF_VISITORS = frozenset({Verdict.ANSWER, Verdict.UNREACHABLE, Verdict.UNKNOWN})
"""What a question of a visitor, or a step of a login, can teach. Anybody begins logins and plays
their ends again: whatever the farm makes of that takes it from nobody else."""


def verdict_of(error: errors.GatewayError, is_visitors: bool = False) -> Verdict:
    """What a call that ended with this error taught about the farm."""
    verdict = next(verdict for kind, verdict in VERDICTS if isinstance(error, kind))
    if error.fault_code == INVALID_SIGNATURE:
        verdict = Verdict.UNSIGNED
    return Verdict.UNKNOWN if is_visitors and verdict not in OF_VISITORS else verdict
