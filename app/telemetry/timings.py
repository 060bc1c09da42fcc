"""How long the steps of a question took, for whoever asked it. Knows a clock and a context.

Must not know what the steps do. A task takes its context along: who began a flight has its times,
who joined it has none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter

Timings = dict[str, float]
"""Seconds by step, in the order of their first ends; a step that is taken twice is summed up."""

timings: ContextVar[Timings | None] = ContextVar("timings", default=None)
"""Where the steps of this context are told; None: nobody wants to know."""


@contextmanager
def step(name: str) -> Iterator[None]:
    """Time what is done within, whether it succeeds or not."""
    began = perf_counter()
    try:
        yield
    finally:
        told = timings.get()
        if told is not None:
            told[name] = told.get(name, 0.0) + perf_counter() - began
