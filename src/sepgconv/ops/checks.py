"""Checks of the tensors of a call: each error says in one sentence what was expected, what came, the likely remedy."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sepgconv.conv.checks import INTEGERS
from sepgconv.ops.dispatch import casts
from sepgconv.symmetry import FiniteGroup

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
COMPLEX = (torch.complex64, torch.complex128, torch.complex32)
NUMBERS = (*FLOATS, *COMPLEX)  # what torch's convolutions take
HALVES = (torch.float16, torch.bfloat16)


def check_tensor(value: object, what: str, caller: str, dtypes: tuple[torch.dtype, ...] = FLOATS) -> None:
    """Raise if a value is no dense tensor of numbers that the operation can work with.

    Args:
        value: what came.
        what: its name in the error.
        caller: named in the error.
        dtypes: those that the operation takes.

    Raises:
        TypeError: no tensor.
        ValueError: a sparse, nested or quantised tensor, or another dtype.
    """
    if isinstance(value, Tensor) and value.dtype in dtypes and value.layout == torch.strided and not value.is_nested:
        return
    if not isinstance(value, Tensor):
        hint = "; make one with torch.as_tensor" if hasattr(value, "__array__") or isinstance(value, list) else ""
        raise TypeError(f"{caller}: {what} must be a tensor, got {_kind(value)}{hint}")
    if value.is_quantized:
        raise ValueError(f"{caller}: {what} must not be quantised, got {value.dtype}; use x.dequantize()")
    if value.layout != torch.strided or value.is_nested:
        layout = "a nested tensor" if value.is_nested else str(value.layout)
        remedy = "pad it to one size" if value.is_nested else "use x.to_dense()"
        raise ValueError(f"{caller}: {what} must be a dense tensor (torch.strided), got {layout}; {remedy}")
    expected = ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
    hint = "; convert it with x.float()" if value.dtype in (*INTEGERS, torch.bool) else ""
    raise ValueError(f"{caller}: {what} must be of one of the dtypes {expected}, got {value.dtype}{hint}")


def check_kind(value: object, kind: type, name: str, caller: str) -> None:
    """Raise if an argument is no object of a class; None is passed over.

    Raises:
        TypeError: another class.
    """
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{caller}: {name} must be a {kind.__name__}, got {_kind(value)}")


def _listed(shape: tuple[int | str, ...]) -> str:
    return f"{', '.join(map(str, shape))}{',' if len(shape) == 1 else ''}"


def _kind(value: object) -> str:
    kind = type(value)
    return "None" if value is None else kind.__name__ if kind.__module__ == "builtins" else str(kind)


def check_operands(
    x: Tensor,
    caller: str,
    weights: Mapping[str, Tensor | None],
    *,
    mixes: bool = False,
    what: str = "the input",
) -> None:
    """Raise if an operation cannot take weights together with its input, which has been checked.

    Args:
        x: the input.
        caller: named in the error.
        weights: by name; None is passed over.
        mixes: whether half precision input goes with float32 weights, as in torch's norms; else in mixed precision
            only (`torch.autocast`), where torch converts both.
        what: the name of the input in the error.

    Raises:
        TypeError: one is no tensor.
        ValueError: one is on another device than the input, or of another dtype; both are named.
    """
    dtype, device = x.dtype, x.device
    for name, weight in weights.items():
        if weight is None:
            continue
        if not isinstance(weight, Tensor) or weight.layout != torch.strided or weight.is_nested:
            check_tensor(weight, name, caller, NUMBERS)
        if weight.dtype != dtype and not _go_together(dtype, weight.dtype, device, mixes):
            check_tensor(weight, name, caller, NUMBERS)
            raise ValueError(
                f"{caller}: {what} is {dtype} and {name} is {weight.dtype}; convert one of them, {what} with "
                f".to({weight.dtype}) or the layer with .to({dtype})"
            )
        if weight.device != device:
            raise ValueError(
                f"{caller}: {what} is on {device} and {name} on {weight.device}; "
                + ("give the weights memory and values, as with to_empty and load_state_dict" if weight.is_meta else "")
                + ("" if weight.is_meta else f"move one of them, {what} with .to({str(weight.device)!r})")
            )


def _go_together(dtype: torch.dtype, of_weight: torch.dtype, device: torch.device, mixes: bool) -> bool:
    if mixes:
        return dtype in HALVES and of_weight == torch.float32
    # What autocast converts: everything but double precision.
    return casts(device) and all(one in (torch.float32, *HALVES) for one in (dtype, of_weight))


def check_image(x: Tensor, channels: int, caller: str) -> None:
    """Raise if a tensor is no batch of images (batch, channels, height, width).

    Raises:
        TypeError: no tensor.
        ValueError: another rank or number of channels, or no dense tensor of floating point numbers.
    """
    check_tensor(x, "the input", caller, NUMBERS)
    if x.ndim == 4 and x.shape[1] == channels:
        return
    hint = ""
    if x.ndim == 5:
        hint = "; this is already a feature map on the group, use GroupConv2d or SeparableGroupConv2d"
    elif x.ndim == 3:
        hint = "; add the batch axis with x[None]"
    elif x.ndim == 4 and x.shape[3] == channels:
        hint = "; the channels seem to come last, use x.permute(0, 3, 1, 2)"
    elif x.ndim == 4:
        hint = f"; build the layer or network with in_channels={x.shape[1]}"
    raise ValueError(f"{caller}: expected images (batch, {channels}, height, width), got {tuple(x.shape)}{hint}")


def check_feature_map(
    x: Tensor,
    channels: int | None,
    group: FiniteGroup | None,
    caller: str,
    dtypes: tuple[torch.dtype, ...] = FLOATS,
) -> None:
    """Raise if a tensor is no feature map (batch, channels, poses, height, width); None accepts any channels or poses.

    Raises:
        TypeError: no tensor.
        ValueError: another rank, number of channels or number of poses; no pose; no dense tensor of those dtypes.
    """
    check_tensor(x, "the input", caller, dtypes)
    poses = None if group is None else group.order
    if x.ndim == 5 and channels in (None, x.shape[1]) and (poses == x.shape[2] or (poses is None and x.shape[2] > 0)):
        return
    hint = ""
    if x.ndim == 4 and (channels, poses) == tuple(x.shape[:2]):
        hint = "; add the batch axis with x[None]"
    elif x.ndim == 4 and channels is not None and poses is not None and x.shape[1] == channels * poses > channels:
        hint = f"; channels and poses seem to be folded, use x.unflatten(1, ({channels}, {poses}))"
    elif x.ndim == 4:
        hint = "; lift images with LiftingConv2d first"
    elif x.ndim == 5 and x.shape[2] == 0:
        hint = "; the maps have no pose"
    elif x.ndim == 5 and poses not in (None, x.shape[2]):
        hint = f"; the maps have {x.shape[2]} poses, so they come from a layer of another group"
    elif x.ndim == 5:
        hint = f"; build the layer for {x.shape[1]} channels"
    shape = ("batch", channels or "channels", poses or "poses", "height", "width")
    on = "" if group is None else f" for {group.name}"
    raise ValueError(f"{caller}: expected feature maps ({_listed(shape)}){on}, got {tuple(x.shape)}{hint}")


def check_weight(
    name: str, weight: Tensor, shape: tuple[int | str, ...], caller: str, group: FiniteGroup | None = None
) -> None:
    """Raise if a weight is no dense tensor, or its shape does not fit.

    Args:
        name: of the weight.
        weight: the weight.
        shape: the shape it must have; an axis of any size by its name.
        caller: named in the error.
        group: named in the error where the shape depends on it.

    Raises:
        TypeError: no tensor.
        ValueError: another shape, which is named; no numbers; a dtype or layout that torch's convolutions do not take.
    """
    check_tensor(weight, name, caller, NUMBERS)
    came = weight.shape
    fits = len(came) == len(shape)
    for axis in range(len(shape) if fits else 0):
        fits = fits and (isinstance(shape[axis], str) or came[axis] == shape[axis])
    if fits and 0 in came:
        raise ValueError(f"{caller}: {name} has no numbers, got {tuple(came)}")
    if not fits:
        on = "" if group is None else f" for {group.name}"
        raise ValueError(f"{caller}: expected {name} ({_listed(shape)}){on}, got {tuple(came)}")


def kernel_size_of(weight: Tensor, name: str, caller: str) -> tuple[int, int]:
    """Return (height, width) of a kernel (..., height, width).

    Raises:
        TypeError: no tensor.
        ValueError: no dense tensor of numbers, or fewer than two axes.
    """
    check_tensor(weight, name, caller, NUMBERS)
    if weight.ndim < 2:
        raise ValueError(f"{caller}: expected {name} (..., height, width), got {tuple(weight.shape)}")
    return int(weight.shape[-2]), int(weight.shape[-1])


def check_per_channel(caller: str, channels: int, **values: Tensor | None) -> None:
    """Raise if a tensor does not have one value for each channel, as biases and parameters of norms do; None is fine.

    Raises:
        ValueError: another shape.
    """
    for name, value in values.items():
        if value is not None and value.shape != (channels,):
            raise ValueError(f"{caller}: expected {name} ({channels},), a value per channel, got {tuple(value.shape)}")


def check_count(x: Tensor, caller: str) -> None:
    """Raise if feature maps have no variance.

    Raises:
        ValueError: one value per channel.
    """
    if x.numel() == x.shape[1]:
        raise ValueError(
            f"{caller}: expected more than 1 value per channel when training, got {tuple(x.shape)}; use a larger batch "
            f"or larger maps"
        )
