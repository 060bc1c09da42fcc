"""The retry rule: which failures may heal, whether there is time left, and what is affordable."""

import random
from collections import Counter
from collections.abc import Callable

SPAN = 10
"""Seconds that a window looks back."""
TRY_AGAIN = frozenset({"refused", "reset", "closed", "http_502", "http_504"})
"""Causes after which the same call may be made once more: it has probably not been heard."""
UNHEARD = frozenset({"refused"})
"""Causes after which a call that changes something may be made once more: nothing was sent."""
RETRY_NEEDS = 0.3
"""Seconds of the deadline that must remain for a retry."""
RETRY_BACKOFF = 0.05
"""Seconds: a retry comes after a random part of this ("full jitter")."""
RETRY_SHARE = 10
"""Calls in the last ten seconds that pay for one retry: a tenth of the calls, plus one a second."""


class Window:
    """How many events the last ten seconds saw, counted in slots of a second."""

    def __init__(self) -> None:
        self._slots: Counter[int] = Counter()

    def add(self, now: float, count: int = 1) -> None:
        """``count`` events happen."""
        self._slots[int(now)] += count
        if len(self._slots) > SPAN:
            self.total(now)

    def total(self, now: float) -> int:
        """The events of the window that ends now."""
        for slot in [slot for slot in self._slots if slot <= int(now) - SPAN]:
            del self._slots[slot]
        return self._slots.total()


class RetryBudget:
    """How many retries are affordable: a tenth of the calls, and one a second.

    When everything fails, 100 calls a second become 111 attempts and not 200.
    """

    def __init__(self) -> None:
        self._calls, self._retries = Window(), Window()
        self._free_at = 0.0

    def earn(self, now: float) -> None:
        """A call begins."""
        self._calls.add(now)

    def spend(self, now: float) -> bool:
        """Whether a retry is affordable; if so, it is paid."""
        if (self._retries.total(now) + 1) * RETRY_SHARE <= self._calls.total(now):
            self._retries.add(now)
            return True
        if now < self._free_at:
            return False
        self._free_at = now + 1.0
        return True


class RetryPolicy:
    """Whether a failed call is made once more, and when. Times are monotonic seconds."""

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._budget = RetryBudget()
        self._uniform = uniform

    def begin(self, now: float) -> None:
        """A call begins."""
        self._budget.earn(now)

    def delay(self, now: float, deadline: float) -> float | None:
        """Seconds to wait before the call is made once more; None: it is not worth it."""
        if deadline - now < RETRY_NEEDS or not self._budget.spend(now):
            return None
        return self._uniform(0.0, RETRY_BACKOFF)
