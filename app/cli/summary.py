"""A session as a few readable lines for a terminal. Knows the public JSON; nothing else."""

import json
from typing import Any

BAR = 30


def summary(body: str) -> str:
    """Title, state, a progress bar and the facts that are known, one on a line."""
    session: dict[str, Any] = json.loads(body)
    progress = session["progress"]
    facts = {
        "state": f"{session['state']} ({progress['phase'].replace('_', ' ')})",
        "progress": _bar(progress["percent"]),
        "frames": _of(progress["framesRendered"], progress["framesTotal"]),
        "parts": _of(progress["partsRendered"], progress["partsTotal"]),
        "size": _size(session),
        "licence": (session["outputLicense"] or {}).get("name"),
        "stream": session["streamURL"],
    }
    title = _printable(session["title"] or "untitled")
    lines = [f"Session {session['id']}  {title}"]
    lines += [f"  {name:<9} {_printable(fact)}" for name, fact in facts.items() if fact]
    return "\n".join(lines)


def _bar(percent: int | None) -> str | None:
    if percent is None:
        return None
    done = BAR * percent // 100
    return f"[{'#' * done}{'-' * (BAR - done)}] {percent} %"


def _of(rendered: int | None, total: int | None) -> str | None:
    if rendered is None and total is None:
        return None
    return f"{'?' if rendered is None else rendered} of {'?' if total is None else total}"


def _size(session: dict[str, Any]) -> str | None:
    width, height, rate = session["xResolution"], session["yResolution"], session["frameRate"]
    if width is None or height is None:
        return None
    return f"{width} x {height}" + (f", {rate:g} frames a second" if rate else "")


def _printable(text: str) -> str:
    """A terminal obeys control characters: none of the farm's text may carry one to it."""
    return "".join(char if char.isprintable() else "?" for char in text)
