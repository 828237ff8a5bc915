"""Layers of e2cnn and escnn as layers of this library, one rule per class name.

Both libraries name classes and attributes alike, so one set of rules serves both; differences are noted.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sepgconv.functional import filter_action, pixel_action, transform_kernel
from sepgconv.interop.e2cnn.dropout import FieldDropout
from sepgconv.interop.e2cnn.fields import Fields, read_fields
from sepgconv.nn import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    GroupBatchNorm2d,
    GroupConv2d,
    GroupMaxPool,
    LiftingConv2d,
    MaxPool2d,
)

# Largest deviation of an expanded filter from the nearest equivariant one, relative to its largest entry. Their bases
# are sampled in float32, also where the layer is float64 afterwards; a layer that is not equivariant is off by about 1.
TOLERANCE = 1e-5


def convert_layer(module: Any) -> nn.Module:
    """Return the layer of this library that computes the same, in the mode, dtype and device of the given one.

    Raises:
        ValueError: there is none; the message has the reason, without the name of the layer.
    """
    kind = type(module).__name__.removesuffix("2D")  # escnn writes PointwiseMaxPool2D for PointwiseMaxPool
    if kind not in RULES:
        raise ValueError("has no counterpart here")
    return RULES[kind](module).train(module.training)


def _conv(module: Any) -> nn.Module:
    source, target = read_fields(module.in_type), read_fields(module.out_type)
    if not target.regular:
        raise ValueError("gives trivial fields; supported are convolutions to regular fields")
    if module.groups != 1:
        raise ValueError(f"has groups={module.groups}, and a group convolution here mixes all channels")
    # As in their forward: expanded anew in training, kept from the last `eval()` in evaluation.
    filters, bias = module.expand_parameters() if module.training else (module.filter, module.expanded_bias)
    filters = filters.detach()
    arguments: dict[str, Any] = {
        "kernel_size": (int(filters.shape[-2]), int(filters.shape[-1])),
        "stride": module.stride,
        "padding": module.padding,
        "dilation": module.dilation,
        "padding_mode": module.padding_mode,
        "bias": bias is not None,
        "device": filters.device,
        "dtype": filters.dtype,
    }
    kind = GroupConv2d if source.regular else LiftingConv2d
    converted = kind(source.channels, target.channels, group=target.group, **arguments)
    with torch.no_grad():
        converted.weight.copy_(_nearest_equivariant(_bank(filters, source, target), source, target))
        if bias is not None and converted.bias is not None:
            values = torch.as_tensor(target.index, device=bias.device)
            per_pose = bias.detach()[values].view(target.channels, target.group.order)
            _check_close(per_pose, per_pose[:, :1].expand_as(per_pose), "bias differs between poses")
            converted.bias.copy_(per_pose.mean(1))
            converted.bias.requires_grad_(module.bias.requires_grad)
    converted.weight.requires_grad_(module.weights.requires_grad)  # what was frozen stays frozen
    return converted


def _bank(filters: Tensor, source: Fields, target: Fields) -> Tensor:
    """Return their filter (maps out, maps in, k, k) as (out, pose, in, [pose,] k, k) in our order."""
    rows = filters[torch.as_tensor(target.index, device=filters.device)]
    bank = rows.unflatten(0, (target.channels, target.group.order))
    bank = bank[:, :, torch.as_tensor(source.index, device=filters.device)]
    return bank.unflatten(2, (source.channels, source.group.order)) if source.regular else bank


def _nearest_equivariant(bank: Tensor, source: Fields, target: Fields) -> Tensor:
    """Average the filters of pose 0 that the filters of all poses imply, and check that they agree.

    Args:
        bank: (out, pose, in, [pose,] k, k), equivariant if it is `transform_kernel` of a weight.
        source: the fields that come in.
        target: the fields that go out.
    """
    group, size = target.group, (int(bank.shape[-2]), int(bank.shape[-1]))
    table = filter_action if source.regular else pixel_action
    action = table(group, size, device=bank.device)
    rotated_back = [transform_kernel(bank[:, h], action)[:, group.inverses[h]] for h in range(group.order)]
    weight = torch.stack(rotated_back).mean(0)
    _check_close(bank, transform_kernel(weight, action), f"filter is not equivariant under {group.name}")
    return weight


def _check_close(found: Tensor, expected: Tensor, what: str) -> None:
    scale, error = float(expected.abs().max()), float((found - expected).abs().max())
    if not error <= TOLERANCE * scale:
        raise ValueError(f"{what}: it deviates by {error:.2g}, and its largest value is {scale:.2g}")


def _norm(module: Any) -> nn.Module:
    fields = read_fields(module.in_type)
    size = fields.group.order if fields.regular else 1
    theirs = getattr(module, f"batch_norm_[{size}]")  # one for each size of fields, a BatchNorm3d over components
    kind = GroupBatchNorm2d if fields.regular else nn.BatchNorm2d
    norm = kind(theirs.num_features, theirs.eps, theirs.momentum, theirs.affine, theirs.track_running_stats)
    state = theirs.state_dict()
    for value in state.values():
        if value.is_floating_point():
            norm = norm.to(value)  # device and dtype
    norm.load_state_dict(state)
    for name, parameter in theirs.named_parameters():
        norm.get_parameter(name).requires_grad_(parameter.requires_grad)
    return norm


def _max_pool(module: Any) -> nn.Module:
    fields, arguments = read_fields(module.in_type), _planar(module, "kernel_size", "stride", "padding", "dilation")
    return MaxPool2d(*arguments, group=fields.group) if fields.regular else nn.MaxPool2d(*arguments)


def _avg_pool(module: Any) -> nn.Module:
    fields, arguments = read_fields(module.in_type), _planar(module, "kernel_size", "stride", "padding")
    return AvgPool2d(*arguments, group=fields.group) if fields.regular else nn.AvgPool2d(*arguments)


def _adaptive_pool(module: Any) -> nn.Module:
    fields, (size,) = read_fields(module.in_type), _planar(module, "output_size")
    return AdaptiveAvgPool2d(size, group=fields.group) if fields.regular else nn.AdaptiveAvgPool2d(size)


def _planar(module: Any, *names: str) -> list[Any]:
    settings = getattr(module, "pool", module)  # newer versions of escnn wrap a pool of torch
    if getattr(settings, "ceil_mode", False):
        raise ValueError("has ceil_mode=True; windows that lean over the edge break equivariance")
    return [getattr(settings, name) for name in names]


def _group_pool(module: Any) -> nn.Module:
    return GroupMaxPool() if read_fields(module.in_type).regular else nn.Identity()


def _field_dropout(module: Any) -> nn.Module:
    kind = FieldDropout if read_fields(module.in_type).regular else nn.Dropout
    return kind(module.p, module.inplace)


def _dropout(module: Any) -> nn.Module:
    read_fields(module.in_type)
    return nn.Dropout(module.p, module.inplace)


def _identity(module: Any) -> nn.Module:
    read_fields(module.in_type)
    return nn.Identity()


def _pointwise(build: Callable[[Any], nn.Module]) -> Callable[[Any], nn.Module]:
    def convert(module: Any) -> nn.Module:
        read_fields(module.in_type)
        return build(module)

    return convert


_FUNCTIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


def _pointwise_function(module: Any) -> nn.Module:
    name = module._function.__name__
    if name not in _FUNCTIONS:
        raise ValueError(f"applies the function {name!r}; known are {', '.join(_FUNCTIONS)}")
    return _FUNCTIONS[name]()


RULES: dict[str, Callable[[Any], nn.Module]] = {
    "R2Conv": _conv,
    "InnerBatchNorm": _norm,
    "ReLU": _pointwise(lambda module: nn.ReLU(module._inplace)),
    "ELU": _pointwise(lambda module: nn.ELU(module.alpha, module._inplace)),
    "PointwiseNonLinearity": _pointwise(_pointwise_function),
    "PointwiseMaxPool": _max_pool,
    "PointwiseAvgPool": _avg_pool,
    "PointwiseAdaptiveAvgPool": _adaptive_pool,
    "GroupPooling": _group_pool,
    "PointwiseDropout": _dropout,
    "FieldDropout": _field_dropout,
    "IdentityModule": _identity,
}
