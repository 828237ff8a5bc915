"""Layers of e2cnn and escnn as layers of this library, one rule per class name.

Both libraries name classes and attributes alike, so one set of rules serves both; differences are noted.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from sepgconv.interop.e2cnn.convolutions import convert_convolution
from sepgconv.interop.e2cnn.cosets import CosetReordering
from sepgconv.interop.e2cnn.dropout import FieldDropout
from sepgconv.interop.e2cnn.fields import Fields, read_fields, read_single_fields
from sepgconv.interop.e2cnn.mask import Mask
from sepgconv.nn import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    DepthwiseGroupConv2d,
    GroupBatchNorm2d,
    GroupMaxPool,
    MaxPool2d,
    RestrictGroup,
    Sequential,
)
from sepgconv.symmetry import SteerableBasis
from sepgconv.symmetry.circular_filters import Ring
from sepgconv.symmetry.kernels import Kernel

CONVOLUTION = "R2Conv"


def convert_layer(module: Any, kernel: Kernel = "auto") -> nn.Module:
    """Return the layer of this library that computes the same, in the mode, dtype and device of the given one.

    Args:
        module: of e2cnn or escnn.
        kernel: what the weights of convolutions are, see `from_e2cnn`.

    Raises:
        ValueError: there is none; the message has the reason, without the name of the layer.
    """
    kind = type(module).__name__.removesuffix("2D")  # escnn writes PointwiseMaxPool2D for PointwiseMaxPool
    if kind == CONVOLUTION:
        return convert_convolution(module, kernel).train(module.training)
    if kind not in RULES:
        raise ValueError("has no counterpart here")
    return RULES[kind](module).train(module.training)


def _norm(module: Any) -> nn.Module:
    fields = read_single_fields(module.in_type)
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


def _antialiased_max_pool(module: Any) -> nn.Module:
    fields, (size, padding) = read_fields(module.in_type), _planar(module, "kernel_size", "padding")
    pool = MaxPool2d(size, 1, padding, group=fields.group) if fields.regular else nn.MaxPool2d(size, 1, padding)
    return Sequential(pool, _blur(module, fields, module._pad))


def _antialiased_avg_pool(module: Any) -> nn.Module:
    return _blur(module, read_fields(module.in_type), module.padding)


def _blur(module: Any, fields: Fields, padding: tuple[int, int]) -> nn.Module:
    """Return the Gaussian blur of an anti-aliased pool, with its steps: a filter for all maps, which is not trained.

    It is the same for every pose, a single ring of angular frequency 0 in the middle.
    """
    filters = module.filter[:1]  # (1, 1, k, k); all maps have the same
    size = (int(filters.shape[-2]), int(filters.shape[-1]))
    arguments: dict[str, Any] = {
        "stride": module.stride,
        "padding": padding,
        "bias": False,
        "device": filters.device,
        "dtype": filters.dtype,
    }
    if fields.regular:
        middle = filters[0, 0, size[0] // 2].double()
        ratio = float(middle[size[1] // 2] / middle[size[1] // 2 - 1]) if size[1] > 1 else math.e
        basis = SteerableBasis(fields.group, size, (Ring(0.0, math.sqrt(0.5 / math.log(ratio)), (0,)),))
        blur = DepthwiseGroupConv2d(fields.channels, size, fields.group, basis=basis, **arguments)
        weight = basis.project(filters.double())[0]
    else:
        blur = nn.Conv2d(fields.channels, fields.channels, size, groups=fields.channels, **arguments)
        weight = filters
    with torch.no_grad():
        blur.weight.copy_(weight.expand_as(blur.weight))
    return blur.requires_grad_(False)


def _planar(module: Any, *names: str) -> list[Any]:
    settings = getattr(module, "pool", module)  # newer versions of escnn wrap a pool of torch
    if getattr(settings, "ceil_mode", False):
        raise ValueError("has ceil_mode=True; windows that lean over the edge break equivariance")
    return [getattr(settings, name) for name in names]


def _group_pool(module: Any) -> nn.Module:
    return GroupMaxPool() if read_single_fields(module.in_type).regular else nn.Identity()


def _field_dropout(module: Any) -> nn.Module:
    kind = FieldDropout if read_single_fields(module.in_type).regular else nn.Dropout
    return kind(module.p, module.inplace)


def _dropout(module: Any) -> nn.Module:
    read_fields(module.in_type)
    return nn.Dropout(module.p, module.inplace)


def _restriction(module: Any) -> nn.Module:
    source, target = read_fields(module.in_type), read_fields(module.out_type)
    if source.group == target.group or not source.regular:
        return nn.Identity()
    layer = RestrictGroup(source.group, target.group)
    places = torch.arange(float(len(source.index))).view(1, source.channels, -1, 1, 1)
    wanted = target.from_theirs(source.to_theirs(places))
    if torch.equal(layer(places), wanted):
        return layer
    return CosetReordering(tuple(wanted.flatten().long().tolist()), target.group.order)


def _disentangling(module: Any) -> nn.Module:
    changes = [matrix for name, matrix in module.named_buffers() if name.startswith("change_of_basis_")]
    same = all(torch.allclose(matrix, torch.eye(len(matrix)).to(matrix), atol=1e-6) for matrix in changes)
    if not same or read_fields(module.in_type) != read_fields(module.out_type):
        raise ValueError("takes fields apart; supported are regular and trivial fields, which it leaves as they are")
    return nn.Identity()


def _mask(module: Any) -> nn.Module:
    read_fields(module.in_type)
    return Mask(module.mask.detach()[0, 0].clone())


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
    "InnerBatchNorm": _norm,
    "ReLU": _pointwise(lambda module: nn.ReLU(module._inplace)),
    "ELU": _pointwise(lambda module: nn.ELU(module.alpha, module._inplace)),
    "PointwiseNonLinearity": _pointwise(_pointwise_function),
    "PointwiseMaxPool": _max_pool,
    "PointwiseAvgPool": _avg_pool,
    "PointwiseMaxPoolAntialiased": _antialiased_max_pool,
    "PointwiseAvgPoolAntialiased": _antialiased_avg_pool,
    "PointwiseAdaptiveAvgPool": _adaptive_pool,
    "GroupPooling": _group_pool,
    "PointwiseDropout": _dropout,
    "FieldDropout": _field_dropout,
    "RestrictionModule": _restriction,
    "DisentangleModule": _disentangling,
    "MaskModule": _mask,
    "IdentityModule": _identity,
}
