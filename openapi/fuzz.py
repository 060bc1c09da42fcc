"""Fuzzes a gateway over the sandbox farm with all that its OpenAPI document allows and forbids.

``python -m openapi.fuzz`` exits with 1 on a failure, or if too little was tried.
"""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.main import create_app
from app.sandbox.server import create_farm, farm_server
from tests.conftest import settings_for
from tests.running import running, serving

CONFIG = Path(__file__).with_name("schemathesis.toml")
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
ENOUGH = 5_000
LONGEST = 240  # seconds
DEADLINE = 0.3  # seconds: a farm that hangs is to be met often
VARIED = {200, 304, 403, 404, 405, 409, 422, 502}
"""Statuses that have to be met: a gateway that refuses everything passes any check."""


class Counting:
    """Counts the statuses that an application answers with."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.statuses: Counter[int] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.statuses[message["status"]] += 1
            await send(message)

        await self.app(scope, receive, counted)


def fuzz(document: str, gateway: str, folder: Path) -> tuple[int, int]:
    """The exit code of Schemathesis, and how many cases it tried."""
    report = folder / "report.json"
    done = subprocess.run(
        [SCHEMATHESIS, f"--config-file={CONFIG}", "run", document, f"--url={gateway}",
         f"--report-json-path={report}"],
        cwd=folder,
        timeout=LONGEST,
    )  # fmt: skip
    told = json.loads(report.read_text()) if report.exists() else {}
    return done.returncode, told.get("test_cases", {}).get("generated", 0)


def main() -> int:
    """Run everything against a gateway of our own; 1 if anything is wrong."""
    with tempfile.TemporaryDirectory() as folder, running(farm_server(create_farm())) as farm:
        settings = settings_for(farm, upstream_deadline=DEADLINE, log_level="error")
        app = Counting(create_app(settings))
        with running(serving(app)) as gateway:
            code, tried = fuzz(f"{gateway}/openapi.json", gateway, Path(folder))
    missed = sorted(VARIED - app.statuses.keys())
    print(
        f"{tried} cases tried, of at least {ENOUGH}. Answers: {dict(sorted(app.statuses.items()))}."
    )
    if missed:
        print(f"Never answered, so not tried: {missed}.")
    return code or int(tried < ENOUGH or bool(missed))


if __name__ == "__main__":
    sys.exit(main())
