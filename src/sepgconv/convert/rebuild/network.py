"""equivariant: an ordinary CNN rebuilt with group layers at a given budget."""

import itertools
from collections import OrderedDict
from typing import Any

import torch
from torch import fx, nn
from torch.fx.node import map_arg

from sepgconv._arguments import accept_old_order, checked_input_shape
from sepgconv._customised import raise_if_global_hooks, raise_if_lost_in_tracing
from sepgconv._evaluation import evaluation
from sepgconv._messages import one_of
from sepgconv._modules import copy_network, reference_tensor
from sepgconv.analysis import cost
from sepgconv.conv import SHARINGS
from sepgconv.conv.kinds import Sharing
from sepgconv.convert.plain.errors import first_line
from sepgconv.convert.rebuild.planning import plan
from sepgconv.convert.rebuild.rules import Target
from sepgconv.convert.rebuild.tracing import trace
from sepgconv.convert.rebuild.widths import BUDGETS, Budget, Counter, widest
from sepgconv.convert.rebuild.writing import Plan
from sepgconv.convert.tracing import Recording
from sepgconv.nn import Sequential
from sepgconv.symmetry import FiniteGroup
from sepgconv.symmetry import group as get_group


@accept_old_order("model", "group", "sharing")
def equivariant(
    model: nn.Module,
    group: FiniteGroup | str,
    input_shape: tuple[int, ...],
    sharing: Sharing | None = None,
    *,
    budget: Budget = "parameters",
    limit: int | None = None,
    global_pool: bool = False,
) -> nn.Module:
    """Return an ordinary CNN rebuilt with layers on a group, with fresh weights and widths that keep to a budget.

    The first convolutions become `LiftingConv2d`, the others `GroupConv2d` or, with a sharing, `SeparableGroupConv2d`
    (1x1 kernels stay `GroupConv2d`); those with as many groups as channels become `DepthwiseGroupConv2d`. Norms, pools
    and dropout of channels become those of the library (group and instance norm run over poses as over positions);
    elementwise functions, and `nn.Linear` on vectors, stay. `GroupMaxPool` is inserted before the pool
    over all positions, the flatten, or the output. Shapes in and out are those of the model.

    torch.fx reads the forward, which is kept; it reads into subclasses of torch's layers. A forward may add, join, cut
    and gate channels, move axes (channels last too), reduce, pad and resample maps, and use parameters and buffers of
    its own. Where it asks for a size, it gets the size on `input_shape`, and arguments with a default keep it. What
    treats the two ends of an axis differently (uneven padding, `ceil_mode` if a window hangs over) is not converted.

    All widths are multiplied by one factor and rounded (1 stays 1), except those of the output: the largest factor
    whose network is not above the budget. Channels that are cut, or added to such channels, are scaled part by part, so
    that parts fit as before. A parameter per channel (a layer scale) follows its width and starts at its mean.

    The result is invariant, or equivariant if its output is an image. That is exact where every stride fits its map. On
    other sizes, as with a stride of 2 and a 3x3 kernel on an even map, it holds approximately; they are allowed, since
    ordinary CNNs are full of them. docs/conventions.md has the rule; `sepgconv.testing.assert_equivariant` checks your
    size. Under elements that do not keep the pixel grid, as the rotation by 45 degrees of C8, it holds approximately on
    every size: kernels are steerable then, and pools and padding see the pixels of the grid.

    Args:
        model: the CNN, of torch's layers and functions, in a `Sequential` or in a forward of your own. It does not
            change; its weights are not used.
        group: a `FiniteGroup` or its name.
        input_shape: (channels, height, width) of the images, without a batch axis.
        sharing: None for group convolutions, "gc" or "g" for separable ones.
        budget: what to keep to, "parameters" or "macs" (nominal multiplications of one image, as
            `sepgconv.analysis.cost` counts them).
        limit: the most of it. Default: what the model itself has.
        global_pool: whether to average over all positions before a flatten of maps larger than one pixel. The layers
            behind such a flatten are not invariant, so without this it raises an error.

    Returns:
        A `sepgconv.nn.Sequential` if the forward is a chain of layers, else a `torch.fx.GraphModule`; layers have the
        names of the model. In the mode, dtype and device of the model.

    Raises:
        ValueError: hooks, replaced methods or computed weights would be lost (their layer is named); layers or calls
            cannot be converted (each kind is named once, with places); the forward cannot be read, switches autocast,
            gradients or checkpointing, draws random numbers, or does not run on `input_shape`; no width meets the
            budget.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from sepgconv.convert import equivariant
        >>> cnn = nn.Sequential(
        ...     nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        ...     nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
        ... )
        >>> rebuilt = equivariant(cnn, "p4", input_shape=(3, 9, 9)).eval()
        >>> [type(rebuilt.get_submodule(name)).__name__ for name in ("0", "2", "3", "7")]
        ['LiftingConv2d', 'GroupConv2d', 'GroupBatchNorm2d', 'Linear']
        >>> sum(p.numel() for p in rebuilt.parameters()) <= sum(p.numel() for p in cnn.parameters())
        True
        >>> images = torch.rand(2, 3, 9, 9)
        >>> torch.allclose(rebuilt(images), rebuilt(images.rot90(1, (-2, -1))), atol=1e-4)
        True
    """
    channels, height, width = checked_input_shape(input_shape, "equivariant")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ValueError(f"equivariant: limit must be a positive number of {budget}, got {limit!r}")
    budget = one_of("budget", budget, BUDGETS)
    if sharing is not None:
        one_of("sharing", sharing, SHARINGS)
    raise_if_global_hooks("equivariant")
    model = copy_network(model, "equivariant")
    raise_if_lost_in_tracing("equivariant", model)
    like = reference_tensor(model)
    target = Target(get_group(group), sharing, like.device, like.dtype)
    recording = trace(model, (channels, height, width))
    rewritten = plan(recording, target, global_pool=global_pool)
    if limit is None:
        costs = cost(model, (channels, height, width))
        limit = costs.parameters if budget == "parameters" else costs.nominal_macs
    factor = widest(rewritten, Counter(rewritten, target, budget), limit)
    rebuilt = _build(rewritten, factor, target, type(model).__name__)
    _check_rebuilt(rebuilt, rewritten, recording, (channels, height, width))
    return rebuilt.train(model.training)


def _build(plan: Plan, factor: float, target: Target, name: str) -> nn.Module:
    widths = plan.at(factor)
    read = {str(node.target) for node in plan.graph.nodes if node.op == "call_module"}
    layers = {path: change.make(*widths[path], target.device) for path, change in plan.changes.items() if path in read}
    plan.fill_in(factor)
    chain = _chain(plan.graph, layers)
    tensors = plan.make_tensors(factor, target.device, target.dtype)
    if chain is not None:
        return chain
    return fx.GraphModule({**layers, **tensors}, plan.graph, class_name=f"Equivariant{name}")


def _check_rebuilt(rebuilt: nn.Module, plan: Plan, recording: Recording, shape: tuple[int, ...]) -> None:
    """Run a rebuilt network once on images of the original's example, and compare the shapes of what both give.

    Raises:
        ValueError: it does not run, or gives other shapes; the place is named.
    """
    example = next(value for node, value in recording.values.items() if node.op == "placeholder")
    runner = _Placed(rebuilt, plan) if isinstance(rebuilt, fx.GraphModule) else rebuilt
    with torch.no_grad(), evaluation(rebuilt):
        found = runner.run(example.clone()) if isinstance(runner, _Placed) else rebuilt(example.clone())
    output = next(node for node in recording.graph.nodes if node.op == "output")
    expected = map_arg(output.args[0], recording.values.__getitem__)
    if _shapes(found) != _shapes(expected):
        raise ValueError(
            f"equivariant: the rebuilt network gives {_shapes(found)} where {_shapes(expected)} is right, on "
            f"input_shape={shape}; this is a fault of the conversion"
        )


class _Placed(fx.Interpreter):
    """Runs a rebuilt network; errors name the place in the original network."""

    def __init__(self, module: fx.GraphModule, plan: Plan) -> None:
        super().__init__(module)
        self.extra_traceback = False
        self._places = dict(zip(module.graph.nodes, (plan.places.get(n, "") for n in plan.graph.nodes), strict=True))

    def run_node(self, n: fx.Node) -> Any:
        """Run one step."""
        try:
            return super().run_node(n)
        except Exception as error:
            raise ValueError(
                f"equivariant: cannot convert {self._places.get(n, n.name)}: its counterpart does not run "
                f"({first_line(error)})"
            ) from error


def _shapes(value: Any) -> Any:
    """Return the shapes of tensors, in the same nesting of lists, tuples and dicts."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape)
    if isinstance(value, tuple | list):
        return [_shapes(part) for part in value]
    return {key: _shapes(part) for key, part in value.items()} if isinstance(value, dict) else value


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
