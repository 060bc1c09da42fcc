"""``?fields=``: which members are sent, what is refused, and that the tag is theirs."""

import asyncio
import threading
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from app.api import projection
from app.api.projection import LARGE, MAX_BYTES, fields_of, prepare, project
from app.core.cache_entry import CacheEntry, digest
from app.resources.session_model import Session
from tests.conftest import Farm
from tests.hostile_farm import member, session
from tests.test_caching import Clock, clock, wound
from tests.test_http import problem_of
from tests.test_upstream import body

__all__ = ["clock", "wound"]  # fixtures

ALL = (
    "there are id, title, state, upstreamState, userId, startFrame, endFrame, xResolution, "
    "yResolution, partsPerFrame, partsTotal, partsRendered, framesRendered, frameRate, "
    "cpuTimeRendered, cpuRendered, streamURL, thumbnails, inputLicense, outputLicense, timestamps, "
    "attachments, blendFiles, progress"
)


def test_exactly_the_named_members_are_sent_in_the_usual_order(gateway: httpx.Client) -> None:
    whole = gateway.get("/sessions/42").json()
    some = gateway.get("/sessions/42?fields=progress,title")
    assert list(some.json().items()) == [
        ("title", whole["title"]),
        ("progress", whole["progress"]),
    ]
    assert gateway.head("/sessions/42?fields=title").headers["content-length"] == str(
        len(gateway.get("/sessions/42?fields=title").content)
    )


def test_order_and_repetition_change_neither_bytes_nor_tag(gateway: httpx.Client) -> None:
    queries = ("fields=title,state", "fields=state,title,state", "fields=state&fields=title")
    answers = [gateway.get(f"/sessions/42?{query}") for query in queries]
    assert len({answer.content for answer in answers}) == 1
    (tag,) = {answer.headers["etag"] for answer in answers}
    assert tag == f'"{digest(answers[0].content)}"'


def test_all_members_are_the_whole_answer(gateway: httpx.Client) -> None:
    whole = gateway.get("/sessions/42")
    named = gateway.get("/sessions/42", params={"fields": ",".join(whole.json())})
    assert named.content == whole.content
    assert named.headers["etag"] == whole.headers["etag"]


def test_a_change_elsewhere_leaves_the_tag_of_a_projection(
    wound: httpx.Client, clock: Clock, farm: Farm
) -> None:
    statuses = {}
    for fields in ("title,state", "partsRendered"):
        clock.passed += 100
        farm.next(rendered(7), rendered(8))
        first = wound.get(f"/sessions/1005?fields={fields}")
        clock.passed += 100
        again = {"If-None-Match": first.headers["etag"]}
        statuses[fields] = wound.get(f"/sessions/1005?fields={fields}", headers=again).status_code
    assert statuses == {"title,state": 304, "partsRendered": 200}
    assert farm.calls() == 4


def rendered(parts: int, state: str = "active") -> dict[str, object]:
    """Session 1005 with so many parts, as the farm tells it once."""
    members = {"title": "t", "state": state, "partsRendered": f"<i4>{parts}</i4>"}
    inner = (member(name, value) for name, value in members.items())
    return body(session(*inner, number=1005))


@pytest.mark.parametrize(
    ("fields", "messages"),
    [
        ("titel", ["number 1 of the list is not the name of a field; did you mean title?"]),
        ("title,Zeta,stat", [
            f"number 2 of the list is not the name of a field; {ALL}",
            "number 3 of the list is not the name of a field; did you mean state?",
        ]),
        ("", [f"number 1 of the list is not the name of a field; {ALL}"]),
        ("title,", [f"number 2 of the list is not the name of a field; {ALL}"]),
        ("progress.percent", [
            "number 1 of the list is not the name of a field; did you mean progress?"
        ]),
        ("title" * 200, [f"number 1 of the list is not the name of a field; {ALL}"]),
        (",".join(["title"] * 25), ["must be at most 24 values"]),
    ],
)  # fmt: skip
def test_an_unknown_name_is_refused_with_help_and_without_an_echo(
    gateway: httpx.Client, farm: Farm, fields: str, messages: list[str]
) -> None:
    for path in ("/sessions/42", "/sessions?ids=42", "/sessions/42/events"):
        answer = gateway.get(path, params={**dict(httpx.URL(path).params), "fields": fields})
        parts: list[dict[str, Any]] = problem_of(answer, 422, "invalid_request")["errors"]
        assert [part["message"] for part in parts] == messages
        assert {part["parameter"] for part in parts} == {"fields"}
        for word in ("titel", "Zeta", "progress.percent", "titletitle"):
            assert word not in answer.text
    assert farm.calls() == 0


async def test_a_refusal_and_a_whole_answer_are_left_as_they_are() -> None:
    refused = CacheEntry(b"", "", 0.0, 1.0, 1, refused="SessionNotFound")
    whole = CacheEntry(b"{}", digest(b"{}"), 0.0, 1.0, 1)
    assert project(refused, ("title",)) is refused
    assert project(whole, ()) is whole


def test_the_names_are_the_models_own_computed_ones_included() -> None:
    chosen = TypeAdapter(fields_of(Session)).validate_python(["progress", "id,progress"])
    assert chosen == ("id", "progress")


def large(name: str) -> CacheEntry:
    """An entry of a body that is cut beside the event loop."""
    content = to_json({"title": name, "thumbnails": ["x" * 100] * (LARGE // 100)})
    return CacheEntry(content, digest(content), 0.0, 1.0, 1)


async def test_a_projection_is_made_once_for_a_body_and_its_fields(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[bytes] = []

    def counted(body: bytes) -> Any:
        read.append(body)
        return from_json(body)

    monkeypatch.setattr(projection, "from_json", counted)
    entry = large("once")
    for _ in range(3):
        await prepare(entry, ("title",))
        again = entry._replace(asked_at=5.0)  # the farm has said the same once more
        assert project(again, ("title",)).body == b'{"title":"once"}'
    assert len(read) == 1
    assert project(entry, ("thumbnails",)).body != project(entry, ("title",)).body
    assert len(read) == 2


async def test_a_large_body_is_cut_beside_the_loop_and_a_small_one_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[int] = []

    def noted(body: bytes) -> Any:
        threads.append(threading.get_ident())
        return from_json(body)

    monkeypatch.setattr(projection, "from_json", noted)
    entry = large("beside")
    await prepare(entry, ("title",))
    project(entry, ("title",))
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()
    small = CacheEntry(b'{"title":1}', digest(b'{"title":1}'), 0.0, 1.0, 1)
    await prepare(small, ("title",))
    assert len(threads) == 1
    await prepare(None, ("title",))
    await prepare(entry, ())
    assert len(threads) == 1


def test_what_has_been_cut_takes_bounded_memory() -> None:
    for number in range(2 * MAX_BYTES // LARGE):
        project(large(str(number)), ("thumbnails",))
    assert projection._cuts.currsize <= MAX_BYTES
    assert len(projection._cuts) > 1


@pytest.mark.parametrize("path", ["/sessions/42", "/sessions?ids=42", "/sessions/42/events"])
def test_no_route_cuts_a_large_session_in_the_loop(
    gateway: httpx.Client, farm: Farm, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def never_in_a_loop(body: bytes) -> Any:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return from_json(body)

    monkeypatch.setattr(projection, "from_json", never_in_a_loop)
    more = "".join(member(str(i), f"http://a.example/{path}/{i}") for i in range(2000))
    ended = member("state", "completed"), member("thumbnails", f"<struct>{more}</struct>")
    farm.next(body(session(*ended, number=42)))
    answer = gateway.get(path, params={**dict(httpx.URL(path).params), "fields": "id"})
    assert answer.status_code == 200
    assert b'{"id":42}' in answer.content
