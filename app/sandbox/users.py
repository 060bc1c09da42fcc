"""The farm's users, their sessions and what they attached. Must not know HTTP, tokens, signatures.

Ada and Grace are there from the start; who has got an account since is known by their address, and
has no sessions. A session can be read by the site once its owner has attached it.
"""

import re
from collections.abc import Mapping

from app.sandbox.data import Function, Method, Struct, get_session, java_order
from app.sandbox.faults import refusal
from app.sandbox.outcomes import ReportedProblem
from app.upstream.xmlrpc.codec import Value

OWNED: Mapping[str, tuple[int, ...]] = {
    "Ada": (301_001, 301_002, 301_003),
    "Grace": (301_101, 301_102),
}
QUEUES = ("accept", "active", "completed")
MAX_ADDRESS = 254
MOST_ACCOUNTS = 1_000
_ADDRESS = re.compile(r"[!-?A-~]+@[a-z0-9-]+(\.[a-z0-9-]+)+")
_FAULT = re.compile(r"fault(\d{3})@")

USER_CALLS: Mapping[str, Mapping[str, type]] = {
    "user.getAllSessions": {},
    "user.attachSession": {"sessionId": int},
}
"""What can be asked for a user; the arguments by their documented names."""
ACCOUNT_CALLS: Mapping[str, Mapping[str, type]] = {
    "community.createUserAccount": {"userMail": str},
}
"""What else a site can ask for itself, beside ``data.METHODS``."""


class Users:
    """Who has an account, and which sessions are attached to the one site."""

    def __init__(self) -> None:
        self.accounts: dict[str, None] = {}
        self.attached: set[int] = set()
        self.account_methods = _methods(ACCOUNT_CALLS, self._create_account)
        self.user_methods = _methods(USER_CALLS, self._get_all_sessions, self._attach_session)

    def forget(self) -> None:
        """As at the farm's start."""
        self.accounts.clear()
        self.attached.clear()

    def names(self) -> list[str]:
        """Everybody who can log in."""
        return [*OWNED, *self.accounts]

    def _get_all_sessions(self, user: str, *, started: float, now: float) -> Value:
        queues: dict[str, Value] = {}
        for queue in QUEUES:
            members: Struct = {}
            for number in OWNED.get(user, ()):
                session = get_session(number, started=started, now=now)
                if session["state"] == queue:
                    members[str(number)] = _listed(user, session)
            queues[queue] = members
        return java_order(queues)

    def _attach_session(self, user: str, session_id: int, *, started: float, now: float) -> Value:
        if session_id not in OWNED.get(user, ()):
            raise ReportedProblem("The session does not belong to the user")
        self.attached.add(session_id)
        return {"success": True}

    def _create_account(self, address: str, *, started: float, now: float) -> Value:
        known = address.lower()
        magic = _FAULT.match(known)
        if magic:
            raise refusal(int(magic[1]))
        if len(address) > MAX_ADDRESS or not _ADDRESS.fullmatch(known):
            raise refusal(200)
        if known in self.accounts or known in (f"{name.lower()}@example.org" for name in OWNED):
            raise refusal(205)
        if len(self.accounts) == MOST_ACCOUNTS:
            raise refusal(204)
        self.accounts[known] = None
        return {"success": True}


def _listed(user: str, session: Struct) -> Value:
    timestamps = session["timestamps"]
    return {
        "title": session["title"],
        "shortDescription": f"A film of {user}'s",
        "submitTimestamp": timestamps["submit"] if isinstance(timestamps, dict) else 0,
    }


def _methods(calls: Mapping[str, Mapping[str, type]], *functions: Function) -> Mapping[str, Method]:
    return {
        name: Method(function, parameters)
        for (name, parameters), function in zip(calls.items(), functions, strict=True)
    }
