"""The planar convolution of folded maps, which every layer runs in the end, and its gradient in channels_last."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sepgconv.conv.geometry import Geometry, PaddingMode
from sepgconv.ops import dispatch
from sepgconv.ops.autograd import gradients_again
from sepgconv.ops.layout import fold_image, like_image

# So many columns of depthwise filters oneDNN has a fast gradient for.
COLUMNS = 3


def planar_conv2d(
    x: Tensor, filters: Tensor, bias: Tensor | None, geometry: Geometry, groups: int, *, columns: bool = False
) -> Tensor:
    """Cross-correlate folded maps (batch, maps, height, width) in the plane, with any padding mode.

    Args:
        x: the maps, large enough.
        filters: (maps out, maps in / groups, kernel height, kernel width).
        bias: (maps out,) or None.
        geometry: kernel size, stride, padding and dilation.
        groups: torch's `groups`, the number of blocks of maps that do not mix.
        columns: whether the gradient with respect to filters may be computed a few columns at a time.
    """
    if groups > 1:
        operator = "depthwise_conv" if columns and takes_columns(filters, geometry, groups) else "grouped_conv"
        chosen = dispatch.implementation(operator, dispatch.context(x, filters, bias))
        if chosen == "operator":
            return planar_operator(x, filters, bias, flat_geometry(geometry), geometry.padding_mode, groups)
        if chosen == "columns":
            return _DepthwiseConv.apply(x, filters, bias, geometry)[0]
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
    grad: Tensor,
    x: Tensor,
    filters: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    groups: int,
    *,
    columns: bool = False,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the gradients of `planar_conv2d` with respect to the maps, the filters and the bias."""
    padded = _pad(x, geometry) if geometry.pads_first else x
    padding = (0, 0) if geometry.pads_first else geometry.padding
    by_columns = columns and takes_columns(filters, geometry, groups)
    grad = grad.contiguous(memory_format=torch.channels_last)
    grad_padded, by_filters, by_bias = torch.ops.aten.convolution_backward(
        grad,
        padded,
        filters,
        [filters.shape[0]],
        list(geometry.stride),
        list(padding),
        list(geometry.dilation),
        False,
        [0, 0],
        groups,
        [True, not by_columns, bias is not None and not by_columns],
    )
    if by_columns:
        by_filters = _filter_gradient(grad, padded, filters, padding)
        by_bias = None if bias is None else grad.sum((0, 2, 3))
    if geometry.pads_first:
        grad_padded = _pad_backward(grad_padded, x, geometry)
    return grad_padded, by_filters, by_bias


def takes_columns(filters: Tensor, geometry: Geometry, groups: int) -> bool:
    """Return whether the gradient with respect to filters is faster a few columns at a time.

    oneDNN has a kernel for the gradient with respect to depthwise filters of up to three columns. For wider ones it
    took 37 times as long as the convolution itself (1024 maps of 28 x 28 pixels, 5 x 5); two times three columns took a
    fifth of that.
    """
    depthwise = filters.ndim == 4 and filters.shape[1] == 1 and filters.shape[0] == groups
    return depthwise and filters.shape[3] > COLUMNS and geometry.stride == geometry.dilation == (1, 1)


def _filter_gradient(grad: Tensor, x: Tensor, filters: Tensor, padding: tuple[int, ...]) -> Tensor:
    """Return the gradient with respect to depthwise filters, `COLUMNS` of them at a time.

    Args:
        grad: with respect to the result, channels_last.
        x: the maps, channels_last.
        filters: (maps, 1, kernel height, kernel width).
        padding: zeros beside x, along (y, x).
    """
    batch, maps, height, width = x.shape
    rows, columns = filters.shape[2:]
    wide = width + 2 * padding[1]
    # Padded rows follow each other without a gap. So the same memory, read some pixels later, is x without its first
    # columns; what then stands at the end of a row belongs to the next one and meets zeros in the gradient.
    size, numbers = (batch, height, wide, maps), batch * height * wide
    memory = x.new_empty((numbers + columns, maps))
    memory[numbers:] = 0
    _between_zeros(x, memory[:numbers].view(size), padding[1])
    wider = grad.new_empty((batch, grad.shape[2], wide - COLUMNS + 1, maps))
    _between_zeros(grad, wider, 0)
    wider, found = wider.permute(0, 3, 1, 2), torch.empty_like(filters)
    few = filters.new_empty((maps, 1, rows, COLUMNS))  # only its shape counts
    for start in (min(at, columns - COLUMNS) for at in range(0, columns, COLUMNS)):
        shifted = memory[start : start + numbers].view(size).permute(0, 3, 1, 2)
        arguments = ([maps], [1, 1], [padding[0], 0], [1, 1], False, [0, 0], maps, [False, True, False])
        found[..., start : start + COLUMNS] = torch.ops.aten.convolution_backward(wider, shifted, few, *arguments)[1]
    return found


def _between_zeros(image: Tensor, place: Tensor, before: int) -> None:
    """Write an image into (batch, height, width, maps) behind so many columns of zeros, with zeros up to the end."""
    after = before + image.shape[3]
    place[:, :, :before] = 0
    place[:, :, before:after] = image.permute(0, 2, 3, 1)
    place[:, :, after:] = 0


class _DepthwiseConv(torch.autograd.Function):
    """A filter for each map, with a backward pass that computes the gradient with respect to filters by columns."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] (torch declares it for any arguments)
        x: Tensor, filters: Tensor, bias: Tensor | None, geometry: Geometry
    ) -> tuple[Tensor]:
        return (correlate(x, filters, bias, geometry, filters.shape[0]),)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor]) -> None:
        x, filters, bias, ctx.geometry = inputs
        ctx.save_for_backward(x, filters, bias)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (torch declares it for any arguments)
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, filters, bias = ctx.saved_tensors
        geometry, groups = ctx.geometry, filters.shape[0]
        if dispatch.differentiates_again(grad):
            plain = partial(correlate, geometry=geometry, groups=groups)
            return (*gradients_again(plain, (x, filters, bias), grad), None)
        return (*planar_backward(grad, x, filters, bias, geometry, groups, columns=True), None)


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
