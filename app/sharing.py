"""The shared cache, made from the settings: a part of main that is there only if it is wanted.

Knows the settings and the parts. Must not know how a part works.
"""

from typing import TYPE_CHECKING

from app import logs
from app.gateway import Gateway
from app.metrics import Metrics
from app.settings import Settings
from app.version import VERSION

if TYPE_CHECKING:
    from app.cache.meeting import Group


def join_group(settings: Settings, gateway: Gateway, metrics: Metrics) -> "Group | None":
    """Let the gateway meet others, if there is a place to meet."""
    if settings.cache_url is None:
        return None
    from app.cache.meeting import open_group  # noqa: PLC0415 - needs the optional redis-py

    changes = logs.Changes("shared_cache")

    def changed(state: str, cause: str) -> None:
        metrics.shared.is_up.set(state == "up")
        changes.tell(state=state, cause=cause)

    key = settings.consumer_key.get_secret_value()
    token = settings.oauth_token.get_secret_value() if settings.oauth_token else ""
    group = gateway.meeting = open_group(
        settings.cache_url.get_secret_value(),
        identity=(VERSION, settings.upstream_url, key, token),
        secret=settings.consumer_secret.get_secret_value(),
        store=gateway.store,
        keep=gateway.keep,
        clock=gateway.clock,
        deadline=settings.upstream_deadline,
        tail=settings.stale_if_error,
        watch=metrics.shared,
        observe=metrics.shared.question,
        changed=changed,
    )
    return group
