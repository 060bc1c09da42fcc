"""deploy/prometheus and deploy/grafana: rules that do as they say, on series that there are."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.core.fetch_result import OUTCOMES
from tests.test_guides import OPERATING, names, table

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text("utf-8"))
GROUPS = yaml.safe_load((PROMETHEUS / "rules.yml").read_text("utf-8"))["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
PANELS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
EXPRESSIONS = [*(rule["expr"] for rule in RULES), *PANELS]
SERIES = {names(row[0])[0]: names(row[1]) for row in table("Metrics")}
TARGET = {"instance", "job", "le"}
"""Labels that Prometheus, or a histogram, brings."""

SELECTOR = re.compile(r"(?<![\w:])(rfgw_\w+)(?:\{(.*?)\})?(?=[\s\[)]|$)")
QUOTED = re.compile(r'"[^"]*"')


def promtool(*arguments: str) -> None:
    """One run of Prometheus's own checker, which must find nothing wrong."""
    if shutil.which("promtool") is None:
        reason = "no promtool here: no rule was checked (apt-get install prometheus)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    done = subprocess.run(["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def selectors(expression: str) -> list[tuple[str, list[str]]]:
    """The series that an expression names, each with the labels that it matches."""
    grouping = re.sub(r"\b(?:by|on)\s*\(.*?\)", "", expression)
    return [
        (name, re.findall(r"(\w+)\s*[=!]", QUOTED.sub("", matchers)))
        for name, matchers in SELECTOR.findall(grouping)
    ]


def base(series: str) -> str:
    """A histogram's own name, for one of its series."""
    short = re.sub(r"_(?:bucket|sum|count)$", "", series)
    return short if short in SERIES else series


def test_the_configuration_and_the_rules_are_valid() -> None:
    promtool("check", "config", "prometheus.yml")


def test_each_alert_fires_when_it_should_and_at_no_other_time() -> None:
    promtool("test", "rules", "rules.test.yml")


def test_each_alert_is_tried_firing_and_silent() -> None:
    tried = yaml.safe_load((PROMETHEUS / "rules.test.yml").read_text("utf-8"))["tests"]
    checks = [check for case in tried for check in case["alert_rule_test"]]
    fired = {
        (check["alertname"], alert["exp_labels"]["severity"])
        for check in checks
        for alert in check["exp_alerts"]
    }
    silent = {check["alertname"] for check in checks if not check["exp_alerts"]}
    assert fired == {(rule["alert"], rule["labels"]["severity"]) for rule in ALERTS}
    assert silent == {rule["alert"] for rule in ALERTS}


def test_each_alert_leads_to_its_paragraph_and_each_paragraph_is_of_an_alert() -> None:
    section = OPERATING.split("\n## Alerts\n")[1].split("\n## ")[0]
    headings = re.findall(r"^### (\w+)$", section, re.MULTILINE)
    assert set(headings) == {rule["alert"] for rule in ALERTS}
    for rule in ALERTS:
        assert rule["annotations"]["runbook"] == f"docs/operating.md#{rule['alert'].lower()}"


def test_every_expression_asks_for_series_and_labels_that_the_gateway_has(
    gateway: httpx.Client,
) -> None:
    exposed = set(re.findall(r"^# TYPE (\w+) ", gateway.get("/metrics").text, re.MULTILINE))
    found = [selector for expression in EXPRESSIONS for selector in selectors(expression)]
    assert {name for name, _ in found} > {"rfgw_requests_total", "rfgw_request_seconds_bucket"}
    for name, labels in found:
        assert base(name) in exposed, name
        assert set(labels) <= {*SERIES[base(name)], *TARGET}, name


def test_every_expression_groups_by_labels_that_its_series_have() -> None:
    for expression in EXPRESSIONS:
        have = {label for name, _ in selectors(expression) for label in SERIES[base(name)]}
        for grouping in re.findall(r"\b(?:by|on)\s*\((.*?)\)", expression):
            assert set(grouping.split(", ")) <= have | TARGET, expression


def test_every_recorded_series_that_is_used_is_recorded() -> None:
    used = {name for text in EXPRESSIONS for name in re.findall(r"\bjob:[\w:]+", text)}
    assert used <= RECORDED


def test_every_outcome_of_the_cache_in_an_expression_is_one() -> None:
    of_cache = [
        set(outcomes.split("|"))
        for text in EXPRESSIONS
        for outcomes in re.findall(r'cache_answers_total\{outcome=~"(.*?)"', text)
    ]
    assert of_cache
    assert set().union(*of_cache) <= set(OUTCOMES)


def test_every_panel_s_expression_is_promql(tmp_path: Path) -> None:
    ready = [text.replace("$__rate_interval", "5m").replace("$instance", ".*") for text in PANELS]
    assert not [text for text in ready if "$" in text]
    rules = [{"record": f"panel:query{n}", "expr": text} for n, text in enumerate(ready)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", str(file))


def test_a_shared_cache_that_was_never_there_is_told(start_gateway: Any) -> None:
    lost = start_gateway(cache_url="redis://127.0.0.1:1/0")
    lost.get("/sessions/1008")
    assert 'rfgw_shared_cache_total{operation="' in lost.get("/metrics").text
    alone = start_gateway()
    alone.get("/sessions/1008")
    assert 'rfgw_shared_cache_total{operation="' not in alone.get("/metrics").text
