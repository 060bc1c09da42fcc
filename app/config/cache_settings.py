"""Settings of the cache: lifetimes, bounds, the shared server and the snapshot."""

from importlib.util import find_spec
from pathlib import Path

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from app.config.addresses import cache_address
from app.config.base import Secret, SettingsBase, env_name
from app.config.paths import FilePlace


class CacheSettings(SettingsBase):
    """Lifetimes, bounds, the shared server and the snapshot."""

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
    cache_url: Secret | None = Field(
        None,
        description="Address of a Redis or Valkey server that several gateway processes share.",
    )
    snapshot_file: FilePlace | None = Field(
        None,
        description="File in which a process alone keeps its answers from its end to its next "
        "start.",
    )

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
