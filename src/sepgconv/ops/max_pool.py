"""Max-pooling of folded maps, and its gradient from the places of the maxima.

"torch" keeps its input and eight bytes for each output. "chunks" keeps the places in as few bytes as they need; the
"operator" is the same as one node of compiled code.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sepgconv.conv.geometry import Geometry
from sepgconv.ops import dispatch
from sepgconv.ops.autograd import one_by_one
from sepgconv.ops.layout import fold_image, like_image
from sepgconv.ops.planar_conv import flat_geometry, geometry_of


def max_pool(maps: Tensor, window: Geometry, caller: str) -> Tensor:
    """Max-pool folded maps (batch, maps, height, width).

    Raises:
        ValueError: a window lies wholly in the padding.
    """
    window.check_windows(tuple(maps.shape[-2:]), caller)
    chosen = dispatch.implementation("max_pool", dispatch.context(maps))
    if chosen == "chunks":
        return _MaxPool.apply(maps, window)[0]
    if chosen == "operator":
        return max_pool_operator(maps, flat_geometry(window))[0]
    return F.max_pool2d(maps, window.kernel_size, window.stride, window.padding, window.dilation)


def max_pool_with_places(maps: Tensor, window: Geometry) -> tuple[Tensor, Tensor]:
    """Max-pool maps (batch, channel, height, width); return the maxima and their flat places in the map.

    The places are of `place_type(maps)`.
    """
    pooled, at = F.max_pool2d_with_indices(maps, window.kernel_size, window.stride, window.padding, window.dilation)
    return pooled, at.to(place_type(maps.shape))


def place_type(shape: Sequence[int]) -> torch.dtype:
    """Return the type that holds the places in maps of a shape: two bytes up to 2^15 pixels, else four."""
    return torch.int16 if shape[2] * shape[3] <= 2**15 else torch.int32


def max_pool_backward(grad: Tensor, at: Tensor, shape: Sequence[int], window: Geometry) -> Tensor:
    """Return the gradient with respect to maps of a shape, from that with respect to the maxima and their places."""
    # Only the shape and the layout of the input are looked at.
    maps = like_image(torch.empty(1, dtype=grad.dtype, device=grad.device).expand(shape))
    sides = (window.kernel_size, window.stride, window.padding, window.dilation)
    return torch.ops.aten.max_pool2d_with_indices_backward(grad, maps, *sides, False, at.to(torch.int64))


class _MaxPool(torch.autograd.Function):
    """Max-pooling that keeps, for backward, two bytes per output (four on maps of more than 2^15 pixels): the maxima.

    torch keeps the input and eight bytes per output.
    """

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] (torch declares it for any arguments)
        maps: Tensor, window: Geometry
    ) -> tuple[Tensor, Tensor]:
        return max_pool_with_places(maps, window)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Geometry], output: tuple[Tensor, Tensor]) -> None:
        maps, ctx.window = inputs
        ctx.shape = maps.shape
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], *inputs: Any
    ) -> tuple[tuple[Tensor | None, ...], tuple[int | None, ...]]:
        """Pool the batches of `torch.vmap` one after the other."""
        return one_by_one(_MaxPool.apply, info.batch_size, in_dims, inputs)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (torch declares it for any arguments)
        ctx: Any, grad: Tensor, *unused: Tensor | None
    ) -> tuple[Tensor, None]:
        if not dispatch.is_transformed(grad):  # a batched gradient cannot be asked how it lies
            grad = grad.contiguous(memory_format=torch.channels_last)
        return max_pool_backward(grad, ctx.saved_tensors[0], ctx.shape, ctx.window), None


@torch.library.custom_op("sepgconv::max_pool2d", mutates_args=())
def max_pool_operator(maps: Tensor, window: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Run `max_pool_with_places`."""
    return max_pool_with_places(fold_image(maps), geometry_of(window))


@max_pool_operator.register_fake
def _(maps: Tensor, window: Sequence[int]) -> tuple[Tensor, Tensor]:
    height, width = geometry_of(window).output_size(maps.shape[2], maps.shape[3])
    pooled = like_image(maps.new_empty(1).expand(*maps.shape[:2], height, width))
    return pooled, torch.empty_like(pooled, dtype=place_type(maps.shape))


@torch.library.custom_op("sepgconv::max_pool2d_backward", mutates_args=())
def max_pool_backward_operator(grad: Tensor, at: Tensor, shape: Sequence[int], window: Sequence[int]) -> Tensor:
    """Run `max_pool_backward`."""
    grad = grad.contiguous(memory_format=torch.channels_last)
    return max_pool_backward(grad, at, shape, geometry_of(window))


@max_pool_backward_operator.register_fake
def _(grad: Tensor, at: Tensor, shape: Sequence[int], window: Sequence[int]) -> Tensor:
    return like_image(grad.new_empty(1).expand(*shape))


def _save_pool(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    maps, ctx.window = inputs
    ctx.shape = maps.shape
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])


def _pool_gradient(ctx: Any, grad: Tensor, *unused: Tensor | None) -> tuple[Tensor, None]:
    return max_pool_backward_operator(grad, ctx.saved_tensors[0], ctx.shape, ctx.window), None


max_pool_operator.register_autograd(_pool_gradient, setup_context=_save_pool)
