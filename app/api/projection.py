"""Which members of an answer a request wants: ``?fields=title,state``.

Knows a model's public names and kept JSON. Must not know which model, nor how answers are kept.
"""

from collections.abc import Awaitable, Callable, Iterable
from difflib import get_close_matches
from typing import Annotated

from fastapi import Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from pydantic_core import PydanticCustomError, from_json, to_json

from app.core.cache_entry import CacheEntry, digest

Fields = tuple[str, ...]
"""Public names in the model's own order, none twice; none at all means the whole answer."""

LONGEST = 40
"""Letters of a name that is worth a guess at what was meant."""


def comma_separated(most: int) -> BeforeValidator:
    """One parameter is a list; a parameter that is repeated goes on where it left off."""

    def split(texts: Iterable[str]) -> list[str]:
        text = ",".join(texts)
        if text.count(",") >= most:  # told before anything costs time
            raise PydanticCustomError("too_long", "must be at most {most} values", {"most": most})
        return text.split(",")

    return BeforeValidator(split)


def fields_of(model: type[BaseModel]) -> Callable[..., Awaitable[Fields]]:
    """The dependency that reads ``fields``: names of ``model``, in whatever order they come."""
    names = list(model.model_json_schema(mode="serialization")["properties"])

    def known(name: str) -> str:
        if name in names:
            return name
        meant = get_close_matches(name, names, 1) if len(name) <= LONGEST else []
        hint = f"did you mean {meant[0]}?" if meant else f"there are {', '.join(names)}"
        raise PydanticCustomError(
            "unknown_field", "is not the name of a field; {help}", {"help": hint}
        )

    async def chosen(
        fields: Annotated[
            list[Annotated[str, AfterValidator(known), Field(json_schema_extra={"enum": names})]],
            comma_separated(len(names)),
            Query(
                min_length=1,
                max_length=len(names),
                description="The members that are wanted, comma-separated: exactly these are sent,"
                " in the usual order, and the `ETag` is theirs. Without it, all are.",
            ),
        ] = [],  # noqa: B006 - read only, and the framework wants a plain default
    ) -> Fields:
        return tuple(name for name in names if name in fields)

    return chosen


def project(entry: CacheEntry, fields: Fields) -> CacheEntry:
    """The entry with nothing but ``fields`` in its body, and the tag of what is left."""
    if not fields or entry.refused:
        return entry
    whole = from_json(entry.body)
    body = to_json({name: whole[name] for name in fields})
    return entry._replace(body=body, digest=digest(body))
