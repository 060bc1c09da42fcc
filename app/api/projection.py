"""Which members of an answer a request wants: ``?fields=title,state``.

Knows a model's public names and kept JSON. Must not know which model, nor how answers are kept.
"""

import asyncio
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from enum import Enum
from threading import Lock
from typing import Annotated, Any

from cachetools import LRUCache, cached
from fastapi import Query
from pydantic import AfterValidator, BaseModel, BeforeValidator
from pydantic_core import PydanticCustomError, from_json, to_json

from app.core.cache_entry import CacheEntry, digest

Fields = tuple[str, ...]
"""Public names in the model's own order, none twice; none at all means the whole answer."""

MAX_BYTES = 16 * 1024 * 1024
"""What has been cut is kept in so much, least recently used out first."""
OVERHEAD = 500
"""Bytes that one costs besides its body."""
LARGE = 32 * 1024
"""Bytes of a body that are cut within a millisecond."""

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


def fields_of(model: type[BaseModel]) -> Any:
    """The type of the parameter ``fields``: names of ``model``, in whatever order they come.

    What a route reads is ``Fields``. A dependency would cost every request some 10 us.
    """
    names = list(model.model_json_schema(mode="serialization")["properties"])
    # A class, so that the document has one schema for the names, not one for each operation.
    Name = Enum(f"{model.__name__}Field", {name: name for name in names}, type=str)  # type: ignore[misc]
    Name.__doc__ = f"The name of a member of {model.__name__}."

    def known(name: str) -> str:
        if name in names:
            return name
        meant = get_close_matches(name, names, 1) if len(name) <= LONGEST else []
        hint = f"did you mean {meant[0]}?" if meant else f"there are {', '.join(names)}"
        raise PydanticCustomError(
            "unknown_field", "is not the name of a field; {help}", {"help": hint}
        )

    def in_order(chosen: Sequence[str]) -> Fields:
        return tuple(name for name in names if name in chosen)

    return Annotated[
        list[Annotated[Name, BeforeValidator(known)]],
        comma_separated(len(names)),
        AfterValidator(in_order),
        Query(
            min_length=1,
            max_length=len(names),
            description="The members that are wanted, comma-separated: exactly these are sent,"
            " in the usual order, and the `ETag` is theirs. Without it, all are.",
        ),
    ]


def project(entry: CacheEntry, fields: Fields) -> CacheEntry:
    """The entry with nothing but ``fields`` in its body, and the tag of what is left."""
    if not fields or entry.refused:
        return entry
    body, tag = _cut(entry.body, entry.digest, fields)
    return entry._replace(body=body, digest=tag)


async def prepare(entry: CacheEntry | None, fields: Fields) -> None:
    """See that ``project`` will not hold the event loop: a large body is cut beside it."""
    if entry is None or not fields or len(entry.body) <= LARGE:
        return
    if (entry.digest, fields) not in _cuts:
        await asyncio.to_thread(project, entry, fields)


_cuts: LRUCache[tuple[str, Fields], tuple[bytes, str]] = LRUCache(
    MAX_BYTES, getsizeof=lambda made: len(made[0]) + OVERHEAD
)


@cached(_cuts, key=lambda _body, tag, fields: (tag, fields), lock=Lock())
def _cut(body: bytes, _tag: str, fields: Fields) -> tuple[bytes, str]:
    """The body of those fields, and its digest. Bodies of one tag are the same."""
    whole = from_json(body)
    cut = to_json({name: whole[name] for name in fields})
    return cut, digest(cut)
