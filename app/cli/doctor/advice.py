"""What the settings and this machine's limits let one expect, before anybody is asked.

Knows settings that are right one by one and wrong together. Must not know the farm's answers.
"""

import math
import re
import resource
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from app.cli.doctor.finding import Finding
from app.config.addresses import ANY, UNIX, is_local
from app.config.base import env_name
from app.config.settings import SECRETS, Settings
from app.edge.api_keys import ApiKeys, ApiKeysError
from app.sandbox.server import DEMO_CONSUMER_KEY, DEMO_CONSUMER_SECRET
from app.server.listeners import ListenError, listeners
from app.wiring import files_left

QUOTED = re.compile(r"""(["']).+\1""")
FEW_CLIENTS = 256
"""Connections of clients, of which a browser makes six; fewer places than that are worth a word."""


def about_settings(settings: Settings) -> list[Finding]:
    """One line if the settings make sense together, else one for each doubt."""
    doubts = [Finding("settings", "warn", says, do) for says, do in _doubts(settings)]
    if settings.api_keys_file is not None:
        try:
            ApiKeys(settings.api_keys_file)
        except ApiKeysError as error:
            do = "nobody can be let in: see docs/operating.md"
            doubts.append(Finding("settings", "FAIL", f"RFGW_API_KEYS_FILE: {error}", do))
    return doubts or [Finding("settings", "ok", "valid, and they make sense together")]


def _doubts(settings: Settings) -> Iterator[tuple[str, str]]:
    for name in SECRETS:
        secret = getattr(settings, name)
        if secret is not None and QUOTED.fullmatch(secret.get_secret_value()):
            yield (
                f"{env_name(name)} stands in quotes, which are part of it",
                "take them away, unless they belong to it: docker --env-file, for one, keeps them",
            )
    given = settings.consumer_key.get_secret_value(), settings.consumer_secret.get_secret_value()
    if not is_local(settings.upstream_url):
        if given == (DEMO_CONSUMER_KEY, DEMO_CONSUMER_SECRET):
            yield (
                "the demo's key and secret, which everybody knows, for a farm elsewhere",
                "set the site's own RFGW_CONSUMER_KEY and RFGW_CONSUMER_SECRET",
            )
        if settings.upstream_url.lower().startswith("http:"):
            yield (
                "calls go to the farm in the clear, for others to read and to change",
                "use https in RFGW_UPSTREAM_URL if the farm has it",
            )
    if not (all(map(_is_own, settings.hosts)) or settings.public_url):
        yield (
            "others can reach RFGW_HOST, but problem types and documents name no address",
            "set RFGW_PUBLIC_URL to the one that clients use",
        )
    if settings.api_keys_file is not None and ANY in settings.origins:
        yield (
            "clients need keys, yet pages of every origin may use the keys that they get hold of",
            "list the sites that may in RFGW_CORS_ORIGINS",
        )
    if settings.upstream_connect_timeout >= settings.upstream_deadline:
        yield (
            "one connection may take the whole time of a call",
            "set RFGW_UPSTREAM_CONNECT_TIMEOUT below RFGW_UPSTREAM_DEADLINE",
        )
    if settings.stale_if_slow >= settings.upstream_deadline:
        yield (
            "a kept answer never stands in for a slow farm: the call ends first",
            "set RFGW_STALE_IF_SLOW below RFGW_UPSTREAM_DEADLINE",
        )
    yield from _about_logins(settings)


def _about_logins(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.cookie_key is not None and not settings.login:
        yield (
            "there is a key for cookies, yet nobody can log in",
            "set RFGW_LOGIN=true, or take the key away",
        )
    if settings.login and settings.oauth_core_1_0:
        yield (
            "logins of OAuth Core 1.0 are accepted, which others can take over",
            "ask for OAuth 1.0a (RFC 5849) at the farm, and take RFGW_OAUTH_CORE_1_0 away",
        )
    if settings.login and not any(
        _site(origin) == _site(settings.public_url) for origin in settings.origins
    ):
        yield (
            "RFGW_CORS_ORIGINS lists no page of the gateway's own site: browsers keep cookies back",
            "put the gateway below the pages' own domain",
        )


def _site(address: str) -> str:
    """The last two labels of a host: about what browsers take for a site."""
    host = urlsplit(address).hostname or ""
    return host if is_local(address) else ".".join(host.split(".")[-2:])


def _is_own(host: str) -> bool:
    if host.startswith(UNIX):
        return True
    return is_local(f"http://[{host}]" if ":" in host else f"http://{host}")


def about_port(hosts: Sequence[str], port: int) -> Finding:
    """Whether ``rfgw serve`` could listen there now."""
    try:
        with listeners(hosts, port):
            pass
    except ListenError as error:
        if error.in_use:
            do = "fine if it is this gateway; else choose another RFGW_PORT"
            return Finding("port", "warn", f"{port} is in use", do)
        do = "check RFGW_HOST and RFGW_PORT"
        return Finding("port", "FAIL", f"cannot listen: {error.why}", do)
    return Finding("port", "ok", f"{port} is free" if port else "any free one will be taken")


def about_files(settings: Settings, limit: int | None = None) -> Finding:
    """Whether the limit of open files has room for calls and for clients.

    ``limit`` is this process's own unless given; -1 is none.
    """
    left, most = files_left(settings, limit), settings.max_connections
    if left == math.inf:
        told = f", and {most} connections of clients" if most else ""
        return Finding("files", "ok", f"no limit of open files{told}")
    own = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if limit is None else limit
    clients = min(most or math.inf, max(left, 0))
    says = f"{own} open files at most, of which {clients:.0f} for connections of clients"
    if most > left:
        do = "lower RFGW_MAX_CONNECTIONS, or raise the limit (ulimit -n, LimitNOFILE=)"
        return Finding("files", "warn" if left > 0 else "FAIL", says, do)
    if left >= FEW_CLIENTS:
        return Finding("files", "ok", says)
    do = "raise the limit (ulimit -n, LimitNOFILE=), or lower RFGW_UPSTREAM_CONCURRENCY"
    return Finding("files", "warn" if left > 0 else "FAIL", says, do)
