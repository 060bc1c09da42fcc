"""The document is the committed one, and says of every operation what it really answers."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.catalogue import Code
from app.api.openapi import text
from app.main import create_api
from app.resources.sessions import Session
from tests.conftest import settings_for

COMMITTED = Path(__file__).parent.parent / "openapi" / "openapi.json"
DOCUMENT: dict[str, Any] = json.loads(COMMITTED.read_text(encoding="utf-8"))
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]


def test_the_committed_document_is_what_the_code_says() -> None:
    made = text(create_api(settings_for("http://127.0.0.1:1")))
    assert made == COMMITTED.read_text(encoding="utf-8"), "run make openapi"


def test_the_served_document_is_the_committed_one(gateway: httpx.Client) -> None:
    assert gateway.get("/openapi.json").json() == DOCUMENT


def test_the_public_address_is_the_documents_server_if_there_is_one(start_gateway: Any) -> None:
    gateway = start_gateway(public_url="https://gw.example/")
    assert gateway.get("/openapi.json").json()["servers"][0]["url"] == "https://gw.example"
    problem = gateway.get("/nowhere").json()
    assert problem["type"] == "https://gw.example/problems/route_not_found"


def nodes(node: Any) -> Any:
    """Every mapping in the document."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from nodes(child)


def test_every_reference_leads_somewhere() -> None:
    targets = {node["$ref"] for node in nodes(DOCUMENT) if "$ref" in node}
    assert targets <= {f"#/components/schemas/{name}" for name in SCHEMAS}
    assert not {"HTTPValidationError", "ValidationError"} & set(SCHEMAS)


def test_every_field_is_required_and_no_schema_has_a_derived_title() -> None:
    for name, schema in SCHEMAS.items():
        assert schema.get("required", []) == list(schema.get("properties", {})), name
        assert "title" not in schema
        for field in schema.get("properties", {}).values():
            assert not {"title", "default", "readOnly"} & set(field)
    assert list(SCHEMAS["Session"]["properties"]) == [*Session.model_fields, "progress"]


def test_the_codes_are_a_closed_enum() -> None:
    assert SCHEMAS["Code"]["enum"] == list(Code)


def test_operations_have_names_of_their_own() -> None:
    names = [
        operation["operationId"]
        for path in DOCUMENT["paths"].values()
        for operation in path.values()
    ]
    assert sorted(names) == ["getLiveness", "getReadiness", "getSession"]


def test_every_error_is_a_problem_with_an_example_for_each_code() -> None:
    for path in DOCUMENT["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                assert status.isdigit()
                if int(status) >= 400:
                    content = response["content"]["application/problem+json"]
                    assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
                    for code, example in content["examples"].items():
                        assert example["value"]["code"] == code
                        assert example["value"]["status"] == int(status)


EXAMPLES = [
    ("1005", 200),
    ("101001", 400),
    ("103001", 403),
    ("300001", 404),
    ("301001", 409),
    ("007", 422),
    ("100001", 502),
    ("503001", 503),
]


@pytest.mark.parametrize(("id", "status"), EXAMPLES)
def test_what_a_session_answers_with_is_documented(
    gateway: httpx.Client, id: str, status: int
) -> None:
    answer = gateway.get(f"/sessions/{id}")
    assert answer.status_code == status
    documented = DOCUMENT["paths"]["/sessions/{id}"]["get"]["responses"][str(status)]
    assert documented["description"]
    if status != 200:
        examples = documented["content"]["application/problem+json"]["examples"]
        assert answer.json()["code"] in examples
        assert set(answer.json()) == set(SCHEMAS["Problem"]["properties"])
    else:
        assert set(answer.json()) == set(SCHEMAS["Session"]["properties"])
        for name in documented["headers"]:
            assert name in answer.headers
