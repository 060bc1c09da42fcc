"""What a call comes to, and its honest answer. Must not know who asked, or what goes wrong."""

from app.sandbox.wire import WireReply
from app.upstream.xmlrpc.codec import Fault, Value, dump_answer, dump_fault

Outcome = Value | Fault


def honest(outcome: Outcome) -> WireReply:
    """The answer as the vendor sends it: its text is UTF-8, whatever its label says."""
    if isinstance(outcome, Fault):
        return WireReply(dump_fault(outcome.code, outcome.text, encoding_label="utf-16"))
    return WireReply(dump_answer(outcome, encoding_label="utf-16"))
