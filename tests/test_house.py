"""The house stays in order: few loose files, short modules and functions, no class name twice."""

import ast
import subprocess
import sys
from collections import Counter

from tests.conftest import Farm
from tests.programs import ROOT

APP = ROOT / "app"
MODULES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(APP.rglob("*.py"))}

PASSED = """
import asyncio, socket, sys
from pathlib import Path

import httpx

from app.main import create_app
from app.config.settings import Settings
from app.server.server import Config, Server

passed = set()

def note(frame, event, argument):
    passed.add(frame.f_code.co_filename)

async def ask(client, path):
    passed.clear()
    sys.setprofile(note)
    answer = await client.get(path)
    sys.setprofile(None)
    assert answer.status_code == 200, answer.text
    root = str(Path("app").resolve())
    names = sorted(name.removeprefix(root) for name in passed if name.startswith(root))
    return [name for name in names if not name.startswith("/server/")]  # behind the connection

async def main():
    edge = create_app(Settings.model_validate({"upstream_url": sys.argv[1], "log_requests": "false",
        "consumer_key": "demo-consumer", "consumer_secret": "demo-secret"}))
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(Config(lambda: edge))
    serving = asyncio.create_task(server.serve([listener]))
    url = "http://127.0.0.1:%d" % listener.getsockname()[1]
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
        await client.get("/health/live")  # until it has started
        for _ in range(3):
            print(*await ask(client, "/sessions/1010"))
    server.should_exit = True
    await serving

asyncio.run(main())
"""


def classes() -> Counter[str]:
    """Every class of ``app/`` and how often its name stands there."""
    return Counter(
        node.name
        for tree in MODULES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    )


def test_at_most_six_files_lie_loose() -> None:
    assert len([*APP.glob("*.py")]) <= 6


def test_no_module_is_longer_than_250_lines() -> None:
    lengths = {path.name: path.read_text(encoding="utf-8").count("\n") for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > 250} == {}


def test_nine_functions_of_ten_have_at_most_25_lines() -> None:
    lengths = sorted(
        (node.end_lineno or 0) - node.lineno + 1
        for tree in MODULES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert lengths[len(lengths) * 9 // 10] <= 25


def test_no_class_name_stands_twice() -> None:
    assert {name for name, times in classes().items() if times > 1} == set()


def test_every_module_says_first_what_it_does() -> None:
    assert [path for path, tree in MODULES.items() if not ast.get_docstring(tree)] == []


def test_every_module_but_the_entry_points_lies_below_a_package_of_the_map() -> None:
    map_ = ast.get_docstring(MODULES[APP / "__init__.py"]) or ""
    named = {line.split()[0] for line in map_.splitlines() if line.startswith("    ")}
    packages = {path.name for path in APP.iterdir() if (path / "__init__.py").is_file()}
    assert packages <= named
    assert named <= packages | {path.stem for path in APP.glob("*.py")}


def test_what_a_gateway_does_not_need_is_not_loaded() -> None:
    """Each takes megabytes: logins, tracing and the shared cache bring their library with them."""
    program = (
        "import sys; from app.main import create_app; from app.config.settings import Settings\n"
        "create_app(Settings.model_validate({'consumer_key': '-', 'consumer_secret': '-'}))\n"
        "print({'cryptography', 'opentelemetry.sdk', 'redis', 'app.telemetry.tracing'}"
        " & sys.modules.keys())"
    )
    command = [sys.executable, "-c", program]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout == "set()\n"


def test_a_request_passes_few_files(farm: Farm) -> None:
    command = [sys.executable, "-c", PASSED, farm.url]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    cold, _, kept = (line.split() for line in told.stdout.splitlines())
    assert len(cold) <= 42, "\n".join(cold)
    assert len(kept) <= 6, kept
