"""What a call comes to, and its honest answer. Must not know who asked, or what goes wrong."""

from typing import Literal
from urllib.parse import quote, urlencode

from app.sandbox.wire import WireReply
from app.upstream.xmlrpc.codec import Fault, Value, dump_answer, dump_fault

FORM = {"content-type": "application/x-www-form-urlencoded"}
ProblemShape = Literal["header", "form", "fault"]


class ReportedProblem(Exception):
    """A refusal as ``oauth_problem``: a word of the Problem Reporting extension, or free text."""

    def __init__(self, problem: str, shape: ProblemShape = "header") -> None:
        super().__init__(problem)
        self.problem = problem
        self.shape = shape

    @property
    def status(self) -> int:
        """RFC 5849, section 3.2: 400 for what is wrong with the parameters, else 401."""
        malformed = self.problem.startswith("parameter_") or self.problem in (
            "signature_method_rejected",
            "version_rejected",
        )
        return 400 if malformed else 401


Outcome = Value | Fault | ReportedProblem | WireReply


def honest(outcome: Outcome) -> WireReply:
    """The answer as the vendor sends it: its text is UTF-8, whatever its label says."""
    if isinstance(outcome, WireReply):
        return outcome
    if isinstance(outcome, ReportedProblem):
        return _report(outcome)
    if isinstance(outcome, Fault):
        return WireReply(dump_fault(outcome.code, outcome.text, encoding_label="utf-16"))
    return WireReply(dump_answer(outcome, encoding_label="utf-16"))


def form(members: dict[str, str]) -> WireReply:
    """A form-encoded answer, as the endpoints of OAuth give it (RFC 5849, section 2.1)."""
    return WireReply(urlencode(members).encode(), headers=FORM)


def _report(problem: ReportedProblem) -> WireReply:
    if problem.shape == "fault":
        text = f"net.oauth.OAuthProblemException: oauth_problem={problem.problem}"
        return honest(Fault(-1, text))
    if problem.shape == "form":
        return WireReply(form({"oauth_problem": problem.problem}).body, problem.status, FORM)
    challenge = f'OAuth realm="sandbox", oauth_problem="{quote(problem.problem, safe="")}"'
    headers = {"www-authenticate": challenge, "content-type": "text/plain"}
    return WireReply(b"", problem.status, headers)
