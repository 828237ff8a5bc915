"""The layers of the library as ordinary layers on folded maps."""

import copy
import operator
from functools import singledispatch

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage] (what all of them are)

from sepgconv._foreign import foreign_behaviour, known_class, own_code
from sepgconv.convert.plain.maps import PlainGraph, Value
from sepgconv.convert.plain.refusal import refuse
from sepgconv.functional import filter_action, pixel_action, pose_action
from sepgconv.functional.kernels import dense_bank, over_poses, planar_bank
from sepgconv.functional.mixing import dense_weight
from sepgconv.nn import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    DepthwiseGroupConv2d,
    GroupConv2d,
    GroupDropout,
    GroupLayerNorm,
    GroupMaxPool,
    GroupMeanPool,
    LiftingConv2d,
    MaxPool2d,
    ReLU,
    SeparableGroupConv2d,
)
from sepgconv.nn._base import GroupConvLayer


class Plain:
    """One layer on its way to ordinary ones.

    Attributes:
        build: the network that is written.
        name: the place of the layer, and so of the ones that are written for it.
        x: what comes in.
        composed: whether separable layers become one convolution; None: what needs fewer multiplications.
    """

    def __init__(self, build: PlainGraph, name: str, x: Value, composed: bool | None) -> None:
        self.build, self.name, self.x, self.composed = build, name, x, composed

    @property
    def folded(self) -> fx.Node:
        """The maps that come in, folded."""
        return self.build.fold(self.x)


@singledispatch
def plain(module: nn.Module, to: Plain, example: Tensor) -> Value | None:
    """Write a layer as ordinary ones; None where there is no rule, and the layer is itself ordinary or not known.

    A function single-dispatched on the class of the module: register a rule for a layer of your own with
    `@plain.register`.

    Args:
        module: the layer, in evaluation mode.
        to: where it is written, and what comes in.
        example: what the layer gives on the example.
    """
    return None


def is_layer(module: nn.Module, place: str) -> bool:
    """Tell whether a module is one that `plain` has a rule for.

    Raises:
        ValueError: it does more than the class that has the rule: by a subclass, or by what was put into it.
    """
    if plain.dispatch(type(module)) is plain.dispatch(object):
        return False
    what = own_code(module, plain.registry.keys())
    kind = known_class(module, plain.registry.keys()).__name__
    where = f"{place} ({type(module).__name__})" if place else type(module).__name__
    if what is not None:
        refuse(where, f"it is a {kind} with {what}; put what it adds into a module around it")
    if module.training:
        refuse(where, f"this {kind} stays in training mode after eval(), so that its answers have no fixed form")
    return True


@plain.register
def _(module: LiftingConv2d, to: Plain, example: Tensor) -> Value:
    filters = planar_bank(module.weight, _pixels(module, module.weight))
    image = to.build.unfold(to.x)
    return Value(example, folded=to.build.module(to.name, lambda: _convolution(module, filters), image))


@plain.register
def _(module: GroupConv2d, to: Plain, example: Tensor) -> Value:
    return _one_convolution(module, dense_bank(module.weight, _filters(module, module.weight)), to, example)


@plain.register
def _(module: DepthwiseGroupConv2d, to: Plain, example: Tensor) -> Value:
    filters = planar_bank(module.weight, _pixels(module, module.weight)).unsqueeze(1)
    return _one_convolution(module, filters, to, example, channel_groups=len(filters))


@plain.register
def _(module: SeparableGroupConv2d, to: Plain, example: Tensor) -> Value:
    if _is_composed(module, to, example):
        return _one_convolution(module, dense_bank(module.compose(), _filters(module, module.pointwise)), to, example)
    # With more terms than one, their maps lie beside each other, (pose, out, term), and the filtering adds them up.
    terms = module.pointwise.flatten(0, -3), module.depthwise.reshape(module.out_channels, -1, *module.kernel_size)
    mixing = dense_weight(terms[0], pose_action(module.group, device=terms[0].device))
    filters = planar_bank(terms[1], _pixels(module, terms[1]))
    mixed = to.build.module(f"{to.name}.pointwise", lambda: _pointwise(mixing), to.folded)
    groups = len(filters)
    filtering = to.build.module(
        f"{to.name}.depthwise", lambda: _convolution(module, filters, channel_groups=groups), mixed
    )
    return Value(example, folded=filtering)


def _is_composed(module: SeparableGroupConv2d, to: Plain, example: Tensor) -> bool:
    # With sharing "g", a map for every pair of channels would lie between the two steps, and no torch is fast at that.
    if module.sharing == "g":
        return True
    if to.name in to.build.layers or f"{to.name}.pointwise" in to.build.layers:  # called before: as then
        return to.name in to.build.layers
    return _composed_costs_less(module, to.x, example) if to.composed is None else to.composed


def _composed_costs_less(module: SeparableGroupConv2d, x: Value, example: Tensor) -> bool:
    """Tell whether one dense convolution needs fewer multiplications than a 1x1 and a depthwise one, on the example."""
    order, taps = module.group.order, module.kernel_size[0] * module.kernel_size[1]
    pixels_in, pixels_out = x.size[0] * x.size[1], example.shape[-2] * example.shape[-1]
    terms = module.pointwise.numel() // (module.in_channels * order)  # out_channels * rank
    mixing = terms * order * module.in_channels * order * pixels_in
    filtering = terms * order * taps * pixels_out
    return module.out_channels * order * module.in_channels * order * taps * pixels_out < mixing + filtering


def _pixels(module: GroupConvLayer, weight: Tensor) -> Tensor:
    return pixel_action(module.group, module.kernel_size, device=weight.device)


def _filters(module: GroupConvLayer, weight: Tensor) -> Tensor:
    return filter_action(module.group, module.kernel_size, device=weight.device)


def _one_convolution(
    module: GroupConvLayer, filters: Tensor, to: Plain, example: Tensor, *, channel_groups: int = 1
) -> Value:
    def build() -> nn.Module:
        return _convolution(module, filters, channel_groups=channel_groups)

    return Value(example, folded=to.build.module(to.name, build, to.folded))


def _convolution(module: GroupConvLayer, filters: Tensor, *, channel_groups: int = 1) -> nn.Conv2d:
    """Build the planar convolution with given filters and the geometry and bias of a layer."""
    with torch.device("meta"):  # draws no numbers
        layer = nn.Conv2d(
            filters.shape[1] * channel_groups,
            filters.shape[0],
            module.kernel_size,
            module.stride,
            module.padding,
            module.dilation,
            channel_groups,
            module.bias is not None,
            module.geometry.padding_mode,
        )
    layer.weight = _filters_of(filters)
    bias = over_poses(module.bias, module.group.order)
    layer.bias = None if bias is None else _parameter(bias)
    return layer


def _pointwise(mixing: Tensor) -> nn.Conv2d:
    with torch.device("meta"):
        layer = nn.Conv2d(mixing.shape[1], mixing.shape[0], 1, bias=False)
    layer.weight = _filters_of(mixing)
    return layer


def _filters_of(bank: Tensor) -> nn.Parameter:
    # Maps follow the layout of the filters. With channels last, a CPU runs depthwise ones several times faster; those
    # and pointwise ones are contiguous as well, in memory. The others are as fast either way, and are made contiguous.
    return nn.Parameter(bank.detach().clone(memory_format=torch.channels_last).contiguous())


def _parameter(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().clone(memory_format=torch.contiguous_format))


@plain.register
def _(module: _BatchNorm, to: Plain, example: Tensor) -> Value:
    if module.running_mean is None or module.running_var is None:
        refuse(
            to.name,
            f"a {type(module).__name__} without running statistics normalises by each batch; build it with "
            "track_running_stats=True",
        )
    if not to.x.is_maps:
        kind: type[_BatchNorm] = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[example.ndim]
        node = to.build.module(to.name, lambda: _batch_norm(module, kind, 1), to.build.unfold(to.x))
        return Value(example, whole=node)
    order = to.x.order
    return Value(
        example, folded=to.build.module(to.name, lambda: _batch_norm(module, nn.BatchNorm2d, order), to.folded)
    )


def _batch_norm(module: _BatchNorm, kind: type[_BatchNorm], order: int) -> nn.Module:
    with torch.device("meta"):
        layer = kind(module.num_features * order, module.eps, module.momentum, module.affine)
    if module.affine:
        layer.weight, layer.bias = (_parameter(part.repeat(order)) for part in (module.weight, module.bias))
    for name in ("running_mean", "running_var"):
        setattr(layer, name, getattr(module, name).detach().repeat(order))
    layer.num_batches_tracked = torch.zeros((), dtype=torch.long, device=layer.running_mean.device)  # pyright: ignore[reportOptionalMemberAccess] (just set)
    return layer.eval()


@plain.register
def _(module: GroupLayerNorm, to: Plain, example: Tensor) -> Value:
    order, graph = to.x.order, to.build.graph

    def build() -> nn.Module:
        with torch.device("meta"):
            affine, bias = module.weight is not None, module.bias is not None
            layer = nn.LayerNorm(module.num_channels * order, module.eps, affine, bias)
        for name in ("weight", "bias"):
            values = getattr(module, name)
            setattr(layer, name, None if values is None else _parameter(values.repeat(order)))
        return layer

    pixels = graph.call_method("permute", (to.folded, 0, 2, 3, 1))
    normal = to.build.module(to.name, build, pixels)
    return Value(example, folded=graph.call_method("permute", (normal, 0, 3, 1, 2)))


@plain.register
def _(module: GroupDropout, to: Plain, example: Tensor) -> Value:
    return to.x  # nothing in evaluation mode


@plain.register
def _(module: MaxPool2d, to: Plain, example: Tensor) -> Value:
    pool = nn.MaxPool2d(module.kernel_size, module.stride, module.padding, module.dilation)
    _keep_windows_on_maps(module, to)
    return Value(example, folded=to.build.module(to.name, lambda: pool, to.folded))


def _keep_windows_on_maps(module: MaxPool2d, to: Plain) -> None:
    """Write the check that no window lies in the padding whole: there torch's pool reads beside the maps.

    It asks for a little more than the layer of the library, whose check depends on the stride: that no step of the
    dilation is longer than the map.
    """
    graph = to.build.graph
    for axis, padding, dilation in zip((2, 3), module.padding, module.dilation, strict=True):
        if padding > 0 and dilation > 1:
            fits = graph.call_function(operator.ge, (graph.call_method("size", (to.folded, axis)), dilation))
            sentence = f"{to.name}: maps of less pixels along axis {axis} than one step of its dilation, {dilation}"
            check = torch._assert  # pyright: ignore[reportPrivateUsage] (the one that graphs keep)
            graph.call_function(check, (fits, sentence))


@plain.register
def _(module: AvgPool2d, to: Plain, example: Tensor) -> Value:
    pool = nn.AvgPool2d(module.kernel_size, module.stride, module.padding)
    return Value(example, folded=to.build.module(to.name, lambda: pool, to.folded))


@plain.register
def _(module: AdaptiveAvgPool2d, to: Plain, example: Tensor) -> Value:
    pool = nn.AdaptiveAvgPool2d(module.output_size)
    return Value(example, folded=to.build.module(to.name, lambda: pool, to.folded))


@plain.register
def _(module: GroupMaxPool, to: Plain, example: Tensor) -> Value:
    return _over_poses("amax", to, example)


@plain.register
def _(module: GroupMeanPool, to: Plain, example: Tensor) -> Value:
    return _over_poses("mean", to, example)


def _over_poses(pool: str, to: Plain, example: Tensor) -> Value:
    if to.x.order == 1:
        return Value(example, whole=to.folded)
    poses = to.build.graph.call_method("unflatten", (to.folded, 1, (to.x.order, -1)))
    return Value(example, whole=to.build.graph.call_method(pool, (poses, 1)))


# Layers of torch that treat every number alike, and so do not care where the poses are.
_ELEMENTWISE = (
    ReLU, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh,
    nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid, nn.Tanhshrink,
)  # fmt: skip


def is_elementwise(module: nn.Module) -> bool:
    """Tell whether a layer of torch gives each number of a map its own, by one rule for all; with a hook it may not."""
    return type(module) in _ELEMENTWISE and foreign_behaviour(module) is None


def passes_through(module: nn.Module) -> bool:
    """Tell whether a layer does nothing in evaluation mode."""
    dropouts = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
    return type(module) in (nn.Identity, *dropouts) and not module.training and foreign_behaviour(module) is None


def own_copy(module: nn.Module) -> nn.Module:
    """Copy an ordinary layer; it then leaves its input as it is."""
    layer = nn.ReLU() if type(module) is ReLU else copy.deepcopy(module)
    if getattr(layer, "inplace", False):
        layer.inplace = False  # pyright: ignore[reportArgumentType] (a switch of activations, no submodule)
    return layer
