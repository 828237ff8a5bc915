"""What becomes of each ordinary layer, by its class and by what its input is."""

import copy
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from sepgconv.functional.kernels import Sharing
from sepgconv.groups import FiniteGroup
from sepgconv.nn import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    DepthwiseGroupConv2d,
    GroupBatchNorm2d,
    GroupConv2d,
    GroupDropout,
    GroupMaxPool,
    LiftingConv2d,
    MaxPool2d,
    SeparableGroupConv2d,
)


class Kind(enum.Enum):
    """What a tensor is to the group."""

    IMAGE = "an image"  # not lifted yet
    MAPS = "feature maps on the group"
    POOLED = "maps without poses"
    VECTOR = "a vector"


class UnconvertibleError(Exception):
    """A layer or call that has no counterpart; the words say why, without the place."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a network is rebuilt with: the group, how kernels are shared, and where new parameters live."""

    group: FiniteGroup
    sharing: Sharing | None
    device: torch.device
    dtype: torch.dtype


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
    """

    make: Maker
    output: Kind
    width: int | None = None
    pool_poses: bool = False
    reuse: Literal["alike", "any width", "anywhere"] = "alike"


def change(module: nn.Module, given: Kind, target: Target, *, ends: bool) -> Change:
    """Return what an ordinary layer becomes.

    Args:
        module: the layer.
        given: what its input is.
        target: what the network is rebuilt with.
        ends: whether no convolution and no feature map follows, so that poses may be pooled.

    Raises:
        UnconvertibleError: there is no counterpart.
    """
    kind = type(module)
    if kind in POINTWISE:
        return Change(_copies(module), given, reuse="anywhere")
    if kind not in RULES:
        raise UnconvertibleError(f"{kind.__name__} has no counterpart on a group")
    return RULES[kind](module, given, target, ends)


def pose_pool(width: int, _: int, device: torch.device) -> nn.Module:
    """Build what turns feature maps into maps without poses."""
    return GroupMaxPool()


def position_pool(width: int, _: int, device: torch.device) -> nn.Module:
    """Build what averages maps without poses over all positions."""
    return nn.AdaptiveAvgPool2d(1)


def _copies(module: nn.Module) -> Maker:
    return lambda width, out, device: copy.deepcopy(module)


def _conv(conv: Any, given: Kind, target: Target, ends: bool) -> Change:
    if given not in (Kind.IMAGE, Kind.MAPS):
        raise UnconvertibleError(f"Conv2d has {given.value} as input, which the group no longer moves")
    depthwise = conv.groups == conv.in_channels == conv.out_channels > 1 and given is Kind.MAPS
    if conv.groups != 1 and not depthwise:
        raise UnconvertibleError(
            f"Conv2d with groups={conv.groups} on {given.value}; 1 is converted, and as many groups as channels in and "
            f"out after the first convolution"
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
        if given is Kind.IMAGE:
            return LiftingConv2d(c, n, size, group, **planar, device=device)
        if sharing is None or tuple(size) == (1, 1):  # a kernel of one pixel has no factor to share
            return GroupConv2d(c, n, size, group, **planar, device=device)
        return SeparableGroupConv2d(c, n, size, group, sharing=sharing, **planar, device=device)

    return Change(make, Kind.MAPS, width=conv.out_channels)


def _linear(linear: Any, given: Kind, target: Target, ends: bool) -> Change:
    if given is not Kind.VECTOR:
        raise UnconvertibleError(f"Linear has {given.value} as input; pool all positions and flatten before it")
    bias = linear.bias is not None
    return Change(
        lambda c, n, device: nn.Linear(c, n, bias=bias, device=device, dtype=target.dtype),
        Kind.VECTOR,
        width=linear.out_features,
    )


def _norm(norm: Any, given: Kind, target: Target, ends: bool) -> Change:
    kind = GroupBatchNorm2d if given is Kind.MAPS else type(norm)
    settings = (norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    return Change(lambda c, n, device: kind(c, *settings, device=device, dtype=target.dtype), given)


def _prelu(prelu: Any, given: Kind, target: Target, ends: bool) -> Change:
    shared, start = prelu.num_parameters == 1, float(prelu.weight.detach().mean())

    def make(c: int, n: int, device: torch.device) -> nn.Module:
        return nn.PReLU(1 if shared else c, start, device=device, dtype=target.dtype)

    return Change(make, given, reuse="anywhere" if shared else "alike")


def _max_pool(pool: Any, given: Kind, target: Target, ends: bool) -> Change:
    if pool.ceil_mode or pool.return_indices:
        raise UnconvertibleError("MaxPool2d with ceil_mode or return_indices has no counterpart on a group")

    def make(c: int, n: int, device: torch.device) -> nn.Module:
        ours = MaxPool2d(pool.kernel_size, pool.stride, pool.padding, pool.dilation, group=target.group)
        return ours if given is Kind.MAPS else copy.deepcopy(pool)  # built in any case, for its checks

    return Change(make, given, reuse="any width")


def _avg_pool(pool: Any, given: Kind, target: Target, ends: bool) -> Change:
    leaves_out_padding = not pool.count_include_pad and pool.padding not in (0, (0, 0))
    if pool.ceil_mode or leaves_out_padding or pool.divisor_override is not None:
        raise UnconvertibleError(
            "AvgPool2d with ceil_mode, count_include_pad=False or divisor_override has no counterpart on a group"
        )

    def make(c: int, n: int, device: torch.device) -> nn.Module:
        ours = AvgPool2d(pool.kernel_size, pool.stride, pool.padding, group=target.group)
        return ours if given is Kind.MAPS else copy.deepcopy(pool)

    return Change(make, given, reuse="any width")


def _adaptive_pool(pool: Any, given: Kind, target: Target, ends: bool) -> Change:
    if given is Kind.MAPS and ends and pool.output_size in (1, (1, 1)):
        return Change(_copies(pool), Kind.POOLED, pool_poses=True, reuse="any width")

    def make(c: int, n: int, device: torch.device) -> nn.Module:
        ours = AdaptiveAvgPool2d(pool.output_size, group=target.group)
        return ours if given is Kind.MAPS else copy.deepcopy(pool)

    return Change(make, given, reuse="any width")


def _adaptive_max_pool(pool: Any, given: Kind, target: Target, ends: bool) -> Change:
    if pool.return_indices or pool.output_size not in (1, (1, 1)) or (given is Kind.MAPS and not ends):
        raise UnconvertibleError("AdaptiveMaxPool2d is converted to one pixel only, at the end of the network")
    return Change(_copies(pool), Kind.POOLED, pool_poses=given is Kind.MAPS, reuse="any width")


def _channel_dropout(dropout: Any, given: Kind, target: Target, ends: bool) -> Change:
    if given is Kind.MAPS:
        return Change(lambda c, n, device: GroupDropout(dropout.p, dropout.inplace), given, reuse="any width")
    return Change(_copies(dropout), given, reuse="any width")


def _on_vectors(module: nn.Module, given: Kind, target: Target, ends: bool) -> Change:
    if given is not Kind.VECTOR:
        raise UnconvertibleError(f"{type(module).__name__} has {given.value} as input and is converted on vectors only")
    return Change(_copies(module), given, reuse="any width")


RULES: dict[type[nn.Module], Callable[[Any, Kind, Target, bool], Change]] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.BatchNorm2d: _norm,
    nn.BatchNorm1d: _norm,
    nn.PReLU: _prelu,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.AdaptiveAvgPool2d: _adaptive_pool,
    nn.AdaptiveMaxPool2d: _adaptive_max_pool,
    nn.Dropout2d: _channel_dropout,
    nn.Softmax: _on_vectors,
    nn.LogSoftmax: _on_vectors,
}
# The same function of every number, so that a group element may come before or after.
POINTWISE: tuple[type[nn.Module], ...] = (
    nn.Identity,
    nn.Dropout,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Hardtanh,
    nn.Sigmoid,
    nn.Tanh,
    nn.Softplus,
    nn.Softsign,
    nn.LogSigmoid,
)
