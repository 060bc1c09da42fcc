"""The documents are the committed ones, and say of every operation what it really answers."""

import gc
import json
import re
import socket
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_schema_validator import OAS30Validator, OAS31Validator
from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator

from app.api.error_codes import Code
from app.api.openapi_prose import LOCAL
from app.docs.openapi import EXAMPLES, as_text, operations, text
from app.docs.openapi_3_0 import as_3_0
from app.docs.static_file import StaticFile
from app.main import create_api
from app.resources.session_model import Session
from openapi.record import Run, _told, record
from tests.conftest import StartGateway, settings_for

Node = dict[str, Any]

FOLDER = Path(__file__).parent.parent / "openapi"
DOCUMENT: Node = json.loads((FOLDER / "openapi.json").read_text(encoding="utf-8"))
OLDER: Node = json.loads((FOLDER / "openapi-3.0.json").read_text(encoding="utf-8"))
RECORDED: Node = json.loads(EXAMPLES.read_text(encoding="utf-8"))
SCHEMAS: Node = DOCUMENT["components"]["schemas"]
OPERATIONS: dict[str, Node] = {found["operationId"]: found for found in operations(DOCUMENT)}


def test_what_is_asked_first_is_read_first() -> None:
    assert [*OPERATIONS][:4] == [
        "getSession",
        "getSessions",
        "streamSessions",
        "streamSessionEvents",
    ]


def test_the_committed_documents_are_what_the_code_says() -> None:
    made = text(create_api(settings_for("http://127.0.0.1:1")))
    assert made == (FOLDER / "openapi.json").read_text(encoding="utf-8"), "run make openapi"
    older = as_text(as_3_0(json.loads(made)))
    assert older == (FOLDER / "openapi-3.0.json").read_text(encoding="utf-8"), "run make openapi"


def test_the_examples_are_what_a_gateway_answers_today() -> None:
    assert as_text(record()) == EXAMPLES.read_text(encoding="utf-8"), "run make openapi"


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        (Code.SESSION_NOT_FOUND, httpx.Response(200, json={})),
        (Code.SESSION_NOT_FOUND, httpx.Response(409, json={"code": "session_not_attached"})),
        ("completed", httpx.Response(404, json={"code": "session_not_found"})),
    ],
)
def test_a_run_that_is_answered_otherwise_is_no_example(name: str, answer: httpx.Response) -> None:
    with pytest.raises(ValueError, match=f"answered with {answer.json().get('code', 200)}"):
        _told(Run("getSession", name, "/sessions/42"), answer)


@pytest.mark.parametrize(
    ("path", "committed"), [("/openapi.json", DOCUMENT), ("/openapi-3.0.json", OLDER)]
)
def test_the_served_documents_are_the_committed_ones_with_their_own_server(
    gateway: httpx.Client, path: str, committed: Node
) -> None:
    answer = gateway.get(path)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        **committed,
        "servers": [{"url": str(gateway.base_url).rstrip("/"), "description": "This gateway."}],
    }


@pytest.mark.parametrize(
    ("head", "server"),
    [
        (b"Host: gw.example:8080\r\n", "http://gw.example:8080"),
        (b"Host: [::1]:80\r\n", "http://[::1]:80"),
        (b"Host: gw.example\r\nX-Forwarded-Proto: HTTPS\r\n", "https://gw.example"),
        (b"Host: gw.example\r\nX-Forwarded-Proto: gopher\r\n", "http://gw.example"),
        (b"Host:\r\n", "/"),
        (b"", "/"),
    ],
)
def test_a_saved_document_says_at_which_address_it_was_asked(
    gateway: httpx.Client, head: bytes, server: str
) -> None:
    address = gateway.base_url.host, gateway.base_url.port or 80
    version = b"1.1" if head else b"1.0"
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(
            b"GET /openapi.json HTTP/%b\r\n%bConnection: close\r\n\r\n" % (version, head)
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    body = answer.partition(b"\r\n\r\n")[2]
    assert json.loads(body)["servers"][0]["url"] == server
    assert b"\r\nvary: X-Forwarded-Proto\r\n" in answer


def test_documents_for_hosts_that_somebody_made_up_do_not_pile_up(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.docs.document_routes.ADDRESSES", 3)
    gateway = start_gateway()

    def kept() -> int:
        gc.collect()
        return sum(type(thing) is StaticFile for thing in gc.get_objects())

    before = kept()
    for number in range(10):
        answer = gateway.get("/openapi.json", headers={"Host": f"gw{number}.example"})
        assert answer.json()["servers"][0]["url"] == f"http://gw{number}.example"
    assert before < kept() <= before + 3


def test_below_a_prefix_the_server_has_it(start_gateway: StartGateway) -> None:
    gateway = start_gateway(root_path="/gw")
    address = str(gateway.base_url).rstrip("/")
    server = gateway.get("/gw/openapi.json").json()["servers"][0]["url"]
    assert server == f"{address}/gw"


def test_the_names_of_fields_are_one_schema_for_all_operations() -> None:
    for document in (DOCUMENT, OLDER):
        asked = [
            parameter["schema"]["items"]
            for operation in operations(document)
            for parameter in operation.get("parameters", ())
            if parameter["name"] == "fields"
        ]
        assert asked == [{"$ref": "#/components/schemas/SessionField"}] * 4
        names = document["components"]["schemas"]["SessionField"]
        assert names["enum"] == list(document["components"]["schemas"]["Session"]["properties"])


def test_nothing_is_called_or_null_but_what_is_both() -> None:
    called = {name for name in OLDER["components"]["schemas"] if name.endswith("OrNull")}
    assert called == {"ProblemOrNull", "SessionOrNull"}
    assert OLDER["components"]["schemas"]["License"]["nullable"] is True


def test_the_committed_documents_name_the_gateway_that_everybody_can_run() -> None:
    assert DOCUMENT["servers"] == OLDER["servers"] == [LOCAL]


@pytest.mark.parametrize("path", ["/openapi.json", "/openapi-3.0.json"])
def test_the_public_address_is_the_documents_server_if_there_is_one(
    start_gateway: StartGateway, path: str
) -> None:
    gateway = start_gateway(public_url="https://gw.example/farm/")
    assert gateway.get(path).json()["servers"][0]["url"] == "https://gw.example/farm"


def test_both_documents_are_valid_by_their_specifications() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    OpenAPIV30SpecValidator(OLDER).validate()


def test_a_key_may_be_sent_where_it_may_be_wanted() -> None:
    for name, operation in OPERATIONS.items():
        wanted = "401" in operation["responses"]
        visitor: Node = {"login": []} if name in ("getMySessions", "attachSession") else {}
        keys: list[Node] = [{**visitor, "bearer": []}, {**visitor, "apiKey": []}]
        nobody = [] if name == "createAccount" else [visitor]  # only a key makes accounts
        assert operation.get("security", []) == ([*nobody, *keys] if wanted else [])
    assert {name for name, found in OPERATIONS.items() if "security" in found} >= {"getSession"}
    assert "security" not in OPERATIONS["getReadiness"]


def nodes(node: Any) -> Iterator[Node]:
    """Every mapping in the document."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from nodes(child)


@pytest.mark.parametrize("document", [DOCUMENT, OLDER])
def test_every_reference_leads_somewhere_and_everything_is_referred_to(document: Node) -> None:
    targets = {node["$ref"] for node in nodes(document) if "$ref" in node}
    wanted = [by for operation in operations(document) for by in operation.get("security", ())]
    targets |= {f"#/components/securitySchemes/{name}" for by in wanted for name in by}
    assert targets == {
        f"#/components/{kind}/{name}"
        for kind, named in document["components"].items()
        for name in named
    }
    assert not {"HTTPValidationError", "ValidationError"} & set(document["components"]["schemas"])


def test_every_field_is_required_and_no_schema_has_a_derived_title() -> None:
    for name, schema in SCHEMAS.items():
        sure = [] if name == "SessionPart" else list(schema.get("properties", {}))
        assert schema.get("required", []) == sure, name
        assert "title" not in schema
        for field in schema.get("properties", {}).values():
            assert not {"title", "default", "readOnly"} & set(field)
    assert list(SCHEMAS["Session"]["properties"]) == [*Session.model_fields, "progress"]


def test_every_object_is_described_and_has_a_name() -> None:
    for name, schema in SCHEMAS.items():
        assert schema.get("description"), name
        for field in schema.get("properties", {}).values():
            assert "properties" not in field, f"{name} holds an object without a name"


def test_the_codes_are_a_closed_enum() -> None:
    assert SCHEMAS["Code"]["enum"] == list(Code)


def test_operations_have_names_and_tags_of_their_own() -> None:
    assert sorted(OPERATIONS) == [
        "attachSession",
        "createAccount",
        "getLiveness",
        "getMySessions",
        "getProblem",
        "getReadiness",
        "getSession",
        "getSessions",
        "listProblems",
        "login",
        "loginCallback",
        "logout",
        "streamSessionEvents",
        "streamSessions",
    ]
    described = {tag["name"] for tag in DOCUMENT["tags"] if tag["description"]}
    for operation in OPERATIONS.values():
        assert set(operation["tags"]) <= described, "say in openapi_words.TAGS what it is about"
        assert operation["summary"]
        assert operation["description"]


def untrue(document: Node, recorded: Node) -> list[str]:
    """Where the document and the recorded answers differ, and who would suffer from it."""
    found = []
    for operation in operations(document):
        name = operation["operationId"]
        promised = operation["responses"]
        answers = recorded.get(name, {})
        found += [
            f"{name} answers {status} ({', '.join(answers[status])}), and the document does not"
            f" say so: generated clients have no type for it. Declare it at the route."
            for status in sorted(answers.keys() - promised.keys())
        ]
        found += [
            f"{name} promises {status}, and no run brings it about: clients provide for what"
            f" never comes. Add a run to openapi/record.py, or drop the promise."
            for status in sorted(promised.keys() - answers.keys())
        ]
        for status in sorted(promised.keys() & answers.keys()):
            codes = set(re.findall(r"\(`(\w+)`\)", promised[status]["description"]))
            runs = set(answers[status]) if int(status) >= 400 else set()
            found += [
                f"{name} promises {code} under {status}, and no run brings it about."
                f" Add a run to openapi/record.py, or drop the promise."
                for code in sorted(codes - runs)
            ]
            found += [
                f"{name} answers {code} under {status}, and the document does not say so:"
                f" people do not look for it. Declare it at the route."
                for code in sorted(runs - codes)
            ]
    return found


def newly_untrue(document: Node, recorded: Node) -> list[str]:
    """What is untrue only of these, whatever else there is to mend."""
    known = untrue(DOCUMENT, RECORDED)
    return [told for told in untrue(document, recorded) if told not in known]


def test_every_documented_status_is_produced_and_every_produced_one_documented() -> None:
    assert untrue(DOCUMENT, RECORDED) == []


def test_a_forgotten_status_is_told_with_who_suffers_from_it() -> None:
    forgetful = deepcopy(DOCUMENT)
    del forgetful["paths"]["/sessions/{id}"]["get"]["responses"]["409"]
    (told,) = newly_untrue(forgetful, RECORDED)
    assert told == (
        "getSession answers 409 (session_not_attached), and the document does not say so:"
        " generated clients have no type for it. Declare it at the route."
    )


def test_a_promise_that_nothing_keeps_is_told() -> None:
    recorded = deepcopy(RECORDED)
    del recorded["getSession"]["409"]
    del recorded["getSession"]["502"]["upstream_fault"]
    status, code = newly_untrue(DOCUMENT, recorded)
    assert status.startswith("getSession promises 409, and no run brings it about")
    assert code.startswith("getSession promises upstream_fault under 502")


def test_every_answer_carries_the_headers_that_are_always_there() -> None:
    headers = DOCUMENT["components"]["headers"]
    for name, operation in OPERATIONS.items():
        for status, response in operation["responses"].items():
            for run in RECORDED[name][status].values():
                always = {field for field in response["headers"] if headers[field]["required"]}
                assert always <= set(run["headers"]) <= set(response["headers"]), (name, status)
                assert "X-Request-ID" in run["headers"]


def test_every_problem_leads_to_its_page() -> None:
    for operation in OPERATIONS.values():
        for status, response in operation["responses"].items():
            assert status.isdigit()
            if int(status) >= 400:
                for form in ("application/problem+json", "application/json"):
                    schema = response["content"][form]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Problem"}
                assert response["links"]["page"]["operationId"] == "getProblem"


@pytest.mark.parametrize(
    ("document", "validator"), [(DOCUMENT, OAS31Validator), (OLDER, OAS30Validator)]
)
def test_every_example_fits_its_schema_in_both_dialects(document: Node, validator: Any) -> None:
    tried = 0
    for operation in operations(document):
        for response in operation["responses"].values():
            for media in response.get("content", {}).values():
                schema = {**media["schema"], "components": document["components"]}
                for example in media.get("examples", {}).values():
                    validator(schema).validate(example["value"])
                    tried += 1
    assert tried == sum(
        run["body"] is not None
        for by_status in RECORDED.values()
        for runs in by_status.values()
        for run in runs.values()
    )


@pytest.mark.parametrize(
    ("document", "validator"), [(DOCUMENT, OAS31Validator), (OLDER, OAS30Validator)]
)
def test_both_dialects_refuse_the_same(document: Node, validator: Any) -> None:
    schema = {"$ref": "#/components/schemas/Session", "components": document["components"]}
    session = RECORDED["getSession"]["200"]["unknown"]["body"]
    assert session["inputLicense"] is None
    validator(schema).validate(session)
    wrong: list[Node] = [
        {"inputLicense": {}},
        {"inputLicense": "CC"},
        {"state": None},
        {"state": "paused"},
        {"title": 5},
        {"timestamps": None},
        {"id": None},
        {"id": 0},
    ]
    for part in wrong:
        assert not validator(schema).is_valid({**session, **part}), part
    assert not validator(schema).is_valid({k: v for k, v in session.items() if k != "title"})


@pytest.mark.parametrize(
    ("document", "validator"), [(DOCUMENT, OAS31Validator), (OLDER, OAS30Validator)]
)
def test_what_fields_leave_of_a_session_is_the_part_that_the_documents_name(
    start_gateway: StartGateway, document: Node, validator: Any
) -> None:
    gateway = start_gateway(fresh_active=3600)
    for name in ("getSession", "getSessions", "streamSessions"):
        (operation,) = (one for one in operations(document) if one["operationId"] == name)
        (media,) = operation["responses"]["200"]["content"].values()
        assert media["x-fields"] == {"$ref": "#/components/schemas/SessionPart"}
    part = validator({**media["x-fields"], "components": document["components"]})
    whole = validator(
        {"$ref": "#/components/schemas/Session", "components": document["components"]}
    )
    for id in (42, 1001, 1005):
        for fields in ("title", "progress,id", "inputLicense,thumbnails,timestamps"):
            cut = gateway.get(f"/sessions/{id}?fields={fields}").json()
            (item,) = gateway.get(f"/sessions?ids={id}&fields={fields}").json()["items"]
            assert item["session"] == cut
            part.validate(cut)
            assert not whole.is_valid(cut)
        part.validate(gateway.get(f"/sessions/{id}").json())
    assert not part.is_valid({"title": 5})
    assert not part.is_valid({})


@pytest.mark.parametrize("name", ["renders", "completed", "missing", "unattached", "failing"])
def test_an_example_s_id_is_answered_as_it_says(gateway: httpx.Client, name: str) -> None:
    (id, *_) = OPERATIONS["getSession"]["parameters"]
    example = id["examples"][name]
    promised = example["summary"].partition(": ")[2] or "200"
    assert gateway.get(f"/sessions/{example['value']}").status_code == int(promised)
