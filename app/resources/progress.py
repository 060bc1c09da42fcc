"""How far a session is, derived from its state, its timestamps and its counts. Pure.

Knows the phases of a render. Must not know where the facts come from.
"""

from collections.abc import Container
from enum import StrEnum

from pydantic import BaseModel, Field

Count = tuple[int | None, int | None]
"""How many are rendered, and of how many; null where unknown."""


class State(StrEnum):
    """The farm's own word for where a session stands, its spellings made one."""

    SUBMIT = "submit"
    ACCEPT = "accept"
    ACTIVE = "active"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


class Phase(StrEnum):
    """The step of its life that a session is in, derived from all that the farm tells."""

    SUBMITTED = "submitted"
    TESTING = "testing"
    AWAITING_APPROVAL = "awaiting_approval"
    QUEUED = "queued"
    PREPROCESSING = "preprocessing"
    RENDERING = "rendering"
    POSTPROCESSING = "postprocessing"
    ENCODING = "encoding"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


class Progress(BaseModel):
    """How far the session is."""

    phase: Phase
    percent: int | None = Field(ge=0, le=100, description="Whole percent, null where unknown.")
    framesTotal: int | None = Field(description="endFrame - startFrame + 1.")
    framesRendered: int | None
    partsTotal: int | None
    partsRendered: int | None


def phase_of(
    state: State,
    happened: Container[str],
    *,
    all_parts: bool,
    any_parts: bool,
    streamable: bool,
) -> Phase:
    """The first rule that holds, from the end of a session's life to its beginning.

    ``happened`` holds the names of the timestamps that are set.
    """
    rules = (
        (state is State.REJECTED, Phase.REJECTED),
        (state is State.CANCELLED, Phase.CANCELLED),
        (state is State.COMPLETED or "encode_end" in happened, Phase.COMPLETED),
        ("postprocessing_end" in happened and "encode_begin" not in happened, Phase.COMPLETED),
        (all_parts and streamable, Phase.COMPLETED),
        ("encode_begin" in happened, Phase.ENCODING),
        ("postprocessing_begin" in happened or "render_end" in happened, Phase.POSTPROCESSING),
        (all_parts, Phase.POSTPROCESSING),
        ("render_begin" in happened, Phase.RENDERING),
        (state is State.ACTIVE and any_parts, Phase.RENDERING),
        ("preprocessing_begin" in happened, Phase.PREPROCESSING),
        (state is State.ACTIVE, Phase.QUEUED),
        (state is State.ACCEPT, Phase.AWAITING_APPROVAL),
        ("test_begin" in happened and "test_end" not in happened, Phase.TESTING),
        (state is State.SUBMIT, Phase.SUBMITTED),
    )
    return next((phase for holds, phase in rules if holds), Phase.UNKNOWN)


def frames_total(start: int | None, end: int | None) -> int | None:
    """How many frames a range has; null where it is unknown or empty."""
    if start is None or end is None or end < start:
        return None
    return end - start + 1


def percent_of(phase: Phase, parts: Count, frames: Count) -> int | None:
    """Whole percent by parts, by frames where parts are unknown."""
    if phase is Phase.COMPLETED:
        return 100
    for rendered, total in (parts, frames):
        if rendered is not None and total is not None and total > 0:
            return min(max(100 * rendered // total, 0), 100)
    return None


def progress_of(
    state: State, happened: Container[str], *, parts: Count, frames: Count, streamable: bool
) -> Progress:
    """All of it, from the facts."""
    rendered, total = parts
    phase = phase_of(
        state,
        happened,
        all_parts=total is not None and 0 < total <= (rendered or 0),
        any_parts=(rendered or 0) > 0,
        streamable=streamable,
    )
    return Progress(
        phase=phase,
        percent=percent_of(phase, parts, frames),
        framesTotal=frames[1],
        framesRendered=frames[0],
        partsTotal=total,
        partsRendered=rendered,
    )
