"""What to do wrong next. Must not know sockets, signatures or what the farm is asked.

A ``Step`` is one way to treat one call: it may change the outcome (a value or a fault), and it
turns the outcome into a ``WireReply``, which says how the answer looks and travels. Magic session
ids and scripts that tests queue are both made of steps.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from app.sandbox.faults import REASONS, refusal
from app.sandbox.outcomes import Outcome, ProblemShape, ReportedProblem, honest
from app.sandbox.wire import WireReply
from app.upstream.xmlrpc.codec import Fault

Seconds = Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)]
Status = Annotated[int, Field(ge=200, le=599)]
Headers = dict[
    Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")], Annotated[str, Field(pattern=r"^[ -~]*$")]
]

BOMB = b"""<?xml version="1.0"?>
<!DOCTYPE bomb [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;">
<!ENTITY e "&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;"><!ENTITY f "&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;">
<!ENTITY g "&f;&f;&f;&f;&f;&f;&f;&f;&f;&f;"><!ENTITY h "&g;&g;&g;&g;&g;&g;&g;&g;&g;&g;">]>
<methodResponse><params><param><value>&h;</value></param></params></methodResponse>
"""
PAGE = b"<!doctype html><title>Maintenance</title><p>We will be back soon."


class Step(BaseModel):
    """One treatment of one call: honest, unless a kind of step says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    do: str

    def outcome(self, outcome: Outcome) -> Outcome:
        return outcome

    def reply(self, outcome: Outcome) -> WireReply:
        return honest(outcome)


class ScriptAnswer(Step):
    """Nothing wrong: lets a call pass between two misbehaviours."""

    do: Literal["answer"] = "answer"


class FaultStep(Step):
    """Fault ``code`` instead of the answer."""

    do: Literal["fault"] = "fault"
    code: Annotated[int, Field(ge=-(2**31), lt=2**31)]
    text: str | None = Field(default=None, max_length=10_000)

    def outcome(self, outcome: Outcome) -> Outcome:
        return refusal(self.code) if self.text is None else Fault(self.code, self.text)


class ProblemStep(Step):
    """``oauth_problem`` instead of the answer, in one of its shapes."""

    do: Literal["problem"] = "problem"
    problem: Annotated[str, Field(pattern=r"^[ -~]{1,200}$")] = "token_rejected"
    shape: ProblemShape = "header"

    def outcome(self, outcome: Outcome) -> Outcome:
        return ReportedProblem(self.problem, self.shape)


class WrongId(Step):
    """A session's answer that says another ``id`` than asked."""

    do: Literal["wrong_id"] = "wrong_id"
    id: Annotated[int, Field(ge=1, lt=2**31)] = 1

    def outcome(self, outcome: Outcome) -> Outcome:
        return outcome | {"id": self.id} if isinstance(outcome, dict) else outcome


class Raw(Step):
    """This ``status``, these ``headers`` and this ``body``, in ``charset`` (latin-1: any bytes).

    Blanks stand for ``omitted`` more bytes; ``cut``: the connection closes before the answer's end.
    """

    do: Literal["raw"] = "raw"
    status: Status = 200
    headers: Headers = {}
    content_type: Annotated[str, Field(pattern=r"^[ -~]*$")] = "text/xml"
    body: Annotated[str, Field(max_length=2**22)] = ""
    charset: Literal["utf-8", "utf-16", "latin-1"] = "utf-8"
    omitted: Annotated[int, Field(ge=0, le=2**27)] = 0
    cut: bool = False

    @model_validator(mode="after")
    def _body_fits_charset(self) -> Self:
        self.body.encode(self.charset)
        return self

    def reply(self, outcome: Outcome) -> WireReply:
        headers = {"content-type": self.content_type} | self.headers
        body = self.body.encode(self.charset) + b" " * self.omitted
        if self.cut:
            return WireReply(body + b" ", self.status, headers, keep=len(body))
        return WireReply(body, self.status, headers)


class Http(Step):
    """An HTML error page under ``status`` with ``headers``."""

    do: Literal["status"] = "status"
    status: Status
    headers: Headers = {}

    def reply(self, outcome: Outcome) -> WireReply:
        return WireReply(PAGE, self.status, {"content-type": "text/html"} | self.headers)


class Html(Step):
    """An HTML page under status 200, as from a captive portal."""

    do: Literal["html"] = "html"

    def reply(self, outcome: Outcome) -> WireReply:
        return WireReply(PAGE, headers={"content-type": "text/html"})


class Hang(Step):
    """No answer, ever: ends when the client hangs up."""

    do: Literal["hang"] = "hang"

    def reply(self, outcome: Outcome) -> WireReply:
        return replace(honest(outcome), wait=None)


class Reset(Step):
    """A TCP reset instead of an answer."""

    do: Literal["reset"] = "reset"

    def reply(self, outcome: Outcome) -> WireReply:
        return replace(honest(outcome), reset=True)


class Truncated(Step):
    """Half of the answer, then the connection closes; ``chunked``: its length is not declared."""

    do: Literal["truncated"] = "truncated"
    chunked: bool = False

    def reply(self, outcome: Outcome) -> WireReply:
        whole = honest(outcome)
        return replace(whole, keep=len(whole.body) // 2, chunked=self.chunked)


class Drip(Step):
    """The answer, byte by byte, ``seconds`` apart."""

    do: Literal["drip"] = "drip"
    seconds: Seconds = 1.0

    def reply(self, outcome: Outcome) -> WireReply:
        return replace(honest(outcome), pace=self.seconds)


class Oversize(Step):
    """A right answer behind ``bytes`` of comment; ``chunked``: its length is not declared."""

    do: Literal["oversize"] = "oversize"
    bytes: Annotated[int, Field(ge=0, le=2**26)] = 2**20
    chunked: bool = False

    def reply(self, outcome: Outcome) -> WireReply:
        whole = honest(outcome)
        head, end, tail = whole.body.partition(b"?>")
        padded = head + end + b"<!--" + b"x" * self.bytes + b"-->" + tail
        return replace(whole, body=padded, chunked=self.chunked)


class Malformed(Step):
    """An answer with a closing tag too many, as on the vendor's own page."""

    do: Literal["malformed"] = "malformed"

    def reply(self, outcome: Outcome) -> WireReply:
        whole = honest(outcome)
        return replace(whole, body=whole.body.replace(b"<struct>", b"</struct>", 1))


class Bomb(Step):
    """A small document whose entities unfold to 20 MB."""

    do: Literal["bomb"] = "bomb"

    def reply(self, outcome: Outcome) -> WireReply:
        return WireReply(BOMB)


class Late(Step):
    """The right answer after ``seconds``."""

    do: Literal["late"] = "late"
    seconds: Seconds = 2.0

    def reply(self, outcome: Outcome) -> WireReply:
        return replace(honest(outcome), wait=self.seconds)


class Twice(Step):
    """The right answer, and behind it on the same connection one for session ``id``."""

    do: Literal["twice"] = "twice"
    id: Annotated[int, Field(ge=1, lt=2**31)] = 1

    def reply(self, outcome: Outcome) -> WireReply:
        body = honest(WrongId(id=self.id).outcome(outcome)).body
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: {len(body)}\r\n\r\n"
        return replace(honest(outcome), stray=head.encode() + body)


AnyStep = Annotated[
    ScriptAnswer | FaultStep | ProblemStep | WrongId | Raw | Http | Html | Hang | Reset | Truncated
    | Drip | Oversize | Malformed | Bomb | Late | Twice,
    Field(discriminator="do"),
]  # fmt: skip
SCRIPT: TypeAdapter[list[AnyStep]] = TypeAdapter(Annotated[list[AnyStep], Field(max_length=10_000)])

MAGIC: Mapping[int, AnyStep] = {code: FaultStep(code=code) for code in (*REASONS, 999)} | {
    501: Http(status=500),
    503: Http(status=503, headers={"retry-after": "5"}),
    700: Hang(),
    701: Reset(),
    702: Truncated(),
    703: Html(),
    704: Drip(),
    705: Oversize(),
    706: WrongId(),
    707: Malformed(),
    708: Bomb(),
    709: Late(),
}
"""The step for a session id of six digits, by its first three."""
