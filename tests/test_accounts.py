"""New accounts: who may make them, for which addresses, and what the farm says."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.edge.api_keys import new_key
from app.telemetry.log_writer import LOG_WRITER
from tests.conftest import Farm, StartGateway
from tests.programs import WITHIN

ACCOUNT = {"email": "new@example.org"}


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """Keys by what they allow; their file."""
    made = {name: new_key(name, ["accounts"]) for name in ("maker", "other")}
    made["reader"] = new_key("reader")
    (tmp_path / "keys").write_text("\n".join(line for _, line in made.values()))
    return {name: key for name, (key, _) in made.items()} | {"file": str(tmp_path / "keys")}


@pytest.fixture
def gateway(keys: dict[str, str], start_gateway: StartGateway) -> Iterator[httpx.Client]:
    gateway = start_gateway(
        api_keys_file=keys["file"], accounts=True, accounts_limit="1000/60", log_level="info"
    )
    gateway.headers["x-api-key"] = keys["maker"]
    return gateway  # type: ignore[return-value]


def problem(answer: httpx.Response) -> tuple[int, str, bool]:
    told = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert told["status"] == answer.status_code
    return answer.status_code, told["code"], told["retryable"]


def test_an_account_is_made_once(gateway: httpx.Client, farm: Farm) -> None:
    made = gateway.post("/accounts", json=ACCOUNT)
    assert (made.status_code, made.content) == (201, b"")
    assert made.headers["cache-control"] == "no-store"
    assert "new@example.org" in farm.http.get("/__users").json()["accounts"]
    again = gateway.post("/accounts", json=ACCOUNT)
    assert problem(again) == (409, "account_exists", False)


@pytest.mark.parametrize(
    ("fault", "status", "code", "retryable"),
    [
        (200, 422, "email_refused", False),
        (201, 502, "upstream_fault", True),
        (202, 502, "upstream_fault", True),
        (203, 502, "upstream_fault", True),
        (204, 502, "account_not_created", False),
        (205, 409, "account_exists", False),
        (206, 400, "upstream_rejected_parameters", False),
        (207, 403, "account_forbidden", False),
        (208, 502, "account_not_created", False),
        (209, 409, "name_taken", False),
        (100, 502, "upstream_rejected_call", False),
        (101, 400, "upstream_rejected_parameters", False),
        (103, 403, "account_forbidden", False),
        (104, 502, "upstream_refused_credentials", False),
        (400, 502, "upstream_refused_credentials", False),
        (999, 502, "upstream_fault", True),
    ],
)
def test_each_fault_is_a_problem(
    gateway: httpx.Client, farm: Farm, fault: int, status: int, code: str, retryable: bool
) -> None:
    answer = gateway.post("/accounts", json={"email": f"fault{fault}@example.org"})
    assert problem(answer) == (status, code, retryable)
    assert answer.json()["upstream"]["faultCode"] == fault
    assert "example" not in answer.text
    assert farm.calls() == 1


def test_a_farm_that_says_no_without_a_fault_has_made_none(
    gateway: httpx.Client, farm: Farm
) -> None:
    answer = "<methodResponse><params><param><value><struct><member><name>success</name>"
    answer += "<value><boolean>0</boolean></value></member></struct></value></param></params>"
    farm.next({"do": "raw", "body": answer + "</methodResponse>"})
    answered = gateway.post("/accounts", json=ACCOUNT)
    assert problem(answered) == (502, "account_not_created", False)


@pytest.mark.parametrize("step", ["reset", "truncated", "html", "malformed"])
def test_what_the_farm_may_have_heard_is_not_said_again(
    gateway: httpx.Client, farm: Farm, step: str
) -> None:
    farm.next({"do": step}, {"do": step})
    assert problem(gateway.post("/accounts", json=ACCOUNT))[0] == 502
    assert farm.calls() == 1


# Who may


def test_only_a_key_with_the_scope_makes_accounts(
    gateway: httpx.Client, farm: Farm, keys: dict[str, str]
) -> None:
    refused = gateway.post("/accounts", json=ACCOUNT, headers={"x-api-key": keys["reader"]})
    assert problem(refused) == (403, "account_forbidden", False)
    for wrong in ("", "rfgw_wrong"):
        refused = gateway.post("/accounts", json=ACCOUNT, headers={"x-api-key": wrong})
        assert problem(refused) == (401, "unauthorized", False)
    assert farm.calls() == 0
    assert gateway.get("/sessions/42", headers={"x-api-key": keys["reader"]}).status_code == 200


def test_without_the_setting_there_is_no_such_path(
    keys: dict[str, str], start_gateway: StartGateway
) -> None:
    gateway = start_gateway(api_keys_file=keys["file"])
    answer = gateway.post("/accounts", json=ACCOUNT, headers={"x-api-key": keys["maker"]})
    assert problem(answer) == (404, "route_not_found", False)


def test_a_key_makes_so_many_accounts_and_then_waits(
    keys: dict[str, str], start_gateway: StartGateway, farm: Farm
) -> None:
    limits = {"accounts_limit": "2/600", "rate_limit": "1000/60"}  # the usual one is another
    gateway = start_gateway(api_keys_file=keys["file"], accounts=True, **limits)
    gateway.headers["x-api-key"] = keys["maker"]
    answers = [gateway.post("/accounts", json={"email": f"a{n}@example.org"}) for n in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert problem(answers[2]) == (429, "rate_limited", True)
    assert 200 < int(answers[2].headers["retry-after"]) <= 300
    assert farm.calls() == 2
    assert gateway.get("/sessions/42").status_code == 200
    other = gateway.post("/accounts", json=ACCOUNT, headers={"x-api-key": keys["other"]})
    assert other.status_code == 201


# What comes


@pytest.mark.parametrize(
    "address",
    [
        "",
        "new",
        "new@",
        "@example.org",
        "new@example",
        "new@@example.org",
        "a b@example.org",
        "new@example.org\r\nX-Y: z",
        "new@exa\0mple.org",
        "new@[127.0.0.1]",
        "n\u00e4w@example.org",
        "new@" + "a." * 130 + "org",
        7,
        None,
        ["new@example.org"],
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated(
    gateway: httpx.Client, farm: Farm, address: object
) -> None:
    answer = gateway.post("/accounts", json={"email": address})
    assert problem(answer) == (422, "invalid_request", False)
    (part,) = answer.json()["errors"]
    assert part["parameter"] == "email"
    assert "example" not in part["message"]
    assert farm.calls() == 0


def test_an_international_domain_is_written_as_mail_servers_do(
    gateway: httpx.Client, farm: Farm
) -> None:
    assert gateway.post("/accounts", json={"email": "new@b\u00fccher.example"}).status_code == 201
    assert farm.http.get("/__users").json()["accounts"][-1] == "new@xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/json", 422),
        (b"{", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"{}", "application/json", 422),
        (b'{"email": "a@example.org"', "application/json", 422),
        (b'{"email": "a@example.org"}', "text/plain", 422),
        (b"email=a@example.org", "application/x-www-form-urlencoded", 422),
        (b'{"email": "a@example.org"}' + b" " * 4096, "application/json", 413),
        (b"[" * 4000, "application/json", 422),
        (b"\xff", "application/json", 422),
    ],
)
def test_a_body_that_is_none_is_refused(
    gateway: httpx.Client, farm: Farm, body: bytes, kind: str, status: int
) -> None:
    answer = gateway.post("/accounts", content=body, headers={"content-type": kind})
    assert problem(answer)[0] == status
    assert farm.calls() == 0


def test_no_line_and_no_metric_has_the_address(
    gateway: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    for address in ("c4nary@example.org", "fault205@c4nary.example", "c4nary@"):
        gateway.post("/accounts", json={"email": address})
    metrics = gateway.get("/metrics").text
    LOG_WRITER.flush(WITHIN)
    said = capfd.readouterr()
    lines = [json.loads(line) for line in said.err.splitlines() if line.startswith("{")]
    told = [line["arguments"] for line in lines if line.get("method", "").startswith("community.")]
    assert [list(arguments) for arguments in told] == [["userMail"], ["userMail"]]
    assert told[0] != told[1]
    for text in (metrics, said.err, said.out):
        assert "c4nary" not in text
        assert "example.org" not in text
