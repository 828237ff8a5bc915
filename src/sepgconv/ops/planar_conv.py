"""The planar convolution of folded maps, which every layer runs in the end, and its gradient in channels_last."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sepgconv.conv.geometry import Geometry, PaddingMode
from sepgconv.ops import dispatch
from sepgconv.ops.layout import fold_image, like_image


def planar_conv2d(x: Tensor, filters: Tensor, bias: Tensor | None, geometry: Geometry, groups: int) -> Tensor:
    """Cross-correlate folded maps (batch, maps, height, width) in the plane, with any padding mode.

    Args:
        x: the maps, large enough.
        filters: (maps out, maps in / groups, kernel height, kernel width).
        bias: (maps out,) or None.
        geometry: kernel size, stride, padding and dilation.
        groups: torch's `groups`, the number of blocks of maps that do not mix.
    """
    if groups > 1 and dispatch.implementation("grouped_conv", dispatch.context(x, filters, bias)) == "operator":
        return planar_operator(x, filters, bias, flat_geometry(geometry), geometry.padding_mode, groups)
    return correlate(x, filters, bias, geometry, groups)


def correlate(x: Tensor, filters: Tensor, bias: Tensor | None, geometry: Geometry, groups: int) -> Tensor:
    """Run `planar_conv2d` by torch's operations."""
    if geometry.pads_first:
        return F.conv2d(_pad(x, geometry), filters, bias, geometry.stride, 0, geometry.dilation, groups)
    return F.conv2d(x, filters, bias, geometry.stride, geometry.padding, geometry.dilation, groups)


def _pad(x: Tensor, geometry: Geometry) -> Tensor:
    """Return the maps padded where torch's convolution cannot do it."""
    (pad_y, pad_x), mode = geometry.padding, geometry.padding_mode
    return fold_image(F.pad(x, (pad_x, pad_x, pad_y, pad_y), mode=mode))


def planar_backward(
    grad: Tensor, x: Tensor, filters: Tensor, bias: Tensor | None, geometry: Geometry, groups: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the gradients of `planar_conv2d` with respect to the maps, the filters and the bias."""
    padded = _pad(x, geometry) if geometry.pads_first else x
    grad_padded, by_filters, by_bias = torch.ops.aten.convolution_backward(
        grad.contiguous(memory_format=torch.channels_last),
        padded,
        filters,
        [filters.shape[0]],
        list(geometry.stride),
        [0, 0] if geometry.pads_first else list(geometry.padding),
        list(geometry.dilation),
        False,
        [0, 0],
        groups,
        [True, True, bias is not None],
    )
    if geometry.pads_first:
        grad_padded = _pad_backward(grad_padded, x, geometry)
    return grad_padded, by_filters, by_bias


def _pad_backward(grad: Tensor, unpadded: Tensor, geometry: Geometry) -> Tensor:
    """Add what was padded up where it came from, row by row and column by column."""
    for axis, padding in zip((2, 3), geometry.padding, strict=True):
        places = torch.arange(unpadded.shape[axis], dtype=torch.float32, device=grad.device)[None, None]
        source = F.pad(places, (padding, padding), mode=geometry.padding_mode)[0, 0].long()
        shape = [*grad.shape[:axis], unpadded.shape[axis], *grad.shape[axis + 1 :]]
        grad = grad.new_zeros(shape).index_add_(axis, source, grad)
    return grad


def flat_geometry(geometry: Geometry) -> list[int]:
    """Write the planar arguments as numbers, which is what an operator can take; the padding mode is left out."""
    return [*geometry.kernel_size, *geometry.stride, *geometry.padding, *geometry.dilation]


def geometry_of(numbers: Sequence[int], mode: str = "zeros") -> Geometry:
    """Read what `flat_geometry` wrote."""
    kernel, stride, padding, dilation = (tuple(numbers[at : at + 2]) for at in (0, 2, 4, 6))
    padding_mode: PaddingMode = mode  # pyright: ignore[reportAssignmentType] (written by a geometry)
    return Geometry(kernel, stride, padding, dilation, padding_mode)  # pyright: ignore[reportArgumentType]


@torch.library.custom_op("sepgconv::planar_conv2d", mutates_args=())
def planar_operator(
    x: Tensor, filters: Tensor, bias: Tensor | None, numbers: Sequence[int], mode: str, groups: int
) -> Tensor:
    """Run `planar_conv2d`."""
    return fold_image(correlate(fold_image(x), filters, bias, geometry_of(numbers, mode), groups))


@planar_operator.register_fake
def _(x: Tensor, filters: Tensor, bias: Tensor | None, numbers: Sequence[int], mode: str, groups: int) -> Tensor:
    height, width = geometry_of(numbers, mode).output_size(x.shape[2], x.shape[3])
    return like_image(x.new_empty(1).expand(x.shape[0], filters.shape[0], height, width))


@torch.library.custom_op("sepgconv::planar_conv2d_backward", mutates_args=())
def planar_backward_operator(
    grad: Tensor,
    x: Tensor,
    filters: Tensor,
    bias: Tensor | None,
    numbers: Sequence[int],
    mode: str,
    groups: int,
) -> list[Tensor]:
    """Run `planar_backward`: gradients with respect to x, the filters, and the bias where there is one."""
    found = planar_backward(grad, fold_image(x), filters, bias, geometry_of(numbers, mode), groups)
    by_x, by_filters, by_bias = found
    return [fold_image(by_x), by_filters.contiguous(), *([] if by_bias is None else [by_bias])]


@planar_backward_operator.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    filters: Tensor,
    bias: Tensor | None,
    numbers: Sequence[int],
    mode: str,
    groups: int,
) -> list[Tensor]:
    by_filters = filters.new_empty(filters.shape)
    return [like_image(x), by_filters, *([] if bias is None else [torch.empty_like(bias)])]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, filters, bias, ctx.numbers, ctx.mode, ctx.groups = inputs
    ctx.save_for_backward(x, filters, *([] if bias is None else [bias]))


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, filters, *rest = ctx.saved_tensors
    bias = rest[0] if rest else None
    found = planar_backward_operator(grad, x, filters, bias, ctx.numbers, ctx.mode, ctx.groups)
    return found[0], found[1], found[2] if rest else None, None, None, None


planar_operator.register_autograd(_gradient, setup_context=_save)
