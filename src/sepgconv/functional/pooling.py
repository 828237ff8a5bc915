"""Pools: over the poses of a feature map, and in the plane for each pose.

The planar ones take any sides; whether unequal ones suit the group is for the modules of `sepgconv.nn` to check.
"""

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from sepgconv.conv.geometry import Pair
from sepgconv.ops.pools import (
    blur_window,
    check_output_size,
    pool_antialiased,
    pool_maxima,
    pool_means,
    pool_pose_maxima,
    pool_pose_means,
    pool_to,
    pool_window,
)


def group_max_pool(x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c y x"]:
    """Take the maximum over poses (coset pooling); the result is an image that rotates with the input.

    Poses that tie share the gradient equally: with n of them, each gets 1 / n of it. So the backward pass is
    equivariant as well. The result may be changed in place.

    Raises:
        TypeError: x is no tensor.
        ValueError: x is not a feature map, or of complex numbers.

    Example:
        >>> import torch
        >>> group_max_pool(torch.rand(2, 3, 4, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """
    return pool_pose_maxima(x, "group_max_pool")


def group_mean_pool(x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c y x"]:
    """Take the mean over poses; the result is an image that rotates with the input.

    Raises:
        TypeError: x is no tensor.
        ValueError: x is not a feature map, or not of floating point numbers.

    Example:
        >>> import torch
        >>> group_mean_pool(torch.rand(2, 3, 4, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """
    return pool_pose_means(x, "group_mean_pool")


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
            wholly in the padding, which is possible if the dilation is larger than the side of the map.

    Example:
        >>> import torch
        >>> max_pool2d(torch.rand(2, 3, 4, 8, 8), 2).shape
        torch.Size([2, 3, 4, 4, 4])
    """
    return pool_maxima(x, pool_window(kernel_size, stride, padding, dilation), "max_pool2d")


def antialiased_max_pool2d(
    x: Float[Tensor, "b c g y x"],
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    blur_size: int | None = None,
) -> Float[Tensor, "b c g y2 x2"]:
    """Max-pool every pose with stride 1, then blur with the stride (R. Zhang, ICML 2019); see `AntialiasedMaxPool2d`.

    Args:
        x: feature maps (batch, channel, pose, height, width).
        kernel_size: side of the window in pixels.
        stride: step in pixels, kernel_size if not given.
        padding: pixels of minus infinity on every side, at most half of kernel_size.
        blur_size: side of the binomial blur in pixels, odd; 2 stride - 1 if not given.

    Returns:
        Feature maps of the size that `max_pool2d` gives.

    Raises:
        TypeError: x is no tensor.
        ValueError: x is not a feature map of floating point numbers, or too small; or an argument is out of range.

    Example:
        >>> import torch
        >>> antialiased_max_pool2d(torch.rand(2, 3, 4, 8, 8), 2).shape
        torch.Size([2, 3, 4, 4, 4])
    """
    caller, window = "antialiased_max_pool2d", pool_window(kernel_size, stride, padding)
    return pool_antialiased(x, replace(window, stride=(1, 1)), blur_window(window, blur_size, caller), caller)


def avg_pool2d(
    x: Float[Tensor, "b c g y x"], kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0
) -> Float[Tensor, "b c g y2 x2"]:
    """Average every pose in the plane, with the arguments of `torch.nn.functional.avg_pool2d`.

    Raises:
        TypeError: x is no tensor.
        ValueError: x is not a feature map of floating point numbers, or too small; or an argument is out of range.

    Example:
        >>> import torch
        >>> avg_pool2d(torch.rand(2, 3, 4, 8, 8), 2).shape
        torch.Size([2, 3, 4, 4, 4])
    """
    return pool_means(x, pool_window(kernel_size, stride, padding), "avg_pool2d")


def adaptive_avg_pool2d(x: Float[Tensor, "b c g y x"], output_size: int | Pair) -> Float[Tensor, "b c g y2 x2"]:
    """Average every pose down to a given size, as `torch.nn.functional.adaptive_avg_pool2d` does.

    Raises:
        TypeError: x is no tensor.
        ValueError: x is not a feature map of floating point numbers, or has no pixel; or the size is out of range.

    Example:
        >>> import torch
        >>> adaptive_avg_pool2d(torch.rand(2, 3, 4, 8, 8), 1).shape
        torch.Size([2, 3, 4, 1, 1])
    """
    check_output_size(output_size)
    return pool_to(x, output_size, "adaptive_avg_pool2d")
