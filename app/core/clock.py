"""The clock by which answers age. Must not know what is kept."""

import time
from functools import partial

BOOT = getattr(time, "CLOCK_BOOTTIME", None)

age_clock = time.monotonic if BOOT is None else partial(time.clock_gettime, BOOT)
"""Seconds that never go back, and go on while the machine sleeps, where it has such a clock: what
was kept before is older afterwards (RFC 9111 section 4.2.3)."""
