"""``rfgw decode``: what the codec makes of an answer in a file."""

import argparse
import base64
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from app.api.error_codes import Code
from app.cli.arguments import Verbs, number
from app.cli.exit_codes import EXIT_CODES, FAILED
from app.upstream.xmlrpc.codec import MAX_BODY, Fault, UnreadableScalar, load_answer
from app.upstream.xmlrpc.diagnosis import diagnose


class Answer(NamedTuple):
    """An answer as a file holds it, and what else the file tells of it."""

    body: bytes
    charset: str | None
    notes: list[str]


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    refused = EXIT_CODES[Code.UPSTREAM_UNREADABLE]
    decode = verbs.add_parser(
        "decode",
        help="show what the gateway reads in an answer of the farm, or why it cannot",
        epilog=f"exit codes: 0 it can be read, {refused} it cannot, 1 any other problem",
    )
    decode.add_argument("file", type=Path, help="an XML-RPC answer, or a recording of one")
    most = f"largest answer that is read, in bytes ({MAX_BODY})"
    decode.add_argument("--max-body", type=number(1024, 2**26), default=MAX_BODY, help=most)
    decode.set_defaults(run=_decode)


def _decode(parsed: argparse.Namespace) -> int:
    try:
        answer = _answer(parsed.file.read_bytes())
    except OSError as error:
        print(f"rfgw decode: {parsed.file}: {error.strerror}", file=sys.stderr)
        return FAILED
    for note in answer.notes:
        print(f"{parsed.file}: {note}", file=sys.stderr)
    refusal = diagnose(answer.body, charset=answer.charset, max_bytes=parsed.max_body)
    if refusal is not None:
        where = f":{refusal.line}:{refusal.column}" if refusal.line else ""
        print(f"{parsed.file}{where}: {refusal.cause}: {refusal.says}", file=sys.stderr)
        return EXIT_CODES[Code.UPSTREAM_UNREADABLE]
    drift: list[str] = []
    value = _read(answer, parsed.max_body, drift)
    if drift:
        print(
            f"{parsed.file}: not as documented: {', '.join(dict.fromkeys(drift))}", file=sys.stderr
        )
    print(json.dumps(value, indent=2, default=_plain))
    return 0


def _read(answer: Answer, most: int, drift: list[str]) -> Any:
    try:
        return load_answer(
            answer.body, charset=answer.charset, max_bytes=most, on_drift=drift.append
        )
    except Fault as fault:
        return {"fault": {"code": fault.code, "text": fault.text}}


def _plain(value: object) -> object:
    """What JSON has no type for."""
    if isinstance(value, UnreadableScalar):
        return {"unreadable": value.type}
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _answer(held: bytes) -> Answer:
    """An answer from a recording, or the bytes as they are."""
    from app.upstream.transport import charset_of

    try:
        recording = json.loads(held)
        step = recording["answer"]
        body = step["body"].encode(step["charset"]) + b" " * step["omitted"]
        question = recording["question"]
        asked = f"{question['method']}({', '.join(map(json.dumps, question['arguments']))})"
        kind = step["content_type"] or "no type"
        was = f"status {step['status']}, {len(body)} bytes of {kind}"
        notes = [f"{asked}, {was}, recorded {recording['recorded']}"]
        notes += [f"recorded as {recording['cause']}"] if recording["cause"] else []
        notes += ["withheld: it hid what must not be kept"] if recording["withheld"] else []
        return Answer(body, charset_of(step["content_type"]), notes)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Answer(held, None, [])
