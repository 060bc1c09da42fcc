"""The command line, as real processes: what it prints, where, and its exit codes."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from app.api.error_codes import Code
from app.api.error_meanings import MEANINGS
from app.api.problems import CODES
from app.cli import main as cli
from app.cli.exit_codes import EXIT_CODES, REMEDIES
from app.cli.summary import summary
from app.config.settings import Settings
from app.edge.api_keys import ApiKeys
from app.resources.sessions import GetSession
from app.upstream.refusals import FAULTS
from tests.conftest import Farm
from tests.hostile_farm import raw_farm, silent_after
from tests.programs import (
    DEMO,
    RFGW,
    ROOT,
    WITHIN,
    Done,
    Program,
    await_port,
    finish,
    free_port,
    is_open,
    run,
    started,
)
from tests.running import client_of
from tests.test_upstream import wait_for

KNOWN = {**FAULTS, **GetSession.faults}
UVICORN = (sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app")
CANARY = "c4nary"
ask_once = partial(httpx.get, trust_env=False, timeout=WITHIN)
WRONG = {
    "RFGW_CONSUMER_SECRET": f" {CANARY}",
    "RFGW_CONSUMER_KEY_FILE": f"/{CANARY}",
    "RFGW_UPSTREAM_URL": f"http://user:{CANARY}@farm.example",
    "RFGW_SIGNING": CANARY,
    "RFGW_PROT": CANARY,
}


@contextmanager
def serving(directory: Path, **settings: str) -> Iterator[tuple[Program, httpx.Client]]:
    """``rfgw serve`` on a port of its own, ready, and a client of it."""
    port = free_port()
    given = {**DEMO, **settings, "RFGW_PORT": str(port)}
    with started(directory, *RFGW, "serve", settings=given) as program:
        await_port(port, program)
        with client_of(f"http://127.0.0.1:{port}") as client:
            assert client.get("/health/ready").status_code == 200
            yield program, client


def over(farm: Farm, **settings: str) -> dict[str, str]:
    """The settings of a gateway over ``farm``."""
    return {**DEMO, "RFGW_UPSTREAM_URL": farm.url, **settings}


def lines(text: str) -> list[dict[str, object]]:
    """Log lines of JSON, decoded."""
    return [json.loads(line) for line in text.splitlines()]


# Wrong settings


def test_wrong_settings_stop_every_program_with_a_line_for_each(tmp_path: Path) -> None:
    commands = [(*RFGW, "serve"), (*RFGW, "get", "42"), UVICORN]
    with ExitStack() as stack:
        programs = [
            stack.enter_context(started(tmp_path, *command, settings=WRONG)) for command in commands
        ]
        for done in map(finish, programs):
            assert (done.returncode, done.stdout) == (2, "")
            told = done.stderr.splitlines()
            assert [line.partition(":")[0] for line in told] == sorted(WRONG)
            assert "did you mean RFGW_PORT?" in done.stderr
            assert CANARY not in done.stderr


def test_an_env_file_of_the_working_directory_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("RFGW_CONSUMER_KEY=k\nRFGW_CONSUMER_SECRET=s\nRFGW_PROT=1\n")
    done = run(tmp_path, "get", "42")
    assert (done.returncode, done.stderr) == (
        2,
        "RFGW_PROT: no such setting; did you mean RFGW_PORT?\n",
    )


# serve


def test_serve_logs_lines_of_json_and_ends_on_sigterm_with_0(tmp_path: Path, farm: Farm) -> None:
    settings = {"RFGW_UPSTREAM_URL": farm.url, "RFGW_LOG_LEVEL": "debug"}
    with serving(tmp_path, **settings) as (program, client):
        assert client.get("/sessions/42").json()["id"] == 42
        program.send_signal(signal.SIGTERM)
        done = finish(program)
    assert (done.returncode, done.stdout) == (0, "")
    told = lines(done.stderr)
    assert all(set(line) >= {"time", "level", "event"} for line in told)
    listening = next(line for line in told if line["event"] == "listening")
    assert listening["port"] == client.base_url.port
    assert any(line["event"] == "upstream_attempt" for line in told)
    assert any(line.get("logger") == "uvicorn.error" for line in told)


def test_serve_closes_a_connection_that_is_idle_for_as_long_as_told(tmp_path: Path) -> None:
    with serving(tmp_path, RFGW_KEEP_ALIVE="1") as (_, client):
        at = ("127.0.0.1", client.base_url.port)
        with socket.create_connection(at, timeout=WITHIN) as idle:
            idle.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = b"".join(iter(partial(idle.recv, 65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_serve_logs_for_people_and_ends_on_ctrl_c_with_0(tmp_path: Path) -> None:
    with serving(tmp_path, RFGW_LOG_FORMAT="console") as (program, _):
        program.send_signal(signal.SIGINT)
        done = finish(program)
    assert done.returncode == 0
    assert all(re.match(r"\d\d:\d\d:\d\d info \S", line) for line in done.stderr.splitlines())


def test_serve_takes_its_secret_from_a_file_and_listens_on_ipv6(tmp_path: Path, farm: Farm) -> None:
    (tmp_path / "secret").write_text(DEMO["RFGW_CONSUMER_SECRET"] + "\n")
    port = free_port()
    settings = over(farm, RFGW_CONSUMER_SECRET="", RFGW_HOST="::1", RFGW_PORT=str(port))
    settings["RFGW_CONSUMER_SECRET_FILE"] = str(tmp_path / "secret")
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    with started(tmp_path, *RFGW, "serve", settings=settings) as program:
        # The port is open before the first line is logged.
        assert program.stderr is not None
        assert "listening" in program.stderr.readline()
        answer = ask_once(f"http://[::1]:{port}/sessions/42")
        assert answer.status_code == 200


def test_uvicorns_own_command_line_logs_through_the_same_lines(tmp_path: Path, farm: Farm) -> None:
    port = free_port()
    command = (*UVICORN, "--port", str(port))
    with started(tmp_path, *command, settings=over(farm)) as program:
        await_port(port, program)
        assert ask_once(f"http://127.0.0.1:{port}/nothing").status_code == 404
        program.send_signal(signal.SIGINT)
        done = finish(program)
    told = lines(done.stdout + done.stderr)
    assert any(line.get("logger") == "uvicorn.access" for line in told)


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_serve_tells_where_it_cannot_listen(tmp_path: Path, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, "serve", settings={**DEMO, "RFGW_HOST": host, "RFGW_PORT": str(port)})
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"rfgw serve: {host} port {port}: \w[^\n]+\n", done.stderr)


# sandbox


def test_sandbox_listens_where_told_until_ctrl_c(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, *RFGW, "sandbox", "--port", str(port)) as program:
        await_port(port, program)
        assert ask_once(f"http://127.0.0.1:{port}/__records").is_success
        program.send_signal(signal.SIGINT)
        done = finish(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not is_open(port)


def test_sandbox_tells_that_its_port_is_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, "sandbox", "--port", str(port))
    assert done.returncode not in (0, 2)
    assert re.search(rf"{port}.*in use", done.stderr)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("port", ["0", "65536", "-1", "x", "٣"])
def test_a_port_is_a_number_in_range(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["sandbox", f"--port={port}"])
    assert "must be a whole number from 1 to 65535" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["sandbox", "demo"])
@pytest.mark.parametrize("speed", ["0", "1001", "-1", "x", "٣"])
def test_a_speed_is_a_number_in_range(
    verb: str, speed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main([verb, f"--speed={speed}"])
    assert "must be a whole number from 1 to 1000" in capsys.readouterr().err


def test_sandbox_does_not_listen_beyond_this_machine_unasked(
    tmp_path: Path,
) -> None:
    done = run(tmp_path, "sandbox", "--host", "0.0.0.0")
    assert done.returncode == 2
    assert done.stderr.startswith("rfgw sandbox: ")


# get


def on_terminal(directory: Path, farm: Farm, *arguments: str) -> str:
    """What ``rfgw get`` shows on a terminal."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("RFGW_")}
    ours, its = pty.openpty()
    try:
        subprocess.run(
            [*RFGW, "get", *arguments],
            cwd=directory,
            env={**inherited, **over(farm), "PYTHONPATH": str(ROOT)},
            stdin=its,
            stdout=its,
            stderr=subprocess.PIPE,
            timeout=30,
            check=True,
        )
    finally:
        os.close(its)
    shown = b""
    try:
        while chunk := os.read(ours, 65_536):
            shown += chunk
    except OSError:  # how Linux tells that nobody holds the other end
        pass
    finally:
        os.close(ours)
    return shown.decode().replace("\r\n", "\n")


def test_get_prints_json_into_a_pipe(tmp_path: Path, farm: Farm) -> None:
    done = run(tmp_path, "get", "42", settings=over(farm))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["id"] == 42
    assert done.stdout.endswith("}\n")


def test_get_prints_a_summary_on_a_terminal(tmp_path: Path, farm: Farm) -> None:
    assert on_terminal(tmp_path, farm, "1008") == (
        "Session 1008  Sandbox session 1008\n"
        "  state     completed (completed)\n"
        "  progress  [##############################] 100 %\n"
        "  frames    250 of 250\n"
        "  parts     250 of 250\n"
        "  size      1920 x 1080, 25 frames a second\n"
        "  licence   CC by-nc-sa\n"
        "  stream    https://files.example.invalid/sessions/1008/film.ogv\n"
    )


def ask(
    farm: Farm,
    monkeypatch: pytest.MonkeyPatch,
    directory: Path,
    *arguments: str,
    **settings: str,
) -> int:
    """``rfgw get`` within this process: its exit code."""
    monkeypatch.chdir(directory)
    for name, text in over(farm, **settings).items():
        monkeypatch.setenv(name, text)
    return cli.main(["get", *arguments])


@pytest.mark.parametrize(
    ("step", "code"),
    [
        *(({"do": "fault", "code": fault}, CODES[kind]) for fault, kind in KNOWN.items()),
        ({"do": "fault", "code": 999}, Code.UPSTREAM_FAULT),
        ({"do": "status", "status": 500}, Code.UPSTREAM_UNREACHABLE),
        ({"do": "status", "status": 503}, Code.UPSTREAM_UNAVAILABLE),
        ({"do": "reset"}, Code.UPSTREAM_UNREACHABLE),
        ({"do": "hang"}, Code.UPSTREAM_TIMEOUT),
        ({"do": "html"}, Code.UPSTREAM_UNREADABLE),
        ({"do": "wrong_id"}, Code.UPSTREAM_MISMATCH),
    ],
    ids=str,
)
def test_get_tells_a_problem_by_its_exit_code_and_on_stderr(
    step: dict[str, object],
    code: Code,
    farm: Farm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    farm.next(step, step, step)
    patience = {"RFGW_UPSTREAM_DEADLINE": "0.2"} if step["do"] == "hang" else {}
    assert ask(farm, monkeypatch, tmp_path, "42", **patience) == EXIT_CODES[code]
    told = capsys.readouterr()
    assert told.out == ""
    assert re.fullmatch(r"[A-Z][^:]+: [A-Z].*\.\n", told.err)
    if code is Code.UPSTREAM_REFUSED_CREDENTIALS:
        assert told.err.endswith(" Run rfgw doctor.\n")


@pytest.mark.parametrize("code", [*EXIT_CODES, Code.OVERLOADED, Code.INTERNAL_ERROR])
def test_no_remedy_of_get_speaks_of_what_only_an_answer_has(code: Code) -> None:
    remedy = REMEDIES.get(code, MEANINGS[code].remedy)
    assert not re.search("requestId|Retry-After|Accept|Cache-Control", remedy)


def test_get_prints_json_on_a_terminal_if_asked(
    farm: Farm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert ask(farm, monkeypatch, tmp_path, "1009", "--json") == 0
    assert json.loads(capsys.readouterr().out)["state"] == "cancelled"


@pytest.mark.parametrize("wrong", ["0", "-1", "x", "042", "2147483648", "", " 42", "٣"])
def test_get_asks_nobody_about_what_is_no_id(
    wrong: str,
    farm: Farm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ask(farm, monkeypatch, tmp_path, "--", wrong) == 2
    assert farm.calls() == 0
    assert capsys.readouterr().err == ("rfgw get: id must be a whole number from 1 to 2147483647\n")


def test_the_exit_codes_of_get_differ_and_are_in_its_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["get", "--help"])
    shown = capsys.readouterr().out
    documented = {int(n): code for n, code in re.findall(r"^ +(\d+)  (\w+)$", shown, re.MULTILINE)}
    told = {number: code.value for code, number in EXIT_CODES.items()}
    assert len(told) == len(EXIT_CODES)
    assert documented == told | {0: "found"}
    assert not {0, 1, 2, 130} & set(told)


def test_a_bug_shows_as_its_type_and_place_only(
    farm: Farm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(_body: str) -> str:
        raise ValueError(DEMO["RFGW_CONSUMER_SECRET"])

    monkeypatch.setattr("app.cli.summary.summary", broken)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert ask(farm, monkeypatch, tmp_path, "42") == 1
    told = capsys.readouterr().err
    assert "ValueError" in told
    assert "test_cli.py:" in told
    assert len(told.splitlines()) == 1
    assert DEMO["RFGW_CONSUMER_SECRET"] not in told


UNKNOWN: dict[str, object] = {
    "id": 7,
    "title": None,
    "state": "unknown",
    "xResolution": None,
    "yResolution": 1080,
    "frameRate": None,
    "streamURL": None,
    "outputLicense": None,
    "progress": {
        "phase": "awaiting_approval",
        "percent": None,
        "framesRendered": None,
        "framesTotal": None,
        "partsRendered": None,
        "partsTotal": None,
    },
}


def test_a_summary_leaves_out_what_is_not_known() -> None:
    assert summary(json.dumps(UNKNOWN)) == (
        "Session 7  untitled\n  state     unknown (awaiting approval)"
    )


def test_a_summary_tells_half_of_what_is_known() -> None:
    progress = {
        "phase": "rendering",
        "percent": 50,
        "framesRendered": None,
        "framesTotal": 8,
        "partsRendered": 0,
        "partsTotal": None,
    }
    known = {**UNKNOWN, "xResolution": 1920, "frameRate": 12.5, "progress": progress}
    assert summary(json.dumps(known)).splitlines()[2:] == [
        "  progress  [###############---------------] 50 %",
        "  frames    ? of 8",
        "  parts     0 of ?",
        "  size      1920 x 1080, 12.5 frames a second",
    ]


def test_a_summary_sends_no_control_character_to_the_terminal() -> None:
    odd = {**UNKNOWN, "title": "a\x1b[2J\n\u202eb\x9b\ud800 é", "streamURL": "x:\x07"}
    shown = summary(json.dumps(odd))
    assert "a?[2J??b?? é" in shown
    assert all(line.isprintable() for line in shown.splitlines())


# key


def test_key_prints_a_key_and_the_line_that_makes_it_valid(tmp_path: Path) -> None:
    done = run(tmp_path, "key", "site-a")
    assert done.returncode == 0
    key, line = done.stdout.splitlines()
    (tmp_path / "keys").write_text(line)
    assert ApiKeys(tmp_path / "keys").name_of(key.encode(), 0.0) == "site-a"
    assert key not in done.stderr
    assert "shown this once" in done.stderr


def test_key_writes_what_the_key_allows(tmp_path: Path) -> None:
    done = run(tmp_path, "key", "site-a", "--scope", "accounts")
    key, line = done.stdout.splitlines()
    (tmp_path / "keys").write_text(line)
    known = ApiKeys(tmp_path / "keys").find(key.encode(), 0.0)
    assert known is not None
    assert (known.name, known.scopes) == ("site-a", frozenset({"accounts"}))
    assert run(tmp_path, "key", "site-a", "--scope", "all").returncode == 2


def test_key_makes_a_key_for_cookies_that_the_settings_take(tmp_path: Path) -> None:
    first, second = (run(tmp_path, "key", "--cookie").stdout.strip() for _ in range(2))
    settings = Settings.model_validate(
        {"consumer_key": "-", "consumer_secret": "-", "cookie_key": f"{first},{second}"}
    )
    assert [len(key) for key in settings.cookie_keys] == [32, 32]
    assert first != second
    assert run(tmp_path, "key").returncode == 2
    assert run(tmp_path, "key", "site-a", "--cookie").returncode == 2


def test_key_refuses_a_name_that_is_not_plain(tmp_path: Path) -> None:
    done = run(tmp_path, "key", "site a")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("rfgw key: NAME must be a letter")


def test_serve_refuses_to_start_with_a_broken_file_of_keys(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("site-a rfgw_s3cret")
    done = run(
        tmp_path,
        "serve",
        settings={**DEMO, "RFGW_PORT": str(free_port()), "RFGW_API_KEYS_FILE": "keys"},
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "RFGW_API_KEYS_FILE: line 1: must be a name, a blank and sha256:<64 hex digits>"
    )
    assert "s3cret" not in done.stdout + done.stderr


# openapi, and no verb


def test_openapi_prints_the_document_without_any_setting(tmp_path: Path) -> None:
    done = run(tmp_path, "openapi", settings={"RFGW_PORT": "wrong", "LC_ALL": "POSIX"})
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["openapi"].startswith("3.1")


def test_a_reader_that_has_enough_is_no_error_to_shout_about(tmp_path: Path) -> None:
    with started(tmp_path, *RFGW, "openapi") as program:
        assert program.stdout is not None
        program.stdout.close()
        program.stdout = None
        done: Done = finish(program)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("verb", [("get", "42"), ("openapi",), ("key", "studio"), ("config",)])
def test_a_full_disk_is_told_in_one_line(verb: tuple[str, ...], tmp_path: Path, farm: Farm) -> None:
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("RFGW_")}
    inherited.pop("PYTHONUNBUFFERED", None)  # what is written stays in a buffer till the end
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*RFGW, *verb],
            cwd=tmp_path,
            env={**inherited, **over(farm), "PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == f"rfgw {verb[0]}: cannot write: No space left on device\n"


def test_without_a_verb_there_is_help(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    for verb in ("serve", "sandbox", "demo", "get", "key", "openapi"):
        assert re.search(rf"^ +{verb} ", done.stderr, re.MULTILINE)


def test_the_rfgw_command_is_what_python_m_app_runs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"rfgw": f"{cli.main.__module__}:{cli.main.__name__}"}


def test_a_question_that_is_broken_off_by_ctrl_c_ends_with_130(tmp_path: Path) -> None:
    with raw_farm(silent_after(b"")) as farm:
        settings = {**DEMO, "RFGW_UPSTREAM_URL": farm.url}
        with started(tmp_path, *RFGW, "get", "1001", settings=settings) as program:
            wait_for(lambda: bool(farm.requests))
            program.send_signal(signal.SIGINT)
            done = finish(program)
    assert done.returncode == 130
    assert (done.stdout, "Traceback" in done.stderr) == ("", False)
