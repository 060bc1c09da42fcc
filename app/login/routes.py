"""``/login``, ``/login/callback`` and ``/logout``. Must not know the steps between them."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.api.error_codes import Code
from app.api.problems import InvalidPart, Problems
from app.api.response_docs import problem_responses
from app.login.logins import HOME, Sent
from app.login.visitor import FromOurPages, Visiting, cookies_of

router = APIRouter(tags=["login"])

LEADS: dict[int | str, dict[str, Any]] = {303: {"description": "Where the browser goes on."}}

ReturnTo = Annotated[
    str,
    Query(
        description="Where the login leads back to: a path of the gateway, or an address whose"
        " origin the operator lists.",
        openapi_examples={"landing": {"summary": "The landing page", "value": "/"}},
    ),
]


@router.get(
    "/login",
    operation_id="login",
    summary="Log in at the farm",
    status_code=303,
    response_class=Response,
    responses={**LEADS, **problem_responses(Code.INVALID_REQUEST)},
)
async def login(request: Request, visits: Visiting, return_to: ReturnTo = HOME) -> Response:
    """For browsers, as a link: to the page of the farm where a visitor says who they are.

    From there they come back to `return_to`, logged in; or with `login=denied` in its query if
    they said no, or `login=failed` and a problem's code as `login_code`.
    """
    if not visits.logins.may_return_to(return_to):
        problems: Problems = request.app.state.services.problems
        part = InvalidPart(
            parameter="return_to",
            code="return_to",
            message="must be a path of the gateway, or an address of a listed origin",
        )
        return problems.response(Code.INVALID_REQUEST, request.scope, parts=[part])
    return _led(await visits.logins.begin(cookies_of(request), return_to))


@router.get(
    "/login/callback",
    operation_id="loginCallback",
    summary="Back from the farm",
    status_code=303,
    response_class=Response,
    responses=LEADS,
)
async def login_callback(request: Request, visits: Visiting) -> Response:
    """Where the farm sends a visitor back to. Only the browser that began the login ends it."""
    query = request.query_params
    once = {name: text for name, text in query.items() if len(query.getlist(name)) == 1}
    return _led(await visits.logins.finish(cookies_of(request), once))


@router.post(
    "/logout",
    operation_id="logout",
    summary="Log out",
    status_code=204,
    response_class=Response,
    responses={
        204: {"description": "Nobody is logged in any more."},
        **problem_responses(Code.CROSS_SITE_REQUEST),
    },
    dependencies=[FromOurPages],
)
async def logout(request: Request, visits: Visiting) -> Response:
    """The farm and the browser forget the login; the browser even if the farm does not answer."""
    token = visits.logins.cookies.user(cookies_of(request))
    if token is not None:
        await visits.logins.end(token)
    response = Response(status_code=204, headers={"cache-control": "no-store"})
    response.headers.append("set-cookie", visits.logins.cookies.log_out())
    return response


def _led(sent: Sent) -> Response:
    headers = {"location": sent.location, "cache-control": "no-store"}
    response = Response(status_code=303, headers=headers)
    for field in sent.cookies:
        response.headers.append("set-cookie", field)
    return response
