"""Answers that were recorded, for the calls that they were recorded with.

A recording is a JSON document: of its ``question`` the method and the arguments count, its
``answer`` is a step. Must not know who made it.
"""

from collections import deque
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from app.sandbox.script import Raw
from app.upstream.xmlrpc.codec import Value

MAX_RECORDING = 16 * 1024 * 1024


class RecordedQuestion(BaseModel):
    """What was asked."""

    method: str
    arguments: list[int | Literal["redacted"]]


class Recording(BaseModel):
    """What was asked and what came back."""

    question: RecordedQuestion
    answer: Raw


class Replay:
    """The recordings of a folder. Those of one question take turns, the oldest first.

    The last of them stays. Raises ValueError, whose message names the file that is no recording.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._steps: dict[tuple[Value, ...], deque[Raw]] = {}
        for path in sorted(folder.glob("*.json")) if folder else ():
            recording = _read(path)
            key = (recording.question.method, *recording.question.arguments)
            self._steps.setdefault(key, deque()).append(recording.answer)

    def __len__(self) -> int:
        """How many questions have a recorded answer."""
        return len(self._steps)

    def step(self, method: str, arguments: list[Value]) -> Raw | None:
        """The recorded answer to this question, if there is one."""
        key = (method, *(each if isinstance(each, int) else "redacted" for each in arguments))
        steps = self._steps.get(key)
        if steps is None:
            return None
        return steps.popleft() if len(steps) > 1 else steps[0]


def _read(path: Path) -> Recording:
    try:
        if path.stat().st_size > MAX_RECORDING:
            raise ValueError(f"{path}: too large for a recording")
        return Recording.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ValidationError:
        raise ValueError(f"{path}: no recording") from None
