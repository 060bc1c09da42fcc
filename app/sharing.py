"""What outlives a process or is known to several, made from the settings, if they want it.

Knows the settings and the parts. Must not know how a part works.
"""

import logging
import time
from typing import TYPE_CHECKING

from app.cache.codec import Seal, Unusable, group_name
from app.cache.snapshot import Snapshot
from app.config.settings import Settings
from app.core.gateway import Gateway
from app.edge.rate_limit import RateLimit, RateLimiter, SharedRateLimit
from app.telemetry import logs
from app.telemetry.metrics import Metrics
from app.version import VERSION

if TYPE_CHECKING:
    from app.cluster.coordinator import RedisCoordinator


def join_cluster(
    settings: Settings, gateway: Gateway, metrics: Metrics, counter: RateLimiter | None
) -> "RedisCoordinator | None":
    """Let the gateway, and who counts its clients' requests, meet others, if there is a place."""
    if settings.cache_url is None:
        return None
    from app.cluster.coordinator import open_coordinator  # noqa: PLC0415 - needs the optional redis-py
    from app.cluster.rate_limit_sync import RateLimitSync  # noqa: PLC0415 - needs the optional redis-py

    changes = logs.StateLog("shared_cache")

    def changed(state: str, cause: str) -> None:
        metrics.shared.is_up.set(state == "up")
        changes.tell(state=state, cause=cause)

    secret = settings.consumer_secret.get_secret_value()
    coordinator = gateway.coordinator = open_coordinator(
        settings.cache_url.get_secret_value(),
        name=_name(settings),
        secret=secret,
        store=gateway.store,
        keep=gateway.keep,
        clock=gateway.clock,
        deadline=settings.upstream_deadline,
        tail=settings.stale_if_error,
        watch=metrics.shared,
        observe=metrics.shared.question,
        changed=changed,
    )
    if isinstance(counter, SharedRateLimit):
        exchange = RateLimitSync(
            coordinator.shared_store, counter, secret=secret, clock=gateway.clock
        )
        coordinator.also(exchange.run)
    return coordinator


def counter_for(settings: Settings) -> RateLimiter | None:
    """Who counts clients' requests, if they are limited: for several processes if they can meet."""
    if settings.rate is None:
        return None
    rate = RateLimit(*settings.rate)
    return SharedRateLimit(rate) if settings.cache_url else rate


def _name(settings: Settings) -> str:
    """Of all who may know each other's answers."""
    token = settings.oauth_token.get_secret_value() if settings.oauth_token else ""
    key = settings.consumer_key.get_secret_value()
    return group_name(VERSION, settings.upstream_url, key, token)


class WarmStart:
    """What a process alone keeps from one of its lives to the next, if it is to."""

    def __init__(self, settings: Settings, gateway: Gateway, metrics: Metrics) -> None:
        self._store, self._entries = gateway.store, metrics.shared.snapshot
        self._snapshot: Snapshot | None = None
        if settings.snapshot_file is not None:
            self._snapshot = Snapshot(
                settings.snapshot_file,
                _name(settings),
                seal=Seal(settings.consumer_secret.get_secret_value()),
                clock=gateway.clock,
                now=time.time,
                tail=settings.stale_if_error,
            )

    def recall(self) -> None:
        """Read the file; one that is missing or unusable is an empty one."""
        if self._snapshot is None:
            return
        entries, problem = 0, ""
        try:
            entries = self._snapshot.read(self._store)
        except OSError as error:
            problem = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        except Unusable as unusable:
            problem = unusable.reason
        self._entries.set(entries)
        logs.event("snapshot_read", entries=entries, problem=problem)

    def keep(self) -> None:
        """Write the file; if that fails, what was there stays."""
        if self._snapshot is None:
            return
        try:
            logs.event("snapshot_written", entries=self._snapshot.write(self._store))
        except OSError:
            logs.event("snapshot_not_written", level=logging.ERROR)
