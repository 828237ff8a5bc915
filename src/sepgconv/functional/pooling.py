"""Pools: over the poses of a feature map, and in the plane for each pose.

The planar ones take any sides; whether unequal ones suit the group is for the modules of `sepgconv.nn` to check.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sepgconv.functional.checks import FLOATS, INTEGERS, NUMBERS, check_feature_map
from sepgconv.functional.derivatives import by_hand, in_compiled_code, is_transformed, one_by_one
from sepgconv.functional.geometry import MOST, Geometry, Pair, as_pair, conv_geometry
from sepgconv.functional.layout import fold_image, fold_poses, unfold_poses
from sepgconv.functional.maxima import max_pool_backward, max_pool_with_places
from sepgconv.functional.operators import max_pool_operator
from sepgconv.functional.planar import flat_geometry
from sepgconv.symmetry import C1


def group_max_pool(x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c y x"]:
    """Take the maximum over poses; the result turns with the picture like an image (coset pooling).

    Poses that tie share the gradient equally: with n of them, each gets 1 / n of it. So the backward pass is
    equivariant as well. The result may be changed in place.

    Raises:
        TypeError: x is no tensor.
        ValueError: x is not a feature map, or of complex numbers.
    """
    return pool_pose_maxima(x, "group_max_pool")


def pool_pose_maxima(x: Tensor, caller: str) -> Tensor:
    """Run `group_max_pool`; errors name the caller."""
    check_feature_map(x, None, None, caller, (*FLOATS, *INTEGERS, torch.bool))
    pooled = _over_poses(x, Tensor.amax)
    # The backward pass looks for the poses that equal the maximum: its own copy, so that the result is not needed.
    return pooled.clone() if torch.is_grad_enabled() else pooled


def group_mean_pool(x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c y x"]:
    """Take the mean over poses; the result turns with the picture like an image.

    Raises:
        TypeError: x is no tensor.
        ValueError: x is not a feature map, or not of floating point numbers.
    """
    return pool_pose_means(x, "group_mean_pool")


def pool_pose_means(x: Tensor, caller: str) -> Tensor:
    """Run `group_mean_pool`; errors name the caller."""
    check_feature_map(x, None, None, caller, NUMBERS)
    return _over_poses(x, Tensor.mean)


def _over_poses(x: Tensor, pool: Callable[..., Tensor]) -> Tensor:
    pixels = x.permute(0, 3, 4, 2, 1).contiguous()  # (b, y, x, g, c)
    return fold_image(pool(pixels, 3).permute(0, 3, 1, 2))


def pool_window(
    kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0, dilation: int | Pair = 1
) -> Geometry:
    """Check the arguments of a planar pool and write them out as pairs.

    Raises:
        ValueError: a value is out of range or of the wrong kind, or the padding is more than half of the window.
    """
    window = conv_geometry(C1, kernel_size, kernel_size if stride is None else stride, padding, dilation)
    if any(2 * p > k for p, k in zip(window.padding, window.kernel_size, strict=True)):
        raise ValueError(f"padding must be at most half of kernel_size={window.kernel_size}, got {window.padding}")
    return window


def _planar(
    pool: Callable[[Tensor], Tensor], x: Tensor, caller: str, window: Geometry | None, dtypes: tuple[torch.dtype, ...]
) -> Tensor:
    check_feature_map(x, None, None, caller, dtypes)
    height, width = int(x.shape[-2]), int(x.shape[-1])
    if window is not None:
        window.check_size(height, width, caller)
        if x.shape[1] < 1:
            raise ValueError(f"{caller}: expected at least one channel, got {tuple(x.shape)}")
    elif height < 1 or width < 1:
        raise ValueError(f"{caller}: maps of {height} x {width} have no pixel")
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
        TypeError: x is no tensor.
        ValueError: x is not a feature map of real numbers, or too small; an argument is out of range; or a window lies
            in the padding whole, which with a dilation of more than the side of the map it can.
    """
    return pool_maxima(x, pool_window(kernel_size, stride, padding, dilation), "max_pool2d")


def pool_maxima(x: Tensor, window: Geometry, caller: str) -> Tensor:
    """Run `max_pool2d` with a window at hand, as layers have it."""
    return _planar(partial(_max_pool, window=window, caller=caller), x, caller, window, (*FLOATS, *INTEGERS))


def _max_pool(maps: Tensor, window: Geometry, caller: str) -> Tensor:
    window.check_windows(int(maps.shape[-2]), int(maps.shape[-1]), caller)
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
        TypeError: x is no tensor.
        ValueError: x is not a feature map of floating point numbers, or too small; or an argument is out of range.
    """
    return pool_means(x, pool_window(kernel_size, stride, padding), "avg_pool2d")


def pool_means(x: Tensor, window: Geometry, caller: str) -> Tensor:
    """Run `avg_pool2d` with a window at hand, as layers have it."""

    def pool(maps: Tensor) -> Tensor:
        return F.avg_pool2d(maps, window.kernel_size, window.stride, window.padding)

    return _planar(pool, x, caller, window, (*FLOATS, torch.int64))


def adaptive_avg_pool2d(x: Float[Tensor, "b c g y x"], output_size: int | Pair) -> Float[Tensor, "b c g y2 x2"]:
    """Average every pose down to a given size, as `torch.nn.functional.adaptive_avg_pool2d` does.

    Raises:
        TypeError: x is no tensor.
        ValueError: x is not a feature map of floating point numbers, or has no pixel; or the size is out of range.
    """
    check_output_size(output_size)
    return pool_to(x, output_size, "adaptive_avg_pool2d")


def check_output_size(output_size: int | Pair) -> None:
    """Refuse what is no size; one side may be None as in torch, which leaves it as it is.

    Raises:
        ValueError: neither an integer of at least 0 nor a pair, or more pixels than memory can hold.
    """
    sides = output_size if isinstance(output_size, tuple | list) else (output_size, output_size)
    given = [side for side in sides if side is not None]  # pyright: ignore[reportUnnecessaryComparison] (None as in torch)
    if len(sides) != 2 or not given:
        raise ValueError(f"output_size must be an integer, or a pair of them; got {output_size!r}")
    for side in given:
        as_pair(side, "output_size", least=0)
    if math.prod(given) > MOST:
        raise ValueError(f"output_size={output_size} makes maps of more than 2^48 pixels, which no memory holds")


def pool_to(x: Tensor, output_size: int | Pair, caller: str) -> Tensor:
    """Run `adaptive_avg_pool2d` to a checked size, as layers have it."""
    return _planar(lambda maps: F.adaptive_avg_pool2d(maps, output_size), x, caller, None, FLOATS)
