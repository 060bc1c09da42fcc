"""Builds the image and runs it without a container engine: debootstrap, buildah and bubblewrap.

Knows those three commands and the image's own configuration. Must not know the gateway.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TOOLS = ("debootstrap", "buildah", "bwrap")
BASE = "python:3.11-slim"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
WITHIN = 600
"""Seconds for one command: a bound for what takes one minute."""


class Impossible(Exception):
    """This machine cannot do it: ``args`` tell what is missing."""


class Engine:
    """Images in ``folder``."""

    def __init__(self, folder: Path) -> None:
        if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
            raise Impossible(f"no {', '.join(missing)} here")
        if os.geteuid() != 0:
            raise Impossible("needs root, to make a root file system")
        self._folder = folder
        self._store = (f"--root={folder}/images", f"--runroot={folder}/run", "--storage-driver=vfs")

    def _buildah(self, *arguments: str) -> str:
        done = subprocess.run(
            ["buildah", *self._store, *arguments],
            env={**os.environ, "BUILDAH_ISOLATION": "chroot"},
            capture_output=True,
            text=True,
            timeout=WITHIN,
        )
        if done.returncode:
            raise RuntimeError(f"buildah {arguments[0]}: {done.stderr[-2000:]}")
        return done.stdout.strip()

    def make_base(self) -> None:
        """A stand-in for the official image: Debian with its Python, under the same name.

        pip in it trusts the authorities that this machine trusts.
        """
        tree = self._folder / "base"
        packages = "python3-venv,python3-pip,python-is-python3,ca-certificates"
        done = subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", tree],
            capture_output=True,
            text=True,
            timeout=WITHIN,
        )
        if done.returncode:
            raise Impossible(f"debootstrap ended with {done.returncode}: {done.stdout[-500:]}")
        for marker in tree.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            marker.unlink()  # the official image's pip installs where it stands
        shutil.copy(AUTHORITIES, tree / AUTHORITIES.relative_to("/"))
        (tree / "etc/pip.conf").write_text(f"[global]\ncert = {AUTHORITIES}\n")
        container = self._buildah("from", "scratch")
        self._buildah("copy", "--quiet", container, str(tree), "/")
        self._buildah("commit", "--quiet", container, BASE)
        self._buildah("rm", container)
        shutil.rmtree(tree)

    def build(self, name: str) -> None:
        """Build the project's Dockerfile on the base, which has another digest."""
        base = f"--build-arg=BASE={BASE}"
        self._buildah("bud", "--pull-never", "--format=docker", base, f"--tag={name}", str(ROOT))

    def configuration(self, name: str) -> dict[str, Any]:
        """What the image says about itself: User, Entrypoint, Healthcheck and others."""
        told = json.loads(self._buildah("inspect", "--type=image", name))
        configuration: dict[str, Any] = told["Docker"]["config"]
        return configuration

    def mounted(self, name: str) -> Path:
        """The image's root file system."""
        return Path(self._buildah("mount", self._buildah("from", "--pull-never", name)))


@contextmanager
def contained(
    tree: Path,
    configuration: Mapping[str, Any],
    *arguments: str,
    settings: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """A container's first process, as a strict engine runs it.

    The root file system is read-only without any writable place, the user is the image's, no
    capability is left, and it sees no other process. The network is this machine's.
    """
    user, group = configuration["User"].split(":")
    environment = dict(entry.split("=", 1) for entry in configuration["Env"])
    environment |= settings or {}
    command = [*configuration["Entrypoint"], *(arguments or configuration["Cmd"])]
    sandbox = [
        *("bwrap", "--ro-bind", str(tree), "/", "--proc", "/proc", "--dev", "/dev"),
        *("--ro-bind", "/etc/resolv.conf", "/etc/resolv.conf", "--chdir", "/"),
        *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--as-pid-1"),
        *("--uid", user, "--gid", group, "--cap-drop", "ALL", "--new-session"),
        *("--die-with-parent", "--clearenv"),
        *(word for name, text in environment.items() for word in ("--setenv", name, text)),
    ]
    with subprocess.Popen(
        [*sandbox, "--", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            yield program
        finally:
            program.kill()


def first_process(program: subprocess.Popen[str]) -> int:
    """The pid, as this machine counts, of the container's first process."""
    pid = program.pid
    while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        pid = int(children[0])
    return pid
