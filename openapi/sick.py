"""A sandbox farm that does something wrong in every other call, whatever is asked.

Knows every step of the sandbox's script. Must not know the gateway, but for the settings under
which it asks all the time.
"""

from starlette.applications import Starlette

from app.sandbox.script import SCRIPT
from app.sandbox.server import create_farm

MOST_CALLS = 50_000
PAUSE = {"retry-after": "1"}


def step(do: str, **options: object) -> dict[str, object]:
    """One step of a script."""
    return {"do": do, **options}


WRONG = [
    *(step("fault", code=code) for code in (300, 301, 103, 100, 101, 104, 400, 999, -1)),
    *(step("raw", body=body) for body in ("", "<a/>", "\0", "\ud7ff")),
    *(step("status", status=status) for status in (204, 301, 401, 404, 500, 502, 504)),
    *(step("status", status=status, headers=PAUSE) for status in (429, 503)),
    *(step("problem", shape=shape) for shape in ("header", "form", "fault")),
    *(step("truncated", chunked=chunked) for chunked in (False, True)),
    *(step("oversize", chunked=chunked) for chunked in (False, True)),
    *map(step, ("wrong_id", "html", "hang", "reset", "drip", "malformed", "bomb", "late", "twice")),
]
ROUND = [treated for wrong in WRONG for treated in (step("answer"), wrong)]

KEPT_SHORTLY = {
    **dict.fromkeys(["fresh_active", "fresh_queued", "fresh_waiting", "fresh_terminal"], 0.05),
    **dict.fromkeys(["stale_while_revalidate", "keep_not_found", "keep_refused"], 0.05),
    "stale_if_error": 0.5,
}
"""Settings of a gateway that asks all the time; now and then a kept answer stands in."""


def create_sick_farm() -> Starlette:
    """The farm, with enough misbehaviour queued for MOST_CALLS."""
    app = create_farm()
    app.state.farm.script.extend(SCRIPT.validate_python(ROUND) * (MOST_CALLS // len(ROUND)))
    return app
