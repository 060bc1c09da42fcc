"""What the settings hand to the parts: nothing is lost, left out or mixed up on the way."""

import base64
import resource

import pytest

from app.upstream.bulkhead import LOGIN_CALLS
from app.wiring import connections_of, files_left, group_of, upstream_secrets
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


def test_another_version_is_another_group(monkeypatch: pytest.MonkeyPatch) -> None:
    before = group_of(settings_for(FARM))
    monkeypatch.setattr("app.wiring.VERSION", "0.0.1")
    assert group_of(settings_for(FARM)) != before


def test_logins_take_few_of_the_places_at_the_farm() -> None:
    assert 0 < 8 * LOGIN_CALLS <= settings_for(FARM).upstream_concurrency


def test_whatever_signs_a_call_or_opens_a_proxy_is_kept_out_of_recordings() -> None:
    proxy = "http://user:hush-5@proxy.example:3128"
    settings = settings_for(
        FARM,
        consumer_key="hush-1",
        consumer_secret="hush-2",
        oauth_token="hush-3",
        oauth_token_secret="hush-4",
        upstream_proxy=proxy,
    )
    encoded = base64.b64encode(b"user:hush-5").decode()
    assert upstream_secrets(settings) == ["hush-1", "hush-2", "hush-3", "hush-4", proxy, encoded]


def test_with_few_files_some_clients_can_connect_all_the_same() -> None:
    settings, limits = settings_for(FARM), resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
    try:
        assert files_left(settings) < 0
        assert connections_of(settings) > 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
