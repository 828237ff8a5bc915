"""One factor for all widths, the largest that stays within a budget."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import fx, nn

from sepgconv.analysis import macs
from sepgconv.convert.rebuild import calls
from sepgconv.convert.rebuild.planning import Plan
from sepgconv.convert.rebuild.rules import Kind, Target
from sepgconv.convert.rebuild.tracing import place

Budget = Literal["parameters", "macs"]
BUDGETS: tuple[Budget, ...] = ("parameters", "macs")


@dataclass(frozen=True, slots=True)
class Widths:
    """Widths that come into and go out of every layer, by the name the graph calls it."""

    layers: dict[str, tuple[int, int]]


def scaled(width: int, factor: float) -> int:
    """Return a width times a factor, rounded; at least 1, and 1 stays 1, which may be there to be broadcast."""
    return 1 if width == 1 else max(1, math.floor(width * factor + 0.5))


def widths(plan: Plan, factor: float) -> Widths:
    """Return the widths of all layers for a factor.

    Raises:
        ValueError: maps of different widths are added, or a layer is used twice on different widths.
    """
    of: dict[fx.Node, int] = {}
    layers: dict[str, tuple[int, int]] = {}
    for node in plan.graph.nodes:
        # What joins a map with itself reads it twice.
        sources = calls.concatenated(node)[0] if node.target in calls.CONCATENATING else node.all_input_nodes
        given = [of[source] for source in sources if source in of]
        if node.op == "placeholder":
            of[node] = plan.channels
        elif node.op == "call_module":
            name, change = str(node.target), plan.changes[str(node.target)]
            chosen = change.width if change.width is None or name in plan.fixed else scaled(change.width, factor)
            found = (given[0], given[0] if chosen is None else chosen)
            if layers.setdefault(name, found) != found and change.reuse == "alike":
                raise ValueError(
                    f"equivariant: {name} is used twice, on {layers[name][0]} and {found[0]} channels once the widths "
                    f"are scaled; give each use a layer of its own"
                )
            of[node] = found[1]
        elif node.op.startswith("call"):
            of[node] = sum(given) if node.target in calls.CONCATENATING else max(given)
            if node.target in calls.COMBINING and not set(given) <= {1, of[node]}:
                raise ValueError(
                    f"equivariant: {place(node)}: combines maps of {' and '.join(map(str, given))} channels once the "
                    f"widths are scaled; joined maps can only be added to others that were joined alike"
                )
    return Widths(layers)


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

    def __call__(self, widths: Widths) -> int:
        """Count."""
        if self.budget == "parameters":
            return sum(sum(p.numel() for p in self._layer(name, widths).parameters()) for name in widths.layers)
        return sum(self._macs(node, widths) for node in self.plan.positions)

    def _layer(self, name: str, widths: Widths) -> nn.Module:
        key = (name, *widths.layers[name])
        if key not in self._built:
            self._built[key] = self.plan.changes[name].make(key[1], key[2], torch.device("meta"))
        return self._built[key]

    def _macs(self, node: fx.Node, widths: Widths) -> int:
        name = str(node.target)
        layer, (given, chosen) = self._layer(name, widths), widths.layers[name]
        before, after = self.plan.positions[node]
        poses = (self.order,) if self.plan.changes[name].output is Kind.MAPS else ()
        counted = macs(layer, (given, *poses, *before), (chosen, *poses, *after))
        return 0 if counted is None else counted[0]


def widest(plan: Plan, counter: Counter, limit: int) -> Widths:
    """Return the widths for the largest factor whose count is not above a limit.

    Args:
        plan: the plan.
        counter: counts it.
        limit: the most that is allowed.

    Raises:
        ValueError: even widths of 1 are above it.
    """
    smallest = widths(plan, 0.0)
    if counter(smallest) > limit:
        raise ValueError(
            f"equivariant: no width meets a budget of {limit:,} {counter.budget}; with one channel in every layer the "
            f"network has {counter(smallest):,}"
        )
    free = [change for name, change in plan.changes.items() if name not in plan.fixed]
    originals = sorted({change.width for change in free if change.width is not None and change.width > 1})
    if not originals:
        return smallest
    low, high = 0.0, 1.0
    while counter(widths(plan, high)) <= limit:
        low, high = high, 2 * high
    # Counts change only where a width rounds up, at (n + 1/2) / width: the search is over these factors.
    every = {(n + 0.5) / width for width in originals for n in range(math.floor(high * width) + 1)}
    steps = sorted(step for step in every if low < step <= high)
    below, above = -1, len(steps)  # the count at steps[below] is allowed, that at steps[above] is not
    while above - below > 1:
        middle = (below + above) // 2
        if counter(widths(plan, steps[middle] * (1 + 1e-12))) <= limit:
            below = middle
        else:
            above = middle
    return widths(plan, steps[below] * (1 + 1e-12) if below >= 0 else low)
