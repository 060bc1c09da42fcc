"""Every knob: its name, its default and its unit. Read by main and cli alone.

Values come from the environment (``RFGW_`` and the field's name in capitals), or from a ``.env``
file in the working directory; secrets also from a file that ``RFGW_<NAME>_FILE`` names.
"""

import difflib
import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "RFGW_"
SECRETS = ("consumer_key", "consumer_secret", "oauth_token", "oauth_token_secret")


class SettingsError(Exception):
    """What is wrong, one line for each setting, with its name and nothing of a secret."""


class Settings(BaseSettings):
    """The gateway's settings. Durations are seconds, sizes bytes."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    upstream_url: str = Field(
        "http://127.0.0.1:8001",
        description="Base address of the farm. The call goes to `<base>/<method>`, with signing "
        "reading C to `<base>/<handler>`. The default is the sandbox farm.",
    )
    upstream_allow_http: bool = Field(
        False, description="Allow plain http to a host other than loopback."
    )
    upstream_ca_file: Path | None = Field(
        None,
        description="PEM file of the certificate authorities to trust instead of the system's.",
    )
    upstream_deadline: float = Field(
        5, gt=0, le=300, description="Absolute limit of one call, its wait for a place included."
    )
    upstream_connect_timeout: float = Field(
        1, gt=0, le=60, description="Limit of making a connection."
    )
    upstream_concurrency: int = Field(
        32, ge=1, le=1000, description="Calls to the farm under way at once."
    )
    upstream_queue: int = Field(
        64, ge=0, le=10_000, description="Calls that may wait, 250 ms at most, for their turn."
    )
    upstream_max_body: int = Field(
        524_288, ge=1024, le=67_108_864, description="Largest answer of the farm that is read."
    )
    upstream_transport: Literal["aiohttp", "httpx"] = Field(
        "aiohttp", description="Whose sockets the HTTP client uses."
    )

    consumer_key: SecretStr = Field(description="The site's OAuth consumer key.")
    consumer_secret: SecretStr = Field(description="The site's OAuth consumer secret.")
    oauth_token: SecretStr | None = Field(
        None, description="Only if the farm wants a token in the struct."
    )
    oauth_token_secret: SecretStr | None = Field(None, description="The token's secret.")
    consumer_key_file: Path | None = Field(None, description="File that holds the consumer key.")
    consumer_secret_file: Path | None = Field(
        None, description="File that holds the consumer secret."
    )
    oauth_token_file: Path | None = Field(None, description="File that holds the token.")
    oauth_token_secret_file: Path | None = Field(
        None, description="File that holds the token's secret."
    )
    signing: Literal["A", "B", "C", "D"] = Field(
        "A", description="Reading of the undocumented signature base string."
    )
    oauth_version: bool = Field(True, description="Send and sign `oauth_version=1.0`.")

    fresh_active: float = Field(
        5, ge=0, le=86_400, description="Lifetime of an answer about a session that is moving."
    )
    fresh_queued: float = Field(15, ge=0, le=86_400, description="... that is queued.")
    fresh_waiting: float = Field(
        60, ge=0, le=86_400, description="... that is submitted, tested or awaits approval."
    )
    fresh_terminal: float = Field(
        3600, ge=0, le=31_536_000, description="... that is completed, cancelled or rejected."
    )
    ttl_jitter: float = Field(
        0.1, ge=0, le=0.5, description="+- share of each lifetime; 0 switches it off."
    )
    stale_while_revalidate: float = Field(
        30, ge=0, le=86_400, description="How long past freshness a kept answer goes out at once."
    )
    stale_if_error: float = Field(
        600, ge=0, le=604_800, description="How long past freshness it stands in for a failure."
    )
    stale_if_slow: float = Field(
        0.3, ge=0, le=60, description="How long a kept answer waits for a slow farm."
    )
    keep_not_found: float = Field(10, ge=0, le=3600, description="How long fault 300 is kept.")
    keep_refused: float = Field(5, ge=0, le=3600, description="How long 301 and 103 are kept.")
    cache_max_entries: int = Field(
        10_000, ge=1, le=10_000_000, description="Answers kept in this process at most."
    )
    cache_max_bytes: int = Field(
        67_108_864, ge=65_536, description="Bytes kept in this process at most."
    )

    cors_origins: str = Field(
        "*", description="Origins whose pages may read answers, comma-separated; `*` for all."
    )
    public_url: str = Field(
        "", description="Absolute base address of the gateway, for problem types and documents."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 picks a free one.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least serious log line that is written."
    )
    log_format: Literal["json", "console"] = Field("json", description="`console` for people.")

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        given = dict(data)
        for name in SECRETS:
            path = given.get(f"{name}_file")
            if path is None:
                continue
            if given.get(name) is not None:
                raise ValueError(f"{_env(name)} and {_env(name)}_FILE: give only one of them")
            try:
                given[name] = Path(path).read_text(encoding="utf-8").removesuffix("\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "not UTF-8 text"
                raise ValueError(f"{_env(name)}_FILE: cannot be read: {reason}") from None
        return given

    @field_validator(*SECRETS)
    @classmethod
    def _is_plain(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            text = secret.get_secret_value()
            if not text or text != text.strip():
                raise ValueError("must not be empty, nor begin or end with blanks")
        return secret

    @field_validator("upstream_url", "public_url")
    @classmethod
    def _is_base(cls, url: str) -> str:
        if url:
            _check_base(url)
        return url.rstrip("/")

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: str) -> str:
        for origin in origins.split(","):
            parts = urlsplit(origin.strip())
            whole = f"{parts.scheme}://{parts.netloc}"
            if origin.strip() != "*" and (not parts.netloc or origin.strip() != whole):
                raise ValueError("must be * or origins like https://site.example, comma-separated")
        return origins

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        parts = urlsplit(self.upstream_url)
        if (
            parts.scheme == "http"
            and not self.upstream_allow_http
            and not _is_loopback(parts.hostname or "")
        ):
            raise ValueError(
                f"{_env('upstream_url')}: plain http is for loopback only: use https, "
                f"or set {_env('upstream_allow_http')}=true"
            )
        if (self.oauth_token is None) != (self.oauth_token_secret is None):
            raise ValueError(
                f"{_env('oauth_token')} and {_env('oauth_token_secret')}: give both or neither"
            )
        return self

    @property
    def origins(self) -> frozenset[str]:
        """The allowed origins; ``*`` stands for all."""
        return frozenset(origin.strip() for origin in self.cors_origins.split(","))


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings, or a SettingsError that names every wrong one."""
    lines = [_unknown(name) for name in sorted(environ) if not _is_known(name)]
    try:
        settings = Settings()
    except ValidationError as error:
        lines += [_line(part["loc"], part["msg"]) for part in error.errors(include_input=False)]
    if lines:
        raise SettingsError("\n".join(lines))
    return settings


def _env(name: str) -> str:
    return PREFIX + name.upper()


def _is_known(name: str) -> bool:
    return not name.startswith(PREFIX) or name.removeprefix(PREFIX).lower() in Settings.model_fields


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, [_env(field) for field in Settings.model_fields], 1)
    return f"{name}: no such setting" + (f"; did you mean {near[0]}?" if near else "")


def _line(loc: tuple[int | str, ...], message: str) -> str:
    text = message.removeprefix("Value error, ")
    if not loc:
        return text
    name = str(loc[0])
    if text == "Field required":
        about = Settings.model_fields[name].description
        text = f"required: {about} (or name a file with {_env(name)}_FILE)"
    return f"{_env(name)}: {text}"


def _check_base(url: str) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("must be an absolute http or https address, like https://farm.example")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must have no user name, query or fragment")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
