"""What every group of settings shares: the variables' prefix and the model's rules.

No message quotes a value: it may be, or hold, a secret.
"""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr

PREFIX = "RFGW_"


class SettingsBase(BaseModel):
    """A frozen group of settings. Durations are seconds, sizes bytes."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )


def env_name(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()


def _is_plain(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text or text != text.strip() or not text.isprintable():
        raise ValueError("must be one line of text that neither begins nor ends with blanks")
    return secret


Secret = Annotated[SecretStr, AfterValidator(_is_plain)]
