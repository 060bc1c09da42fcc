"""A visitor's own sessions: the list of them, and attaching one to this site.

Knows paths, arguments, faults and wire names. Must not know the HTTP client, stores or XML.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationInfo,
    model_validator,
)

from app.api.error_codes import Code
from app.api.response_docs import FETCH_CODES, UNCHANGED, problem_responses
from app.core import errors
from app.core.call import Drift, Pace, VisitorCall
from app.core.renewal import renew
from app.login.visitor import FromOurPages, Visiting, Visitor
from app.resources.ids import MAX_ID
from app.resources.sessions import GetSession, SessionId, session_id
from app.resources.wire import Instant, Struct, Text, drifted, keyed_structs


class Queue(StrEnum):
    """Where a session stands at the farm."""

    ACCEPT = "accept"
    ACTIVE = "active"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


QUEUES: Mapping[str, Queue] = MappingProxyType(
    {**{queue.value: queue for queue in Queue}, "canceled": Queue.CANCELLED}
)


class MySession(Struct):
    """A session of the visitor, as a list tells it: ask for it alone to know more."""

    id: int = Field(
        description="The session's number.", json_schema_extra={"minimum": 1, "maximum": MAX_ID}
    )
    queue: Queue = Field(description="Where it stands.")
    title: Text = Field(None, description="What its owner calls it.")
    shortDescription: Text = Field(
        None,
        validation_alias=AliasChoices("shortDescription", "sessionShortDescription"),
        description="What its owner says of it.",
    )
    submittedAt: Instant = Field(
        None, validation_alias="submitTimestamp", description="When it was sent to the farm."
    )


def _listed(value: object, info: ValidationInfo) -> object:
    """The sessions of all queues in one list, the newest first; ids are names of members."""
    if not isinstance(value, dict):
        return value
    found: list[dict[str, object]] = []
    for name, members in value.items():
        if name not in QUEUES:
            drifted(info, "queue")
        for session in keyed_structs(members, info):
            try:
                number = session_id(session["id"])
            except ValueError:
                drifted(info, "id")
                continue
            found.append({**session, "id": number, "queue": QUEUES.get(name, Queue.UNKNOWN)})
    return {"items": found}


class MySessions(BaseModel):
    """The visitor's sessions, the newest first."""

    items: list[MySession]

    _of_queues = model_validator(mode="before")(_listed)

    @model_validator(mode="after")
    def _newest_first(self) -> "MySessions":
        self.items.sort(
            key=lambda one: (one.submittedAt.timestamp() if one.submittedAt else 0.0, one.id),
            reverse=True,
        )
        return self


class GetMySessions(VisitorCall):
    """user.getAllSessions()."""

    method = "user.getAllSessions"
    answer = MySessions
    refused = errors.LoginExpired

    def pace(self, answer: MySessions) -> Pace:
        """A list of many is soon another."""
        return "active"


def _success(value: object) -> object:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


class Attached(BaseModel):
    """What the farm says of an attached session."""

    success: Annotated[bool, BeforeValidator(_success)]


class AttachSession(VisitorCall):
    """user.attachSession(sessionId)."""

    method = "user.attachSession"
    answer = Attached
    faults = MappingProxyType(dict.fromkeys((103, 300, 301, 501), errors.SessionNotYours))
    refused = errors.SessionNotYours
    changes = True

    id: int = Field(serialization_alias="sessionId")

    def read(self, value: object, drift: Drift) -> BaseModel:
        """Whether it is attached; the vendor calls the answer an array, and shows a struct."""
        value = _success(value)
        try:
            told = {"success": value} if isinstance(value, bool) else value
            answer = super().read(told, drift)
        except errors.UpstreamMismatch:
            raise errors.UpstreamUnreadable("shape") from None
        assert isinstance(answer, Attached)  # noqa: S101 - the call's own kind
        if not answer.success:
            raise errors.SessionNotYours
        return answer


router = APIRouter(tags=["me"])

VISITOR_CODES = (
    Code.UNAUTHORIZED,
    Code.LOGIN_REQUIRED,
    Code.LOGIN_EXPIRED,
    *(
        code
        for code in FETCH_CODES
        if code
        not in (
            Code.INVALID_REQUEST,
            Code.NOT_ACCEPTABLE,
            Code.NOT_CACHED,
            Code.UPSTREAM_MISMATCH,
        )
    ),
)
"""What any route that asks the farm for a visitor may answer with."""


@router.get(
    "/me/sessions",
    operation_id="getMySessions",
    summary="The visitor's own sessions",
    response_model=MySessions,
    responses={
        304: UNCHANGED,
        **problem_responses(*VISITOR_CODES, Code.NOT_ACCEPTABLE, Code.NOT_CACHED),
    },
)
async def get_my_sessions(request: Request, visits: Visiting, visitor: Visitor) -> Response:
    """All sessions at the farm of who is logged in, the newest first, attached or not."""
    return visits.private(await visits.replies.reply(request, GetMySessions(token=visitor)))


@router.put(
    "/me/sessions/{id}/attached",
    operation_id="attachSession",
    summary="Attach a session to this site",
    status_code=204,
    response_class=Response,
    responses={
        204: {"description": "It is attached, and `/sessions/{id}` shows it."},
        **problem_responses(
            *VISITOR_CODES,
            Code.INVALID_REQUEST,
            Code.CROSS_SITE_REQUEST,
            Code.SESSION_NOT_YOURS,
        ),
    },
    dependencies=[FromOurPages],
)
async def attach_session(
    id: SessionId, request: Request, visits: Visiting, visitor: Visitor
) -> Response:
    """Lets this site show a session of who is logged in. The same again changes nothing."""
    services = request.app.state.services
    try:
        await visits.performer.perform(AttachSession(token=visitor, id=id))
    except errors.LoginExpired as error:
        return visits.private(services.problems.of(error, request.scope))
    visits.replies.gateway.store.drop(GetMySessions(token=visitor).key)
    await renew(services.gateway, GetSession(id=id))
    return Response(status_code=204, headers={"cache-control": "no-store"})
