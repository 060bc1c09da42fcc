"""All checks in their order: a line as each is done, or one JSON document at the end.

Knows which check comes when. Must not know how a check is made.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Generator, Iterator

from app.cli.doctor.advice import about_files, about_port, about_settings
from app.cli.doctor.compatibility import FARM_CHECKS, examine_farm
from app.cli.doctor.finding import Finding, skipped
from app.cli.doctor.signed_call import CHECKS, examine_call
from app.cli.doctor.way import Target, examine_way, target
from app.cli.exit_codes import FAILED, WRONG
from app.config.addresses import forward_proxy
from app.config.environment import SettingsError
from app.config.settings import Settings
from app.wiring import group_of


def run_doctor(
    load: Callable[[], Settings], session: int, *, as_json: bool, of_farm: bool = False
) -> int:
    """Examine everything and tell it on standard output; ``of_farm``: whether a farm is compatible.

    Gives 0 if nothing failed, 1 if something did, 2 if the settings are wrong.
    """
    findings: list[Finding] = []
    for finding in (_examine_farm if of_farm else _examine)(load, session):
        findings.append(finding)
        if not as_json:
            sys.stdout.write(finding.line() + "\n")
            sys.stdout.flush()
    failed = {finding.check for finding in findings if finding.status == "FAIL"}
    if as_json:
        told = {"ok": not failed, "checks": [finding._asdict() for finding in findings]}
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    return WRONG if "settings" in failed else FAILED if failed else 0


def _examine(load: Callable[[], Settings], session: int) -> Iterator[Finding]:
    others = ("port", "files", "cache", "dns", "tcp", "tls", *CHECKS)
    settings = yield from _about_settings(load, others)
    if settings is None:
        return
    yield from about_settings(settings)
    yield about_port(settings.hosts, settings.port)
    yield about_files(settings)
    yield _about_cache(settings)
    if (yield from examine_way(_target(settings))):
        yield from asyncio.run(examine_call(settings, session))
    else:
        yield from skipped("the farm cannot be reached", *CHECKS)


def _examine_farm(load: Callable[[], Settings], session: int) -> Iterator[Finding]:
    settings = yield from _about_settings(load, ("dns", "tcp", "tls", *FARM_CHECKS))
    if settings is None:
        return
    if (yield from examine_way(to := _target(settings))):
        yield from examine_farm(settings, session, to)
    else:
        yield from skipped("the farm cannot be reached", *FARM_CHECKS)


def _about_settings(
    load: Callable[[], Settings], others: tuple[str, ...]
) -> Generator[Finding, None, Settings | None]:
    """The settings, or None if they are wrong, what is wrong with them, and what is left out."""
    try:
        return load()
    except SettingsError as error:
        for line in str(error).splitlines():
            yield Finding("settings", "FAIL", line)
    yield from skipped("the settings are wrong", *others)
    return None


def _target(settings: Settings) -> Target:
    ca_file = str(settings.upstream_ca_file) if settings.upstream_ca_file else None
    secret = settings.upstream_proxy
    proxy = None if secret is None else forward_proxy(secret.get_secret_value())
    return target(settings.upstream_url, ca_file, settings.upstream_connect_timeout, proxy)


def _about_cache(settings: Settings) -> Finding:
    if settings.cache_url is None:
        return skipped("no cache is shared with other processes", "cache")[0]
    from app.cli.doctor.shared_cache import examine_cache  # noqa: PLC0415 - needs the optional redis-py

    url = settings.cache_url.get_secret_value()
    return asyncio.run(examine_cache(url, group_of(settings)))
