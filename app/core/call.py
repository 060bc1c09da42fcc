"""Call: an upstream operation declared as a class, one call of it as a value.

Knows pydantic. Must not know URLs, caching or XML.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from app.core.errors import GatewayError, UpstreamMismatch, UpstreamUnreadable

Pace = Literal["active", "queued", "waiting", "terminal"]
"""How soon an answer is expected to change; the operator's settings give each one its seconds."""

Faults = Mapping[int, type[GatewayError]]
"""What the farm's fault codes mean."""

NO_FAULTS: Faults = MappingProxyType({})

Drift = Callable[[str], None]
"""Called with the name of each field of an answer that is not as documented."""


class Call(BaseModel):
    """One question to the farm.

    A subclass names the ``method``, the model of its ``answer`` and the ``faults`` that have a
    meaning of their own with this method. Its fields are the positional arguments in wire order; a
    field's serialization alias is the argument's documented name, which signing reading B needs.
    """

    model_config = ConfigDict(frozen=True)

    method: ClassVar[str]
    answer: ClassVar[type[BaseModel]]
    faults: ClassVar[Faults] = NO_FAULTS

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
