"""Settings: where they come from, and what is said about wrong ones."""

import base64
import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from app.config.addresses import base_address, cache_address, is_local, origins
from app.config.environment import FILES, NAMES, SettingsError, load_settings
from app.config.settings import Settings

DOCS = Path(__file__).parents[1] / "docs" / "configuration.md"
EXAMPLE = Path(__file__).parents[1] / ".env.example"
KEY, SECRET = "the-key", "the s3cret&=%"
GIVEN = {"RFGW_CONSUMER_KEY": KEY, "RFGW_CONSUMER_SECRET": SECRET}
NUMBERS = [name for name, field in NAMES.items() if type(Settings.model_fields[field].default)
           in (int, float)]  # fmt: skip


def load(directory: Path, **environ: str) -> Settings:
    return load_settings({**GIVEN, **environ}, directory / ".env")


def wrong(directory: Path, **environ: str) -> Mapping[str, str]:
    """What is said about each wrong setting."""
    with pytest.raises(SettingsError) as caught:
        load(directory, **environ)
    return dict(line.split(": ", 1) for line in str(caught.value).splitlines())


def test_a_key_and_a_secret_are_enough(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.consumer_secret.get_secret_value() == SECRET
    assert settings.upstream_url == "http://127.0.0.1:8001"


def test_values_of_every_kind_come_from_the_environment(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        RFGW_UPSTREAM_URL="https://farm.example/api/",
        RFGW_UPSTREAM_DEADLINE="2.5",
        RFGW_UPSTREAM_QUEUE="0",
        RFGW_OAUTH_VERSION="false",
        RFGW_SIGNING="C",
        RFGW_CORS_ORIGINS="https://a.example, http://b.example:8080",
        RFGW_OAUTH_TOKEN="token",
        RFGW_OAUTH_TOKEN_SECRET="hush",
    )
    assert settings.upstream_url == "https://farm.example/api"
    assert (settings.upstream_deadline, settings.upstream_queue) == (2.5, 0)
    assert (settings.oauth_version, settings.signing) == (False, "C")
    assert settings.origins == {"https://a.example", "http://b.example:8080"}
    assert settings.oauth_token_secret is not None
    assert settings.oauth_token_secret.get_secret_value() == "hush"


def test_an_empty_value_is_none(tmp_path: Path) -> None:
    assert load(tmp_path, RFGW_PORT="", RFGW_OAUTH_TOKEN="", RFGW_PUBLIC_URL="").port == 8000


def test_the_demo_s_folder_holds_a_page(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        told = wrong(tmp_path, RFGW_DEMO_DIR=str(folder))
        assert told == {"RFGW_DEMO_DIR": "must be a folder with an index.html"}
    (tmp_path / "index.html").touch()
    assert load(tmp_path, RFGW_DEMO_DIR=str(tmp_path)).demo_dir == tmp_path


def test_an_env_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# ours\nRFGW_PORT=9001\nRFGW_HOST=::1\nexport RFGW_LOG_LEVEL=debug\n"
        "RFGW_CONSUMER_SECRET='from ${HOME}'\nOTHERS=are no concern\n"
    )
    settings = load_settings({"RFGW_CONSUMER_KEY": KEY, "RFGW_PORT": "9002"}, tmp_path / ".env")
    assert (settings.host, settings.port, settings.log_level) == ("::1", 9002, "debug")
    assert settings.consumer_secret.get_secret_value() == "from ${HOME}"


def test_an_empty_value_in_the_environment_takes_back_what_an_env_file_says(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("RFGW_OAUTH_TOKEN=t\nRFGW_OAUTH_TOKEN_SECRET=s\n")
    settings = load(tmp_path, RFGW_OAUTH_TOKEN="", RFGW_OAUTH_TOKEN_SECRET="")
    assert settings.oauth_token is None


def test_a_typo_in_an_env_file_is_told(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("RFGW_PROT=9001\n")
    assert wrong(tmp_path) == {"RFGW_PROT": "no such setting; did you mean RFGW_PORT?"}


def test_an_env_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"RFGW_CONSUMER_SECRET=\xff\xfe")
    with pytest.raises(SettingsError, match=r"\.env: cannot be read as UTF-8 text$"):
        load(tmp_path)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_comes_from_a_file_without_its_line_end(tmp_path: Path, end: str) -> None:
    (tmp_path / "secret").write_bytes((SECRET + end).encode())
    settings = load(
        tmp_path,
        RFGW_CONSUMER_SECRET="",
        RFGW_CONSUMER_SECRET_FILE=str(tmp_path / "secret"),
    )
    assert settings.consumer_secret.get_secret_value() == SECRET


@pytest.mark.parametrize("held", [b"", b"\n", b"two\nlines", b" padded", b"blank \n", b"\n\nx"])
def test_a_file_that_holds_no_plain_secret_is_told_by_its_own_name(
    tmp_path: Path, held: bytes
) -> None:
    (tmp_path / "secret").write_bytes(held)
    told = wrong(
        tmp_path, RFGW_CONSUMER_SECRET="", RFGW_CONSUMER_SECRET_FILE=str(tmp_path / "secret")
    )
    assert told == {
        "RFGW_CONSUMER_SECRET_FILE": "must be one line of text that neither begins nor ends "
        "with blanks"
    }


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    told = wrong(
        tmp_path,
        RFGW_CONSUMER_KEY="",
        RFGW_CONSUMER_KEY_FILE=str(tmp_path / "binary"),
        RFGW_CONSUMER_SECRET="",
        RFGW_CONSUMER_SECRET_FILE=str(tmp_path / "none"),
        RFGW_OAUTH_TOKEN_FILE=str(tmp_path),
        RFGW_OAUTH_TOKEN_SECRET="s",
        RFGW_UPSTREAM_CA_FILE=str(tmp_path / "none"),
    )
    assert told == {
        "RFGW_CONSUMER_KEY_FILE": "cannot be read: not UTF-8 text",
        "RFGW_CONSUMER_SECRET_FILE": "cannot be read: No such file or directory",
        "RFGW_OAUTH_TOKEN_FILE": "cannot be read: Is a directory",
        "RFGW_UPSTREAM_CA_FILE": "no PEM certificates can be read: No such file or directory",
    }


def test_a_ca_file_without_certificates_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    told = wrong(tmp_path, RFGW_UPSTREAM_CA_FILE=str(tmp_path / "ca.pem"))
    assert told["RFGW_UPSTREAM_CA_FILE"].startswith("no PEM certificates can be read")


def test_a_secret_is_given_once(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    told = wrong(tmp_path, RFGW_CONSUMER_SECRET_FILE=str(tmp_path / "secret"))
    assert told == {
        "RFGW_CONSUMER_SECRET_FILE": "is given without _FILE too: give only one of them"
    }


def test_every_wrong_setting_has_its_line_and_no_line_has_a_value(tmp_path: Path) -> None:
    canary = "c4nary"
    told = wrong(
        tmp_path,
        RFGW_CONSUMER_KEY="",
        RFGW_CONSUMER_SECRET=f" {canary}",
        RFGW_OAUTH_TOKEN=f"{canary}\t{canary}",
        RFGW_UPSTREAM_URL=f"https://user:{canary}@farm.example",
        RFGW_PUBLIC_URL=f"{canary}",
        RFGW_CORS_ORIGINS=f"https://{canary}/path",
        RFGW_UPSTREAM_DEADLINE=canary,
        RFGW_UPSTREAM_ALLOW_HTTP=canary,
        RFGW_UPSTREAM_CA_FILE=f"/{canary}",
        RFGW_SIGNING=canary,
        RFGW_PORT=f"1{canary}",
        RFGW_LOG_LEVEL=canary,
        RFGW_CONSUMER_SECRT=canary,
        rfgw_port=canary,
    )
    assert set(told) == {
        "RFGW_CONSUMER_KEY", "RFGW_CONSUMER_SECRET", "RFGW_OAUTH_TOKEN", "RFGW_UPSTREAM_URL",
        "RFGW_PUBLIC_URL", "RFGW_CORS_ORIGINS", "RFGW_UPSTREAM_DEADLINE",
        "RFGW_UPSTREAM_ALLOW_HTTP", "RFGW_UPSTREAM_CA_FILE", "RFGW_SIGNING", "RFGW_PORT",
        "RFGW_LOG_LEVEL", "RFGW_CONSUMER_SECRT", "rfgw_port",
    }  # fmt: skip
    assert told["RFGW_CONSUMER_KEY"].startswith("required: The site's OAuth consumer key.")
    assert told["RFGW_CONSUMER_SECRT"].endswith("did you mean RFGW_CONSUMER_SECRET?")
    assert told["rfgw_port"].endswith("did you mean RFGW_PORT?")
    assert canary not in "".join(told.values())


def test_an_unknown_name_unlike_any_other_has_no_suggestion(tmp_path: Path) -> None:
    assert wrong(tmp_path, RFGW_QQQQQQ="1") == {"RFGW_QQQQQQ": "no such setting"}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-1", "1e99", "ten", " ", "0x10", "1,5"])
def test_a_number_beyond_its_limits_is_refused(tmp_path: Path, name: str, text: str) -> None:
    told = wrong(tmp_path, **{name: text})
    assert set(told) == {name}
    if text in ("nan", "inf", "-inf"):
        assert re.match("Input should be a (finite number|valid integer)", told[name])


@pytest.mark.parametrize("given", ["RFGW_OAUTH_TOKEN", "RFGW_OAUTH_TOKEN_SECRET"])
def test_a_token_and_its_secret_come_together(tmp_path: Path, given: str) -> None:
    told = wrong(tmp_path, **{given: "t"})
    assert told == {"RFGW_OAUTH_TOKEN_SECRET": "give it together with RFGW_OAUTH_TOKEN, or neither"}


@pytest.mark.parametrize(
    "url", ["http://farm.example", "HTTP://10.0.0.1:8001", "http://127.1.evil"]
)
def test_plain_http_is_for_loopback_unless_allowed(tmp_path: Path, url: str) -> None:
    assert (
        "RFGW_UPSTREAM_ALLOW_HTTP=true"
        in wrong(tmp_path, RFGW_UPSTREAM_URL=url)["RFGW_UPSTREAM_URL"]
    )
    allowed = load(tmp_path, RFGW_UPSTREAM_URL=url, RFGW_UPSTREAM_ALLOW_HTTP="true")
    assert allowed.upstream_url == url


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8001", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:8001", True),
        ("http://localhost", True),
        ("http://localhost.farm.example", False),
        ("http://0.0.0.0", False),
        ("http://farm.example", False),
    ],
)
def test_loopback_is_told_by_its_spelling(url: str, local: bool) -> None:
    assert is_local(url) is local


@pytest.mark.parametrize(
    "text",
    [
        "farm.example",
        "//farm.example",
        "ftp://farm.example",
        "https://",
        "https:farm.example",
        "https://farm.example:port",
        "https://farm.example:0",
        "https://farm.example:99999",
        "https://[::1",
        "https://farm\n.example",
        "https://farm.example/a b",
        " https://farm.example",
        "https://farm.example\\@other.example",
        "https://fårm.example",
        "https://farm.example?",
        "https://farm.example/?a=1",
        "https://farm.example#",
        "https://user@farm.example",
        "https://user:pass@farm.example",
        "https://@farm.example",
    ],
)
def test_what_is_no_base_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must (be an absolute|have no user name)"):
        base_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "redis://cache.example",
        "rediss://user:p%40ss@[::1]:6380/15",
        "unix:///run/valkey.sock",
        "unix://:password@/run/valkey.sock",
    ],
)
def test_addresses_of_caches_are_taken(text: str) -> None:
    cache_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "cache.example:6379",
        "http://cache.example",
        "redis://",
        "redis:///0",
        "'redis://cache.example/0'",
        "redis://cache.example/zero",
        "redis://cache.example:0",
        "redis://cache.example:port",
        "redis://cache.example?ssl_cert_reqs=none",
        "redis://pass#word@cache.example",
        "redis://cache.example/0 ",
        "redis://[::1",
        "unix://run/valkey.sock",
        "unix://",
    ],
)
def test_what_is_no_address_of_a_cache_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be like redis://:password@cache"):
        cache_address(text)


@pytest.mark.parametrize("password", ["hush%", "hush%2", "hush%zz", "hush%ff", "%u0041hush"])
def test_a_cache_s_address_with_broken_percent_encodings_is_refused_unquoted(
    tmp_path: Path, password: str
) -> None:
    told = wrong(tmp_path, RFGW_CACHE_URL=f"redis://:{password}@127.0.0.1")
    assert told == {"RFGW_CACHE_URL": "must be percent-encoded UTF-8: a % itself is %25"}
    cache_address("redis://:hush%25%c3%a9@127.0.0.1")


def test_a_shared_cache_needs_redis_py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "redis://:hush@127.0.0.1"
    assert "hush" not in repr(load(tmp_path, RFGW_CACHE_URL=url))
    monkeypatch.setattr("app.config.cache_settings.find_spec", lambda name: None)
    told = wrong(tmp_path, RFGW_CACHE_URL=url)
    assert told == {
        "RFGW_CACHE_URL": "needs the package redis: pip install renderfarm-gateway[redis]"
    }


def test_a_snapshot_is_a_file_of_a_process_alone(tmp_path: Path) -> None:
    there = str(tmp_path / "snapshot")
    assert load(tmp_path, RFGW_SNAPSHOT_FILE=there).snapshot_file == tmp_path / "snapshot"
    assert wrong(tmp_path, RFGW_SNAPSHOT_FILE=there, RFGW_CACHE_URL="redis://127.0.0.1") == {
        "RFGW_SNAPSHOT_FILE": "is for a process alone: give it or RFGW_CACHE_URL"
    }
    os.mkfifo(pipe := tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "no folder" / "snapshot", pipe, Path(os.devnull)):
        assert wrong(tmp_path, RFGW_SNAPSHOT_FILE=str(path)) == {
            "RFGW_SNAPSHOT_FILE": "must be a file in a folder that exists"
        }


@pytest.mark.parametrize(
    "text",
    [
        "https://a.example/",
        "https://a.example/path",
        "a.example",
        "https://",
        "https://u:p@a.example",
        "https://A.example",
        "https://a.example:443",
        "http://a.example:80",
        "https://a.example,",
        "https://a.example,*",
        "https://a.example https://b.example",
        "null",
        "https://*.a.example",
    ],
)
def test_origins_that_no_browser_sends_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be \* or origins"):
        origins(text)


@pytest.mark.parametrize(
    "text", ["*", "https://a.example", "http://[::1]:3000", "capacitor://localhost"]
)
def test_origins_of_browsers_are_taken(text: str) -> None:
    assert origins(text) == {text}


@pytest.mark.parametrize(
    "text", ["600", "600/", "/60", "0/60", "600/0", "-1/60", "6e2/60", "600/60/1", "600 / 60",
             "1000000/60", "600/10000", "600/60s", "٦/60", "600/0.5"],
)  # fmt: skip
def test_what_is_no_rate_is_refused(tmp_path: Path, text: str) -> None:
    told = wrong(tmp_path, RFGW_RATE_LIMIT=text)
    assert told["RFGW_RATE_LIMIT"].startswith("must be requests/seconds like 600/60")


def test_a_rate_is_requests_and_seconds(tmp_path: Path) -> None:
    assert load(tmp_path, RFGW_RATE_LIMIT="600/60").rate == (600, 60)
    assert load(tmp_path).rate is None


@pytest.mark.parametrize(
    "text",
    ["*", "10.0.0.0/33", "10.0.0.1/8", "proxy.example", "10.0.0.1,", "10.0.0.1:80", "unix:/a"],
)
def test_what_are_no_networks_is_refused(tmp_path: Path, text: str) -> None:
    told = wrong(tmp_path, RFGW_FORWARDED_ALLOW_IPS=text)
    assert told["RFGW_FORWARDED_ALLOW_IPS"].startswith("must be IP addresses, networks")


def test_proxies_are_addresses_and_networks(tmp_path: Path) -> None:
    settings = load(tmp_path, RFGW_FORWARDED_ALLOW_IPS="127.0.0.1, 10.0.0.0/8,::1")
    assert [str(network) for network in settings.proxies] == [
        "127.0.0.1/32", "10.0.0.0/8", "::1/128",
    ]  # fmt: skip
    assert load(tmp_path).proxies == ()
    assert not settings.trusts_unix
    assert load(tmp_path, RFGW_FORWARDED_ALLOW_IPS="::1, unix:").trusts_unix


@pytest.mark.parametrize("text", ["127.0.0.1,", ",::1", "127.0.0.1,,::1"])
def test_an_empty_address_to_listen_on_is_refused(tmp_path: Path, text: str) -> None:
    assert "RFGW_HOST" in wrong(tmp_path, RFGW_HOST=text)


@pytest.mark.parametrize("path", ["/gw/", "/", "gw", "/gw//b", "/gw?a", "/gw b", "/a/../b"])
def test_a_path_prefix_that_no_path_begins_with_is_refused(tmp_path: Path, path: str) -> None:
    told = wrong(tmp_path, RFGW_ROOT_PATH=path)["RFGW_ROOT_PATH"]
    assert told == "must be a path like /farm/gw: no segment is . or .., and no slash ends it"
    assert load(tmp_path, RFGW_ROOT_PATH="/farm/gw").root_path == "/farm/gw"


COOKIE_KEY = base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
LOGIN = {
    "RFGW_LOGIN": "true",
    "RFGW_COOKIE_KEY": COOKIE_KEY,
    "RFGW_PUBLIC_URL": "https://gw.example",
    "RFGW_CORS_ORIGINS": "https://www.gw.example",
}


def test_a_login_needs_a_key_an_address_and_a_list_of_origins(tmp_path: Path) -> None:
    assert load(tmp_path, **LOGIN).login
    assert load(tmp_path, **LOGIN | {"RFGW_PUBLIC_URL": "http://127.0.0.1:8000"}).login
    for name, text, told in (
        ("RFGW_COOKIE_KEY", "", "needs RFGW_COOKIE_KEY: rfgw key --cookie makes one"),
        ("RFGW_PUBLIC_URL", "", "needs RFGW_PUBLIC_URL: the farm sends visitors there"),
        ("RFGW_PUBLIC_URL", "http://gw.example", "needs https in RFGW_PUBLIC_URL: cookies are"),
        ("RFGW_PUBLIC_URL", "HTTP://gw.example", "needs https in RFGW_PUBLIC_URL: cookies are"),
        ("RFGW_CORS_ORIGINS", "*", "needs a list of origins in RFGW_CORS_ORIGINS, not *"),
        ("RFGW_CORS_ORIGINS", "", "needs a list of origins in RFGW_CORS_ORIGINS, not *"),
    ):
        assert wrong(tmp_path, **LOGIN | {name: text})["RFGW_LOGIN"].startswith(told)


def test_a_wrong_setting_that_a_login_needs_is_told_once(tmp_path: Path) -> None:
    for name in ("RFGW_COOKIE_KEY", "RFGW_PUBLIC_URL", "RFGW_CORS_ORIGINS"):
        assert wrong(tmp_path, **LOGIN | {name: "nonsense"}).keys() == {name}


@pytest.mark.parametrize(
    "text",
    ["short", "", ",", COOKIE_KEY[:-1], COOKIE_KEY + "A", COOKIE_KEY + "==", "+" * 43,
     f"{COOKIE_KEY},", f"{COOKIE_KEY};{COOKIE_KEY}", ",".join([COOKIE_KEY] * 9)],
)  # fmt: skip
def test_what_are_no_keys_of_cookies_is_refused_and_never_quoted(tmp_path: Path, text: str) -> None:
    told = wrong(tmp_path, **LOGIN | {"RFGW_COOKIE_KEY": text})
    reason = told.get("RFGW_COOKIE_KEY") or told["RFGW_LOGIN"]
    assert reason.startswith(("must be", "needs RFGW_COOKIE_KEY"))
    assert COOKIE_KEY[:-1] not in str(told)


def test_eight_keys_of_cookies_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(", ".join([COOKIE_KEY] * 7) + f", {COOKIE_KEY}=\n")
    given = {**LOGIN, "RFGW_COOKIE_KEY": "", "RFGW_COOKIE_KEY_FILE": str(tmp_path / "keys")}
    settings = load(tmp_path, **given)
    assert settings.cookie_keys == (bytes(range(32)),) * 8
    assert COOKIE_KEY not in repr(settings) + settings.model_dump_json()


def test_accounts_need_keys_of_clients(tmp_path: Path) -> None:
    told = wrong(tmp_path, RFGW_ACCOUNTS="true")["RFGW_ACCOUNTS"]
    assert told == "needs RFGW_API_KEYS_FILE: a key decides who may make them"
    settings = load(tmp_path, RFGW_ACCOUNTS="true", RFGW_API_KEYS_FILE="keys")
    assert (settings.accounts, settings.accounts_rate) == (True, (10, 60))
    told = wrong(tmp_path, RFGW_ACCOUNTS_LIMIT="10")["RFGW_ACCOUNTS_LIMIT"]
    assert told.startswith("must be requests/seconds like 10/60")


def test_settings_never_show_their_secrets(tmp_path: Path) -> None:
    settings = load(tmp_path, RFGW_OAUTH_TOKEN="hush-1", RFGW_OAUTH_TOKEN_SECRET="hush-2")
    shown = repr(settings) + str(settings) + settings.model_dump_json() + repr(vars(settings))
    assert "consumer_secret" in shown
    assert not any(text in shown for text in (KEY, SECRET, "hush-1", "hush-2"))


def _documented() -> dict[str, list[str]]:
    """The rows of the tables, by variable: default, unit and limits, meaning."""
    rows = re.findall(r"^\| `(RFGW_\w+)` \|(.*)\|$", DOCS.read_text(), re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split(" | ")] for name, cells in rows}


def _default(field: str) -> str:
    default = Settings.model_fields[field].default
    if default is PydanticUndefined:
        return "required"
    if default is None or default == "":
        return "none"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _limits(field: str) -> str:
    """``0 to 10``, or ``above 0 to 10``, or ``0 or more``, as the field's constraints have it."""
    least, most, above = None, None, ""
    for limit in Settings.model_fields[field].metadata:
        most = getattr(limit, "le", most)
        least = getattr(limit, "ge", getattr(limit, "gt", least))
        above = "above " if hasattr(limit, "gt") else above
    if least is None:
        return ""
    return f"{above}{least} to {most}" if most is not None else f"{above}{least} or more"


def test_every_setting_is_documented_and_nothing_else() -> None:
    assert set(_documented()) == set(NAMES) | set(FILES)


@pytest.mark.parametrize(("name", "field"), NAMES.items())
def test_documented_defaults_limits_and_meanings_are_the_real_ones(name: str, field: str) -> None:
    default, unit, meaning = _documented()[name]
    assert default == _default(field)
    assert unit.endswith(_limits(field))
    assert meaning == Settings.model_fields[field].description


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_a_documented_unit(name: str) -> None:
    units = r"(seconds|bytes|share|calls|connections|answers|requests|readers|port|processes), "
    assert re.match(units, _documented()[name][1])


def test_the_example_env_file_is_right_as_it_stands() -> None:
    settings = load_settings({}, EXAMPLE)
    assert settings.consumer_key.get_secret_value() == "demo-consumer"


def test_everything_that_the_example_env_file_mentions_exists() -> None:
    mentioned = set(re.findall(r"RFGW_\w+", EXAMPLE.read_text()))
    assert mentioned <= set(NAMES) | set(FILES)


def test_what_is_refused_is_not_quoted_even_by_the_validation_itself() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"consumer_key": KEY, "consumer_secret": f" {SECRET}"})
    assert "consumer_secret" in str(caught.value)
    assert SECRET not in str(caught.value)
