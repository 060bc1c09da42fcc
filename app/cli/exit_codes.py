"""How the command line tells a problem: to scripts by the exit code, to people by a remedy.

Must not know the verbs.
"""

from app.api.error_codes import Code

FAILED = 1
WRONG = 2
"""Wrong usage or settings, as argparse has it."""
INTERRUPTED = 130
"""128 and the number of SIGINT, as shells have it."""

EXIT_CODES: dict[Code, int] = {
    Code.SESSION_NOT_FOUND: 3,
    Code.SESSION_NOT_ATTACHED: 4,
    Code.SESSION_FORBIDDEN: 5,
    Code.UPSTREAM_REJECTED_PARAMETERS: 6,
    Code.UPSTREAM_REFUSED_CREDENTIALS: 7,
    Code.UPSTREAM_UNREACHABLE: 8,
    Code.UPSTREAM_TIMEOUT: 9,
    Code.UPSTREAM_UNAVAILABLE: 10,
    Code.UPSTREAM_FAULT: 11,
    Code.UPSTREAM_UNREADABLE: 12,
    Code.UPSTREAM_MISMATCH: 13,
    Code.UPSTREAM_REJECTED_CALL: 14,
}
"""What ``get`` tells a script about the problem that it met."""

_DOCTOR = "Run rfgw doctor."
_LATER = "Try again later."

REMEDIES: dict[Code, str] = {
    Code.UPSTREAM_REFUSED_CREDENTIALS: _DOCTOR,
    Code.UPSTREAM_REJECTED_CALL: _DOCTOR,
    Code.UPSTREAM_UNREACHABLE: _DOCTOR,
    Code.UPSTREAM_UNAVAILABLE: _LATER,
    Code.OVERLOADED: _LATER,
    Code.INTERNAL_ERROR: "Report it with the crash line above.",
}
"""What to do instead of what the catalogue says: here are no header fields, and no requestId."""

GET_EPILOG = "\n".join(
    [
        "exit codes:",
        "   0  found",
        f"   {FAILED}  any other problem",
        f"   {WRONG}  wrong usage or settings",
        *(f"  {number:2}  {code}" for code, number in EXIT_CODES.items()),
    ]
)
