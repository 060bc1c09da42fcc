"""TLS to the farm: which authorities are trusted. Must not know sockets or HTTP."""

import logging
import ssl
from pathlib import Path

from app.core.watched_file import WatchedFile
from app.telemetry import logs


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """What is asked of the farm's TLS: version 1.2 or newer, a certificate that we trust."""
    verify = ssl.create_default_context(cafile=ca_file)
    verify.minimum_version = ssl.TLSVersion.TLSv1_2
    return verify


class Trust:
    """The TLS context of the authorities in ``ca_file``, as it was when it was last whole.

    Without a file they are the system's. Raises OSError for a file that holds none to begin with.
    """

    def __init__(self, ca_file: Path | None) -> None:
        self._path = ca_file
        self._file = WatchedFile(ca_file) if ca_file else None
        self._context = tls_context(str(ca_file) if ca_file else None)

    def context(self, now: float) -> ssl.SSLContext:
        """The same object as long as the file stays the same. ``now`` is in monotonic seconds.

        A file that cannot be read changes nothing, and is logged.
        """
        if self._file is not None and self._file.changed(now):
            try:
                self._context = tls_context(str(self._path))
            except OSError as error:
                broken = isinstance(error, ssl.SSLError)
                reason = "holds no certificates" if broken else error.strerror
                logs.event("upstream_ca_refused", level=logging.ERROR, reason=reason)
            else:
                logs.event("upstream_ca_read")
        return self._context


def trust_for(url: str, ca_file: Path | None) -> Trust | None:
    """What a farm at ``url`` needs. Without TLS nothing is read: the system's authorities take
    20 ms and a megabyte."""
    return Trust(ca_file) if ca_file or url.lower().startswith("https:") else None
