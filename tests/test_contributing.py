"""What CONTRIBUTING tells whoever adds an upstream method is true: its own example runs."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from app import main, resources
from app.core.call import Call
from app.edge.fast_path import FastRoute
from app.sandbox import data
from app.sandbox import farm as sandbox_farm
from app.sandbox.users import ACCOUNT_CALLS
from tests.conftest import Farm, StartGateway

GUIDE = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture
def animations(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The guide's two snippets, run where it says that they belong."""
    resource, answer = (
        textwrap.dedent(block) for block in re.findall(r" *```python\n(.*?) *```", GUIDE, re.DOTALL)
    )
    module = ModuleType("animations")
    exec(resource, module.__dict__)
    exec(answer, dict(vars(data)))
    monkeypatch.setattr(sandbox_farm, "PATHS", {*sandbox_farm.PATHS, "community.getAnimation"})
    monkeypatch.setattr(main, "ROUTERS", (*resources.ROUTERS, module.router))
    below = FastRoute("getAnimation", module.GetAnimation)
    monkeypatch.setattr(main, "FAST_ROUTES", {**resources.FAST_ROUTES, "/animations": below})
    yield module
    del data.METHODS["community.getAnimation"]


def test_the_guides_example_is_a_working_resource(
    animations: ModuleType, farm: Farm, start_gateway: StartGateway
) -> None:
    gateway = start_gateway()
    answer = gateway.get("/animations/7")
    assert answer.json() == {"id": 7, "title": "Elephants"}
    assert answer.headers["cache-status"] == "rfgw; fwd=uri-miss; fwd-status=200; stored"
    again = gateway.get("/animations/7")
    assert again.headers["cache-status"].startswith("rfgw; hit; ttl=35")
    counted = gateway.get("/metrics").text.splitlines()
    assert 'rfgw_upstream_drift_total{field="unknown_member"} 1.0' in counted
    assert 'rfgw_requests_total{operation="getAnimation",status="200"} 2.0' in counted
    assert "rfgw_crashes_total 0.0" in counted
    for none in ("0", "007", "+7", 2**31):
        assert gateway.get(f"/animations/{none}").status_code == 422
    farm.next({"do": "fault", "code": 300})  # which says nothing of sessions here
    assert gateway.get("/animations/8").json()["code"] == "upstream_fault"
    document = gateway.get("/openapi.json").json()
    assert document["paths"]["/animations/{id}"]["get"]["operationId"] == "getAnimation"
    assert list(document["components"]["schemas"]["Animation"]["properties"]) == ["id", "title"]


def test_the_sandbox_answers_every_declared_call_and_no_other() -> None:
    kinds = {
        kind
        for kind in Call.__subclasses__()
        if kind.__module__.startswith("app.") and hasattr(kind, "method")
    }
    assert kinds == set(resources.CALLS)
    declared = {
        kind.method: {field.serialization_alias or own for own, field in kind.model_fields.items()}
        for kind in kinds
    }
    known = {method: set(found.parameters) for method, found in data.METHODS.items()}
    assert known | {method: set(found) for method, found in ACCOUNT_CALLS.items()} == declared
