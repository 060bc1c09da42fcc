"""Every setting, group by group: its name, its default and its unit."""

from app.config.cache_settings import CacheSettings
from app.config.client_settings import ClientSettings
from app.config.farm_settings import FarmSettings
from app.config.login_settings import LoginSettings
from app.config.server_settings import ServerSettings

GROUPS = (ServerSettings, FarmSettings, CacheSettings, ClientSettings, LoginSettings)
"""The groups, in the order in which people are shown them."""


class Settings(LoginSettings, ServerSettings, ClientSettings, CacheSettings, FarmSettings):
    """The gateway's settings. Durations are seconds, sizes bytes."""


SECRETS = tuple(
    name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)
)
