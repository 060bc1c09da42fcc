"""compose.yaml and the Kubernetes manifests: valid by their schemas, and true of the gateway."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.config.environment import FILES, NAMES
from app.config.settings import Settings
from app.sandbox.server import DEMO_CONSUMER_KEY, DEMO_CONSUMER_SECRET
from app.version import VERSION

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
COMPOSE = ROOT / "compose.yaml"
KUBERNETES = ROOT / "deploy" / "kubernetes"
PORT = Settings.model_fields["port"].default
KNOWN = NAMES.keys() | FILES.keys()
SECRET = {"RFGW_CONSUMER_SECRET", "RFGW_OAUTH_TOKEN_SECRET", "RFGW_CACHE_URL"}
LEAVES_WITHIN = 15
"""Seconds from SIGTERM to the end, at most: see docs/operating.md."""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return services


@pytest.fixture(scope="module")
def built() -> str:
    """The manifests, put together as the cluster gets them."""
    if shutil.which("kubectl") is None:
        reason = "no kubectl here: no manifest was checked (apt-get install kubernetes-client)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    command = ["kubectl", "kustomize", str(KUBERNETES)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def objects(built: str) -> dict[str, Any]:
    return {found["kind"]: found for found in yaml.safe_load_all(built)}


def checked(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One run of a tool of the environment."""
    return subprocess.run([BIN / tool, *arguments], capture_output=True, text=True)


def test_compose_is_valid_by_its_schema() -> None:
    done = checked("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_manifests_are_valid_by_their_schemas(built: str, tmp_path: Path) -> None:
    whole = tmp_path / "built.yaml"
    whole.write_text(built)
    done = checked("kubernetes-validate", "--strict", str(whole))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" passed ") == 7


def test_every_service_of_compose_is_locked_down(compose: dict[str, Any]) -> None:
    for name, service in compose.items():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert [name for name, service in compose.items() if "ports" in service] == ["nginx"]


def test_compose_s_gateways_differ_in_nothing_and_know_their_settings(
    compose: dict[str, Any],
) -> None:
    assert compose["gateway-1"] == compose["gateway-2"]
    given = compose["gateway-1"]["environment"]
    assert given.keys() <= KNOWN
    assert given["RFGW_CONSUMER_KEY"] == DEMO_CONSUMER_KEY
    told = (ROOT / "deploy" / "compose" / "sandbox_secret").read_text()
    assert told == f"{DEMO_CONSUMER_SECRET}\n"
    assert int(compose["gateway-1"]["stop_grace_period"].removesuffix("s")) > LEAVES_WITHIN


def test_the_pod_is_locked_down(objects: dict[str, Any]) -> None:
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (gateway,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert f"{pod['securityContext']['runAsUser']}:" in (ROOT / "Dockerfile").read_text()
    assert gateway["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
    assert pod["terminationGracePeriodSeconds"] > LEAVES_WITHIN


def test_the_pod_s_settings_exist_and_secrets_come_by_reference(objects: dict[str, Any]) -> None:
    (gateway,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    plain = {entry["name"]: entry.get("value") for entry in gateway["env"]}
    configured = objects["ConfigMap"]["data"]
    assert plain.keys() | configured.keys() <= KNOWN
    assert not SECRET & configured.keys()
    assert {name for name, value in plain.items() if value is None} <= SECRET
    assert "Secret" not in objects


def test_the_probes_ask_what_the_gateway_answers(
    objects: dict[str, Any], gateway: httpx.Client
) -> None:
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == PORT
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[kind]["httpGet"]
        assert asked["port"] == port["name"]
        assert gateway.get(asked["path"]).status_code == 200


def test_all_objects_speak_of_the_same_pods_and_release(objects: dict[str, Any]) -> None:
    deployment = objects["Deployment"]["spec"]
    label = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == label
    assert objects["Service"]["spec"]["selector"] == label
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == label
    assert objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == label
    target = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
    assert target == objects["Deployment"]["metadata"]["name"]
    (container,) = deployment["template"]["spec"]["containers"]
    assert container["image"] == f"renderfarm-gateway:{VERSION}"
    assert "replicas" not in deployment  # the autoscaler's
