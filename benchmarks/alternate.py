"""The clock: contenders step in turn, so that a disturbance of the machine meets all of them alike."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.series import Series

# Steps of a round together take at least this long: shorter ones are dominated by waking up.
SHORTEST_ROUND = 0.02  # seconds
MOST_STEPS = 100
PAUSE = 0.005  # seconds between turns, in which the waiting threads of the last one fall asleep
QUICK_STEP = 1.0  # seconds; a step below it is warmed up twice more


@dataclass(frozen=True)
class Pace:
    """How long a task may take.

    Attributes:
        seconds: for warm-up and all rounds of all contenders; kept only as far as `least` allows.
        least: rounds that each contender gets in any case.
        most: rounds that are enough.
    """

    seconds: float
    least: int = 3
    most: int = 60


def alternate(steppers: Mapping[str, Callable[[int], float]], pace: Pace) -> dict[str, Series]:
    """Time contenders in turn.

    Every contender is warmed up; how long its step takes decides its number of rounds. In each round the contenders of
    the round step one after the other, every second round in the opposite order. Slow contenders sit out some rounds,
    spread evenly.

    Args:
        steppers: by label, a function that does so many steps and returns the seconds per step.
        pace: the time there is.
    """
    warm = {label: _warm_up(step) for label, step in steppers.items()}
    repeats = {
        label: max(1, min(MOST_STEPS, math.ceil(SHORTEST_ROUND / max(seconds, 1e-9))))
        for label, (seconds, _, _) in warm.items()
    }
    costs = {label: repeats[label] * seconds for label, (seconds, _, _) in warm.items()}
    left = pace.seconds - sum(spent for _, _, spent in warm.values())
    counts = rounds_of_each(costs, Pace(left, pace.least, pace.most))
    total = max(counts.values())
    times: dict[str, list[tuple[int, float]]] = {label: [] for label in steppers}
    for number in range(total):
        turn = [label for label in steppers if takes_part(number, counts[label], total)]
        for label in turn if number % 2 == 0 else reversed(turn):
            time.sleep(PAUSE)
            times[label].append((number, steppers[label](repeats[label])))
    return {
        label: Series(
            tuple(seconds for _, seconds in times[label]),
            tuple(number for number, _ in times[label]),
            repeats[label],
            warm[label][1],
        )
        for label in steppers
    }


def _warm_up(step: Callable[[int], float]) -> tuple[float, int, float]:
    """Return (seconds of a warm step, steps done, seconds spent)."""
    first = step(1)
    if first >= QUICK_STEP:
        return first, 1, first
    again = [step(1), step(1)]
    return min(again), 3, first + sum(again)


def rounds_of_each(costs: Mapping[str, float], pace: Pace) -> dict[str, int]:
    """Share the seconds out: equal shares, and what a cheap contender does not need goes to the dearer ones.

    Args:
        costs: seconds of one round, by label.
        pace: seconds to share, and the bounds.
    """
    counts: dict[str, int] = {}
    left = pace.seconds
    for index, label in enumerate(sorted(costs, key=lambda label: costs[label])):
        share = left / (len(costs) - index)
        counts[label] = max(pace.least, min(pace.most, int(share / costs[label])))
        left -= counts[label] * costs[label]
    return counts


def takes_part(number: int, count: int, total: int) -> bool:
    """Return whether a contender with `count` rounds is in round `number` of `total`, spread evenly."""
    return (number + 1) * count // total > number * count // total
