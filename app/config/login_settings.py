"""Settings of what visitors do at the farm by way of the gateway: logins, and new accounts."""

import base64
import binascii
import re
from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from app.config.addresses import ANY, is_local, origins
from app.config.base import Secret, SettingsBase, env_name
from app.config.client_settings import RATE

COOKIE_KEY_BYTES = 32
MAX_COOKIE_KEYS = 8
_KEY = re.compile(r"[A-Za-z0-9_-]{43}=?")


class LoginSettings(SettingsBase):
    """Logins and new accounts: nothing of either is there unless it is switched on."""

    cookie_key: Secret | None = Field(
        None,
        description="Keys that seal visitors' cookies, comma-separated: the first seals, all open. "
        "`rfgw key --cookie` makes one.",
    )
    login_lifetime: int = Field(
        43_200, ge=60, le=31_536_000, description="How long a visitor stays logged in."
    )
    oauth_core_1_0: bool = Field(
        False,
        description="Accept a farm that speaks OAuth Core 1.0, whose logins others can take over.",
    )
    user_signing: Literal["header", "query", "struct"] = Field(
        "header", description="Where calls for a visitor carry their OAuth parameters."
    )
    login: bool = Field(
        False, description="Visitors can log in at the farm, and see and attach their sessions."
    )
    accounts_limit: str = Field(
        "10/60", description="`10/60`: with one key, 10 accounts can be asked for in 60 seconds."
    )
    accounts: bool = Field(
        False, description="Clients whose key has the scope `accounts` can make accounts."
    )

    @field_validator("cookie_key")
    @classmethod
    def _are_keys(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            _cookie_keys(secret.get_secret_value())
        return secret

    @field_validator("login")
    @classmethod
    def _is_safe(cls, login: bool, info: ValidationInfo) -> bool:
        """What a login needs of the other settings; one that is wrong itself is told already."""
        if not login:
            return login
        if "cookie_key" in info.data and info.data["cookie_key"] is None:
            raise ValueError(f"needs {env_name('cookie_key')}: rfgw key --cookie makes one")
        if "public_url" in info.data:
            public_url = info.data["public_url"]
            if not public_url:
                raise ValueError(f"needs {env_name('public_url')}: the farm sends visitors there")
            if public_url.lower().startswith("http:") and not is_local(public_url):
                raise ValueError(f"needs https in {env_name('public_url')}: cookies are secrets")
        if "cors_origins" in info.data and ANY in origins(info.data["cors_origins"]):
            raise ValueError(f"needs a list of origins in {env_name('cors_origins')}, not *")
        return login

    @field_validator("accounts_limit")
    @classmethod
    def _is_limit(cls, text: str) -> str:
        if not RATE.fullmatch(text):
            raise ValueError(
                "must be requests/seconds like 10/60, up to 999999 requests and 9999 seconds"
            )
        return text

    @field_validator("accounts")
    @classmethod
    def _is_for_keys(cls, accounts: bool, info: ValidationInfo) -> bool:
        if accounts and "api_keys_file" in info.data and info.data["api_keys_file"] is None:
            raise ValueError(f"needs {env_name('api_keys_file')}: a key decides who may make them")
        return accounts

    @property
    def cookie_keys(self) -> tuple[bytes, ...]:
        """The keys of cookies, 32 bytes each: the first seals, all open."""
        secret = self.cookie_key
        return _cookie_keys(secret.get_secret_value()) if secret else ()

    @property
    def accounts_rate(self) -> tuple[int, int]:
        """Accounts and seconds."""
        quota, _, window = self.accounts_limit.partition("/")
        return int(quota), int(window)


def _cookie_keys(text: str) -> tuple[bytes, ...]:
    """Raises ValueError, whose message quotes nothing, for what are no keys."""
    found = [_cookie_key(part.strip()) for part in text.split(",")]
    if len(found) > MAX_COOKIE_KEYS:
        raise ValueError(f"must be {MAX_COOKIE_KEYS} keys at most")
    return tuple(found)


def _cookie_key(text: str) -> bytes:
    wanted = "must be keys that rfgw key --cookie makes, comma-separated"
    if not _KEY.fullmatch(text):
        raise ValueError(wanted)
    try:
        key = base64.b64decode(text[:43] + "=", altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError(wanted) from None
    if len(key) != COOKIE_KEY_BYTES:
        raise ValueError(wanted)
    return key
