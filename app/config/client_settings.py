"""Settings of the clients: who may ask, from which pages, how much, and at which address."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from app.config.addresses import UNIX, Network, base_address, networks, origins
from app.config.base import SettingsBase, env_name

RATE = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,3})")
ROOT_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]+)+")
"""Without segments that clients take out before they ask (RFC 3986 section 5.2.4)."""


class ClientSettings(SettingsBase):
    """Keys, limits, origins, proxies and addresses."""

    events_max_streams: int = Field(
        1000, ge=0, le=1_000_000, description="Readers who watch for changes at once."
    )
    events_per_client: int = Field(
        20, ge=0, le=1_000_000, description="How many of them may be of one client."
    )
    compress: bool = Field(
        True, description="Send answers of 1,000 bytes and more in gzip to clients that take it."
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
    status: Literal["off", "loopback", "key"] = Field(
        "off",
        description="Who may see `/status`: nobody, this machine alone, or whose key has the scope "
        "`status`.",
    )
    rate_limit: str = Field(
        "", description="`600/60`: of one client, 600 requests are taken in 60 seconds."
    )
    forwarded_allow_ips: str = Field(
        "",
        description="Proxies whose X-Forwarded-For is believed, comma-separated; `unix:` is "
        "whoever connects to a Unix socket.",
    )
    max_requests: int = Field(
        2000, ge=1, le=100_000, description="Requests at once for what is not kept."
    )

    max_connections: int = Field(
        0,
        ge=0,
        le=10_000_000,
        description="Connections of clients at once; `0`: what the limit of open files leaves.",
    )

    @field_validator("public_url")
    @classmethod
    def _is_base(cls, url: str) -> str:
        return base_address(url) if url else url

    @field_validator("root_path")
    @classmethod
    def _is_prefix(cls, path: str) -> str:
        if path and not ROOT_PATH.fullmatch(path):
            raise ValueError(
                "must be a path like /farm/gw: no segment is . or .., and no slash ends it"
            )
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

    @field_validator("status")
    @classmethod
    def _is_guarded_by_keys(cls, status: str, info: ValidationInfo) -> str:
        keyless = "api_keys_file" in info.data and info.data["api_keys_file"] is None
        if status == "key" and keyless:
            raise ValueError(f"needs {env_name('api_keys_file')}: a key decides who may see it")
        return status

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
    def trusts_unix(self) -> bool:
        """Whether a peer on a Unix socket is a proxy that is believed."""
        return UNIX in (part.strip() for part in self.forwarded_allow_ips.split(","))

    @property
    def origins(self) -> frozenset[str]:
        """The allowed origins; ``*`` stands for all."""
        return origins(self.cors_origins)
