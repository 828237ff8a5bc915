"""What each ordinary layer is converted to, by its class and by the kind of its input."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from sepgconv.conv.geometry import Pair
from sepgconv.conv.kinds import Sharing
from sepgconv.convert.operators import OperatorKind, layer_operator
from sepgconv.convert.rebuild import windows
from sepgconv.convert.rebuild.values import Kind, UnconvertibleError
from sepgconv.nn import (
    AdaptiveAvgPool2d,
    DepthwiseGroupConv2d,
    GroupBatchNorm2d,
    GroupConv2d,
    GroupDropout,
    GroupGroupNorm,
    GroupInstanceNorm2d,
    GroupLayerNorm,
    GroupMaxPool,
    LiftingConv2d,
    SeparableGroupConv2d,
)
from sepgconv.symmetry import FiniteGroup


@dataclass(frozen=True, slots=True)
class Target:
    """What a network is rebuilt with: the group, how kernels are shared, and where new parameters live."""

    group: FiniteGroup
    sharing: Sharing | None
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class Given:
    """What comes into a layer.

    Attributes:
        kind: what it is to the group.
        before: (height, width) of maps that come in.
        after: of those that the original gives.
        ends: whether no convolution and no feature map follows, so that poses may be pooled.
        target: what the network is rebuilt with.
    """

    kind: Kind
    before: Pair
    after: Pair
    ends: bool
    target: Target

    @property
    def maps(self) -> bool:
        """Whether it has poses."""
        return self.kind is Kind.MAPS


Maker = Callable[[int, int, torch.device], nn.Module]  # width that comes in, width that goes out, device


@dataclass(frozen=True, slots=True)
class Change:
    """What a layer becomes.

    Attributes:
        make: builds it.
        output: what its output is.
        width: out channels or features of the original, where the layer chooses its width; None where it keeps that of
            its input.
        pool_poses: whether poses are pooled before it.
        reuse: on what else the same layer may be used: only on tensors of the same kind and width, on those of another
            width, or anywhere.
        parts: into how many parts of equal width its input is divided.
        axis: of the channels of a vector, None where the layer does not look at axes.
        keeps_length: whether the axis behind the channels of a vector holds channels, too, and keeps them.
    """

    make: Maker
    output: Kind
    width: int | None = None
    pool_poses: bool = False
    reuse: Literal["alike", "any width", "anywhere"] = "alike"
    parts: int = 1
    axis: int | None = None
    keeps_length: bool = False


def change(module: nn.Module, given: Given) -> Change:
    """Return what an ordinary layer becomes.

    Args:
        module: the layer.
        given: what comes in.

    Raises:
        UnconvertibleError: there is no counterpart.
    """
    kind = type(module)
    if stays_as_it_is(module):
        return Change(_copies(module), given.kind, reuse="anywhere")
    if kind not in RULES:
        raise UnconvertibleError(f"{kind.__name__} has no counterpart on a group")
    return RULES[kind](module, given)


def stays_as_it_is(module: nn.Module) -> bool:
    """Return whether a layer does the same to every element, so that it stays as it is."""
    found = layer_operator(module)
    return found is not None and found.kind in _KEPT


def pose_pool(width: int, _: int, device: torch.device) -> nn.Module:
    """Build what makes maps of feature maps without poses."""
    return GroupMaxPool()


def position_pool(width: int, _: int, device: torch.device) -> nn.Module:
    """Build what averages maps without poses over all positions."""
    return nn.AdaptiveAvgPool2d(1)


def _copies(module: nn.Module) -> Maker:
    return lambda width, out, device: copy.deepcopy(module)


def _same(build: Callable[[], nn.Module], given: Given) -> Change:
    build()  # for the errors that it raises
    return Change(lambda c, n, device: build(), given.kind, reuse="any width")


def _conv(conv: Any, given: Given) -> Change:
    target = given.target
    if given.kind is Kind.VECTOR:
        raise UnconvertibleError("Conv2d has a vector as input, which the group no longer moves")
    depthwise = conv.groups == conv.in_channels == conv.out_channels > 1 and given.maps
    if conv.groups != 1 and not depthwise:
        raise UnconvertibleError(
            f"Conv2d with groups={conv.groups} on {given.kind.value}; 1 is converted, and as many groups as channels "
            f"in and out after the first convolution"
        )
    planar: dict[str, Any] = {
        "stride": conv.stride,
        "padding": conv.padding,
        "dilation": conv.dilation,
        "padding_mode": conv.padding_mode,
        "bias": conv.bias is not None,
        "dtype": target.dtype,
    }
    size, group, sharing = conv.kernel_size, target.group, target.sharing
    if depthwise:
        return Change(lambda c, n, device: DepthwiseGroupConv2d(c, size, group, **planar, device=device), Kind.MAPS)

    def make(c: int, n: int, device: torch.device) -> nn.Module:
        if not given.maps:  # maps whose poses were pooled rotate with the image, as an image does
            return LiftingConv2d(c, n, size, group, **planar, device=device)
        if sharing is None or tuple(size) == (1, 1):  # a kernel of one pixel has no factor to share
            return GroupConv2d(c, n, size, group, **planar, device=device)
        return SeparableGroupConv2d(c, n, size, group, sharing=sharing, **planar, device=device)

    return Change(make, Kind.MAPS, width=conv.out_channels)


def _filter(layer: Any, given: Given) -> Change:
    return _same(lambda: windows.fixed_filter(layer, given.target.group, maps=given.maps), given)


def _conv1d(conv: Any, given: Given) -> Change:
    if given.kind is not Kind.VECTOR:
        raise UnconvertibleError(f"Conv1d has {given.kind.value} as input; pool all positions before it")
    if conv.groups != 1:
        raise UnconvertibleError(f"Conv1d with groups={conv.groups}; 1 is converted")
    settings = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, 1, conv.bias is not None, conv.padding_mode)

    def make(c: int, n: int, device: torch.device) -> nn.Module:
        return nn.Conv1d(c, n, *settings, device=device, dtype=given.target.dtype)

    return Change(make, Kind.VECTOR, width=conv.out_channels, axis=1, keeps_length=True)


def _linear(linear: Any, given: Given) -> Change:
    bias, dtype, group = linear.bias is not None, given.target.dtype, given.target.group

    def make(c: int, n: int, device: torch.device) -> nn.Module:
        if given.kind is Kind.VECTOR:
            return nn.Linear(c, n, bias=bias, device=device, dtype=dtype)
        if given.maps:  # channels last: a convolution of one pixel
            return GroupConv2d(c, n, 1, group, bias=bias, device=device, dtype=dtype)
        return LiftingConv2d(c, n, 1, group, bias=bias, device=device, dtype=dtype)

    output = Kind.VECTOR if given.kind is Kind.VECTOR else Kind.MAPS
    return Change(make, output, width=linear.out_features, axis=-1)


def _norm(norm: Any, given: Given) -> Change:
    kind = GroupBatchNorm2d if given.maps else nn.BatchNorm1d if given.kind is Kind.VECTOR else nn.BatchNorm2d
    settings = (norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    return Change(lambda c, n, device: kind(c, *settings, device=device, dtype=given.target.dtype), given.kind, axis=1)


def _instance_norm(norm: Any, given: Given) -> Change:
    # Of maps: over all poses and positions of a channel, which no element of the group changes. With running statistics
    # it is torch's, to which poses are a further axis of positions.
    kinds = {Kind.MAPS: nn.InstanceNorm3d, Kind.VECTOR: nn.InstanceNorm1d}
    kind, settings = kinds.get(given.kind, nn.InstanceNorm2d), (norm.eps, norm.momentum, norm.affine)

    def make(c: int, n: int, device: torch.device) -> nn.Module:
        if given.maps and not norm.track_running_stats:
            return GroupInstanceNorm2d(c, norm.eps, affine=norm.affine, device=device, dtype=given.target.dtype)
        return kind(c, *settings, norm.track_running_stats, device=device, dtype=given.target.dtype)

    return Change(make, given.kind, axis=1)


def _group_norm(norm: Any, given: Given) -> Change:
    def make(c: int, n: int, device: torch.device) -> nn.Module:
        dtype = given.target.dtype
        if given.maps:
            return GroupGroupNorm(norm.num_groups, c, norm.eps, affine=norm.affine, device=device, dtype=dtype)
        return nn.GroupNorm(norm.num_groups, c, norm.eps, norm.affine, device=device, dtype=dtype)

    return Change(make, given.kind, parts=norm.num_groups, axis=1)


def _layer_norm(norm: Any, given: Given) -> Change:
    if len(norm.normalized_shape) != 1:
        raise UnconvertibleError("LayerNorm over positions has numbers for each, which a rotation would exchange")
    affine, bias, dtype = norm.elementwise_affine, norm.bias is not None, given.target.dtype

    def make(c: int, n: int, device: torch.device) -> nn.Module:
        if given.maps:
            return GroupLayerNorm(c, norm.eps, affine=affine, bias=bias, device=device, dtype=dtype)
        plain = nn.LayerNorm(c, norm.eps, affine, bias, device=device, dtype=dtype)
        return plain if given.kind is Kind.VECTOR else windows.ChannelsLast(plain)

    return Change(make, given.kind, axis=-1)


def _prelu(prelu: Any, given: Given) -> Change:
    shared, start = prelu.num_parameters == 1, float(prelu.weight.detach().mean())

    def make(c: int, n: int, device: torch.device) -> nn.Module:
        return nn.PReLU(1 if shared else c, start, device=device, dtype=given.target.dtype)

    return Change(make, given.kind, reuse="anywhere" if shared else "alike", axis=None if shared else 1)


def _max_pool(pool: Any, given: Given) -> Change:
    return _same(lambda: windows.max_pool(pool, given.before, given.target.group, maps=given.maps), given)


def _avg_pool(pool: Any, given: Given) -> Change:
    return _same(lambda: windows.avg_pool(pool, given.before, given.target.group, maps=given.maps), given)


def _padding(pad: Any, given: Given) -> Change:
    return _same(lambda: windows.padding_layer(pad, given.target.group, maps=given.maps), given)


def _upsample(layer: Any, given: Given) -> Change:
    group = given.target.group
    return _same(lambda: windows.upsample(layer, given.before, given.after, group, maps=given.maps), given)


def _adaptive_pool(pool: Any, given: Given) -> Change:
    if given.maps and given.ends and pool.output_size in (1, (1, 1)):
        return Change(_copies(pool), Kind.POOLED, pool_poses=True, reuse="any width")

    def build() -> nn.Module:
        ours = AdaptiveAvgPool2d(given.after if None in _pair(pool) else pool.output_size, group=given.target.group)
        return ours if given.maps else copy.deepcopy(pool)

    return _same(build, given)


def _pair(pool: Any) -> tuple[Any, ...]:
    return tuple(pool.output_size) if isinstance(pool.output_size, tuple | list) else (pool.output_size,)


def _adaptive_max_pool(pool: Any, given: Given) -> Change:
    if pool.return_indices:
        raise UnconvertibleError("AdaptiveMaxPool2d with return_indices=True has no counterpart on a group")
    if given.maps and given.ends and pool.output_size in (1, (1, 1)):
        return Change(_copies(pool), Kind.POOLED, pool_poses=True, reuse="any width")
    AdaptiveAvgPool2d(given.after, group=given.target.group)  # for its checks
    return _same(lambda: windows.PerPose(copy.deepcopy(pool)) if given.maps else copy.deepcopy(pool), given)


def _channel_dropout(dropout: Any, given: Given) -> Change:
    if given.maps:
        return Change(lambda c, n, device: GroupDropout(dropout.p, dropout.inplace), given.kind, reuse="any width")
    return Change(_copies(dropout), given.kind, reuse="any width")


def _softmax(softmax: Any, given: Given) -> Change:
    if given.kind is Kind.VECTOR:
        return Change(_copies(softmax), given.kind, reuse="any width")
    if softmax.dim not in (1, -3):
        raise UnconvertibleError(f"{type(softmax).__name__} of maps is converted along channels (dim=1) only")
    return Change(lambda c, n, device: type(softmax)(1), given.kind, reuse="any width")


def _along_channels(layer: Any, given: Given) -> Change:
    return Change(_copies(layer), given.kind, reuse="any width", axis=1)


RULES: dict[type[nn.Module], Callable[[Any, Given], Change]] = {
    nn.Conv2d: _conv,
    windows.FixedFilter: _filter,
    nn.Conv1d: _conv1d,
    nn.Linear: _linear,
    nn.BatchNorm2d: _norm,
    nn.BatchNorm1d: _norm,
    nn.InstanceNorm1d: _instance_norm,
    nn.InstanceNorm2d: _instance_norm,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.LocalResponseNorm: _along_channels,
    nn.PReLU: _prelu,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.AdaptiveAvgPool2d: _adaptive_pool,
    nn.AdaptiveMaxPool2d: _adaptive_max_pool,
    nn.ZeroPad2d: _padding,
    nn.ConstantPad2d: _padding,
    nn.ReflectionPad2d: _padding,
    nn.ReplicationPad2d: _padding,
    nn.CircularPad2d: _padding,
    nn.Upsample: _upsample,
    nn.UpsamplingNearest2d: _upsample,
    nn.UpsamplingBilinear2d: _upsample,
    nn.Dropout2d: _channel_dropout,
    nn.Softmax: _softmax,
    nn.LogSoftmax: _softmax,
}
# Layers that a group element may come before or after: the same for every element.
_KEPT = {OperatorKind.ELEMENTWISE, OperatorKind.NOISE, OperatorKind.DROPOUT, OperatorKind.IDENTITY}
