"""Runs one verb, and tells how it ends. Must not know what a verb does."""

import argparse
import errno
import io
import os
import sys
from collections.abc import Sequence

from app.cli.commands import config, decode, doctor, get, key, openapi, sandbox, serve
from app.cli.exit_codes import FAILED, INTERRUPTED, WRONG
from app.cli.main import SERVERS
from app.config.environment import SettingsError
from app.telemetry import logs
from app.telemetry.log_writer import LOG_WRITER
from app.version import VERSION

UNWRITABLE = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What says that nothing more can be written: the reader has gone, or the disk is full."""
COMMANDS = (serve, sandbox, get, decode, doctor, config, key, openapi)


def run(words: Sequence[str], early: list[int]) -> int:
    """Run the verb that ``words`` begin with; gives the process's exit code.

    ``early`` are the signals that came before; it grows until the verb handles them itself.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # as JSON is, whatever the terminal's language
    logs.configure("warning", "console")
    parser = _parser()
    parsed = parser.parse_args(words, argparse.Namespace(early=early))
    if parsed.run is None:
        parser.print_help(sys.stderr)
        return WRONG
    if sys.stdout is None and parsed.verb not in SERVERS:
        return _unwritable(parsed.verb, errno.EBADF)
    try:
        code: int = parsed.run(parsed)
        if sys.stdout is not None:
            sys.stdout.flush()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - a traceback would show the exception's message
        return _tell(parsed.verb, error)
    return code


def _tell(verb: str, error: Exception) -> int:
    """Why the verb ends. A reader of our output who has enough needs not be told."""
    if not (isinstance(error, OSError) and error.errno in UNWRITABLE):
        logs.crash("-", error)
        LOG_WRITER.flush()
        return FAILED
    os.dup2(
        os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
    )  # for what is still to be written
    return FAILED if error.errno == errno.EPIPE else _unwritable(verb, error.errno)


def _unwritable(verb: str, number: int) -> int:
    print(f"rfgw {verb}: cannot write: {os.strerror(number)}", file=sys.stderr)
    return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rfgw",
        description="A REST/JSON gateway over the Renderfarm.fi XML-RPC API.",
        epilog="Settings are options of serve, or RFGW_* environment variables: rfgw config "
        "shows them, docs/configuration.md explains them.",
    )
    parser.add_argument("--version", action="version", version=f"rfgw {VERSION}")
    parser.set_defaults(run=None)
    verbs = parser.add_subparsers(metavar="VERB", dest="verb")
    for command in COMMANDS:
        command.add_to(verbs)
    return parser
