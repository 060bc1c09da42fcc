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

from app.edge.api_keys import new_key
from app.main import create_app
from app.sandbox.server import create_farm, farm_server
from openapi.sick import KEPT_SHORTLY, ROUND, create_sick_farm
from tests.conftest import settings_for
from tests.running import Wrapped, running, serving

CONFIG = Path(__file__).with_name("schemathesis.toml")
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
ENOUGH, ENOUGH_GATED, ENOUGH_SICK = 5_000, 300, 1_500
TIMES_SICK = 4
"""Runs over the sick farm at most. Its pauses and kept answers last a while: fast cases make few
calls."""
LONGEST = 480  # seconds
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


def fuzz(gateway: str, folder: Path, *options: str) -> tuple[int, int]:
    """The exit code of Schemathesis, and how many cases it tried."""
    report = folder / "report.json"
    done = subprocess.run(
        [SCHEMATHESIS, f"--config-file={CONFIG}", "run", f"{gateway}/openapi.json",
         f"--url={gateway}", f"--report-json-path={report}", *options],
        cwd=folder,
        timeout=LONGEST,
    )  # fmt: skip
    told = json.loads(report.read_text()) if report.exists() else {}
    return done.returncode, told.get("test_cases", {}).get("generated", 0)


def tried(
    name: str, farm: str, options: list[str], enough: int, varied: set[int], **settings: object
) -> bool:
    """Whether a gateway with these settings passes, after enough cases and answers."""
    given = settings_for(farm, upstream_deadline=DEADLINE, log_level="error", **settings)
    edge = create_app(given)
    app = Wrapped(Counting(edge), edge)
    with tempfile.TemporaryDirectory() as folder, running(serving(app)) as gateway:
        code, number = fuzz(gateway, Path(folder), *options)
    missed = sorted(varied - app.app.statuses.keys())
    answers = dict(sorted(app.app.statuses.items()))
    print(f"{name}: {number} cases tried, of at least {enough}. Answers: {answers}.")
    if missed:
        print(f"Never answered, so not tried: {missed}.")
    return not code and number >= enough and not missed


def tried_sick() -> bool:
    """The same over a farm that goes wrong all the time, through all its misbehaviours."""
    # Not stateful: a session that fails now and then is no state.
    some = ["--max-examples=600", "--phases=examples,coverage,fuzzing"]
    # Whether a request comes amid a pause that the farm asked for (503) is a matter of luck.
    varied = {200, 304, 404, 422, 502}
    app = create_sick_farm()
    passed, calls = False, 0
    with running(farm_server(app)) as farm:
        for _ in range(TIMES_SICK):
            passed = tried("Over a sick farm", farm, some, ENOUGH_SICK, varied, **KEPT_SHORTLY)
            calls = app.state.farm.records.told()["total"]
            if not passed or calls >= len(ROUND):
                break
    print(f"The sick farm was called {calls} times, of at least {len(ROUND)}.")
    return passed and calls >= len(ROUND)


def main() -> int:
    """Run everything: with keys, with a limit, over a sick farm, and open; 1 if anything fails."""
    key, line = new_key("fuzz")
    with tempfile.TemporaryDirectory() as folder, running(farm_server(create_farm())) as farm:
        keys = Path(folder, "keys")
        keys.write_text(line)
        few = ["--max-examples=40", "--phases=examples,coverage,fuzzing"]
        bearer = f"--header=Authorization: Bearer {key}"
        passed = [
            tried("Keyless", farm, few, ENOUGH_GATED, {200, 401}, api_keys_file=keys),
            tried(
                "Keyed", farm, [*few, bearer], ENOUGH_GATED, {200, 404, 422, 429},
                api_keys_file=keys, rate_limit="20/1",
            ),
            tried_sick(),
            tried("Open", farm, [], ENOUGH, VARIED),
        ]  # fmt: skip
    return int(not all(passed))


if __name__ == "__main__":
    sys.exit(main())
