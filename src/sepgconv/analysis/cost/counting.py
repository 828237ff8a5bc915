"""Parameters and multiplications of a network, a row per layer: nominal as the paper counts them, and as executed."""

from collections.abc import Iterator
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn

from sepgconv._arguments import checked_input_shape
from sepgconv._evaluation import evaluation
from sepgconv._hooks import watch_calls
from sepgconv._modules import reference_tensor, unwrap
from sepgconv.analysis.cost.report import CostReport, LayerCost, Shape
from sepgconv.conv.cost import BUILT_IN, CostModel
from sepgconv.nn import DepthwiseSeparableGroupConv2d, GroupConvLayer, GroupToVector
from sepgconv.nn.normalization import PerChannel
from sepgconv.ops.dispatch import using


def cost(model: nn.Module, input_shape: tuple[int, ...], *, cost_model: CostModel = BUILT_IN) -> CostReport:
    """Count parameters and multiply-accumulates of a network by running one empty image through it.

    Convolutions and linear layers are counted, of the library and of torch; normalisation, activation, pooling and
    biases are not, as in the paper. Works on any module whose input is one image.

    Args:
        model: the network; neither its mode nor its statistics change.
        input_shape: (channels, height, width), without a batch axis: the counts are for one image.
        cost_model: by which `execution="auto"` chooses. Default: that of the library, so that the counts are the same
            on every machine.

    Raises:
        ValueError: the shape is not that of an image.

    Example:
        >>> import sepgconv
        >>> report = sepgconv.analysis.cost(sepgconv.create_model("p4cnn", width=10), (1, 28, 28))
        >>> report.parameters, report.nominal_macs
        (24810, 11673860)
    """
    shape = checked_input_shape(input_shape, "cost", batch=True)
    model = unwrap(model, "cost")
    rows: list[LayerCost] = []
    uncounted: list[str] = []

    def record(key: tuple[str, nn.Module], arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
        name, module = key
        own = sum(p.numel() for p in module.parameters(recurse=_has_rule(module)))
        inputs = [value for value in (*arguments, *keywords.values()) if isinstance(value, Tensor)]
        output_shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
        counted = macs(module, tuple(inputs[0].shape[1:]), output_shape) if inputs and output_shape else None
        if counted is None and own == 0:
            return
        if counted is None and not isinstance(module, NORMS) and name:
            uncounted.append(name)
        rows.append(LayerCost(name, type(module).__name__, output_shape, own, *(counted or (0, 0))))

    layers = [((name, module), module) for name, module in _layers(model)]
    reference = reference_tensor(model)
    image = torch.zeros(1, *shape, device=reference.device, dtype=reference.dtype)
    with using(cost_model), watch_calls(layers, after=record), evaluation(model):
        model(image)
    return CostReport(sum(p.numel() for p in model.parameters()), tuple(rows), tuple(uncounted))


def _has_rule(module: nn.Module) -> bool:
    return macs.dispatch(type(module)) is not macs.dispatch(object)


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Walk through the modules, each once; what lies within one that has a rule of its own is counted with it."""
    within: set[nn.Module] = set()
    for name, module in model.named_modules():
        if module not in within:
            yield name, module
            if _has_rule(module):
                within.update(module.modules())


# With a scale and a shift per channel, which are not counted.
NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, PerChannel)  # pyright: ignore[reportPrivateUsage]


@singledispatch
def macs(module: nn.Module, input_shape: Shape, output_shape: Shape) -> tuple[int, int] | None:
    """Return (nominal, executed) multiply-accumulates of one layer for one image, or None for a layer without a rule.

    A function single-dispatched on the class of the module: register a rule for a layer of your own with
    `@macs.register`.

    Args:
        module: the layer.
        input_shape: of one image, without the batch axis.
        output_shape: of one image, without the batch axis.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import macs
        >>> macs(torch.nn.Conv2d(3, 4, 1), (3, 8, 8), (4, 8, 8))
        (768, 768)
        >>> macs(torch.nn.ReLU(), (3, 8, 8), (3, 8, 8)) is None
        True
    """
    return None


def _alike(count: int) -> tuple[int, int]:
    return count, count


@macs.register
def _(module: nn.Linear, input_shape: Shape, output_shape: Shape) -> tuple[int, int]:
    positions = torch.Size(input_shape[:-1]).numel()
    return _alike(module.in_features * module.out_features * positions)


@macs.register
def _(module: nn.Conv1d | nn.Conv2d | nn.Conv3d, input_shape: Shape, output_shape: Shape) -> tuple[int, int]:
    return _alike(module.weight[0].numel() * torch.Size(output_shape).numel())


@macs.register
def _(module: GroupConvLayer, input_shape: Shape, output_shape: Shape) -> tuple[int, int]:
    spec, sides = module.spec, tuple(input_shape[-len(module.kernel_size) :])
    height, width = sides
    chosen = module.selected_execution(height, width)
    work = spec.kind.work(spec, sides)
    ran = work[chosen] if chosen in work else next(iter(work.values()))  # "fourier" on one pose transforms nothing
    return spec.nominal_macs(sides), ran.macs


@macs.register
def _(module: DepthwiseSeparableGroupConv2d, input_shape: Shape, output_shape: Shape) -> tuple[int, int]:
    mixing, filtering = (step.spec for step in module if isinstance(step, GroupConvLayer))
    sides = tuple(input_shape[-len(filtering.geometry.kernel_size) :])
    mixed, filtered = mixing.nominal_macs(sides), filtering.nominal_macs(sides)
    # Nominally all of it counts at the resolution of the output (theory.md, Cost).
    return mixing.kind.macs_per_output(mixing) * filtering.numbers_out(sides) + filtered, mixed + filtered


@macs.register
def _(module: GroupToVector, input_shape: Shape, output_shape: Shape) -> tuple[int, int]:
    return _alike(module.group.order * module.weight.numel())
