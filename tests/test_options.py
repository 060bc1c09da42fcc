"""Options, ``rfgw config``, and what comes before anything is loaded."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli import main as cli
from app.config.environment import FILES, NAMES, SettingsError, load, option_name
from app.config.settings import GROUPS, SECRETS, Settings
from tests.programs import DEMO, RFGW, ROOT, WITHIN, await_port, finish, free_port, run, started

CANARY = "c4nary"
SETTABLE = [name for name, field in {**NAMES, **FILES}.items() if name in FILES
            or field not in SECRETS]  # fmt: skip


def config(directory: Path, *options: str, **settings: str) -> dict[str, dict[str, object]]:
    """What ``rfgw config --json`` tells."""
    done = run(directory, "config", "--json", *options, settings={**DEMO, **settings})
    assert (done.returncode, done.stderr) == (0, "")
    told: dict[str, dict[str, object]] = json.loads(done.stdout)
    return told


# Where values come from


def test_an_option_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    (tmp_path / "ours").write_text("RFGW_PORT=1\nRFGW_HOST=::1\nRFGW_WORKERS=2\n")
    (tmp_path / ".env").write_text("RFGW_WORKERS=7\nRFGW_QUEUE=no such setting\n")
    options = ("--env-file", "ours", "--port", "3", "--upstream", "https://farm.example")
    told = config(tmp_path, *options, RFGW_PORT="2", RFGW_HOST="127.0.0.2")
    assert told["RFGW_PORT"] == {"value": 3, "from": "--port"}
    assert told["RFGW_HOST"] == {"value": "127.0.0.2", "from": "environment"}
    assert told["RFGW_WORKERS"] == {"value": 2, "from": "ours"}
    assert told["RFGW_LOG_LEVEL"] == {"value": "info", "from": "default"}
    assert told["RFGW_UPSTREAM_URL"] == {"value": "https://farm.example", "from": "--upstream-url"}
    assert told.keys() == NAMES.keys()


def test_a_switch_is_turned_on_and_off(tmp_path: Path) -> None:
    told = config(tmp_path, "--no-log-requests", "--upstream-allow-http", RFGW_LOG_REQUESTS="true")
    assert told["RFGW_LOG_REQUESTS"]["value"] is False
    assert told["RFGW_UPSTREAM_ALLOW_HTTP"]["value"] is True


def test_what_is_off_or_zero_is_shown_as_it_is(tmp_path: Path) -> None:
    done = run(tmp_path, "config", "--no-log-requests", "--ttl-jitter", "0", settings=DEMO)
    assert (done.returncode, done.stderr) == (0, "")
    shown = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if "RFGW" in line)
    assert re.fullmatch(r"false +--log-requests", shown["RFGW_LOG_REQUESTS"])
    assert re.fullmatch(r"0(\.0)? +--ttl-jitter", shown["RFGW_TTL_JITTER"])
    assert shown["RFGW_CACHE_URL"].startswith("none ")


def test_a_secret_s_file_takes_the_place_of_the_secret_and_neither_is_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(CANARY)
    (tmp_path / "cache").write_text(f"redis://:{CANARY}@127.0.0.1\n")
    options = ("--consumer-secret-file", "secret")
    settings = {**DEMO, "RFGW_CACHE_URL_FILE": "cache"}
    done = run(tmp_path, "config", *options, settings=settings)
    assert (done.returncode, done.stderr) == (0, "")
    for secret in (CANARY, *DEMO.values()):
        assert secret not in done.stdout
    shown = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if "RFGW" in line)
    assert re.fullmatch(r"\*+ +--consumer-secret-file", shown["RFGW_CONSUMER_SECRET"])
    assert re.fullmatch(r"\*+ +environment", shown["RFGW_CONSUMER_KEY"])
    assert re.fullmatch(r"\*+ +environment, RFGW_CACHE_URL_FILE", shown["RFGW_CACHE_URL"])
    given = {"RFGW_CONSUMER_SECRET_FILE": str(tmp_path / "secret")}
    assert load(DEMO, options=given).settings.consumer_secret.get_secret_value() == CANARY


def test_what_is_wrong_with_an_option_is_told_by_its_name(tmp_path: Path) -> None:
    options = ("--port", CANARY, "--upstream", f"http://u:{CANARY}@x", "--oauth-token-file", "none")
    for verb in ("serve", "config"):
        done = run(tmp_path, verb, *options, settings={**DEMO, "RFGW_PROT": "1"})
        assert (done.returncode, done.stdout) == (2, "")
        told = [line.partition(":")[0] for line in done.stderr.splitlines()]
        assert told[0:] == [
            "--oauth-token-file", "--port", "--upstream-url", "RFGW_OAUTH_TOKEN_SECRET", "RFGW_PROT"
        ]  # fmt: skip
        assert CANARY not in done.stderr


def test_a_file_of_variables_that_is_asked_for_exists(tmp_path: Path) -> None:
    done = run(tmp_path, "serve", "--env-file", "none", settings=DEMO)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        "rfgw serve: error: argument --env-file: is no file",
    )


def test_the_help_of_serve_has_every_setting_with_default_and_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit, match="0"):
        cli.main(["serve", "--help"])
    shown = capsys.readouterr().out
    for name in SETTABLE:
        default = Settings.model_fields[NAMES[name]].default if name in NAMES else None
        text = "none" if default in (None, "") else str(default)
        text = text.lower() if isinstance(default, bool) else text
        told = rf"\[{name}: {re.escape(text)}[;\]]"
        assert re.search(rf"^  {option_name(name)}\b[^\[]*{told}", shown, re.MULTILINE), name
    for group in GROUPS:
        assert f"settings: {(group.__doc__ or '')[:10].lower()}" in shown


@pytest.mark.parametrize("field", SECRETS)
def test_no_secret_has_an_option(field: str, capsys: pytest.CaptureFixture[str]) -> None:
    variable = next(name for name, known in NAMES.items() if known == field)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["serve", option_name(variable), CANARY])
    assert "unrecognized arguments" in capsys.readouterr().err
    with pytest.raises(SettingsError):
        load({}, options={f"{variable}_FILE": "/no/such/file"})


# What a person sees


def test_serve_tells_a_terminal_in_one_glance_where_it_is(tmp_path: Path) -> None:
    port = free_port()
    ours, its = pty.openpty()
    command = [*RFGW, "serve", "--port", str(port), "--log-level", "error"]
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("RFGW_")}
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=its, stdout=its, stderr=its,
        env={**inherited, **DEMO, "PYTHONPATH": str(ROOT), "RFGW_CACHE_URL": f"redis://:{CANARY}@x"},
    ) as program:  # fmt: skip
        try:
            os.close(its)
            shown = ""
            while "Ctrl-C" not in shown:
                shown += os.read(ours, 4096).decode()
            program.send_signal(signal.SIGINT)
            assert program.wait(WITHIN) == 0
        finally:
            program.kill()
            os.close(ours)
    assert f"listens on http://127.0.0.1:{port}" in shown
    assert "http://127.0.0.1:8001, signed by reading A" in shown
    assert "none: everybody who reaches it may ask" in shown
    assert CANARY not in shown


def test_serve_listens_where_its_giventell(tmp_path: Path) -> None:
    port = free_port()
    command = (*RFGW, "serve", "--port", str(port), "--workers", "2", "--log-format", "console")
    with started(tmp_path, *command, settings={**DEMO, "RFGW_PORT": "1"}) as program:
        await_port(port, program)
        program.send_signal(signal.SIGTERM)
        done = finish(program)
    assert done.returncode == 0
    assert re.search(r"^\d\d:\d\d:\d\d info listening ", done.stderr, re.MULTILINE)


# Standard streams that are closed


@pytest.mark.parametrize(
    "verb", [("get", "42"), ("openapi",), ("key", "studio"), ("config",), ("doctor",)]
)
def test_closed_standard_output_is_told_in_one_line(verb: tuple[str, ...], tmp_path: Path) -> None:
    done = closed(tmp_path, ">&-", *verb)
    assert (done.returncode, done.stderr) == (
        1,
        f"rfgw {verb[0]}: cannot write: Bad file descriptor\n",
    )


def test_who_serves_needs_no_standard_streams(tmp_path: Path) -> None:
    port = free_port()
    command = "exec " + " ".join([*RFGW, "sandbox", "--port", str(port), ">&-", "2>&-", "<&-"])
    with started(tmp_path, "sh", "-c", command) as program:
        await_port(port, program)
        program.send_signal(signal.SIGTERM)
        assert program.wait(WITHIN) == 0


def closed(directory: Path, how: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One run of ``rfgw`` by a shell that closes what it is told to."""
    command = " ".join([*RFGW, *arguments, how])
    with started(directory, "sh", "-c", command, settings=DEMO) as program:
        return finish(program)


# Signals that come before anything is loaded

EARLY = """
import importlib.abc, os, signal, sys

class Interrupter(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "pydantic" and self in sys.meta_path:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.{name})

sys.meta_path.insert(0, Interrupter())
from app.cli.main import main
sys.exit(main({words}))
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("verb", ["serve", "sandbox", "demo"])
def test_a_signal_that_comes_while_it_loads_ends_it_in_order(
    verb: str, name: str, tmp_path: Path
) -> None:
    words = [verb, "--port", str(free_port())]
    program = EARLY.format(name=name, words=words)
    with started(tmp_path, sys.executable, "-c", program, settings=DEMO) as begun:
        done = finish(begun)
    assert done.returncode == 0, done.stderr
    assert "crash" not in done.stderr


def test_the_entry_loads_nothing_that_takes_time() -> None:
    program = (
        "import sys; before = {*sys.modules}; import app.cli.main; print(*{*sys.modules} - before)"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(told.stdout.split()) <= {"app", "app.cli", "app.cli.main", "signal"} | {
        "enum", "types", "operator", "functools", "collections", "collections.abc", "keyword",
        "reprlib", "_collections", "_functools", "_operator", "itertools",
    }  # fmt: skip


def test_after_a_mistake_signals_are_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["serve", "--no-such-option"])
    assert signal.getsignal(signal.SIGTERM) is before
    assert "unrecognized" in capsys.readouterr().err


# The demo


def test_the_demo_is_where_the_environment_tells(tmp_path: Path) -> None:
    port, sandbox_port = free_port(), free_port()
    settings = {"RFGW_HOST": "127.0.0.2", "RFGW_PORT": str(port)}
    command = (*RFGW, "demo", "--sandbox-port", str(sandbox_port))
    with started(tmp_path, *command, settings=settings) as demo:
        assert demo.stdout is not None
        assert any(f"http://127.0.0.2:{port}/docs" in line for line in demo.stdout)
        demo.terminate()
        assert finish(demo).returncode == 0


def test_wrong_settings_of_the_demo_are_told_before_anything_starts(tmp_path: Path) -> None:
    done = run(tmp_path, "demo", settings={"RFGW_LOG_LEVEL": "loud"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("RFGW_LOG_LEVEL: ")


@pytest.mark.parametrize("variable", ["PORT", "SANDBOX_PORT"])
def test_make_passes_on_the_port_that_the_demo_speaks_of(variable: str, tmp_path: Path) -> None:
    ports = {"PORT": free_port(), "SANDBOX_PORT": free_port()}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports[variable] = taken.getsockname()[1]
        choice = {"PORT": "--port", "SANDBOX_PORT": "--sandbox-port"}[variable]
        words = [f"{name}={port}" for name, port in ports.items()]
        made = subprocess.run(
            ["make", "--silent", "--dry-run", "--old-file=.venv/.run", "run", *words],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        command = made.stdout.strip().splitlines()[-1].split()
        assert command[1:4] == [".venv/bin/python", "-m", "app"]
        done = run(tmp_path, *command[4:])
    assert f"port {ports[variable]} is in use; choose another with {choice}" in done.stderr
    assert f"make run {variable}=" in done.stderr
