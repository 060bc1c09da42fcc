"""The three steps of a login (RFC 5849 section 2), and its end, as calls to the farm."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from app.core.call import Drift, OAuthStep, Token
from app.core.errors import LoginExpired, UpstreamCallbackUnconfirmed, UpstreamUnreadable

MAX_TOKEN = 255
"""Characters of a token and of its secret: both have to fit into a cookie."""


def _is_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable")
    return text


Plain = Annotated[str, Field(max_length=MAX_TOKEN), AfterValidator(_is_printable)]


class TokenAnswer(BaseModel):
    """A token, and whether the farm has taken note of the callback."""

    key: Annotated[Plain, Field(validation_alias="oauth_token", min_length=1)]
    secret: Annotated[Plain, Field(validation_alias="oauth_token_secret")]
    confirmed: str = Field("", validation_alias="oauth_callback_confirmed")

    @property
    def token(self) -> Token:
        """The token and its secret."""
        return Token(self.key, self.secret)


class LogoutAnswer(BaseModel):
    """Nothing."""


class RequestToken(OAuthStep):
    """oauth.requestToken: a token that the visitor is asked about (section 2.1).

    Without a ``callback`` it is the step of OAuth Core 1.0.
    """

    method = "oauth.requestToken"
    answer = TokenAnswer

    def read(self, value: object, drift: Drift) -> BaseModel:
        """The token. Raises UpstreamCallbackUnconfirmed if another may end what this one began."""
        answer = _token(value)
        # Widespread servers write True.
        if self.callback and answer.confirmed.lower() != "true":
            raise UpstreamCallbackUnconfirmed("callback_unconfirmed")
        return answer


class AccessToken(OAuthStep):
    """oauth.accessToken: the token that the visitor has allowed, for one to act with (2.3)."""

    method = "oauth.accessToken"
    answer = TokenAnswer
    refused = LoginExpired
    changes = True

    def read(self, value: object, drift: Drift) -> BaseModel:
        """The token."""
        return _token(value)


class EndLogin(OAuthStep):
    """oauth.logout: the farm forgets the token."""

    method = "oauth.logout"
    answer = LogoutAnswer
    changes = True


def _token(value: object) -> TokenAnswer:
    try:
        return TokenAnswer.model_validate(value)
    except ValidationError:
        raise UpstreamUnreadable("form") from None
