"""Which form of an answer a request prefers: the Accept field (RFC 9110 section 12.5.1)."""

from app.api.field_lists import members

MAX_PARAMETERS = 64
"""Parameters of one media range that are read."""
MAX_WEIGHT = 32
"""Characters of a weight that is read; the grammar needs five."""


def quality(accept: str | None, media_type: str) -> float:
    """The weight, 0 to 1, that ``accept`` gives to ``media_type``; 1 if it says nothing.

    The most specific range that matches counts. A range that cannot be read is passed over;
    parameters other than ``q`` do not take part.
    """
    if accept is None or not accept.strip():
        return 1.0
    group = media_type.partition("/")[0]
    ranks = {media_type: 3, f"{group}/*": 2, "*/*": 1}
    best_rank, best = 0, 0.0
    for item in members(accept.lower().encode("latin-1", "replace")):
        name, _, parameters = item.decode("latin-1").partition(";")
        rank = ranks.get(name.strip(), 0)
        if rank > best_rank:
            best_rank, best = rank, weight(parameters)
    return best


def weight(parameters: str) -> float:
    """The ``q`` among parameters that semicolons separate: 1 if there is none, 0 if it is no
    number."""
    for parameter in parameters.split(";", MAX_PARAMETERS)[:MAX_PARAMETERS]:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(0.0, float(value[:MAX_WEIGHT])), 1.0)  # in this order, nan is 0
            except ValueError:
                return 0.0
    return 1.0
