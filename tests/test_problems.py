"""The catalogue is closed and complete, and a document says what its code means."""

import re

import pytest

from app.api.error_codes import Code
from app.api.error_meanings import MEANINGS
from app.api.negotiation import quality
from app.api.problems import CODES, COOKIE_CHALLENGE, Problems, _media_type
from app.core import errors


def leaves(kind: type[errors.GatewayError]) -> set[type[errors.GatewayError]]:
    children = kind.__subclasses__()
    return set().union(*map(leaves, children)) if children else {kind}


def test_every_leaf_of_the_error_tree_has_a_code() -> None:
    assert set(CODES) == leaves(errors.GatewayError)


def test_every_code_has_a_meaning_and_no_two_errors_share_one() -> None:
    assert set(MEANINGS) == set(Code)
    apart = CODES.keys() - {errors.UpstreamNoAnswer}  # to clients it is as if there were no farm
    assert len({CODES[kind] for kind in apart}) == len(apart) == len(CODES) - 1
    assert CODES[errors.UpstreamNoAnswer] == CODES[errors.UpstreamUnreachable]


def test_the_errors_docstring_draws_the_tree_as_it_is() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    kinds = {name for name, thing in vars(errors).items() if isinstance(thing, type)}
    assert drawn == kinds - {"GatewayError", "Mapping", "MappingProxyType"}


STATUSES = {
    "malformed_request": 400,
    "invalid_request": 422,
    "upstream_rejected_parameters": 400,
    "unauthorized": 401,
    "login_required": 401,
    "login_expired": 401,
    "login_denied": 403,
    "cross_site_request": 403,
    "session_forbidden": 403,
    "session_not_yours": 403,
    "account_forbidden": 403,
    "session_not_found": 404,
    "route_not_found": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "session_not_attached": 409,
    "account_exists": 409,
    "name_taken": 409,
    "email_refused": 422,
    "account_not_created": 502,
    "request_too_large": 413,
    "rate_limited": 429,
    "too_many_streams": 429,
    "internal_error": 500,
    "upstream_rejected_call": 502,
    "upstream_refused_credentials": 502,
    "upstream_callback_unconfirmed": 502,
    "upstream_fault": 502,
    "upstream_unreadable": 502,
    "upstream_mismatch": 502,
    "upstream_unreachable": 502,
    "upstream_unavailable": 503,
    "overloaded": 503,
    "shutting_down": 503,
    "upstream_timeout": 504,
    "not_cached": 504,
}
RETRYABLE = {
    "session_not_attached", "rate_limited", "too_many_streams", "upstream_fault",
    "upstream_unreadable",
    "upstream_mismatch", "upstream_unreachable", "upstream_unavailable", "overloaded",
    "shutting_down",
    "upstream_timeout", "not_cached",
}  # fmt: skip


@pytest.mark.parametrize("code", list(Code))
def test_a_code_keeps_its_status_and_whether_it_is_retryable(code: Code) -> None:
    error = errors.GatewayError(method="m", arguments={"sessionId": 42}, fault_code=7)
    problem = Problems("https://gw.example/").document(
        code, "r-1", error=error, path="/sessions/42"
    )
    assert problem.status == STATUSES[code]
    assert problem.retryable == (code in RETRYABLE)
    assert (problem.retryAfterMs is not None) == problem.retryable
    assert problem.type == f"https://gw.example/problems/{code}"
    assert "{" not in problem.detail
    assert problem.upstream is not None
    assert problem.upstream.faultCode == 7


def test_what_the_farm_says_about_waiting_is_passed_on() -> None:
    error = errors.UpstreamUnavailable(method="m", retry_after=17.2)
    problem = Problems("").document(Code.UPSTREAM_UNAVAILABLE, "r-1", error=error)
    assert problem.retryAfterMs == 17_200
    assert problem.type == "/problems/upstream_unavailable"


def test_a_failure_that_is_remembered_for_a_while_is_not_retryable_for_that() -> None:
    error = errors.UpstreamRefusedCredentials("http_status", method="m", retry_after=17.2)
    problem = Problems("").document(Code.UPSTREAM_REFUSED_CREDENTIALS, "r-1", error=error)
    assert (problem.retryable, problem.retryAfterMs) == (False, None)


def test_a_call_with_other_arguments_is_told_vaguely() -> None:
    error = errors.SessionNotFound(method="m", arguments={"animationId": 1}, fault_code=300)
    problem = Problems("").document(Code.SESSION_NOT_FOUND, "r-1", error=error)
    assert problem.detail == "No render session has id that was asked for."


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/problem+json"),
        ("*/*", "application/problem+json"),
        ("application/json", "application/json"),
        ("application/json, */*;q=0.8", "application/json"),
        ("application/json, application/problem+json", "application/problem+json"),
        ("text/html", "application/problem+json"),
        ("application/json;q=0.5, application/problem+json;q=0.9", "application/problem+json"),
    ],
)
def test_a_problem_has_the_form_that_the_request_likes_best(
    accept: str | None, media_type: str
) -> None:
    assert _media_type(accept) == media_type


@pytest.mark.parametrize(
    ("accept", "weight"),
    [
        (None, 1.0),
        ("", 1.0),
        ("*/*", 1.0),
        ("application/*;q=0.4", 0.4),
        ("application/json;q=0, */*", 0.0),
        ("APPLICATION/JSON ; Q=0.3", 0.3),
        ("application/json;charset=utf-8", 1.0),
        ("application/json;q=lots", 0.0),
        ("application/json;q=7", 1.0),
        ("text/html", 0.0),
        (",;,=", 0.0),
        ("*/*;q=0.1, application/*;q=0.2, application/json;q=0.3", 0.3),
    ],
)
def test_the_most_specific_range_weighs(accept: str | None, weight: float) -> None:
    assert quality(accept, "application/json") == weight


@pytest.mark.parametrize("code", [Code.LOGIN_REQUIRED, Code.LOGIN_EXPIRED])
def test_whose_login_is_wanted_is_told_so_by_a_challenge(code: Code) -> None:
    answer = Problems("").response(code, {"type": "http", "headers": []})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, COOKIE_CHALLENGE)


@pytest.mark.parametrize(("seconds", "told"), [(0.2, "1"), (1.0, "1"), (17.2, "18")])
def test_a_pause_is_told_in_whole_seconds_that_never_end_too_early(
    seconds: float, told: str
) -> None:
    error = errors.UpstreamUnavailable(retry_after=seconds)
    scope = {"type": "http", "headers": []}
    answer = Problems("").response(Code.UPSTREAM_UNAVAILABLE, scope, error=error)
    assert answer.headers["retry-after"] == told
