"""The catalogue as pages: what each problem's ``type`` points at. Must not know what was asked.

HTML for whoever prefers it, as browsers do; JSON for everyone else. All pages are made once, from
the one list of codes, when the router is made.
"""

from collections.abc import Mapping
from html import escape
from string import Formatter, Template
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from app.api.error_codes import Code
from app.api.error_meanings import MEANINGS
from app.api.negotiation import quality
from app.api.problems import CODES, InvalidPart, Problem, Problems
from app.api.response_docs import problem_responses
from app.core import errors
from app.docs.static_file import KEEP_PAGE, PAGE_POLICY, StaticFile, html_page

KINDS = {code: kind for kind, code in CODES.items()}
INVALID = InvalidPart(
    parameter="id", code="session_id", message="must be a whole number from 1 to 2147483647"
)

REPEAT = "Yes: wait as long as <code>retryAfterMs</code> says, and longer each time."
LEAVE = "No: the same request would fail again."
ROW = Template(
    '<tr><td>$status</td><td><a href="problems/$code">$breakable</a><span>$title</span></td>'
    "<td>$again</td></tr>\n"
)

CODE = {
    "name": "code",
    "in": "path",
    "required": True,
    "description": "The `code` of a problem.",
    "schema": {"$ref": "#/components/schemas/Code"},
    "example": "session_not_found",
}


class ProblemPage(BaseModel):
    """What one code means, and what to do about it."""

    code: Code
    status: int = Field(description="The HTTP status that it is sent with.")
    title: str = Field(description="The code, for people.")
    meaning: str = Field(description="What has happened. N stands for a session's number.")
    when: str = Field(description="When it happens.")
    remedy: str = Field(description="What to do.")
    retryable: bool = Field(description="Whether the same request may succeed later.")
    retryAfterMs: int | None = Field(
        description="Milliseconds to wait before; a problem may tell others. Null: do not."
    )
    example: Problem = Field(description="A problem document with this code.")


class ProblemPages(BaseModel):
    """Every code that a problem may have."""

    items: list[ProblemPage]


class PageForms(dict[str, StaticFile]):
    """The forms of one page by their media types, the default first."""

    def answer(self, request: Request) -> Response:
        """The form that the request likes best. Raises errors.NotAcceptable if it likes none."""
        accept = ",".join(request.headers.getlist("accept"))
        weights = {media_type: quality(accept, media_type) for media_type in self}
        best = max(weights, key=lambda media_type: weights[media_type])
        if not weights[best]:
            raise errors.NotAcceptable
        return self[best].answer()


def problem_router(*, public_url: str, version: str, faults: Mapping[Code, int]) -> APIRouter:
    """``/problems`` and ``/problems/{code}``.

    ``public_url`` is the gateway's absolute address for clients, or empty. ``faults`` are the
    numbers that the farm gives to what it refuses, for the examples. An unknown code is
    Starlette's ``HTTPException(404)``.
    """
    problems = Problems(public_url)
    codes = sorted(Code, key=lambda code: MEANINGS[code].status)
    pages = [_page(code, problems, faults.get(code)) for code in codes]
    rows = "".join(ROW.substitute(_words(page)) for page in pages)
    listed = _forms(ProblemPages(items=pages), "problems.html", version, {"rows": rows})
    shown = {page.code.value: _forms(page, "problem.html", version, _words(page)) for page in pages}
    router = APIRouter(tags=["problems"])

    @router.get(
        "/problems",
        operation_id="listProblems",
        summary="All codes of problems",
        response_model=ProblemPages,
        response_description="The codes.",
        responses=_responses(),
    )
    async def list_problems(request: Request) -> Response:
        """What can go wrong: every `code`. JSON, or HTML for whoever prefers `text/html`."""
        return listed.answer(request)

    @router.get(
        "/problems/{code}",
        operation_id="getProblem",
        summary="What one code means",
        response_model=ProblemPage,
        response_description="The code.",
        responses=_responses(Code.ROUTE_NOT_FOUND),
        # Declared by hand: an unknown code is a path that is not there, not an invalid request.
        openapi_extra={"parameters": [CODE]},
    )
    async def get_problem(request: Request) -> Response:
        """What the `type` of a problem points at. JSON, or HTML for whoever prefers `text/html`."""
        code = request.path_params["code"]
        if code not in shown:
            raise HTTPException(404)
        return shown[code].answer(request)

    return router


def _responses(*codes: Code) -> dict[int | str, dict[str, Any]]:
    return {
        200: {"content": {"text/html": {"schema": {"type": "string"}}}},
        304: {"description": "Not modified: what If-None-Match names is still right."},
        **problem_responses(*codes, Code.NOT_ACCEPTABLE, Code.INTERNAL_ERROR),
    }


def _page(code: Code, problems: Problems, fault: int | None) -> ProblemPage:
    meaning, example = MEANINGS[code], _example(code, problems, fault)
    return ProblemPage(
        code=code,
        status=meaning.status,
        title=meaning.title,
        meaning=meaning.detail.format_map(dict.fromkeys(_arguments(meaning.detail), "N")),
        when=meaning.when,
        remedy=meaning.remedy,
        retryable=example.retryable,
        retryAfterMs=example.retryAfterMs,
        example=example,
    )


def _example(code: Code, problems: Problems, fault: int | None) -> Problem:
    """A document with this code, made as those are that go out."""
    kind = KINDS.get(code)
    error = None
    if kind is not None and issubclass(kind, errors.Refused | errors.UpstreamError):
        arguments = dict.fromkeys(_arguments(MEANINGS[code].detail), 4711)
        error = kind(method="community.getSession", arguments=arguments, fault_code=fault)
    return problems.document(
        code,
        "5e1f0c2a9b7d4e36-1",
        error=error,
        path="/sessions/4711" if kind else None,
        parts=[INVALID] if code is Code.INVALID_REQUEST else [],
    )


def _arguments(detail: str) -> list[str]:
    """The names in its braces."""
    return [name for _, name, _, _ in Formatter().parse(detail) if name]


def _words(page: ProblemPage) -> dict[str, str]:
    """What a page tells, as markup for its template."""
    wait = page.retryAfterMs
    texts = page.model_dump(mode="json", include={"code", "title", "meaning", "when", "remedy"})
    return {
        **{name: escape(text) for name, text in texts.items()},
        "breakable": page.code.replace("_", "_<wbr>"),
        "status": str(page.status),
        "again": "no" if wait is None else f"in {wait / 1000:g} s" if wait else "at once",
        "advice": LEAVE if wait is None else REPEAT,
        "example": escape(page.example.model_dump_json(indent=2)),
    }


def _forms(page: BaseModel, template: str, version: str, words: Mapping[str, str]) -> PageForms:
    """``page`` as JSON, and as what ``template`` makes of ``words``."""
    html = html_page(template, {**words, "version": escape(version)}, PAGE_POLICY)
    data = StaticFile.of(page.model_dump_json().encode(), ".json", {"Cache-Control": KEEP_PAGE})
    forms = PageForms({"application/json": data, "text/html": html})
    for form in forms.values():
        form.headers["Vary"] = "Accept"
    return forms
