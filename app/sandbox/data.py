"""What the farm knows. Must not know HTTP, signatures, or the gateway's models.

Sessions 1001 to 1012 stand in one phase of a session's life each; 42 is a finished one to look at.
A session's life runs on one clock, in seconds since its rendering began:

====  =================  =========  =======  ===============================
id    phase              state      age      odd about it
====  =================  =========  =======  ===============================
1001  submitted          sumit      -3550    the vendor's spelling of submit
1002  testing            sumit      -3450
1003  awaiting approval  accept     -3000
1004  preprocessing      active     -30
1005  rendering          active     0..300   renders while you watch
1006  postprocessing     active     255
1007  encoding           active     265
1008  completed          completed  280
1009  cancelled          cancelled  100      numbers as text, an empty struct as text
1010  rejected           rejected   -3000
1011  queued             active     -1000
1012  unknown            paused     -3600    an undocumented state; members are missing
====  =================  =========  =======  ===============================

1005 renders one part a second from the farm's start, is finished after 270 s, and starts anew
after 300 s; so does 301001, the first of the sessions that belong to users. Magic ids
(``script.MAGIC``) are sessions under way. Every other id is fault 300.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from app.sandbox.faults import refusal
from app.sandbox.script import MAGIC
from app.upstream.xmlrpc.codec import Value

Struct = dict[str, Value]
Function = Callable[..., Value]
AnyFunction = TypeVar("AnyFunction", bound=Function)

LIVES = {
    42: ("completed", 280),
    1001: ("sumit", -3550),
    1002: ("sumit", -3450),
    1003: ("accept", -3000),
    1004: ("active", -30),
    1005: ("active", 0),
    1006: ("active", 255),
    1007: ("active", 265),
    1008: ("completed", 280),
    1009: ("cancelled", 100),
    1010: ("rejected", -3000),
    1011: ("active", -1000),
    1012: ("paused", -3600),
}
OF_USERS = {
    301_001: ("active", 0),
    301_002: ("completed", 280),
    301_003: ("accept", -3000),
    301_101: ("active", 100),
    301_102: ("completed", 280),
}
WATCHED, ROUND = (1005, 301_001), 300
PARTS = 250
RENDER_BEGIN = 1_270_548_000
MOMENTS = {
    "register": -3600,
    "submit": -3599,
    "test_begin": -3500,
    "test_end": -3400,
    "accept": -1800,
    "preprocessing_begin": -60,
    "preprocessing_end": -5,
    "render_begin": 0,
    "render_end": PARTS,
    "postprocessing_begin": 251,
    "postprocessing_end": 260,
    "encode_begin": 261,
    "encode_end": 270,
}
LICENCE: Struct = {
    "name": "CC by-nc-sa",
    "url": "http://creativecommons.org/licenses/by-nc-sa/3.0/",
}
ODDITIES: Mapping[int, Struct] = {
    1009: {"partsTotal": str(PARTS), "frameRate": "25", "attachments": ""},
    301_101: {"userid": 882},
    301_102: {"userid": 882},
}
MISSING = {1012: ("inputLicence", "outputLicence", "thumbnails", "frameRate", "partsPerFrame")}


@dataclass(frozen=True)
class Method:
    """``function(*arguments, started=..., now=...)`` and its arguments by documented name."""

    function: Function
    parameters: Mapping[str, type]


METHODS: dict[str, Method] = {}


def answers(method: str, **parameters: type) -> Callable[[AnyFunction], AnyFunction]:
    """Registers what answers ``method``; ``parameters`` are those behind the OAuth struct."""

    def register(function: AnyFunction) -> AnyFunction:
        METHODS[method] = Method(function, parameters)
        return function

    return register


@answers("community.getSession", sessionId=int)
def get_session(session_id: int, *, started: float, now: float) -> Struct:
    """A session as the farm tells it; raises Fault 300 for ids that it does not know."""
    if session_id in LIVES or session_id in OF_USERS:
        state, age = (LIVES | OF_USERS)[session_id]
    elif session_id // 1000 in MAGIC:
        state, age = "active", 100
    else:
        raise refusal(300)
    begin = RENDER_BEGIN
    if session_id in WATCHED:
        rounds, passed = divmod(now - started, ROUND)
        begin, age = int(started + rounds * ROUND), int(passed)
    session = _session(session_id, state, begin, age) | ODDITIES.get(session_id, {})
    missing = MISSING.get(session_id, ())
    return java_order({name: value for name, value in session.items() if name not in missing})


def _session(session_id: int, state: str, begin: int, age: int) -> Struct:
    parts = max(0, min(PARTS, age))
    files = f"https://files.example.invalid/sessions/{session_id}"
    thumbnails: Struct = {str(n): f"{files}/{n}.jpg" for n in range(25, parts + 1, 25)}
    blend_file: Struct = {
        "url": f"{files}/scene.blend",
        "size": 1_482_752,
        "md5": "9e107d9d372bb6826bd81d3542a419d6",
    }
    attachment: Struct = {
        "url": f"{files}/wood.png",
        "path": "textures/wood.png",
        "size": 204_800,
        "description": "A texture",
    }
    stream: Struct = {"streamURL": f"{files}/film.ogv"} if age >= MOMENTS["encode_end"] else {}
    return stream | {
        "id": session_id,
        "title": f"Sandbox session {session_id}",
        "userid": 881,
        "state": state,
        "startFrame": 1,
        "endFrame": PARTS,
        "xResolution": 1920,
        "yResolution": 1080,
        "frameRate": 25,
        "partsPerFrame": 1,
        "partsTotal": PARTS,
        "partsRendered": parts,
        "framesRendered": parts,
        "cpuTimeRendered": parts * 37,
        "cpuRendered": parts,
        "thumbnails": thumbnails,
        "inputLicence": LICENCE,
        "outputLicence": LICENCE,
        "timestamps": {name: begin + at for name, at in MOMENTS.items() if at <= age},
        "attachments": {"7": attachment},
        "blendFiles": {"11": blend_file},
    }


def java_order(value: Struct) -> Struct:
    """Structs in the order in which a Java 6 HashMap of the vendor's library lists its members."""
    buckets = 16
    while len(value) > buckets * 0.75:
        buckets *= 2
    names = sorted(value, key=lambda name: _java_hash(name) % buckets)
    members = {name: value[name] for name in names}
    return {
        name: java_order(member) if isinstance(member, dict) else member
        for name, member in members.items()
    }


@lru_cache(1024)
def _java_hash(name: str) -> int:
    number = 0
    for character in name:
        number = (number * 31 + ord(character)) % 2**32
    number ^= (number >> 20) ^ (number >> 12)
    return number ^ (number >> 7) ^ (number >> 4)
