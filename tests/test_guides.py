"""What the guides say is so: series, events, settings, codes, links, and the nginx snippet."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.answer import OUTCOMES
from app.api.catalogue import Code
from app.api.keys import new_key
from app.environment import FILES, NAMES
from app.metrics import Metrics
from tests.conftest import Farm, StartGateway
from tests.programs import await_port, free_port

ROOT = Path(__file__).parents[1]
GUIDES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OPERATING = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
FRONTEND = (ROOT / "docs" / "frontend.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The rows of the table under a heading of the operator's guide, each a list of cells."""
    section = OPERATING.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in rows]


def names(cell: str) -> list[str]:
    """The words of a cell that stand in backticks."""
    return re.findall(r"`(\w+)`", cell)


def test_every_series_is_documented_with_its_labels_and_no_other_is() -> None:
    counted = {}
    metrics = Metrics()
    collectors: list[Any] = [*vars(metrics).values(), *vars(metrics.shared).values()]
    for collector in collectors:
        for family in collector.describe() if hasattr(collector, "describe") else ():
            names_of = collector if hasattr(collector, "_labelnames") else family
            states = [family.name] if family.type == "stateset" else []
            suffix = "_total" if family.type == "counter" else ""
            counted[family.name + suffix] = [*names_of._labelnames, *states]
    told = {names(row[0])[0]: names(row[1]) for row in table("Metrics")}
    assert {name: labels for name, labels in told.items() if name not in OUTCOMES} == counted


def test_every_outcome_of_the_cache_is_documented_and_no_other_is() -> None:
    section = OPERATING.split("`outcome` of `rfgw_cache_answers_total`")[1]
    assert re.findall(r"^\| `(\w+)` \|", section.split("\n\n")[1], re.MULTILINE) == [*OUTCOMES]


def test_every_event_is_documented_and_no_other_is() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "app").rglob("*.py"))
    logged = set(re.findall(r"(?:logs\.event|logs\.Changes|EVENTS\.\w+)\(\s*\"(\w+)\"", sources))
    assert {names(row[0])[0] for row in table("Logs")} == logged


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_every_setting_that_a_guide_names_is_one(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    assert set(re.findall(r"RFGW_[A-Z_]*[A-Z]\b", text)) - NAMES.keys() - FILES.keys() <= {
        "RFGW_PROT"  # the typing mistake that the configuration's page shows
    }


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_every_link_of_a_guide_leads_somewhere(guide: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", guide.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (guide.parent / target).exists(), target


def test_the_codes_in_the_snippets_are_codes() -> None:
    snippets = "".join(re.findall(r"```[jt]s\n(.*?)```", FRONTEND, re.DOTALL))
    told = set(re.findall(r"\"((?:session|upstream|invalid|not|rate)_\w+)\"", snippets))
    assert told
    assert told <= set(Code)


def test_the_function_names_are_those_of_the_document(gateway: httpx.Client) -> None:
    paths = gateway.get("/openapi.json").json()["paths"].values()
    ids = {operation["operationId"] for path in paths for operation in path.values()}
    assert ids == set(names(FRONTEND.split("The function names")[1]))


KEY, KEY_LINE = new_key("guide")


@pytest.fixture
def gateway(
    request: pytest.FixtureRequest, start_gateway: StartGateway, tmp_path: Path
) -> httpx.Client:
    """A gateway; if it is asked for with True, one that wants ``KEY`` and counts."""
    if not getattr(request, "param", False):
        return start_gateway()
    (tmp_path / "keys").write_text(KEY_LINE)
    return start_gateway(
        api_keys_file=tmp_path / "keys", rate_limit="9/9999", forwarded_allow_ips="127.0.0.1"
    )


@pytest.mark.parametrize("gateway", [True], indirect=True)
def test_nginx_keeps_no_answer_for_somebody_without_a_key_and_tells_who_asks(
    nginx: httpx.Client, farm: Farm
) -> None:
    given = {"X-API-Key": KEY}
    statuses = [
        nginx.get("/sessions/1008", headers=headers).status_code
        for headers in (given, given, {}, {"X-API-Key": "wrong"}, given)
    ]
    assert statuses == [200, 200, 401, 401, 200]
    assert farm.calls() == 1, "the gateway kept it"
    spent = [nginx.get("/sessions/1008").status_code for _ in range(8)]
    assert spent == [401] * 7 + [429], "guesses count for the address that nginx tells"
    other = nginx.get("/sessions/1008", headers={"X-Forwarded-For": "203.0.113.9"})
    assert other.status_code == 401, "whom a believed hop names is another client"


@pytest.fixture
def nginx(tmp_path: Path, gateway: httpx.Client) -> Iterator[httpx.Client]:
    """An nginx with the guide's snippet in front of the gateway."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("no nginx here: the guide's snippet was not run (apt-get install nginx-light)")
    port = free_port()
    (snippet,) = re.findall(r"```nginx\n(.*?)```", OPERATING, re.DOTALL)
    for ours, theirs in {
        "127.0.0.1:8000": f"127.0.0.1:{gateway.base_url.port}",
        "listen 8080": f"listen 127.0.0.1:{port}",
        "/var/cache/nginx": str(tmp_path),
    }.items():
        assert ours in snippet
        snippet = snippet.replace(ours, theirs)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
    frame = f"daemon off; master_process off; pid {tmp_path}/pid; error_log stderr;"
    config = tmp_path / "nginx.conf"
    config.write_text(f"{frame} events {{}} http {{ access_log off; {folders} {snippet} }}")
    with subprocess.Popen(
        [program, "-c", str(config)], stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            await_port(port, server)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                yield client
        finally:
            server.terminate()


def test_nginx_keeps_what_the_gateway_allows_and_no_request_s_id(
    nginx: httpx.Client, gateway: httpx.Client, farm: Farm
) -> None:
    first = nginx.get("/sessions/1008", headers={"X-Request-ID": "one"})
    again = nginx.get("/sessions/1008", headers={"X-Request-ID": "not a valid one"})
    assert first.headers.get_list("x-request-id") == ["one"]
    assert re.fullmatch(r"[0-9a-f]{32}", again.headers["x-request-id"])
    assert again.content == first.content
    assert again.headers["cache-status"] == first.headers["cache-status"], "nginx kept it"
    tag = {"If-None-Match": first.headers["etag"]}
    assert nginx.get("/sessions/1008", headers=tag).status_code == 304
    polled = nginx.get("/sessions/1008", headers={"Cache-Control": "max-age=0"})
    assert polled.headers["cache-status"] == first.headers["cache-status"], "pollers too"
    for wish in ("only-if-cached", "max-age=0, No-Cache"):
        passed = nginx.get("/sessions/1008", headers={"Cache-Control": wish})
        assert passed.headers["cache-status"].startswith("rfgw; hit"), "the gateway was asked"
        assert passed.headers["cache-status"] != first.headers["cache-status"]
    ids = [nginx.get("/sessions/007").json()["requestId"] for _ in range(2)]
    assert len(set(ids)) == 2, "no-store is obeyed"
