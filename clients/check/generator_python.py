"""A reader of sessions over openapi-generator's python client. Its one argument is an address."""

import sys

from generated_client import ApiClient, ApiException, Configuration, SessionsApi
from generated_client.models import (
    Code,
    Phase,
    Problem,
    ProblemOrNull,
    Session,
    SessionField,
    SessionOrNull,
    SessionPart,
)
from pydantic import ValidationError

with ApiClient(Configuration(host=sys.argv[1])) as client:
    sessions = SessionsApi(client)
    found = sessions.get_session_with_http_info(42)
    assert isinstance(found.data, Session), found
    assert (found.data.title, found.data.progress.phase) == ("Sandbox session 42", Phase.COMPLETED)
    assert found.headers is not None
    assert found.headers["cache-status"].startswith("rfgw; ")

    try:
        sessions.get_session(42, if_none_match=found.headers["etag"])
    except ApiException as unchanged:
        assert unchanged.status == 304, unchanged

    first, second = sessions.get_sessions([42, 300001]).items
    assert isinstance(first.session, SessionOrNull), first
    assert isinstance(second.problem, ProblemOrNull), second
    assert (first.session.id, second.problem.code) == (42, Code.SESSION_NOT_FOUND)

    try:
        sessions.get_session(42, fields=[SessionField.TITLE])
        raise AssertionError("a part is no session")
    except ValidationError:
        raw = sessions.get_session_without_preload_content(42, fields=[SessionField.TITLE])
        part = SessionPart.from_json(raw.read())
        assert isinstance(part, SessionPart), part
        assert (part.title, part.state) == (found.data.title, None)

    try:
        sessions.get_session(300001)
    except ApiException as error:
        assert isinstance(error.data, Problem), error
        assert (error.status, error.data.code) == (404, Code.SESSION_NOT_FOUND)
        print("read, and told apart", error.data.code.value)
