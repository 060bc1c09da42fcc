"""Call: an upstream operation declared as a class, one call of it as a value.

Knows pydantic. Must not know URLs, caching or XML.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.core.errors import (
    GatewayError,
    UpstreamError,
    UpstreamFault,
    UpstreamMismatch,
    UpstreamUnreadable,
)

Pace = Literal["active", "queued", "waiting", "terminal"]
"""How soon an answer is expected to change; the operator's settings give each one its seconds."""

Faults = Mapping[int, type[GatewayError]]
"""What the farm's fault codes mean."""

READ_IN_THREAD = 500
"""Things of an answer, such as thumbnails: reading that many takes milliseconds."""

NO_FAULTS: Faults = MappingProxyType({})

Drift = Callable[[str], None]
"""Called with the name of each field of an answer that is not as documented."""


_PROCESS_KEY = secrets.token_bytes(32)


def private_digest(text: str) -> str:
    """What tells texts apart within this process, and tells nobody what they are."""
    return blake2b(text.encode(), key=_PROCESS_KEY, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Token:
    """A token of OAuth 1.0 and its secret (RFC 5849 section 1.1). Its repr holds neither."""

    key: str = field(repr=False)
    secret: str = field(repr=False)

    @property
    def digest(self) -> str:
        """What tells tokens apart within this process, and tells nobody else anything."""
        return private_digest(f"{self.key}\n{self.secret}")


class Call(BaseModel):
    """One question to the farm.

    A subclass names the ``method``, the model of its ``answer`` and the ``faults`` that have a
    meaning of their own with this method. Its fields are the positional arguments in wire order; a
    field's serialization alias is the argument's documented name, which signing reading B needs.
    Fields that are excluded are no arguments.

    A call that ``changes`` something is never kept, joined with another, or sent again once the
    farm may have heard it. ``refused`` is what a refusal means that no code or word names.
    """

    model_config = ConfigDict(frozen=True)

    method: ClassVar[str]
    answer: ClassVar[type[BaseModel]]
    faults: ClassVar[Faults] = NO_FAULTS
    refused: ClassVar[type[GatewayError]] = UpstreamFault
    changes: ClassVar[bool] = False

    @cached_property
    def key(self) -> str:
        """The call as text, the same in every process: ``community.getSession(42)``."""
        return f"{self.key_head()}{','.join(map(repr, self.arguments.values()))})"

    @classmethod
    def key_head(cls) -> str:
        """What the keys of all calls of this operation begin with."""
        return f"{cls.method}("

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """The positional arguments in wire order, by their documented names."""
        return self.model_dump(by_alias=True)

    @property
    def told(self) -> Mapping[str, Any]:
        """The arguments as log lines and problems may tell them."""
        return self.arguments

    def read(self, value: object, drift: Drift) -> BaseModel:
        """Read a decoded answer into its model, and report each sloppy field to ``drift``.

        Raises UpstreamUnreadable if the answer is not a struct, and UpstreamMismatch unless
        whatever the call names and the answer repeats (the id) is there and the same: a pooled
        connection can hand out a stranger's answer.
        """
        if not isinstance(value, dict):
            raise UpstreamUnreadable("shape")
        try:
            answer = self.answer.model_validate(value, context=drift)
        except ValidationError as error:
            raise UpstreamMismatch("unreadable_id") from error
        for name in type(self).model_fields:
            asked = getattr(self, name)
            if getattr(answer, name, asked) != asked:
                raise UpstreamMismatch("other_id")
        return answer

    def pace(self, answer: Any) -> Pace:
        """How soon this answer is expected to change."""
        raise NotImplementedError


class VisitorCall(Call):
    """A question of a visitor who is logged in: signed with their token, too."""

    token: Token = Field(exclude=True, repr=False)

    @cached_property
    def key(self) -> str:
        """The call as text, another for each visitor; the same in this process alone."""
        return f"{self.token.digest} {super().key}"


class OAuthStep(Call):
    """A step of a login, or its end (RFC 5849 section 2): its parameters are the signature's own,
    and its answer a form."""

    token: Token | None = Field(None, exclude=True, repr=False)
    callback: str = Field("", exclude=True)
    verifier: str = Field("", exclude=True, repr=False)

    @cached_property
    def key(self) -> str:
        """The step as text, another for each token; the same in this process alone."""
        return f"{self.token.digest if self.token else ''} {super().key}"


def read_answer(
    call: Call, value: object, drift: Drift, misread: Callable[[str], None]
) -> BaseModel:
    """A decoded answer as its model. Raises UpstreamError, of whose cause ``misread`` is told."""
    try:
        return call.read(value, drift)
    except UpstreamError as error:
        misread(error.cause)
        raise


def render_answer(
    call: Call, value: object, drift: Drift, misread: Callable[[str], None]
) -> tuple[bytes, Pace]:
    """What ``read_answer`` gives, as JSON, and how soon it is expected to change."""
    answer = read_answer(call, value, drift, misread)
    return answer.__pydantic_serializer__.to_json(answer, by_alias=True), call.pace(answer)


def is_large(value: object) -> bool:
    """Whether an answer is to be read beside the event loop, not in it."""
    parts = value.values() if isinstance(value, dict) else ()
    return sum(len(part) for part in parts if isinstance(part, dict | list)) > READ_IN_THREAD
