"""The command's entry: what has to be done before anything else is loaded.

As process 1, a program gets no signal that it does not handle. So a verb that serves notes its
signals first, and loads the rest then. Must not know the verbs' options.
"""

import os
import signal
import sys
from collections.abc import Sequence

TERMINAL = (signal.SIGINT, signal.SIGTERM)
SERVERS = {
    "serve": (*TERMINAL, signal.SIGHUP),
    "sandbox": TERMINAL,
    "demo": (*TERMINAL, signal.SIGHUP),
}
"""The verbs that run until a signal, and the signals that they take."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; gives the process's exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = next((word for word in words if not word.startswith("-")), "")
    early = list[int]()
    before = {number: signal.getsignal(number) for number in SERVERS.get(verb, ())}
    for number in before:
        signal.signal(number, lambda number, _: early.append(number))
    _open_standard_streams()
    code = None
    try:
        from app.cli.run import run

        code = run(words, early)
        return code
    finally:
        if code != 0:  # a signal that comes after a good end is none of a failure's
            for number, handler in before.items():
                signal.signal(number, handler)


def _open_standard_streams() -> None:
    """What whoever starts us has closed leads nowhere, and never to a socket of ours."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
