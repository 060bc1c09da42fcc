"""Every knob: its name, its default and its unit. Read by main and cli alone.

Must not know where values come from. No message quotes a value: it may be, or hold, a secret.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from app.config.addresses import Network, base_address, cache_address, is_local, networks, origins
from app.config.paths import Certificates, FilePlace, PageFolder

PREFIX = "RFGW_"
RATE = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,3})")
ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
SECRETS = ("consumer_key", "consumer_secret", "oauth_token", "oauth_token_secret", "cache_url")


class Settings(BaseModel):
    """The gateway's settings. Durations are seconds, sizes bytes."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )

    upstream_allow_http: bool = Field(
        False, description="Allow plain http to a host other than loopback."
    )
    upstream_url: str = Field(
        "http://127.0.0.1:8001",
        description="Base address of the farm. The call goes to `<base>/<method>`, with signing "
        "reading C to `<base>/<handler>`. The default is the sandbox farm.",
    )
    upstream_ca_file: Certificates | None = Field(
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

    consumer_key: SecretStr = Field(description="The site's OAuth consumer key.")
    consumer_secret: SecretStr = Field(description="The site's OAuth consumer secret.")
    oauth_token: SecretStr | None = Field(
        None, description="Only if the farm wants a token in the struct."
    )
    oauth_token_secret: SecretStr | None = Field(
        None, validate_default=True, description="The token's secret."
    )
    signing: Literal["A", "B", "C", "D"] = Field(
        "A", description="Reading of the undocumented signature base string."
    )
    oauth_version: bool = Field(True, description="Send and sign `oauth_version=1.0`.")

    fresh_active: float = Field(
        5, ge=0, le=86_400, description="Lifetime while the session is under way."
    )
    fresh_queued: float = Field(15, ge=0, le=86_400, description="Lifetime while it is queued.")
    fresh_waiting: float = Field(
        60, ge=0, le=86_400, description="Lifetime while it is tested or waits for approval."
    )
    fresh_terminal: float = Field(
        3600, ge=0, le=31_536_000, description="Lifetime once it has ended, whichever way."
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
    keep_not_found: float = Field(10, ge=0, le=3600, description="Lifetime of a 404.")
    keep_refused: float = Field(5, ge=0, le=3600, description="Lifetime of a 403 or 409.")
    cache_max_entries: int = Field(
        10_000, ge=1, le=10_000_000, description="Answers kept in this process at most."
    )
    cache_max_bytes: int = Field(
        67_108_864, ge=65_536, le=2**40, description="Bytes kept in this process at most."
    )
    cache_url: SecretStr | None = Field(
        None,
        description="Address of a Redis or Valkey server that several gateway processes share.",
    )
    snapshot_file: FilePlace | None = Field(
        None,
        description="File in which a process alone keeps its answers from its end to its next "
        "start.",
    )

    events_max_streams: int = Field(
        1000, ge=0, le=1_000_000, description="Readers who watch for changes at once."
    )
    events_per_client: int = Field(
        20, ge=0, le=1_000_000, description="How many of them may be of one client."
    )

    cors_origins: str = Field(
        "*", description="Origins whose pages may read answers, comma-separated; `*` for all."
    )
    public_url: str = Field(
        "", description="Absolute base address of the gateway, for problem types and documents."
    )
    root_path: str = Field(
        "",
        description="Path prefix that clients see, like `/gw`, whether proxies cut it or not.",
    )
    api_keys_file: Path | None = Field(
        None, description="File of the API keys that clients need; without it, none is needed."
    )
    rate_limit: str = Field(
        "", description="`600/60`: of one client, 600 requests are taken in 60 seconds."
    )
    forwarded_allow_ips: str = Field(
        "", description="Proxies whose X-Forwarded-For is believed, comma-separated."
    )
    max_requests: int = Field(
        2000, ge=1, le=100_000, description="Requests at once for what is not kept."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 picks a free one.")
    demo_dir: PageFolder | None = Field(
        None, description="Folder of the built demo page, served at `/demo`."
    )
    workers: int = Field(1, ge=1, le=64, description="Processes that answer on the one port.")
    shutdown_grace: float = Field(
        5, ge=0, le=10, description="How long requests are still welcome after SIGTERM."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least serious log line that is written."
    )
    log_requests: bool = Field(True, description="Write a log line for every request.")
    log_format: Literal["json", "console"] = Field("json", description="`console` for people.")

    @field_validator(*SECRETS)
    @classmethod
    def _is_plain(cls, secret: SecretStr | None) -> SecretStr | None:
        text = "-" if secret is None else secret.get_secret_value()
        if not text or text != text.strip() or not text.isprintable():
            raise ValueError("must be one line of text that neither begins nor ends with blanks")
        return secret

    @field_validator("oauth_token_secret")
    @classmethod
    def _completes_token(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if "oauth_token" in info.data and (secret is None) != (info.data["oauth_token"] is None):
            raise ValueError(f"give it together with {env_name('oauth_token')}, or neither")
        return secret

    @field_validator("upstream_url")
    @classmethod
    def _is_guarded(cls, url: str, info: ValidationInfo) -> str:
        base = base_address(url)
        open_way = base.lower().startswith("http:") and not is_local(base)
        if open_way and not info.data.get("upstream_allow_http"):
            allow = env_name("upstream_allow_http")
            raise ValueError(f"plain http is for loopback only: use https, or set {allow}=true")
        return base

    @field_validator("cache_url")
    @classmethod
    def _is_server(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            cache_address(url.get_secret_value())
            if find_spec("redis") is None:
                raise ValueError("needs the package redis: pip install renderfarm-gateway[redis]")
        return url

    @field_validator("snapshot_file")
    @classmethod
    def _is_for_one(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is not None and info.data.get("cache_url") is not None:
            raise ValueError(f"is for a process alone: give it or {env_name('cache_url')}")
        return path

    @field_validator("public_url")
    @classmethod
    def _is_base(cls, url: str) -> str:
        return base_address(url) if url else url

    @field_validator("root_path")
    @classmethod
    def _is_prefix(cls, path: str) -> str:
        if path and not ROOT_PATH.fullmatch(path):
            raise ValueError("must be a path without a slash at its end, like /gw or /farm/gw")
        return path

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, text: str) -> str:
        origins(text)
        return text

    @field_validator("rate_limit")
    @classmethod
    def _is_rate(cls, text: str) -> str:
        if text and not RATE.fullmatch(text):
            raise ValueError(
                "must be requests/seconds like 600/60, up to 999999 requests and 9999 seconds"
            )
        return text

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _are_networks(cls, text: str) -> str:
        if text:
            networks(text)
        return text

    @property
    def rate(self) -> tuple[int, int] | None:
        """Requests and seconds, if there is a limit."""
        parts = RATE.fullmatch(self.rate_limit)
        return (int(parts[1]), int(parts[2])) if parts else None

    @property
    def proxies(self) -> tuple[Network, ...]:
        """The networks of the proxies that are believed."""
        return networks(self.forwarded_allow_ips) if self.forwarded_allow_ips else ()

    @property
    def origins(self) -> frozenset[str]:
        """The allowed origins; ``*`` stands for all."""
        return origins(self.cors_origins)


def env_name(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()
