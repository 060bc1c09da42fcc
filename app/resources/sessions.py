"""Render sessions: the call that fetches one, how soon answers change, and the routes.

Knows paths, arguments, faults and paces. Must not know the HTTP client, stores, XML or status
numbers.
"""

from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, BeforeValidator, Field

from app.api.error_codes import Code
from app.api.openapi_prose import LAST_EVENT_ID, PREFER
from app.api.problems import Problem
from app.api.projection import Fields, comma_separated, fields_of
from app.api.responder import Responder
from app.api.response_docs import (
    item_stream_responses,
    list_responses,
    reply_responses,
    stream_responses,
)
from app.core import errors
from app.core.call import Call, Pace
from app.resources.ids import MAX_ID, id_reader
from app.resources.progress import Phase
from app.resources.session_model import Session

PACES: dict[Phase, Pace] = {
    Phase.QUEUED: "queued",
    Phase.SUBMITTED: "waiting",
    Phase.TESTING: "waiting",
    Phase.AWAITING_APPROVAL: "waiting",
    Phase.COMPLETED: "terminal",
    Phase.CANCELLED: "terminal",
    Phase.REJECTED: "terminal",
}
"""How soon a session in this phase is expected to change; every other phase is active."""


MOST = 50
"""Sessions in one answer."""


class SessionItem(BaseModel):
    """What became of one session of a list: either a session or a problem."""

    id: int = Field(
        description="The session's number.", json_schema_extra={"minimum": 1, "maximum": MAX_ID}
    )
    status: int = Field(
        description="The status that the session alone would have.",
        json_schema_extra={"minimum": 200, "maximum": 599},
    )
    session: Session | None = Field(description="Null if there is a problem.")
    problem: Problem | None = Field(description="Null if there is a session.")


class SessionList(BaseModel):
    """Several sessions, in the order in which they were asked for."""

    items: list[SessionItem]


class GetSession(Call):
    """community.getSession(parameters, sessionId)."""

    method = "community.getSession"
    answer = Session
    faults = MappingProxyType(
        {
            103: errors.SessionForbidden,
            300: errors.SessionNotFound,
            301: errors.SessionNotAttached,
        }
    )

    id: int = Field(serialization_alias="sessionId")

    def pace(self, answer: Session) -> Pace:
        """How soon the session is expected to change, by its phase."""
        return PACES.get(answer.progress.phase, "active")


session_id = id_reader("session_id")

SessionId = Annotated[
    int,
    Field(ge=1, le=MAX_ID),
    BeforeValidator(session_id),
    Path(
        description="The session's number.",
        openapi_examples={
            "renders": {"summary": "Renders while you watch", "value": 1005},
            "completed": {"summary": "Completed, with every field", "value": 42},
            "missing": {"summary": "No such session: 404", "value": 300001},
            "unattached": {"summary": "Not attached yet: 409", "value": 301001},
            "forbidden": {"summary": "Not readable: 403", "value": 103001},
            "failing": {"summary": "The farm answers badly: 502", "value": 707001},
        },
    ),
]

SessionIds = Annotated[
    list[Annotated[int, Field(ge=1, le=MAX_ID), BeforeValidator(session_id)]],
    comma_separated(MOST),
    Query(
        min_length=1,
        max_length=MOST,
        description="The sessions' numbers, comma-separated. One that comes twice counts once.",
        openapi_examples={
            "some": {"summary": "One of them is missing", "value": [1005, 42, 300001]}
        },
    ),
]

if TYPE_CHECKING:
    SessionFields = Fields
else:  # FastAPI reads it from this
    SessionFields = fields_of(Session)

router = APIRouter(tags=["sessions"])


@router.get(
    "/sessions/events",
    operation_id="streamSessions",
    summary="Several render sessions while they change",
    response_class=Response,
    responses=item_stream_responses("SessionItem"),
    openapi_extra={"parameters": [LAST_EVENT_ID]},
)
async def stream_sessions(
    request: Request, ids: SessionIds, fields: SessionFields = ()
) -> Response:
    """Several render sessions now, and each again after every change, until all have ended.

    For `EventSource`: one connection for a whole page. Each item is what the list has for it. The
    farm is asked as if each session were watched alone.
    """
    return Responder(request).stream_many("session", {id: GetSession(id=id) for id in ids}, fields)


@router.get(
    "/sessions/{id}",
    operation_id="getSession",
    summary="One render session",
    response_model=Session,
    response_description="The session; with `fields`, only those members of it.",
    responses=reply_responses(
        Code.SESSION_NOT_FOUND, Code.SESSION_NOT_ATTACHED, Code.SESSION_FORBIDDEN
    ),
    openapi_extra={"parameters": [PREFER]},
)
async def get_session(request: Request, id: SessionId, fields: SessionFields = ()) -> Response:
    """One render session, by its number.

    Answers are kept for seconds to an hour, depending on how soon the session is expected to
    change: see the `Cache-Control`, `Age` and `Cache-Status` headers. Poll with `If-None-Match`
    and `Cache-Control: max-age=0`, and wait `max-age` seconds between requests.
    """
    return await Responder(request).one(GetSession(id=id), fields)


@router.get(
    "/sessions",
    operation_id="getSessions",
    summary="Several render sessions",
    response_model=SessionList,
    response_description="What became of each; with `fields`, only those members of sessions.",
    responses=list_responses(),
)
async def get_sessions(request: Request, ids: SessionIds, fields: SessionFields = ()) -> Response:
    """Several render sessions at once: one that cannot be had does not fail the others.

    Each is kept and fetched as if it were asked for alone, and has the status that it would have
    then. `max-age` is what is left until the first of them may have changed.
    """
    return await Responder(request).many("session", {id: GetSession(id=id) for id in ids}, fields)


@router.get(
    "/sessions/{id}/events",
    operation_id="streamSessionEvents",
    summary="A render session while it changes",
    response_class=Response,
    responses=stream_responses(
        "session",
        "Session",
        Code.SESSION_NOT_FOUND,
        Code.SESSION_NOT_ATTACHED,
        Code.SESSION_FORBIDDEN,
    ),
    openapi_extra={"parameters": [LAST_EVENT_ID]},
)
async def stream_session_events(
    request: Request, id: SessionId, fields: SessionFields = ()
) -> Response:
    """One render session now, and again after every change, until it has ended.

    For `EventSource`. However many watch a session, the farm is asked as if it were one. With
    `fields`, a change of any other member is no event.
    """
    return Responder(request).stream("session", GetSession(id=id), fields)
