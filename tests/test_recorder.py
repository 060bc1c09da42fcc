"""What a farm answered that could not be read is kept, without secrets, and can be had again."""

import asyncio
import base64
import html
import json
import stat
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from app.config.settings import Settings
from app.main import create_app
from app.sandbox.replay import Replay
from app.sandbox.server import create_farm, farm_server
from app.upstream.recorder import MAX_BODY, Exchange, FileRecorder, FolderRecorder, recording
from app.upstream.redaction import redacted
from app.upstream.xmlrpc.codec import dump_call
from tests.conftest import Farm, StartGateway, settings_for
from tests.programs import DEMO, WITHIN, run
from tests.running import client_of, running, serving
from tests.test_canary import KEY, SECRET, TOKEN, TOKEN_SECRET, WORD, Sent, leaks

MISBEHAVIOURS = {
    "truncated": {"do": "truncated"},
    "truncated without a length": {"do": "truncated", "chunked": True},
    "html": {"do": "html"},
    "too large": {"do": "oversize"},
    "too large without a length": {"do": "oversize", "chunked": True},
    "another session": {"do": "wrong_id"},
    "malformed": {"do": "malformed"},
    "bomb": {"do": "bomb"},
    "no struct": {"do": "raw", "body": "<methodResponse><params><param><value>x</value></param>"
                  "</params></methodResponse>"},
    "content coding": {"do": "raw", "body": "x", "headers": {"content-encoding": "br"}},
    "any bytes": {"do": "raw", "body": "<\xff\x00\xfe", "charset": "latin-1"},
    "a bare integer": {"do": "raw", "body": "<methodResponse><params><param><value><i4>x</i4>"
                       "</value></param></params></methodResponse>"},
}  # fmt: skip
UTF_16 = "utf-16-le"
DISGUISES: list[Callable[[str], bytes]] = [
    str.encode,
    lambda text: html.escape(text).encode(),
    lambda text: "".join(f"&#{ord(char)};" for char in text).encode(),
    lambda text: "".join(f"&#x{ord(char):x};" for char in text).encode(),
    lambda text: quote(text, safe="").encode(),
    lambda text: quote(quote(text, safe=""), safe="").encode(),
    lambda text: "".join(f"%{byte:02x}" for byte in text.encode()).encode(),
    lambda text: base64.b64encode(text.encode()),
    lambda text: base64.encodebytes(b"Zm9v" + text.encode()),
    lambda text: base64.urlsafe_b64encode(b"odd" + text.encode()),
    lambda text: text.encode().hex().encode(),
    lambda text: text.encode(UTF_16),
    lambda text: json.dumps(text).encode(),
    lambda text: repr(text).encode(),
]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of several misbehaviours in a row is recorded."""
    monkeypatch.setattr("app.upstream.recorder.PAUSE", 0.0)


def recorded(folder: Path, number: int) -> list[dict[str, Any]]:
    """The recordings of a folder, once there are so many."""
    deadline = time.monotonic() + WITHIN
    while len(paths := sorted(folder.glob("recording-*.json"))) < number:
        assert time.monotonic() < deadline, "nothing is recorded"
        time.sleep(0.02)
    return [json.loads(path.read_bytes()) for path in paths]


def texts(folder: Path) -> list[str]:
    """What is in a folder's recordings now, the oldest first: meanwhile, old ones may go."""
    found = []
    for path in sorted(folder.glob("recording-*.json")):
        with suppress(FileNotFoundError):
            found.append(path.read_text())
    return found


def problem(client: httpx.Client, path: str = "/sessions/1001") -> dict[str, Any]:
    """The problem that comes of a question, without what differs each time."""
    told: dict[str, Any] = client.get(path).json()
    del told["requestId"]
    return told


@contextmanager
def replaying(folder: Path) -> Iterator[httpx.Client]:
    """A gateway over a sandbox that gives recorded answers."""
    with (
        running(farm_server(create_farm(replay=folder))) as farm_url,
        running(serving(create_app(settings_for(farm_url)))) as url,
        client_of(url) as client,
    ):
        yield client


@pytest.mark.parametrize("step", MISBEHAVIOURS.values(), ids=MISBEHAVIOURS)
def test_a_recorded_misbehaviour_replayed_gives_the_same_problem(
    step: dict[str, object], farm: Farm, start_gateway: StartGateway, tmp_path: Path
) -> None:
    folder = tmp_path / "recordings"
    gateway = start_gateway(record_dir=folder)
    farm.next(step, step)  # some are asked again
    first = problem(gateway)
    assert first["code"] in ("upstream_unreadable", "upstream_mismatch")
    farm.forget()
    recorded(folder, 1)
    with replaying(folder) as again:
        assert problem(again) == first
        assert again.get("/sessions/1002").status_code == 200


def test_a_recording_tells_what_was_asked_and_nothing_else_is_kept(
    farm: Farm, start_gateway: StartGateway, tmp_path: Path
) -> None:
    folder = tmp_path / "recordings"
    gateway = start_gateway(record_dir=folder)
    for path in ("/sessions/1008", "/sessions/300001", "/sessions/501001"):
        gateway.get(path)
    gateway.get("/sessions/706001")
    (kept,) = recorded(folder, 1)
    assert kept["cause"] == "other_id"
    assert kept["question"]["method"] == "community.getSession"
    assert kept["question"]["arguments"] == [706001]
    (struct, number), method = xmlrpc.client.loads(kept["question"]["call"])
    assert (method, number) == ("community.getSession", 706001)
    assert isinstance(struct, dict)
    told = {name for name, value in struct.items() if value != "redacted"}
    assert told == {"oauth_signature_method", "oauth_timestamp", "oauth_version"}
    assert "<name>id</name>" in kept["answer"]["body"]


def test_only_its_owner_may_read_a_recording(
    farm: Farm, start_gateway: StartGateway, tmp_path: Path
) -> None:
    folder = tmp_path / "recordings"
    start_gateway(record_dir=folder).get("/sessions/707001")
    recorded(folder, 1)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600]


def test_the_oldest_recordings_go_first(
    farm: Farm, start_gateway: StartGateway, tmp_path: Path
) -> None:
    folder = tmp_path / "recordings"
    (tmp_path / "recordings").mkdir(mode=0o700)
    (folder / "mine.txt").touch()
    gateway = start_gateway(record_dir=folder, record_max=2)
    for number in (707001, 707002, 707003):
        gateway.get(f"/sessions/{number}")
        deadline = time.monotonic() + WITHIN
        while f"\n   {number}\n" not in "".join(texts(folder)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    deadline = time.monotonic() + WITHIN
    while len(kept := texts(folder)) > 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    asked = [json.loads(text)["question"]["arguments"] for text in kept]
    assert asked == [[707002], [707003]]
    assert (folder / "mine.txt").exists()


def test_an_answer_that_cannot_be_kept_harms_nobody(
    start_gateway: StartGateway, tmp_path: Path, log_lines: list[bytes]
) -> None:
    folder = tmp_path / "recordings"
    gateway = start_gateway(record_dir=folder)
    folder.rmdir()
    assert problem(gateway, "/sessions/707001")["code"] == "upstream_unreadable"
    deadline = time.monotonic() + WITHIN
    while b"not_recorded" not in b"".join(log_lines):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert gateway.get("/sessions/1008").status_code == 200


# Secrets


class EchoingFarm:
    """Answers what it was asked, and the secrets that it shares with us, in a disguise."""

    def __init__(self, sent: Sent) -> None:
        self.sent = sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Asked for session n, it uses the disguise n."""
        message = await receive()
        body = bytes(message["body"])
        assert not message.get("more_body")
        self.sent.note(body)
        (struct, number), _ = xmlrpc.client.loads(body)
        assert isinstance(struct, dict)
        assert isinstance(number, int)
        said = " ".join([body.decode(), SECRET, TOKEN_SECRET, *map(str, struct.values())])
        answer = b"<methodResponse>" + DISGUISES[number - 1](said)
        kind = f"text/xml; secret={struct['oauth_nonce']}"
        headers = [(b"content-type", kind.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


def test_no_recording_holds_a_secret_a_nonce_or_a_signature(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    sent = Sent()
    farm = uvicorn.Server(uvicorn.Config(EchoingFarm(sent), lifespan="off", log_config=None))
    with running(farm) as farm_url:
        settings = Settings.model_validate(
            {
                "upstream_url": farm_url,
                "consumer_key": KEY,
                "consumer_secret": SECRET,
                "oauth_token": TOKEN,
                "oauth_token_secret": TOKEN_SECRET,
                "record_dir": folder,
            }
        )
        for number in range(1, len(DISGUISES) + 1):
            # A gateway of its own each: several failures in a row would open its breaker.
            with running(serving(create_app(settings))) as url, client_of(url) as client:
                answer = client.get(f"/sessions/{number}").json()
                assert answer["code"] == "upstream_unreadable"
            kept = recorded(folder, number)
    assert len(sent.nonces) >= len(DISGUISES)
    secrets = (WORD, KEY, SECRET, TOKEN, TOKEN_SECRET, *sent.nonces, *sent.signatures)
    for path in folder.iterdir():
        assert not leaks(path.read_text(), *secrets), path
    for one in kept:
        body = one["answer"]["body"].encode(one["answer"]["charset"])
        assert one["withheld"] or body.startswith(b"<methodResponse>")
        for text in (body.decode("latin-1"), html.unescape(body.decode("latin-1"))):
            assert not leaks(text, *secrets)
    assert not all(one["withheld"] for one in kept), "what is searched is there"


WORDS = st.text(
    st.characters(exclude_categories=("C", "Z"), codec="utf-8"), min_size=8, max_size=40
)
"""Secrets are printable."""


@given(WORDS, st.sampled_from(DISGUISES), st.text(max_size=20), st.text(max_size=20))
def test_no_disguise_of_a_value_gets_through(
    value: str, disguise: Callable[[str], bytes], before: str, after: str
) -> None:
    hidden = disguise(value)
    text = b"<".join([before.encode("utf-8", "replace"), hidden, after.encode("utf-8", "replace")])
    clean = redacted(text, [value])
    assert clean is None or hidden not in clean
    assert clean is None or len(clean) == len(text)


def test_what_holds_none_of_the_values_is_as_it_was() -> None:
    text = b'<?xml version="1.0"?><a b="c2VjcmV0IGJ1dCBub3Qgb3Vycw==">\xff\x00</a>'
    assert redacted(text, ["our secret", "abc", ""]) == text


def test_a_value_that_begins_like_another_is_taken_out_whole() -> None:
    values = ["our secret", "our secret and more", "our"]
    assert redacted(b"<our secret and more>", values) == b"<" + b"x" * 19 + b">"


@pytest.mark.parametrize(
    "arguments",
    [
        [{"oauth_token": "of a visitor", "oauth_nonce": "n"}, 1],
        ["a call that is signed in its header", 1],
    ],
)
def test_what_is_asked_for_a_visitor_is_never_recorded(arguments: list[Any]) -> None:
    exchange = Exchange(dump_call("user.getAllSessions", arguments), 200, {}, b"their sessions")
    assert recording(exchange, "not_xml", ["key", "secret"]) is None


def test_a_text_that_was_asked_is_not_kept() -> None:
    call = dump_call("community.createUserAccount", [{"oauth_nonce": "n"}, "ada@example.org", 7])
    exchange = Exchange(call, 200, {}, b"<who is ada@example.org>")
    kept = recording(exchange, "not_xml", ["key", "secret"])
    assert kept is not None
    assert kept["question"]["arguments"] == ["redacted", 7]
    assert "example.org" not in json.dumps(kept)


def test_of_a_large_answer_the_beginning_is_kept() -> None:
    call = dump_call("community.getSession", [{"oauth_nonce": "n"}, 7])
    kept = recording(Exchange(call, 200, {}, b"x" * (MAX_BODY + 10)), "not_xml", ["key", "secret"])
    assert kept is not None
    assert (len(kept["answer"]["body"]), kept["answer"]["omitted"]) == (MAX_BODY, 10)


@pytest.mark.parametrize("glued", [b"", b"a", b"ab", b"abc"])
@pytest.mark.parametrize("beside", [b"", b"a", b"ab"])
def test_what_hides_in_base64_is_withheld_wherever_that_begins(glued: bytes, beside: bytes) -> None:
    hidden = base64.b64encode(beside + b"our secret" + beside)
    assert redacted(b"<" + glued + hidden + b">", ["our secret"]) in (
        None,
        b"<" + glued + b"x" * 14 + hidden[14:] + b">",  # it stands there as it is, and is taken out
    )


@pytest.mark.parametrize("hidden", [b"o%75r%20s%65cret", b"our&#32;secret"])
def test_what_is_escaped_in_part_is_withheld(hidden: bytes) -> None:
    assert redacted(b"<" + hidden + b">", ["our secret"]) is None


def test_what_hides_between_zeros_is_withheld() -> None:
    assert redacted("<our secret>".encode("utf-32-le"), ["our secret"]) is None


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    place = tmp_path / "a folder"
    place.mkdir()
    recorder = FileRecorder(place, ["key", "secret"])
    call = dump_call("community.getSession", [{"oauth_nonce": "n"}, 7])
    recorder.keep(Exchange(call, 200, {}, b"<html>"), "not_xml")
    with pytest.raises(OSError, match="directory"):
        recorder.write()
    assert [*tmp_path.iterdir()] == [place]


# The command line


def test_get_saves_question_and_answer_whatever_they_are(tmp_path: Path, farm: Farm) -> None:
    settings = {**DEMO, "RFGW_UPSTREAM_URL": farm.url}
    for number, code in ((1008, 0), (300001, 3), (707001, 12)):
        done = run(tmp_path, "get", str(number), "--save", f"{number}.json", settings=settings)
        assert done.returncode == code
        path = tmp_path / f"{number}.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert DEMO["RFGW_CONSUMER_KEY"] not in path.read_text()
    with replaying(tmp_path) as again:
        assert again.get("/sessions/1008").json()["title"] == "Sandbox session 1008"
        assert problem(again, "/sessions/300001")["code"] == "session_not_found"
        assert problem(again, "/sessions/707001")["code"] == "upstream_unreadable"


def test_get_tells_that_nothing_could_be_saved(tmp_path: Path, farm: Farm) -> None:
    settings = {**DEMO, "RFGW_UPSTREAM_URL": farm.url}
    done = run(tmp_path, "get", "701001", "--save", "a.json", settings=settings)
    assert "rfgw get: nothing is saved: no answer came\n" in done.stderr
    assert not (tmp_path / "a.json").exists()
    done = run(tmp_path, "get", "42", "--save", "none/a.json", settings=settings)
    assert (done.returncode, done.stderr) == (
        0,
        "rfgw get: none/a.json: No such file or directory\n",
    )


def test_what_is_no_recording_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"answer": {}}')
    done = run(tmp_path, "sandbox", "--replay", ".")
    assert (done.returncode, done.stderr) == (2, "rfgw sandbox: a.json: no recording\n")


def write_answer(folder: Path, name: str, method: str, *arguments: object) -> None:
    """A recording whose answer is its name."""
    question = {"method": method, "arguments": arguments}
    answer = {"do": "raw", "body": name}
    (folder / f"{name}.json").write_text(json.dumps({"question": question, "answer": answer}))


def test_several_answers_to_one_question_take_turns_in_the_order_of_their_names(
    tmp_path: Path,
) -> None:
    # So many that no file system lists them in order by chance.
    names = [f"{number:02}" for number in range(40)]
    for name in (*names[1::2], *reversed(names[::2])):
        write_answer(tmp_path, name, "m", 1, "redacted")
    replay = Replay(tmp_path)
    steps = [replay.step("m", [1, "any"]) for _ in range(41)]
    assert [step and step.body for step in steps] == [*names, names[-1]]
    assert replay.step("m", [2, "any"]) is None


def test_a_queued_misbehaviour_comes_before_a_recording(tmp_path: Path) -> None:
    for number in (1008, 1009):
        write_answer(tmp_path, f"recorded-{number}", "community.getSession", number)
    app = create_farm(replay=tmp_path)
    with (
        running(farm_server(app)) as farm_url,
        running(serving(create_app(settings_for(farm_url)))) as url,
        client_of(farm_url) as farm,
        client_of(url) as again,
    ):
        assert farm.put("/__script", json=[{"do": "fault", "code": 300}]).is_success
        assert problem(again, "/sessions/1008")["code"] == "session_not_found"
        assert problem(again, "/sessions/1009")["code"] == "upstream_unreadable"


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701])
def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    settings = {**DEMO, "RFGW_RECORD_DIR": str(tmp_path)}
    done = run(tmp_path, "config", settings=settings)
    assert done.stderr == (
        "RFGW_RECORD_DIR: must be a folder that its owner alone can enter: chmod 700\n"
    )
    done = run(tmp_path, "config", settings={**DEMO, "RFGW_RECORD_DIR": "no/folder"})
    assert done.stderr.startswith("RFGW_RECORD_DIR: must be a folder, or a place for one")


def test_a_second_within_a_second_is_not_recorded(tmp_path: Path) -> None:
    moments = iter([0.0, 0.5, 0.5, 1.0])
    pauses = pytest.MonkeyPatch()
    pauses.setattr("app.upstream.recorder.PAUSE", 1.0)
    call = dump_call("m", [{"oauth_nonce": "n"}, 1])

    async def keep() -> None:
        recorder = FolderRecorder(tmp_path / "r", ["key"], 100, lambda: next(moments))
        for cause in ("type", "type", "depth", "type"):
            recorder.keep(Exchange(call, 200, {}, b""), cause)
        await asyncio.get_running_loop().shutdown_default_executor()

    with pauses.context():
        asyncio.run(keep())
    assert sorted(one["cause"] for one in recorded(tmp_path / "r", 3)) == ["depth", "type", "type"]
    pauses.undo()
