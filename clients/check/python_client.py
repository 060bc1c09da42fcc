"""A reader of sessions over the client of openapi-python-client. Its one argument is an address."""

import sys
from typing import assert_type

from renderfarm_gateway_client import AuthenticatedClient
from renderfarm_gateway_client.api.sessions import get_session, get_sessions
from renderfarm_gateway_client.models import (
    Code,
    Phase,
    Problem,
    Session,
    SessionField,
    SessionList,
    SessionPart,
)
from renderfarm_gateway_client.types import Unset

REFUSED = {
    300001: (404, Code.SESSION_NOT_FOUND),
    301001: (409, Code.SESSION_NOT_ATTACHED),
    103001: (403, Code.SESSION_FORBIDDEN),
    # Last: after it the gateway gives the farm a pause.
    503001: (503, Code.UPSTREAM_UNAVAILABLE),
}


def main(url: str) -> None:
    # The generator passes over that keys are optional. An open gateway does not look at this one.
    client = AuthenticatedClient(base_url=url, token="none", httpx_args={"trust_env": False})
    found = get_session.sync_detailed(42, client=client)
    session = found.parsed
    assert isinstance(session, Session), session
    assert_type(session.title, str | None)
    assert_type(session.progress.phase, Phase)
    assert (session.title, session.progress.phase) == ("Sandbox session 42", Phase.COMPLETED)
    assert found.headers["cache-status"].startswith("rfgw; ")

    tag = {"If-None-Match": found.headers["etag"]}
    unchanged = get_session.sync_detailed(42, client=client.with_headers(tag))
    assert (unchanged.status_code, unchanged.parsed) == (304, None)

    listed = get_sessions.sync(client=client, ids=[42, 300001])
    assert isinstance(listed, SessionList), listed
    first, second = listed.items
    assert isinstance(first.session, Session), first
    assert isinstance(second.problem, Problem), second
    assert second.problem.code == Code.SESSION_NOT_FOUND

    query = {"fields": SessionField.TITLE.value}
    part = client.get_httpx_client().get("/sessions/42", params=query).json()
    assert_type(SessionPart.from_dict(part).title, str | Unset | None)
    assert SessionPart.from_dict(part).title == session.title
    try:
        get_session.sync(42, client=client, fields=[SessionField.TITLE])
        raise AssertionError("a part is no session")
    except KeyError:
        pass

    for number, (status, code) in REFUSED.items():
        refused = get_session.sync_detailed(number, client=client)
        problem = refused.parsed
        assert isinstance(problem, Problem), problem
        assert_type(problem.code, Code)
        assert (refused.status_code, problem.status, problem.code) == (status, status, code)
    print("read, and told apart", *(code.value for _, code in REFUSED.values()))


main(sys.argv[1])
