"""An OAuth 1.0 provider that others wrote: oauthlib's endpoints and the standard library's XML-RPC.

It stands in for the farm, and shares nothing with the gateway or the sandbox. What oauthlib wants
by default of keys, nonces and tokens, it wants. Its one user is Ada, who has session 7; calls that
a site makes for itself are answered without a look at their signature.
"""

import secrets
import xmlrpc.client
from typing import Any

from oauthlib.oauth1 import (
    AccessTokenEndpoint,
    AuthorizationEndpoint,
    RequestTokenEndpoint,
    RequestValidator,
    ResourceEndpoint,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

CONSUMER_KEY = "abcdefghijklmnopqrst"
CONSUMER_SECRET = "between us"
SESSION = 7
FORM = "application/x-www-form-urlencoded"
QUESTION = """<form method="post">
<input type="hidden" name="oauth_token" value="{token}">
<button>Allow</button>
</form>"""


class ProviderStore(RequestValidator):
    """What the provider knows, in dictionaries, as oauthlib asks for it."""

    enforce_ssl = False
    dummy_client = dummy_request_token = dummy_access_token = "nobody"

    def __init__(self) -> None:
        super().__init__()
        self.requested: dict[str, dict[str, str]] = {}
        self.granted: dict[str, str] = {}
        self.nonces: set[tuple[str | None, ...]] = set()

    def get_client_secret(self, client_key: str, request: Any) -> str:
        return CONSUMER_SECRET

    def get_request_token_secret(self, client_key: str, token: str, request: Any) -> str:
        return self.requested.get(token, {}).get("oauth_token_secret", "")

    def get_access_token_secret(self, client_key: str, token: str, request: Any) -> str:
        return self.granted.get(token, "")

    def get_default_realms(self, client_key: str, request: Any) -> list[str]:
        return []

    def get_realms(self, token: str, request: Any) -> list[str]:
        return []

    def get_redirect_uri(self, token: str, request: Any) -> str:
        return self.requested[token]["callback"]

    def invalidate_request_token(self, client_key: str, token: str, request: Any) -> None:
        del self.requested[token]

    def validate_client_key(self, client_key: str, request: Any) -> bool:
        return client_key == CONSUMER_KEY

    def validate_request_token(self, client_key: str, token: str, request: Any) -> bool:
        return token in self.requested

    def validate_access_token(self, client_key: str, token: str, request: Any) -> bool:
        return token in self.granted

    def validate_timestamp_and_nonce(
        self,
        client_key: str,
        timestamp: str,
        nonce: str,
        request: Any,
        request_token: str | None = None,
        access_token: str | None = None,
    ) -> bool:
        seen = (client_key, timestamp, nonce, request_token, access_token)
        is_new = seen not in self.nonces
        self.nonces.add(seen)
        return is_new

    def validate_redirect_uri(self, client_key: str, uri: str, request: Any) -> bool:
        return uri.startswith("http")

    def validate_requested_realms(self, client_key: str, realms: list[str], request: Any) -> bool:
        return not realms

    def validate_realms(
        self,
        client_key: str,
        token: str,
        request: Any,
        uri: str | None = None,
        realms: list[str] | None = None,
    ) -> bool:
        return True

    def validate_verifier(self, client_key: str, token: str, verifier: str, request: Any) -> bool:
        kept = self.requested.get(token, {}).get("oauth_verifier", "")
        return bool(kept) and secrets.compare_digest(kept, verifier)

    def verify_request_token(self, token: str, request: Any) -> bool:
        return token in self.requested

    def save_request_token(self, token: Any, request: Any) -> None:
        self.requested[token["oauth_token"]] = {**token, "callback": request.redirect_uri}

    def save_verifier(self, token: str, verifier: dict[str, str], request: Any) -> None:
        self.requested[token].update(verifier)

    def save_access_token(self, token: Any, request: Any) -> None:
        self.granted[token["oauth_token"]] = token["oauth_token_secret"]


class OAuthProvider:
    """The provider's routes. ``store`` and ``attached`` are for tests to look at."""

    def __init__(self) -> None:
        self.store = ProviderStore()
        self.attached: set[int] = set()
        self.app = Starlette(
            routes=[
                Route("/oauth.requestToken", self._request_token, methods=["POST"]),
                Route("/oauth.authorize", self._authorize, methods=["GET", "POST"]),
                Route("/oauth.accessToken", self._access_token, methods=["POST"]),
                Route("/oauth.logout", self._logout, methods=["POST"]),
                Route("/user.{name}", self._user, methods=["POST"]),
                Route("/community.getSession", self._get_session, methods=["POST"]),
            ]
        )

    async def _request_token(self, request: Request) -> Response:
        endpoint = RequestTokenEndpoint(self.store)
        return _response(endpoint.create_request_token_response(*await _parts(request)))

    async def _access_token(self, request: Request) -> Response:
        endpoint = AccessTokenEndpoint(self.store)
        return _response(endpoint.create_access_token_response(*await _parts(request)))

    async def _authorize(self, request: Request) -> Response:
        """GET: the bare form. POST: Ada says yes."""
        if request.method == "GET":
            token = request.query_params.get("oauth_token", "")
            known = token in self.store.requested
            page = QUESTION.format(token=token) if known else ""
            return Response(page, 200 if known else 400, media_type="text/html")
        endpoint = AuthorizationEndpoint(self.store)
        return _response(endpoint.create_authorization_response(*await _parts(request)))

    async def _logout(self, request: Request) -> Response:
        token = await self._token_of(request)
        if token is None:
            return Response(status_code=401)
        del self.store.granted[token]
        return Response()

    async def _user(self, request: Request) -> Response:
        if await self._token_of(request) is None:
            return Response(status_code=401)
        arguments, method = xmlrpc.client.loads(await request.body())
        if method == "user.getAllSessions":
            session = {"title": "Seven", "shortDescription": "-", "submitTimestamp": 1_277_815_385}
            return _answer({"accept": {}, "active": {str(SESSION): session}, "completed": {}})
        if arguments != (SESSION,):
            return Response("oauth_problem=not%20yours", 401, media_type=FORM)
        self.attached.add(SESSION)
        return _answer({"success": True})

    async def _get_session(self, request: Request) -> Response:
        (_, number), _ = xmlrpc.client.loads(await request.body())
        if number not in self.attached:
            fault = xmlrpc.client.Fault(301, "Session not attached yet")
            return Response(xmlrpc.client.dumps(fault, methodresponse=True), media_type="text/xml")
        return _answer({"id": SESSION, "title": "Seven", "state": "active"})

    async def _token_of(self, request: Request) -> str | None:
        """The access token that a genuine request is signed with."""
        endpoint = ResourceEndpoint(self.store)
        uri, verb, _, headers = await _parts(request)
        valid, seen = endpoint.validate_protected_resource_request(uri, verb, None, headers)
        return str(seen.resource_owner_key) if valid else None


async def _parts(request: Request) -> tuple[str, str, str, dict[str, str]]:
    headers = {name.title(): value for name, value in request.headers.items()}
    return str(request.url), request.method, (await request.body()).decode(), headers


def _response(told: tuple[dict[str, str], str | None, int]) -> Response:
    headers, body, status = told
    return Response(body or "", status, headers)


def _answer(value: dict[str, Any]) -> Response:
    text = xmlrpc.client.dumps((value,), methodresponse=True)
    return Response(text, media_type="text/xml")
