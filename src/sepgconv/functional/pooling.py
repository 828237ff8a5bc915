"""Pools: over the poses of a feature map, and in the plane for each pose.

The planar ones take any sides; whether unequal ones suit the group is for the modules of `sepgconv.nn` to check.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sepgconv.functional.checks import check_feature_map
from sepgconv.functional.derivatives import by_hand, in_compiled_code, is_transformed, one_by_one
from sepgconv.functional.geometry import Geometry, Pair, conv_geometry
from sepgconv.functional.layout import fold_image, fold_poses, unfold_poses
from sepgconv.functional.maxima import max_pool_backward, max_pool_with_places
from sepgconv.functional.operators import max_pool_operator
from sepgconv.functional.planar import flat_geometry
from sepgconv.groups import C1


def group_max_pool(x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c y x"]:
    """Take the maximum over poses; the result turns with the picture like an image (coset pooling).

    Poses that tie share the gradient, so that the backward pass is equivariant as well.

    Raises:
        ValueError: x is not a feature map.
    """
    check_feature_map(x, None, None, "group_max_pool")
    return _over_poses(x, Tensor.amax)


def group_mean_pool(x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c y x"]:
    """Take the mean over poses; the result turns with the picture like an image.

    Raises:
        ValueError: x is not a feature map.
    """
    check_feature_map(x, None, None, "group_mean_pool")
    return _over_poses(x, Tensor.mean)


def _over_poses(x: Tensor, pool: Callable[..., Tensor]) -> Tensor:
    pixels = x.permute(0, 3, 4, 2, 1).contiguous()  # (b, y, x, g, c)
    return fold_image(pool(pixels, 3).permute(0, 3, 1, 2))


def _planar(pool: Callable[[Tensor], Tensor], x: Tensor, caller: str, window: Geometry | None = None) -> Tensor:
    check_feature_map(x, None, None, caller)
    if window is not None:
        window.check_size(int(x.shape[-2]), int(x.shape[-1]), caller)
    return unfold_poses(pool(fold_poses(x)), x.shape[2])


def max_pool2d(
    x: Float[Tensor, "b c g y x"],
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
) -> Float[Tensor, "b c g y2 x2"]:
    """Max-pool every pose in the plane, with the arguments of `torch.nn.functional.max_pool2d`.

    Raises:
        ValueError: x is not a feature map, or too small.
    """
    window = conv_geometry(C1, kernel_size, kernel_size if stride is None else stride, padding, dilation)
    return _planar(partial(_max_pool, window=window), x, "max_pool2d", window)


def _max_pool(maps: Tensor, window: Geometry) -> Tensor:
    if maps.requires_grad and maps.device.type == "cpu" and by_hand(maps):
        return _MaxPool.apply(maps, window)[0]
    if maps.device.type == "cpu" and in_compiled_code(maps):
        return max_pool_operator(maps, flat_geometry(window))[0]
    return F.max_pool2d(maps, window.kernel_size, window.stride, window.padding, window.dilation)


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
        if not is_transformed(grad):  # a batched gradient cannot be asked how it lies
            grad = grad.contiguous(memory_format=torch.channels_last)
        return max_pool_backward(grad, ctx.saved_tensors[0], ctx.shape, ctx.window), None


def avg_pool2d(
    x: Float[Tensor, "b c g y x"], kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0
) -> Float[Tensor, "b c g y2 x2"]:
    """Average every pose in the plane, with the arguments of `torch.nn.functional.avg_pool2d`.

    Raises:
        ValueError: x is not a feature map, or too small.
    """
    window = conv_geometry(C1, kernel_size, kernel_size if stride is None else stride, padding)
    return _planar(lambda maps: F.avg_pool2d(maps, kernel_size, stride, padding), x, "avg_pool2d", window)


def adaptive_avg_pool2d(x: Float[Tensor, "b c g y x"], output_size: int | Pair) -> Float[Tensor, "b c g y2 x2"]:
    """Average every pose down to a given size, as `torch.nn.functional.adaptive_avg_pool2d` does.

    Raises:
        ValueError: x is not a feature map.
    """
    return _planar(lambda maps: F.adaptive_avg_pool2d(maps, output_size), x, "adaptive_avg_pool2d")
