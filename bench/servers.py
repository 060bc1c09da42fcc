"""Starts and stops what is measured, and reads what it costs from /proc. Must not send any load.

Servers run on the first core, everything else (this process, wrk, the farm) on the second.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from bench.load import fetch

ROOT = Path(__file__).parent.parent
PEERS = Path(__file__).with_name("peers")
PEER_PYTHON = Path(__file__).with_name(".venv") / "bin" / "python"
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
TICK = os.sysconf("SC_CLK_TCK")
STARTING, STOPPING = 30.0, 10.0  # seconds


def free_port() -> int:
    """A port on loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _children(pid: int) -> Iterator[int]:
    """The process and all below it."""
    yield pid
    for told in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in told.read_text().split():
            yield from _children(int(child))


def _cpu_of(pid: int) -> float:
    # schedstat counts nanoseconds; the ticks in stat are too coarse for a short run.
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(told.read_text().split()[0]) for told in threads) / 1e9


class Server:
    """One program under measurement, with whatever processes it starts."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], core: int):
        self.name, self.command = name, command
        self.port = int(environment["PORT"])
        self.told = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self.process = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.told,
        )

    def __enter__(self) -> "Server":
        try:
            self._await_port()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _await_port(self) -> None:
        end = time.monotonic() + STARTING
        while time.monotonic() < end and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        self.told.seek(0)
        tail = self.told.read()[-2000:].decode(errors="replace")
        raise RuntimeError(f"{self.name} did not start: {' '.join(self.command)}\n{tail}")

    def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOPPING)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.told.close()

    def cpu(self) -> float:
        """CPU seconds used so far, children included."""
        return sum(_cpu_of(pid) for pid in _children(self.process.pid))

    def rss(self) -> int:
        """Resident bytes, children included."""
        pages = (
            int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            for pid in _children(self.process.pid)
        )
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Target:
    """How one program is started. `command` gets its port, its folder and the origin's port."""

    name: str
    command: Callable[[int, Path, int], list[str]]
    missing: Callable[[], str] = field(default=lambda: "")


def _uvicorn(app: str) -> Callable[[int, Path, int], list[str]]:
    flags = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "error"]
    return lambda port, _, __: [sys.executable, "-m", "uvicorn", app, *flags, "--port", str(port)]


def _gunicorn(port: int, _: Path, __: int) -> list[str]:
    app = ["-m", "gunicorn", "bench.peers.flask_gateway:app", "--bind", f"127.0.0.1:{port}"]
    kind = ["--workers", "1", "--worker-class", "gthread", "--threads", "4"]
    return [str(PEER_PYTHON), *app, *kind, "--log-level", "error"]


def _nginx(fields: str) -> Callable[[int, Path, int], list[str]]:
    def command(port: int, folder: Path, origin: int) -> list[str]:
        text = (PEERS / "nginx.conf").read_text().replace("FIELDS", fields)
        filled = {"PORT": str(port), "ORIGIN": str(origin), "PREFIX": str(folder)}
        for word, value in filled.items():
            text = text.replace(word, value)
        (folder / "nginx.conf").write_text(text)
        return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]

    return command


def _installed(program: str, path: Path, remedy: str) -> Callable[[], str]:
    return lambda: (
        "" if path.exists() and shutil.which(program) else f"{program} is not there ({remedy})"
    )


GATEWAY = Target(
    "gateway",
    lambda port, _, __: [sys.executable, "-m", "app", "serve"],
    lambda: "" if (ROOT / "app" / "main.py").exists() else "app/main.py is not there yet",
)
GATEWAY_WITH_KEYS = Target("gateway, keys and a limit", GATEWAY.command, GATEWAY.missing)
GATEWAY_ON_ALL_CORES = Target(
    "gateway on all cores",
    lambda port, folder, origin: [
        *("taskset", "-c", ",".join(map(str, CORES))),
        *GATEWAY.command(port, folder, origin),
    ],
    GATEWAY.missing,
)
BARE = Target("bare uvicorn", _uvicorn("bench.peers.bare:app"))
NAIVE = Target("FastAPI naive", _uvicorn("bench.peers.naive:app"))
MIDDLEWARE = Target("FastAPI naive, 3 middleware", _uvicorn("bench.peers.middleware:app"))
FLASK = Target(
    "Flask, gunicorn gthread",
    _gunicorn,
    _installed("bench/.venv/bin/python", PEER_PYTHON, "see bench/README.md"),
)
EXPRESS = Target(
    "Express, lru-cache",
    lambda port, _, __: ["node", str(PEERS / "express" / "server.js")],
    _installed("node", PEERS / "express" / "node_modules", "Node and npm ci"),
)
_HAS_NGINX = _installed("nginx", PEERS, "apt-get install nginx")
NGINX = Target("nginx proxy_cache", _nginx("    access_log off;"), _HAS_NGINX)
NGINX_LIKE_US = Target(
    "nginx, same fields and log", _nginx((PEERS / "nginx-fields.conf").read_text()), _HAS_NGINX
)
NGINX_GZIP = Target(
    "nginx, gzip on",
    _nginx("    access_log off; gzip on; gzip_types application/json; gzip_proxied any;"),
    _HAS_NGINX,
)


@dataclass
class Stage:
    """The farm, the targets that ask it, and the settings that all of them share.

    `lifetime` in seconds; `extra` is added to every target's environment.
    """

    stack: ExitStack
    lifetime: float
    max_entries: int
    extra: Mapping[str, str]
    farm_port: int = 0

    def farm(self, delay: float = 0.0) -> Server:
        """Start the farm; targets started later will ask it."""
        self.farm_port = free_port()
        command = [sys.executable, "-m", "bench.farm", "--port", str(self.farm_port)]
        command += ["--delay", str(delay)]
        server = Server("farm", command, {"PORT": str(self.farm_port)}, LOAD_CORE)
        return self.stack.enter_context(server)

    def folder(self) -> Path:
        """A new folder that goes when the stage does."""
        return Path(self.stack.enter_context(tempfile.TemporaryDirectory()))

    def start(self, target: Target, origin_port: int = 0, **extra: str) -> Server:
        """Start a target on the servers' core; `extra` adds to its environment."""
        port = free_port()
        command = target.command(port, self.folder(), origin_port)
        environment = {
            **self._environment(port),
            "ORIGIN": f"http://127.0.0.1:{origin_port}",
            **self.extra,
            **extra,
        }
        server = Server(target.name, command, environment, SERVER_CORE)
        return self.stack.enter_context(server)

    def _environment(self, port: int) -> dict[str, str]:
        farm, lifetime = f"http://127.0.0.1:{self.farm_port}", f"{self.lifetime:g}"
        phases = ("ACTIVE", "QUEUED", "WAITING", "TERMINAL")
        return {
            "PORT": str(port),
            "NODE_ENV": "production",
            "RFGW_SHUTDOWN_GRACE": "0",
            "BENCH_FARM_URL": farm,
            "BENCH_LIFETIME": lifetime,
            "BENCH_MAX_ENTRIES": str(self.max_entries),
            "RFGW_PORT": str(port),
            "RFGW_UPSTREAM_URL": farm,
            "RFGW_CONSUMER_KEY": "demo-consumer",
            "RFGW_CONSUMER_SECRET": "demo-secret",
            "RFGW_CACHE_MAX_ENTRIES": str(self.max_entries),
            "RFGW_TTL_JITTER": "0",
            **{f"RFGW_FRESH_{phase}": lifetime for phase in phases},
        }


@contextmanager
def stage(*, lifetime: float = 3600.0, max_entries: int = 20_000, **extra: str) -> Iterator[Stage]:
    """A stage on which everything that was started is stopped at the end."""
    with ExitStack() as stack:
        yield Stage(stack, lifetime, max_entries, extra)


def present(*targets: Target) -> tuple[list[Target], list[str]]:
    """The targets that can be started, and a line for each that cannot."""
    there = [target for target in targets if not target.missing()]
    gone = [f"Left out: {t.name}, because {t.missing()}." for t in targets if t.missing()]
    return there, gone


def asked(farm: Server) -> dict[str, int]:
    """What the farm has seen so far: calls, and most_at_once."""
    told: dict[str, int] = json.loads(fetch(farm.port, "/")[2])
    return told


def counted(gateway: Server, series: str) -> dict[str, float]:
    """What a gateway has counted so far, by the labels of a series."""
    lines = fetch(gateway.port, "/metrics")[2].decode().splitlines()
    split = (line.rpartition(" ") for line in lines if line.startswith(f"{series}{{"))
    return {name[len(series) + 1 : -1]: float(value) for name, _, value in split}
