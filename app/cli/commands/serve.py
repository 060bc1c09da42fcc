"""``rfgw serve``: the gateway on its port."""

import argparse
import sys
from contextlib import ExitStack
from functools import partial

from app.cli.address import url_of
from app.cli.arguments import Verbs, add_settings, loaded
from app.cli.exit_codes import FAILED
from app.config.settings import Settings
from app.telemetry import logs
from app.version import VERSION

GLANCE = """
  rfgw {version} listens on {urls}

    farm      {farm}
    API keys  {keys}
    cache     {cache}
    workers   {workers}

  Ctrl-C stops it. rfgw config shows all settings.

"""


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    serve = verbs.add_parser(
        "serve",
        help="run the gateway",
        description="Runs the gateway. An option beats the variable in brackets, which beats the "
        "same in the file of variables.",
    )
    add_settings(serve)
    serve.set_defaults(run=_serve)


def _serve(parsed: argparse.Namespace) -> int:
    settings = loaded(parsed).settings

    from app.main import create_app, create_worker
    from app.server.deadlines import Limits
    from app.server.listeners import ListenError, address, listeners
    from app.server.server import Config
    from app.server.supervisor import serve
    from app.telemetry.multiprocess import NowhereWritable, multiprocess_for
    from app.wiring import connections_of

    with ExitStack() as stack:
        try:
            opened = stack.enter_context(listeners(settings.hosts, settings.port))
            multiprocess = stack.enter_context(multiprocess_for(settings.workers))
        except (ListenError, NowhereWritable) as error:
            print(f"rfgw serve: {error}", file=sys.stderr)
            return FAILED
        app = create_app(settings)  # what is wrong with it is told before anything else
        build = partial(create_worker, settings, multiprocess) if multiprocess else lambda: app
        for listener in opened:
            logs.event("listening", **address(listener))
        if sys.stderr is not None and sys.stderr.isatty():
            sys.stderr.write(_glance(settings, [url_of(**address(each)) for each in opened]))
        config = Config(
            build,
            workers=settings.workers,
            grace=settings.shutdown_grace,
            limits=Limits(keep_alive=settings.keep_alive),
            connections=connections_of(settings),
        )
        serve(config, opened, multiprocess.fold if multiprocess else None, parsed.early)
    return 0


def _glance(settings: Settings, urls: list[str]) -> str:
    """What a person wants to see at the start. No secret: a cache's address may hold one."""
    reading = f"signed by reading {settings.signing}"
    keys = settings.api_keys_file
    return GLANCE.format(
        version=VERSION,
        urls=" and ".join(urls),
        farm=f"{settings.upstream_url}, {reading}",
        keys=f"those in {keys}" if keys else "none: everybody who reaches it may ask",
        cache="shared with other processes" if settings.cache_url else "this process's own",
        workers=settings.workers,
    )
