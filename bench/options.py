"""What the command line may say. Knows numbers only."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How long and how much; durations in seconds. `quick` is a smoke run, its numbers not kept."""

    quick: bool = False
    slice: int = 1
    rounds: int = 5
    outage: int = 60
    flood: int = 100_000

    def fewer(self, full: int, quick: int) -> int:
        """One of two sizes of the same thing."""
        return quick if self.quick else full
