"""Calls of functions that stand for a layer: with tensors that the network holds, or without any."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage] (what all of them are)

from sepgconv.convert.rebuild.values import UnconvertibleError
from sepgconv.convert.rebuild.windows import FixedFilter


@dataclass(frozen=True, slots=True)
class Holder:
    """A tensor that the network holds, as an argument of a call.

    Attributes:
        tensor: the tensor.
        path: where it is in the network, "" where the forward computes it from others.
        owner: the module that it belongs to.
        learnt: whether it is a parameter, or computed from one.
    """

    tensor: Tensor
    path: str
    owner: nn.Module | None
    learnt: bool


def bound(names: Sequence[str], args: Sequence[Any], kwargs: Any) -> dict[str, Any]:
    """Return arguments by name."""
    return {**dict(zip(names, args, strict=False)), **dict(kwargs)}


_META = torch.device("meta")
_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_BATCH_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
_INSTANCE_NORM = ("input", "running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps")


def _plain(given: dict[str, Any], key: str, default: Any) -> Any:
    value = given.get(key, default)
    return tuple(value) if isinstance(value, list | tuple) else value


def _weight(given: dict[str, Any], key: str = "weight") -> Holder:
    holder = given.get(key)
    if not isinstance(holder, Holder):
        raise UnconvertibleError(f"its {key} depends on the image, as no layer on a group has it")
    if not holder.path and holder.learnt:
        raise UnconvertibleError(
            f"its {key} is computed in the forward, as weight standardisation does, which the layers on a group do not"
        )
    return holder


def _conv(kind: type[Any], given: dict[str, Any]) -> tuple[nn.Module, Holder]:
    weight = _weight(given)
    groups, shape = int(given.get("groups", 1)), tuple(weight.tensor.shape)
    if not weight.learnt:
        return _filter(weight, given, groups), weight
    if given.get("bias") is not None:
        _weight(given, "bias")
    settings = [_plain(given, key, default) for key, default in (("stride", 1), ("padding", 0), ("dilation", 1))]
    bias = given.get("bias") is not None
    return kind(shape[1] * groups, shape[0], shape[2:], *settings, groups, bias, device=_META), weight


def _filter(weight: Holder, given: dict[str, Any], groups: int) -> nn.Module:
    kernels = weight.tensor
    if kernels.ndim != 4 or groups != len(kernels) or kernels.shape[1] != 1 or not bool((kernels == kernels[:1]).all()):
        raise UnconvertibleError("its weight is a buffer; only one filter for every channel by itself is converted")
    if given.get("bias") is not None:
        raise UnconvertibleError("its weight is a buffer, and it has a bias; add the bias after it")
    stride, padding = _plain(given, "stride", 1), _plain(given, "padding", 0)
    return FixedFilter(kernels[0, 0].clone(), stride, padding, _plain(given, "dilation", 1))


def _conv2d(args: Sequence[Any], kwargs: Any) -> tuple[nn.Module, Holder | None]:
    return _conv(nn.Conv2d, bound(_CONV, args, kwargs))


def _conv1d(args: Sequence[Any], kwargs: Any) -> tuple[nn.Module, Holder | None]:
    return _conv(nn.Conv1d, bound(_CONV, args, kwargs))


def _linear(args: Sequence[Any], kwargs: Any) -> tuple[nn.Module, Holder | None]:
    given = bound(("input", "weight", "bias"), args, kwargs)
    weight = _weight(given)
    out, into = weight.tensor.shape
    return nn.Linear(into, out, given.get("bias") is not None, device=_META), weight


def _batch_norm(args: Sequence[Any], kwargs: Any) -> tuple[nn.Module, Holder | None]:
    given = bound(_BATCH_NORM, args, kwargs)
    first = next((h for key in ("weight", "running_mean") if (h := given.get(key)) is not None), None)
    if first is None:
        raise UnconvertibleError("batch_norm() without tensors of the network; use nn.BatchNorm2d")
    holder = _weight(given, "weight" if given.get("weight") is not None else "running_mean")
    owner = holder.owner
    # The call names the momentum of the moment; the module knows whether it is an average over all batches.
    momentum = owner.momentum if isinstance(owner, _BatchNorm) else given.get("momentum", 0.1)
    affine, tracks = given.get("weight") is not None, given.get("running_mean") is not None
    if isinstance(owner, _BatchNorm):
        tracks = owner.track_running_stats
    return nn.BatchNorm2d(len(holder.tensor), given.get("eps", 1e-5), momentum, affine, tracks, device=_META), holder


def _instance_norm(args: Sequence[Any], kwargs: Any) -> tuple[nn.Module, Holder | None]:
    given = bound(_INSTANCE_NORM, args, kwargs)
    affine, tracks = given.get("weight") is not None, given.get("running_mean") is not None
    if tracks:
        raise UnconvertibleError("instance_norm() with running statistics; use nn.InstanceNorm2d")
    holder = _weight(given) if affine else None
    number = len(holder.tensor) if holder is not None else 1
    return nn.InstanceNorm2d(number, given.get("eps", 1e-5), affine=affine, device=_META), holder


def _layer_norm(args: Sequence[Any], kwargs: Any) -> tuple[nn.Module, Holder | None]:
    given = bound(("input", "normalized_shape", "weight", "bias", "eps"), args, kwargs)
    affine, bias = given.get("weight") is not None, given.get("bias") is not None
    holder = _weight(given) if affine else None
    shape = given["normalized_shape"]
    shape = list(shape) if isinstance(shape, list | tuple) else shape
    return nn.LayerNorm(shape, given.get("eps", 1e-5), affine, bias, device=_META), holder


def _group_norm(args: Sequence[Any], kwargs: Any) -> tuple[nn.Module, Holder | None]:
    given = bound(("input", "num_groups", "weight", "bias", "eps"), args, kwargs)
    affine, groups = given.get("weight") is not None, int(given["num_groups"])
    holder = _weight(given) if affine else None
    number = len(holder.tensor) if holder is not None else groups
    return nn.GroupNorm(groups, number, given.get("eps", 1e-5), affine, device=_META), holder


def _prelu(args: Sequence[Any], kwargs: Any) -> tuple[nn.Module, Holder | None]:
    weight = _weight(bound(("input", "weight"), args, kwargs))
    layer = nn.PReLU(weight.tensor.numel())
    with torch.no_grad():
        layer.weight.copy_(weight.tensor)
    return layer, weight


def _of(names: Sequence[str], build: Callable[..., nn.Module]) -> Callable[..., tuple[nn.Module, None]]:
    """Return what builds a layer without tensors from the arguments of a function."""

    def layer(args: Sequence[Any], kwargs: Any) -> tuple[nn.Module, None]:
        given = bound(names, args, kwargs)
        return build(**{key: _plain(given, key, None) for key in given if key not in ("input", "training")}), None

    return layer


_WINDOW = ("input", "kernel_size", "stride", "padding")
# Dropout as a function carries the mode of the moment it was traced in; as a layer it follows the network's.
LAYERS: dict[Any, Callable[..., tuple[nn.Module, Holder | None]]] = {
    F.conv2d: _conv2d,
    torch.conv2d: _conv2d,
    F.conv1d: _conv1d,
    torch.conv1d: _conv1d,
    F.linear: _linear,
    F.batch_norm: _batch_norm,
    F.instance_norm: _instance_norm,
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
    F.prelu: _prelu,
    torch.prelu: _prelu,
    F.max_pool2d: _of((*_WINDOW, "dilation", "ceil_mode", "return_indices"), nn.MaxPool2d),
    torch.max_pool2d: _of((*_WINDOW, "dilation", "ceil_mode"), nn.MaxPool2d),
    F.avg_pool2d: _of((*_WINDOW, "ceil_mode", "count_include_pad", "divisor_override"), nn.AvgPool2d),
    F.adaptive_avg_pool2d: _of(("input", "output_size"), nn.AdaptiveAvgPool2d),
    F.adaptive_max_pool2d: _of(("input", "output_size", "return_indices"), nn.AdaptiveMaxPool2d),
    F.local_response_norm: _of(("input", "size", "alpha", "beta", "k"), nn.LocalResponseNorm),
    F.dropout: _of(("input", "p", "training", "inplace"), nn.Dropout),
    F.dropout2d: _of(("input", "p", "training", "inplace"), nn.Dropout2d),
    F.alpha_dropout: _of(("input", "p", "training", "inplace"), nn.AlphaDropout),
    F.rrelu: _of(("input", "lower", "upper", "training", "inplace"), nn.RReLU),
}
