"""The gateway's calls for visitors over the sandbox farm: two halves of RFC 5849, written apart."""

import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from pydantic import BaseModel, Field

from app.core import errors
from app.core.call import Call, Token, VisitorCall
from app.core.performer import Performer
from app.login.steps import AccessToken, EndLogin, RequestToken, TokenAnswer
from app.sandbox.server import create_farm, farm_server
from app.telemetry.instrumentation import Telemetry
from app.telemetry.metrics import Metrics
from app.wiring import farm_of
from tests.conftest import Farm, settings_for
from tests.oauth_provider import CONSUMER_KEY, CONSUMER_SECRET, SESSION, OAuthProvider
from tests.running import client_of, running
from tests.test_sandbox_login import SITE, SiteClient, returned


class AnyStruct(BaseModel):
    """Whatever the farm answers."""

    success: bool = False


class ListSessions(VisitorCall):
    """user.getAllSessions()."""

    method = "user.getAllSessions"
    answer = AnyStruct


class AttachOne(VisitorCall):
    """user.attachSession(int)."""

    method = "user.attachSession"
    answer = AnyStruct
    refused = errors.SessionNotYours
    changes = True

    id: int = Field(serialization_alias="sessionId")


@asynccontextmanager
async def asking(farm_url: str, **overrides: object) -> AsyncIterator[Performer]:
    telemetry = Telemetry(Metrics())
    farm = farm_of(settings_for(farm_url, **overrides), telemetry)
    performer = Performer(farm, telemetry)
    yield performer
    await performer.aclose()
    await farm.aclose()


@pytest.fixture
def site(farm: Farm) -> Iterator[SiteClient]:
    with client_of(farm.url) as http:
        yield SiteClient(farm.url, http)


async def token_of(performer: Performer, call: Call) -> Token:
    answer = await performer.perform(call)
    assert isinstance(answer, TokenAnswer)
    return answer.token


async def logged_in(performer: Performer, site: SiteClient) -> Token:
    requested = await token_of(performer, RequestToken(callback=SITE))
    back = returned(site.decide(requested.key))
    return await token_of(performer, AccessToken(token=requested, verifier=back["oauth_verifier"]))


SIGNINGS = [*itertools.product("ABCD", ("header", "query", "struct"), (True, False))]


@pytest.mark.parametrize(("reading", "place", "version"), SIGNINGS)
async def test_both_halves_agree_on_every_way_of_signing(
    farm: Farm, site: SiteClient, reading: str, place: str, version: bool
) -> None:
    ways = {"signing": reading, "user_signing": place, "oauth_version": version}
    async with asking(farm.url, **ways) as performer:
        token = await logged_in(performer, site)
        await performer.perform(ListSessions(token=token))
        attached = await performer.perform(AttachOne(token=token, id=301_001))
        assert attached == AnyStruct(success=True)
        assert site.record()["reading"] == place
        with pytest.raises(errors.SessionNotYours):
            await performer.perform(AttachOne(token=token, id=301_101))
        await performer.perform(EndLogin(token=token))
        with pytest.raises(errors.LoginExpired):
            await performer.perform(ListSessions(token=token))


@pytest.mark.parametrize("shape", ["header", "form", "fault"])
@pytest.mark.parametrize(
    ("problem", "error"),
    [
        ("token_rejected", errors.LoginExpired),
        ("token_expired", errors.LoginExpired),
        ("token_revoked", errors.LoginExpired),
        ("consumer_key_unknown", errors.UpstreamRefusedCredentials),
        ("signature_invalid", errors.UpstreamRefusedCredentials),
        ("nonce_used", errors.UpstreamRefusedCredentials),
        ("parameter_absent", errors.UpstreamRejectedCall),
        ("The session is not yours", errors.SessionNotYours),
        ("unheard_of", errors.SessionNotYours),
    ],
)
async def test_a_refusal_means_the_same_in_every_shape(
    farm: Farm, shape: str, problem: str, error: type[Exception]
) -> None:
    async with asking(farm.url) as performer:
        farm.next({"do": "problem", "problem": problem, "shape": shape})
        with pytest.raises(error):
            await performer.perform(AttachOne(token=Token("t", "s"), id=301_001))
        assert farm.calls() == 1


@pytest.mark.parametrize("ahead", [86_400, -86_400])
async def test_a_wrong_clock_is_made_up_for(ahead: int) -> None:
    with (
        running(farm_server(create_farm(clock=lambda: time.time() + ahead))) as url,
        client_of(url) as http,
    ):
        async with asking(url) as performer:
            site = SiteClient(url, http)
            token = await logged_in(performer, site)
            await performer.perform(AttachOne(token=token, id=301_001))


async def test_a_farm_of_the_first_edition_is_told_apart() -> None:
    with running(farm_server(create_farm(core_1_0=True))) as url, client_of(url) as http:
        async with asking(url) as performer:
            with pytest.raises(errors.UpstreamCallbackUnconfirmed):
                await performer.perform(RequestToken(callback=SITE))
            requested = await token_of(performer, RequestToken())
            site = SiteClient(url, http)
            asked = site.page(requested.key)
            assert asked.status_code == 200
            site.decide(requested.key)
            token = await token_of(performer, AccessToken(token=requested))
            await performer.perform(ListSessions(token=token))


@pytest.mark.parametrize("place", ["header", "query"])
@pytest.mark.parametrize("version", [True, False])
async def test_a_provider_that_others_wrote_takes_our_signatures(place: str, version: bool) -> None:
    provider = OAuthProvider()
    server = uvicorn.Server(uvicorn.Config(provider.app, log_config=None, lifespan="off"))
    consumer = {"consumer_key": CONSUMER_KEY, "consumer_secret": CONSUMER_SECRET}
    ways = {"user_signing": place, "oauth_version": version}
    with running(server) as url, client_of(url) as http:
        async with asking(url, **consumer, **ways) as performer:
            token = await logged_in(performer, SiteClient(url, http))
            await performer.perform(ListSessions(token=token))
            await performer.perform(AttachOne(token=token, id=SESSION))
            with pytest.raises(errors.SessionNotYours):
                await performer.perform(AttachOne(token=token, id=SESSION + 1))
            await performer.perform(EndLogin(token=token))
            with pytest.raises(errors.LoginExpired):
                await performer.perform(ListSessions(token=token))
    assert (provider.attached, provider.store.granted) == ({SESSION}, {})
