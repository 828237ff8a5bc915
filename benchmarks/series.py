"""Timed rounds of one contender, and what is said about them."""

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Series:
    """What one contender took in one task.

    Attributes:
        seconds: per step, for every round in which it was timed (the mean of that round's steps).
        rounds: the numbers of these rounds; contenders with equal numbers ran beside each other.
        steps_per_round: steps that were timed as one.
        warm_up: steps before the first round.
    """

    seconds: tuple[float, ...]
    rounds: tuple[int, ...]
    steps_per_round: int
    warm_up: int

    @property
    def median(self) -> float:
        """Seconds per step: half of the rounds took longer."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Seconds per step: the middle half of the rounds lies between these."""
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0]
        first, _, third = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return first, third

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold; seconds to a tenth of a microsecond."""
        return {**asdict(self), "seconds": [round(s, 7) for s in self.seconds], "rounds": list(self.rounds)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Series":
        """Undo `to_json`."""
        return cls(tuple(data["seconds"]), tuple(data["rounds"]), data["steps_per_round"], data["warm_up"])


def paired_ratios(above: Series, below: Series) -> list[float]:
    """Return above / below for every round that both were timed in."""
    other = dict(zip(below.rounds, below.seconds, strict=True))
    return [s / other[r] for r, s in zip(above.rounds, above.seconds, strict=True) if r in other]
