"""What the settings hand to the parts: nothing is lost, left out or mixed up on the way."""

import pytest

from app.upstream.bulkhead import LOGIN_CALLS
from app.wiring import group_of
from tests.conftest import settings_for

FARM = "http://127.0.0.1:1"
TOKEN = {"oauth_token": "t", "oauth_token_secret": "s"}


def test_who_asks_the_same_farm_with_the_same_rights_is_one_group() -> None:
    one = settings_for(FARM, **TOKEN, port=1, fresh_active=7)
    assert group_of(one) == group_of(settings_for(FARM, **TOKEN))


@pytest.mark.parametrize(
    "other",
    [
        {"upstream_url": "http://127.0.0.1:2"},
        {"consumer_key": "another"},
        {"oauth_token": "another"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_farm_key_or_token_is_another_group(other: dict[str, str]) -> None:
    assert group_of(settings_for(FARM, **TOKEN)) != group_of(settings_for(FARM, **TOKEN | other))


def test_logins_take_few_of_the_places_at_the_farm() -> None:
    assert 0 < 8 * LOGIN_CALLS <= settings_for(FARM).upstream_concurrency
