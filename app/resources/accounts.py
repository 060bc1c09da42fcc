"""New accounts at the farm, for clients whose key allows it.

Knows paths, arguments, faults and wire names. Must not know the HTTP client, stores or XML.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import Annotated

from email_validator import EmailNotValidError, validate_email
from fastapi import APIRouter, Depends, Request, Response
from pydantic import AfterValidator, BaseModel, Field

from app.api.error_codes import Code
from app.api.response_docs import FETCH_CODES, problem_responses
from app.core import errors
from app.core.call import Call, Drift, private_digest
from app.core.performer import Performer
from app.edge.rate_limit import RateLimiter

SCOPE = "accounts"
"""What a key has to allow."""


def _address(text: str) -> str:
    """The address as mail servers write it. Raises ValueError, whose text does not repeat it."""
    try:
        checked = validate_email(text, check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError:
        checked = None
    if checked is None or checked.ascii_email is None:
        raise ValueError("must be an e-mail address")
    return checked.ascii_email


class NewAccount(BaseModel):
    """Whom the account is for."""

    email: Annotated[str, Field(max_length=254), AfterValidator(_address)] = Field(
        description="The address of the account's owner.", examples=["new@example.org"]
    )


class AccountAnswer(BaseModel):
    """What the farm says of a new account."""

    success: bool


class CreateUserAccount(Call):
    """community.createUserAccount(parameters, userMail)."""

    method = "community.createUserAccount"
    answer = AccountAnswer
    faults = MappingProxyType(
        {
            103: errors.AccountForbidden,
            200: errors.EmailRefused,
            204: errors.AccountNotCreated,
            205: errors.AccountExists,
            206: errors.UpstreamRejectedParameters,
            207: errors.AccountForbidden,
            208: errors.AccountNotCreated,
            209: errors.NameTaken,
        }
    )
    changes = True

    email: str = Field(serialization_alias="userMail", repr=False)

    @property
    def told(self) -> dict[str, str]:
        """What tells one address from another in the log of one process, and nobody its owner."""
        return {"userMail": private_digest(self.email)}

    def read(self, value: object, drift: Drift) -> BaseModel:
        """Whether there is an account now."""
        answer = super().read(value, drift)
        assert isinstance(answer, AccountAnswer)  # noqa: S101 - the call's own kind
        if not answer.success:
            raise errors.AccountNotCreated("no_success")
        return answer


class Accounts:
    """Makes accounts, as many for each key as ``limiter`` lets pass. ``clock``: monotonic."""

    def __init__(
        self, performer: Performer, limiter: RateLimiter, clock: Callable[[], float]
    ) -> None:
        self._performer = performer
        self._limiter = limiter
        self._clock = clock

    def check(self, request: Request) -> None:
        """Raises errors.AccountForbidden unless the request's key has the scope."""
        if SCOPE not in request.scope.get("rfgw.scopes", ()):
            raise errors.AccountForbidden("scope")

    async def create(self, client: str, email: str) -> None:
        """Make an account for ``email``. Raises errors.GatewayError."""
        wait = self._limiter.take(client, self._clock()).wait
        if wait > 0:
            raise errors.RateLimited("rate", retry_after=wait)
        await self._performer.perform(CreateUserAccount(email=email))

    async def aclose(self) -> None:
        """Let what is under way come to its end."""
        await self._performer.aclose()


async def _accounts(request: Request) -> Accounts:
    accounts: Accounts = request.app.state.services.accounts
    accounts.check(request)
    return accounts


OF_KEPT_ANSWERS = (Code.NOT_ACCEPTABLE, Code.NOT_CACHED, Code.UPSTREAM_MISMATCH)
"""What only a route may answer with that reads."""

router = APIRouter(tags=["accounts"])


@router.post(
    "/accounts",
    operation_id="createAccount",
    summary="Make an account at the farm",
    status_code=201,
    response_class=Response,
    responses={
        201: {"description": "There is an account, and its owner can log in at the farm."},
        **problem_responses(
            *(code for code in FETCH_CODES if code not in OF_KEPT_ANSWERS),
            Code.EMAIL_REFUSED,
            Code.ACCOUNT_EXISTS,
            Code.NAME_TAKEN,
            Code.ACCOUNT_FORBIDDEN,
            Code.ACCOUNT_NOT_CREATED,
        ),
    },
)
async def create_account(
    request: Request, account: NewAccount, accounts: Annotated[Accounts, Depends(_accounts)]
) -> Response:
    """For clients whose key has the scope `accounts`: an account for one of their users."""
    await accounts.create(request.scope["rfgw.client"], account.email)
    return Response(status_code=201, headers={"cache-control": "no-store"})
