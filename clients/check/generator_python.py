"""A reader of sessions over openapi-generator's python client. Its one argument is an address."""

import sys

from generated_client import ApiClient, ApiException, Configuration, SessionsApi
from generated_client.models import Code, Phase, Problem, Session

with ApiClient(Configuration(host=sys.argv[1])) as client:
    sessions = SessionsApi(client)
    found = sessions.get_session_with_http_info(42)
    assert isinstance(found.data, Session), found
    assert (found.data.title, found.data.progress.phase) == ("Sandbox session 42", Phase.COMPLETED)
    assert found.headers is not None
    assert found.headers["cache-status"].startswith("rfgw; ")

    try:
        sessions.get_session(300001)
    except ApiException as error:
        assert isinstance(error.data, Problem), error
        assert (error.status, error.data.code) == (404, Code.SESSION_NOT_FOUND)
        print("read, and told apart", error.data.code.value)
