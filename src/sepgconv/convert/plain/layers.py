"""Rules that turn each layer of the library into ordinary layers of torch, on folded maps."""

import operator
from functools import singledispatch

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage] (what all of them are)

from sepgconv._customised import known_class, overridden_code
from sepgconv.conv.steps import Lowered
from sepgconv.convert.plain.errors import raise_unconvertible
from sepgconv.convert.plain.maps import PlainGraph, Value
from sepgconv.nn import (
    AdaptiveAvgPool2d,
    AntialiasedMaxPool2d,
    AvgPool2d,
    DropPath,
    GroupConvLayer,
    GroupDropout,
    GroupGroupNorm,
    GroupLayerNorm,
    GroupMaxPool,
    GroupMeanPool,
    GroupToVector,
    LayerScale,
    MaxPool2d,
    RestrictGroup,
)
from sepgconv.ops.pools import binomial_filter
from sepgconv.ops.vectors import vector_filters
from sepgconv.symmetry import coset_table


class Plain:
    """A layer that is being converted to ordinary ones.

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
    """Return whether `plain` has a rule for a module.

    Raises:
        ValueError: the module does more than the class that the rule is for, by a subclass or a replaced method; or it
            stays in training mode.
    """
    if plain.dispatch(type(module)) is plain.dispatch(object):
        return False
    what = overridden_code(module, plain.registry.keys())
    kind = known_class(module, plain.registry.keys()).__name__
    where = f"{place} ({type(module).__name__})" if place else type(module).__name__
    if what is not None:
        raise_unconvertible(where, f"it is a {kind} with {what}; put what it adds into a module around it")
    if module.training:
        raise_unconvertible(
            where, f"this {kind} stays in training mode after eval(), so its outputs depend on the batch"
        )
    return True


@plain.register
def _(module: GroupConvLayer, to: Plain, example: Tensor) -> Value:
    spec = module.spec
    lowered = spec.kind.lower(spec, module.weights(), module.bias, _execution(module, to))
    graph = to.build.graph
    maps = to.build.unfold(to.x) if spec.kind.lifts else _regrouped(graph, to.folded, spec.order, spec.groups)
    if lowered.steps == "direct":
        filters = lowered.filters
        maps = to.build.module(to.name, lambda: _convolution(module, lowered, filters, lowered.groups), maps)
    else:
        # With more terms than one, their maps lie beside each other, (pose, out, term), and the filtering adds them up.
        terms, blocks = lowered.filters.shape[1], spec.order * spec.groups
        mixing = lowered.mixing[0].unflatten(0, (blocks, terms, -1)).transpose(1, 2).flatten(0, 2)
        mixed = to.build.module(f"{to.name}.pointwise", lambda: _pointwise(mixing, spec.groups), maps)
        groups = lowered.filters.shape[0]
        maps = to.build.module(
            f"{to.name}.depthwise", lambda: _convolution(module, lowered, lowered.filters, groups), mixed
        )
    return Value(example, folded=_regrouped(graph, maps, spec.groups, spec.order))


def _regrouped(graph: fx.Graph, maps: fx.Node, outer: int, inner: int) -> fx.Node:
    """Write the exchange of pose and channel group among the maps, which torch's grouped convolutions want apart."""
    if 1 in (outer, inner):
        return maps
    axes = graph.call_method("unflatten", (maps, 1, (outer, inner, -1)))
    return graph.call_method("flatten", (graph.call_method("transpose", (axes, 1, 2)), 1, 3))


def _execution(module: GroupConvLayer, to: Plain) -> str:
    """Return "composed" or "separable": what is asked for, else what needs fewer multiplications on the example."""
    spec = module.spec
    # With sharing "g", a map for every pair of channels would lie between the two steps, and no torch is fast at that.
    works = spec.kind.work(spec, to.x.size)
    if "composed" not in works or spec.kind.name == "g":
        return "composed"
    if to.name in to.build.layers or f"{to.name}.pointwise" in to.build.layers:  # called before: as then
        composed = to.name in to.build.layers
    elif to.composed is None:
        composed = works["composed"].macs < works["separable"].macs
    else:
        composed = to.composed
    return "composed" if composed else "separable"


def _convolution(module: GroupConvLayer, lowered: Lowered, filters: Tensor, groups: int) -> nn.Conv2d:
    """Build the planar convolution with given filters and the geometry of a layer."""
    geometry = module.geometry
    sides = (geometry.kernel_size, geometry.stride, geometry.padding, geometry.dilation)
    kernel, stride, padding, dilation = ((along[0], along[1]) for along in sides)
    with torch.device("meta"):  # draws no numbers
        layer = nn.Conv2d(
            filters.shape[1] * groups,
            filters.shape[0],
            kernel,
            stride,
            padding,
            dilation,
            groups,
            lowered.bias is not None,
            geometry.padding_mode,
        )
    layer.weight = _filters_of(filters)
    layer.bias = None if lowered.bias is None else _parameter(lowered.bias)
    return layer


def _pointwise(mixing: Tensor, groups: int) -> nn.Conv2d:
    with torch.device("meta"):
        layer = nn.Conv2d(mixing.shape[1] * groups, mixing.shape[0], 1, groups=groups, bias=False)
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
        raise_unconvertible(
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
def _(module: GroupGroupNorm, to: Plain, example: Tensor) -> Value:
    def build() -> nn.Module:
        with torch.device("meta"):
            layer = nn.GroupNorm(module.num_groups, module.num_channels, module.eps, module.weight is not None)
        if module.weight is not None:
            bias = torch.zeros_like(module.weight) if module.bias is None else module.bias
            layer.weight, layer.bias = _parameter(module.weight), _parameter(bias)
        return layer

    # Apart: a group of channels has all poses, and folded maps have poses outside.
    return Value(example, whole=to.build.module(to.name, build, to.build.unfold(to.x)))


@plain.register
def _(module: LayerScale, to: Plain, example: Tensor) -> Value:
    order = to.x.order  # of another group where the layer is called again
    factors = to.build.constant(f"{to.name}.weight{order}", module.weight.detach().repeat(order)[:, None, None])
    return Value(example, folded=to.build.graph.call_function(operator.mul, (to.folded, factors)))


@plain.register
def _(module: RestrictGroup, to: Plain, example: Tensor) -> Value:
    graph, poses = to.build.graph, torch.from_numpy(coset_table(module.group, module.subgroup).ravel())
    apart = graph.call_method("unflatten", (to.folded, 1, (module.group.order, -1)))
    order = to.build.constant(f"{to.name}.poses", poses.to(to.x.example.device))
    chosen = graph.call_method("index_select", (apart, 1, order))
    return Value(example, folded=graph.call_method("flatten", (chosen, 1, 2)))


@plain.register(GroupDropout)
@plain.register(DropPath)
def _(module: nn.Module, to: Plain, example: Tensor) -> Value:
    return to.x  # nothing in evaluation mode


@plain.register
def _(module: MaxPool2d, to: Plain, example: Tensor) -> Value:
    pool = nn.MaxPool2d(module.kernel_size, module.stride, module.padding, module.dilation)
    _keep_windows_on_maps(module, to)
    return Value(example, folded=to.build.module(to.name, lambda: pool, to.folded))


def _keep_windows_on_maps(module: MaxPool2d, to: Plain) -> None:
    """Write a check that no window lies wholly in the padding, where torch's pool would read outside the maps.

    It is a little stricter than the check of the library's layer, which depends on the stride: no step of the dilation
    may be longer than the map.
    """
    graph = to.build.graph
    for axis, padding, dilation in zip((2, 3), module.padding, module.dilation, strict=True):
        if padding > 0 and dilation > 1:
            fits = graph.call_function(operator.ge, (graph.call_method("size", (to.folded, axis)), dilation))
            sentence = f"{to.name}: maps of less pixels along axis {axis} than one step of its dilation, {dilation}"
            check = torch._assert  # pyright: ignore[reportPrivateUsage] (the one that graphs keep)
            graph.call_function(check, (fits, sentence))


@plain.register
def _(module: AntialiasedMaxPool2d, to: Plain, example: Tensor) -> Value:
    maps = to.x.order * int(to.x.example.shape[1])

    def blur() -> nn.Module:
        sides, stride, margin = ((a, b) for a, b in (module.blur.kernel_size, module.blur.stride, module.blur.padding))
        with torch.device("meta"):
            layer = nn.Conv2d(maps, maps, sides, stride, margin, groups=maps, bias=False, padding_mode="replicate")
        filters = binomial_filter(sides, True).to(to.x.example).expand(maps, -1, -1, -1)
        layer.weight = _filters_of(filters)
        return layer

    maximum = nn.MaxPool2d(module.kernel_size, 1, module.padding)
    maxima = to.build.module(f"{to.name}.maximum", lambda: maximum, to.folded)
    blurred = to.build.module(f"{to.name}.blur{maps}", blur, maxima) if module.blurs else maxima
    return Value(example, folded=blurred)


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


@plain.register
def _(module: GroupToVector, to: Plain, example: Tensor) -> Value:
    filters = vector_filters(module.weight.detach(), module.group, module.frequency)

    def build() -> nn.Module:
        with torch.device("meta"):
            layer = nn.Linear(filters.shape[1], filters.shape[0], bias=False)
        layer.weight = _parameter(filters)
        return layer

    graph = to.build.graph
    means = graph.call_method("mean", (to.folded, (-2, -1)))
    return Value(example, whole=graph.call_method("unflatten", (to.build.module(to.name, build, means), 1, (-1, 2))))
