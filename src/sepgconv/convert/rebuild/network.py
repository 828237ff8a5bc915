"""equivariant: an ordinary CNN rebuilt with group layers at a given budget."""

import itertools
from collections import OrderedDict
from typing import Any

import torch
from torch import fx, nn

from sepgconv._foreign import refuse_beside_the_code, refuse_hooks_of_all
from sepgconv._messages import one_of
from sepgconv._modules import copy_network
from sepgconv.analysis import cost
from sepgconv.convert.rebuild.planning import Plan, plan
from sepgconv.convert.rebuild.rules import Target
from sepgconv.convert.rebuild.tracing import trace
from sepgconv.convert.rebuild.widths import BUDGETS, Budget, Counter, Widths, widest
from sepgconv.functional.kernels import SHARINGS, Sharing
from sepgconv.groups import FiniteGroup
from sepgconv.groups import group as find_group
from sepgconv.nn import Sequential


def equivariant(
    model: nn.Module,
    group: FiniteGroup | str,
    sharing: Sharing | None = None,
    *,
    input_shape: tuple[int, int, int],
    budget: Budget = "parameters",
    limit: int | None = None,
    global_pool: bool = False,
) -> nn.Module:
    """Return an ordinary CNN rebuilt with layers on a group, with fresh weights and widths that keep to a budget.

    The first convolutions become `LiftingConv2d`, the others `GroupConv2d` or, with a sharing, `SeparableGroupConv2d`
    (1x1 kernels stay `GroupConv2d`), those with as many groups as channels `DepthwiseGroupConv2d`; batch norm, dropout
    of channels and pools become those of the library; functions of single numbers and `nn.Linear` on vectors stay.
    `GroupMaxPool` is put in before the pool over all positions, the flatten, or the output. The forward is traced by
    torch.fx and kept: sums, concatenated channels and gates are allowed. Shapes in and out are those of the model.

    All widths are multiplied by one factor and rounded (1 stays 1), but for those of the output: the largest factor
    whose network is not above the budget.

    The result is invariant, or turns with its input where it gives a picture. That is exact where every stride fits its
    map: on other sizes, as with a stride of 2 and a 3x3 kernel on an even map, it holds approximately, and nothing here
    refuses them, as ordinary CNNs are full of them. docs/conventions.md has the rule; ask
    `sepgconv.testing.assert_equivariant` at your size.

    Args:
        model: the CNN: Conv2d, Linear, BatchNorm, activations, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, Dropout,
            Flatten, in a `Sequential` or in a forward of your own. It does not change; its weights are not used.
        group: a `FiniteGroup` or its name.
        sharing: None for group convolutions, "gc" or "g" for separable ones.
        input_shape: (channels, height, width) of the images.
        budget: what to keep to, "parameters" or "macs" (nominal multiplications of one image, as
            `sepgconv.analysis.cost` counts them).
        limit: the most of it; the model's own count if not given.
        global_pool: whether to average over all positions before a flatten of maps larger than one pixel. What reads
            such maps is not invariant, so that without it they are refused.

    Returns:
        A `sepgconv.nn.Sequential` where the forward is a chain of layers, else a `torch.fx.GraphModule`; layers have
        the names of the model. In the mode, dtype and device of the model.

    Raises:
        ValueError: hooks, replaced methods and computed weights, which would be lost, named with their layer; layers or
            calls that cannot be converted, each named with its place; a forward that cannot be traced
            or does not run on `input_shape`; a budget that no width meets.
    """
    if len(input_shape) != 3 or any(side < 1 for side in input_shape):
        raise ValueError(f"equivariant: input_shape must be (channels, height, width), got {tuple(input_shape)}")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ValueError(f"equivariant: limit must be a positive number of {budget}, got {limit!r}")
    budget = one_of("budget", budget, BUDGETS)
    if sharing is not None:
        one_of("sharing", sharing, SHARINGS)
    refuse_hooks_of_all("equivariant")
    model = copy_network(model, "equivariant")
    refuse_beside_the_code("equivariant", model)
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    target = Target(find_group(group), sharing, like.device, like.dtype)
    rewritten = plan(trace(model, input_shape), target, global_pool=global_pool)
    if limit is None:
        costs = cost(model, input_shape)
        limit = costs.parameters if budget == "parameters" else costs.nominal_macs
    chosen = widest(rewritten, Counter(rewritten, target, budget), limit)
    return _build(rewritten, chosen, target, type(model).__name__).train(model.training)


def _build(plan: Plan, widths: Widths, target: Target, name: str) -> nn.Module:
    layers = {
        path: change.make(*widths.layers[path], target.device)
        for path, change in plan.changes.items()
        if path in widths.layers
    }
    chain = _chain(plan.graph, layers)
    return chain if chain is not None else fx.GraphModule(layers, plan.graph, class_name=f"Equivariant{name}")


def _chain(graph: fx.Graph, layers: dict[str, nn.Module]) -> nn.Module | None:
    """Return the layers as nested `Sequential`s if each reads only the one before it, else None."""
    nodes = list(graph.nodes)
    for before, node in itertools.pairwise(nodes):
        if node.args != (before,) or node.kwargs or node.op not in ("call_module", "output"):
            return None
    steps = [str(node.target) for node in nodes[1:-1]]
    nested = _nest([(step.split("."), layers[step]) for step in steps])
    order = [module for module in nested.modules() if not isinstance(module, Sequential)]
    outermost = [module for module in order if any(module is layers[step] for step in steps)]
    return nested if [id(m) for m in outermost] == [id(layers[step]) for step in steps] else None


def _nest(steps: list[tuple[list[str], Any]]) -> nn.Module:
    children: OrderedDict[str, nn.Module] = OrderedDict()
    inner: OrderedDict[str, list[tuple[list[str], Any]]] = OrderedDict()
    for (first, *rest), layer in steps:
        inner.setdefault(first, []).append((rest, layer))
    for name, below in inner.items():
        children[name] = below[0][1] if not below[0][0] else _nest(below)
    return Sequential(children)
