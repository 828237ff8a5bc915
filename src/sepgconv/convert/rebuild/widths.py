"""One factor for all widths, the largest that stays within a budget."""

import math
from typing import Literal

import torch
from torch import nn

from sepgconv.analysis import macs
from sepgconv.convert.rebuild.rules import Target
from sepgconv.convert.rebuild.values import Kind
from sepgconv.convert.rebuild.writing import Plan

Budget = Literal["parameters", "macs"]
BUDGETS: tuple[Budget, ...] = ("parameters", "macs")
Widths = dict[str, tuple[int, int]]  # that come into and go out of every layer


class Counter:
    """Counts the parameters or multiplications of a plan at given widths; layers are built without memory for it.

    Args:
        plan: the plan.
        target: what the network is rebuilt with.
        budget: what to count. Multiplications are nominal, as `sepgconv.analysis.cost` has them.
    """

    def __init__(self, plan: Plan, target: Target, budget: Budget) -> None:
        self.plan, self.order, self.budget = plan, target.group.order, budget
        self._built: dict[tuple[str, int, int], nn.Module] = {}

    def __call__(self, factor: float) -> int:
        """Count at a factor of all widths."""
        widths = self.plan.at(factor)
        if self.budget == "parameters":
            layers = sum(sum(p.numel() for p in self._layer(name, widths).parameters()) for name in widths)
            return layers + sum(math.prod(shape) for shape in self.plan.shapes(factor).values())
        return sum(self._macs(name, before, after, widths) for name, before, after in self.plan.calls)

    def _layer(self, name: str, widths: Widths) -> nn.Module:
        key = (name, *widths[name])
        if key not in self._built:
            self._built[key] = self.plan.changes[name].make(key[1], key[2], torch.device("meta"))
        return self._built[key]

    def _macs(self, name: str, before: tuple[int, ...], after: tuple[int, ...], widths: Widths) -> int:
        layer, (given, chosen) = self._layer(name, widths), widths[name]
        poses = (self.order,) if self.plan.changes[name].output is Kind.MAPS else ()
        counted = macs(layer, (given, *poses, *before), (chosen, *poses, *after))
        return 0 if counted is None else counted[0]


def widest(plan: Plan, counter: Counter, limit: int) -> float:
    """Return the largest factor of all widths whose count is not above a limit.

    Args:
        plan: the plan.
        counter: counts it.
        limit: the most that is allowed.

    Raises:
        ValueError: even widths of 1 are above it.
    """
    if counter(0.0) > limit:
        raise ValueError(
            f"equivariant: no width meets a budget of {limit:,} {counter.budget}; with one channel in every layer the "
            f"network has {counter(0.0):,}"
        )
    originals = plan.scaled_sizes()
    if not originals:
        return 0.0
    low, high = 0.0, 1.0
    while counter(high) <= limit:
        low, high = high, 2 * high
    # Counts change only where a width rounds up, at (n + 1/2) / width: the search is over these factors.
    every = {(n + 0.5) / width for width in originals for n in range(math.floor(high * width) + 1)}
    steps = sorted(step for step in every if low < step <= high)
    below, above = -1, len(steps)  # the count at steps[below] is allowed, that at steps[above] is not
    while above - below > 1:
        middle = (below + above) // 2
        if counter(steps[middle] * (1 + 1e-12)) <= limit:
            below = middle
        else:
            above = middle
    return steps[below] * (1 + 1e-12) if below >= 0 else low
