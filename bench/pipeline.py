"""A miss without its I/O, in this process: our pieces beside the obvious ones.

Ours: sign, encode, decode, validate, dump, digest. The obvious: oauthlib's Client, xmlrpc.client
and pydantic, as the typical stack in bench/peers has them.
"""

import time
from collections.abc import Callable

from app.core.cache_entry import digest
from app.resources.sessions import GetSession
from app.upstream.oauth import Signer, new_nonce
from app.upstream.xmlrpc.codec import dump_call, load_answer
from bench.options import Options
from bench.peers.models import Session
from bench.peers.signing import answer_of, request_body
from bench.peers.translate import translate
from bench.report import Report, spread
from bench.sample import PLACEHOLDER, answer_xml
from bench.timing import interleaved, median_ratio

BASE = "http://127.0.0.1:8001"
CALL = GetSession(id=PLACEHOLDER)
SIGNER = Signer("demo-consumer", "demo-secret")
XML = answer_xml()


def ignore(_: str) -> None:
    """Nobody listens to drift here."""


def sign() -> dict[str, str]:
    now = int(time.time())
    return SIGNER.sign(BASE, CALL.method, CALL.arguments, timestamp=now, nonce=new_nonce())


def ask() -> bytes:
    """Our half before the socket."""
    return dump_call(CALL.method, [dict(sign()), *CALL.arguments.values()])


def tell() -> tuple[bytes, str]:
    """Our half after the socket."""
    session = CALL.read(load_answer(XML), ignore)
    body = session.__pydantic_serializer__.to_json(session, by_alias=True)
    return body, digest(body)


def obvious_ask() -> bytes:
    return request_body(f"{BASE}/{CALL.method}", PLACEHOLDER)


def obvious_tell() -> str:
    return Session(**translate(answer_of(XML))).model_dump_json(by_alias=True)


def pieces() -> dict[str, tuple[Callable[[], object], Callable[[], object] | None]]:
    """Each piece of work: ours, and the obvious one where there is one."""
    struct, value = sign(), load_answer(XML)
    session, body = CALL.read(value, ignore), tell()[0]
    plain = answer_of(XML)
    model = Session(**translate(plain))
    return {
        "all of it": (lambda: (ask(), tell()), lambda: (obvious_ask(), obvious_tell())),
        "sign": (sign, None),
        "encode the call": (lambda: dump_call(CALL.method, [dict(struct), PLACEHOLDER]), None),
        "sign and encode": (ask, obvious_ask),
        "decode the answer": (lambda: load_answer(XML), lambda: answer_of(XML)),
        "validate": (lambda: CALL.read(value, ignore), lambda: Session(**translate(plain))),
        "dump as JSON": (
            lambda: session.__pydantic_serializer__.to_json(session, by_alias=True),
            lambda: model.model_dump_json(by_alias=True),
        ),
        "digest": (lambda: digest(body), None),
    }


def run(options: Options) -> Report:
    """Time every piece."""
    report = Report("pipeline", "A miss without I/O, in process")
    both = pieces()
    works = {f"ours {name}": ours for name, (ours, _) in both.items()}
    works |= {f"obvious {name}": other for name, (_, other) in both.items() if other}
    taken = interleaved(works, rounds=options.rounds, times=options.fewer(2000, 100))
    rows = []
    for name in both:
        ours, other = taken[f"ours {name}"], taken.get(f"obvious {name}")
        ratio = f"{median_ratio(ours, other):.2f}" if other else "-"
        rows.append([name, spread(ours, 1), spread(other or [], 1), ratio])
    report.say(f"CPU microseconds; the answer is {len(XML):,} bytes of XML.")
    report.show("Pieces", ("piece", "ours", "obvious", "ratio"), rows)
    return report
