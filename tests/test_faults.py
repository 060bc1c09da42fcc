"""Whatever the farm answers becomes the right status and code, over real HTTP."""

import httpx
import pytest

from tests.conftest import Farm

FAULTS = [
    (300, 404, "session_not_found"),
    (301, 409, "session_not_attached"),
    (103, 403, "session_forbidden"),
    (101, 400, "upstream_rejected_parameters"),
    (100, 502, "upstream_rejected_call"),
    (104, 502, "upstream_refused_credentials"),
    (400, 502, "upstream_refused_credentials"),
    (999, 502, "upstream_fault"),
]


@pytest.mark.parametrize(("fault", "status", "code"), FAULTS)
def test_each_fault_has_its_status_and_code(
    gateway: httpx.Client, fault: int, status: int, code: str
) -> None:
    session = fault * 1000 + 7
    answer = gateway.get(f"/sessions/{session}")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["upstream"] == {"method": "community.getSession", "faultCode": fault}
    assert problem["instance"] == f"/sessions/{session}"
    assert problem["requestId"] == answer.headers["x-request-id"]
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "Exception" not in answer.text, "the farm's own text"
    assert "doesn't exist" not in answer.text, "the farm's own text"


def test_an_undocumented_fault_code_never_becomes_a_status(
    gateway: httpx.Client, farm: Farm
) -> None:
    for number, code in enumerate((0, -1, 200, 204, 304, 404, 2**31 - 1)):
        farm.next({"do": "fault", "code": code, "text": "secret inner workings"})
        answer = gateway.get(f"/sessions/{1001 + number}")
        for well in (2 * number, 2 * number + 1):  # others are answered
            assert gateway.get(f"/sessions/{2001 + well}").status_code == 404
        assert answer.status_code == 502
        assert answer.json()["code"] == "upstream_fault"
        assert answer.json()["upstream"]["faultCode"] == code
        assert "inner workings" not in answer.text
