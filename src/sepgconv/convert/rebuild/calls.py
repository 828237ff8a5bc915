"""Calls of functions and methods in a forward: what they do, and the layers that they stand for."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

POINTWISE: set[Any] = {
    F.relu, F.relu6, F.leaky_relu, F.elu, F.celu, F.selu, F.gelu, F.silu, F.mish, F.hardswish, F.hardsigmoid,
    F.hardtanh, F.sigmoid, F.tanh, F.softplus, F.softsign, F.logsigmoid, torch.relu, torch.sigmoid, torch.tanh,
    torch.relu_, "relu", "relu_", "sigmoid", "sigmoid_", "tanh", "tanh_", "contiguous", "clone",
}  # fmt: skip
COMBINING: set[Any] = {
    operator.add, operator.iadd, operator.sub, operator.isub, operator.mul, operator.imul, operator.truediv,
    operator.neg, torch.add, torch.sub, torch.mul, torch.div, torch.maximum, torch.minimum, "add", "add_", "sub",
    "sub_", "mul", "mul_", "div", "div_",
}  # fmt: skip
IN_PLACE: set[Any] = {operator.iadd, operator.isub, operator.imul}
CONCATENATING: set[Any] = {torch.cat, torch.concat, torch.concatenate}
FLATTENING: set[Any] = {torch.flatten, torch.reshape, torch.squeeze, "flatten", "view", "reshape", "squeeze"}
AVERAGING: set[Any] = {torch.mean, "mean"}
ON_VECTORS: set[Any] = {F.softmax, F.log_softmax, torch.softmax, torch.log_softmax, "softmax", "log_softmax"}
SIZES: set[Any] = {getattr, "size", "dim"}


def _max_pool(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> nn.Module:
    return nn.MaxPool2d(kernel_size, stride, padding, dilation, return_indices, ceil_mode)


def _avg_pool(input: Any, *arguments: Any, **keywords: Any) -> nn.Module:
    return nn.AvgPool2d(*arguments, **keywords)


def _adaptive_pool(input: Any, output_size: Any) -> nn.Module:
    return nn.AdaptiveAvgPool2d(_size(output_size))


def _adaptive_max_pool(input: Any, output_size: Any, return_indices: bool = False) -> nn.Module:
    return nn.AdaptiveMaxPool2d(_size(output_size), return_indices)


def _size(size: Any) -> Any:
    return tuple(size) if isinstance(size, list) else size


def _dropout(input: Any, p: float = 0.5, training: Any = True, inplace: bool = False) -> nn.Module:
    return nn.Dropout(p, inplace)


def _dropout2d(input: Any, p: float = 0.5, training: Any = True, inplace: bool = False) -> nn.Module:
    return nn.Dropout2d(p, inplace)


# Dropout as a function carries the mode of the moment it was traced in; as a layer it follows the network's.
LAYERS: dict[Any, Callable[..., nn.Module]] = {
    F.max_pool2d: _max_pool,
    torch.max_pool2d: _max_pool,
    F.avg_pool2d: _avg_pool,
    F.adaptive_avg_pool2d: _adaptive_pool,
    F.adaptive_max_pool2d: _adaptive_max_pool,
    F.dropout: _dropout,
    F.dropout2d: _dropout2d,
}


def name(node: fx.Node) -> str:
    """Return the name of what a node calls, as people write it."""
    return getattr(node.target, "__name__", str(node.target))


def layer_of(node: fx.Node, shape: tuple[int, ...]) -> nn.Module | None:
    """Return the layer that a call stands for, or None.

    An average whose window is computed, as in `F.avg_pool2d(x, x.size(2))`, stands for one over the whole map if it
    gives one pixel.

    Args:
        node: the call.
        shape: of what it gives.
    """
    if node.op != "call_function" or node.target not in LAYERS:
        return None
    if node.target is F.avg_pool2d and len(node.all_input_nodes) > 1:
        return nn.AdaptiveAvgPool2d(1) if shape[2:] == (1, 1) else None
    return LAYERS[node.target](*node.args, **node.kwargs)


def averaged_axes(node: fx.Node) -> tuple[tuple[int, ...], bool]:
    """Return the axes of a mean, counted from the front of an image, and whether they are kept."""
    arguments = dict(zip(("input", "dim", "keepdim"), node.args, strict=False)) | dict(node.kwargs)
    axes: Any = arguments.get("dim", ())
    axes = axes if isinstance(axes, tuple | list) else (axes,)
    return tuple(sorted(int(axis) % 4 for axis in axes)), bool(arguments.get("keepdim", False))


def concatenated(node: fx.Node) -> tuple[list[fx.Node], int]:
    """Return what a call of `torch.cat` joins, and along which axis."""
    arguments = dict(zip(("tensors", "dim"), node.args, strict=False)) | dict(node.kwargs)
    axis: Any = arguments.get("dim", arguments.get("axis", 0))
    parts: Any = arguments["tensors"]
    return list(parts), int(axis)
