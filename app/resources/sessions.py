"""Render sessions: the call that fetches one, how soon answers change, and the routes.

Knows paths, arguments and paces. Must not know the HTTP client, stores, XML or status numbers.
"""

import re
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from app.api.catalogue import Code
from app.api.openapi import reply_responses
from app.api.replies import Reply
from app.call import Call, Pace
from app.resources.progress import Phase
from app.resources.session_model import MAX_ID, Session

ID_PATTERN = re.compile(r"[1-9][0-9]{0,9}")

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


class GetSession(Call):
    """community.getSession(parameters, sessionId)."""

    method = "community.getSession"
    answer = Session

    id: int = Field(serialization_alias="sessionId")

    def pace(self, answer: Session) -> Pace:
        """How soon the session is expected to change, by its phase."""
        return PACES.get(answer.progress.phase, "active")


def session_id(text: object) -> int:
    """Decimal digits without sign, blanks or leading zero: one session has one address.

    Raises PydanticCustomError, which is a ValueError.
    """
    if isinstance(text, str) and ID_PATTERN.fullmatch(text) and int(text) <= MAX_ID:
        return int(text)
    raise PydanticCustomError("session_id", "must be a whole number from 1 to 2147483647")


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

router = APIRouter(tags=["sessions"])


@router.get(
    "/sessions/{id}",
    operation_id="getSession",
    summary="One render session",
    response_model=Session,
    response_description="The session.",
    responses=reply_responses(
        Code.SESSION_NOT_FOUND, Code.SESSION_NOT_ATTACHED, Code.SESSION_FORBIDDEN
    ),
)
async def get_session(id: SessionId, reply: Reply) -> Response:
    """One render session, by its number.

    Answers are kept for seconds to an hour, depending on how soon the session is expected to
    change: see the `Cache-Control`, `Age` and `Cache-Status` headers. Poll with `If-None-Match`
    and `Cache-Control: max-age=0`, and wait `max-age` seconds between requests.
    """
    return await reply(GetSession(id=id))
