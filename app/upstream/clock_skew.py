"""The farm's clock, as far as its answers tell. Pure; must not know HTTP, signing or faults."""

PROOF = 60.0
"""Seconds: a smaller difference between the clocks explains no refused timestamp."""


class FarmClock:
    """Timestamps in Unix seconds: by our clock, until a refusal proves that it is wrong."""

    def __init__(self) -> None:
        self._heard: float | None = None  # how far the farm's clock is ahead of ours
        self._believed = 0.0

    def hear(self, date: float, now: float) -> None:
        """The farm said that it is ``date`` while our clock said ``now``."""
        self._heard = date - now

    @property
    def ahead(self) -> float | None:
        """How many seconds the farm's clock is ahead of ours; None if it never told."""
        return self._heard

    def timestamp(self, now: float) -> int:
        """What to sign at ``now`` by our clock."""
        return max(int(now + self._believed), 1)

    def explains(self, timestamp: int, now: float) -> bool:
        """Whether the farm's clock explains that it just refused this timestamp.

        Then that clock is believed from now on, until another refusal proves it wrong.
        """
        if self._heard is None or abs(now + self._heard - timestamp) <= PROOF:
            return False
        self._believed = self._heard
        return True
