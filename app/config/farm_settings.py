"""Settings of the farm: where it is, the bounds of a call, and how calls are signed."""

from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from app.config.addresses import base_address, forward_proxy, is_local
from app.config.base import Secret, SettingsBase, env_name
from app.config.paths import Certificates, PrivateFolder


class FarmSettings(SettingsBase):
    """The farm, the bounds of a call, and the signature."""

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
        description="PEM file of the certificate authorities to trust instead of the system's. "
        "It is read anew when it has changed.",
    )
    upstream_proxy: Secret | None = Field(
        None,
        description="Address of a forward proxy (`http://user:password@host:port`) through which "
        "all calls go. None is ever taken from `HTTPS_PROXY` and the like.",
    )
    upstream_max_connection_age: float = Field(
        60,
        gt=0,
        le=86_400,
        description="How long a connection takes new calls; the next one asks the farm's name "
        "anew.",
    )
    upstream_deadline: float = Field(
        5, gt=0, le=300, description="Absolute limit of one call, its wait for a place included."
    )
    upstream_connect_timeout: float = Field(
        1, gt=0, le=60, description="Limit of making a connection."
    )
    upstream_concurrency: int = Field(
        32,
        ge=1,
        le=1000,
        description="Calls to the farm under way at once, beside four steps of logins; `1` counts "
        "those too, for a farm that serves one connection at a time.",
    )
    upstream_queue: int = Field(
        64, ge=0, le=10_000, description="Calls that may wait, 250 ms at most, for their turn."
    )
    upstream_max_body: int = Field(
        524_288, ge=1024, le=67_108_864, description="Largest answer of the farm that is read."
    )
    consumer_key: Secret = Field(description="The site's OAuth consumer key.")
    consumer_secret: Secret = Field(description="The site's OAuth consumer secret.")
    oauth_token: Secret | None = Field(
        None, description="Only if the farm wants a token in the struct."
    )
    oauth_token_secret: Secret | None = Field(
        None, validate_default=True, description="The token's secret."
    )
    signing: Literal["A", "B", "C", "D"] = Field(
        "A", description="Reading of the undocumented signature base string."
    )
    record_dir: PrivateFolder | None = Field(
        None, description="Folder, for its owner alone, of answers that could not be read."
    )
    record_max: int = Field(
        100, ge=1, le=10_000, description="Answers in it at most: the oldest go first."
    )
    oauth_version: bool = Field(True, description="Send and sign `oauth_version=1.0`.")

    @field_validator("oauth_token_secret")
    @classmethod
    def _completes_token(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if "oauth_token" in info.data and (secret is None) != (info.data["oauth_token"] is None):
            raise ValueError(f"give it together with {env_name('oauth_token')}, or neither")
        return secret

    @field_validator("upstream_proxy")
    @classmethod
    def _is_proxy(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            forward_proxy(url.get_secret_value())
        return url

    @field_validator("upstream_url")
    @classmethod
    def _is_guarded(cls, url: str, info: ValidationInfo) -> str:
        base = base_address(url)
        open_way = base.lower().startswith("http:") and not is_local(base)
        if open_way and not info.data.get("upstream_allow_http"):
            allow = env_name("upstream_allow_http")
            raise ValueError(f"plain http is for loopback only: use https, or set {allow}=true")
        return base
