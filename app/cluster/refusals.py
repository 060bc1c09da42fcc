"""Error replies that are about the server, not about one question: why it is of no use, in a word.

Knows what Redis and Valkey answer. Must not know what was asked.
"""

import re

REFUSALS = {
    "READONLY": "replica",
    "MASTERDOWN": "replica",
    "LOADING": "loading",
    "NOAUTH": "auth",
    "WRONGPASS": "auth",
    "NOPERM": "denied",
    "ACL failure": "denied",
    "OOM": "full",
    "MISCONF": "unwritable",
    "NOREPLICAS": "unwritable",
    "CLUSTERDOWN": "cluster",
    "CROSSSLOT": "cluster",
    "MOVED": "cluster",
    "ASK": "cluster",
    "TRYAGAIN": "cluster",
    "SELECT is not allowed": "database",
    "DB index": "database",
    "invalid DB": "database",
}
"""What an error reply begins with, or holds if a script passes it on, and what it means."""
WORDS = re.compile(rf"(?<![\w'])(?:{'|'.join(REFUSALS)})\b")


def refusal_of(error: BaseException) -> str:
    """What an error reply tells of the server as a whole; empty if nothing."""
    # redis-py takes the code off the text of some.
    found = WORDS.search(f"{getattr(error, 'status_code', None) or ''} {error}"[:1024])
    return REFUSALS[found[0]] if found else ""
