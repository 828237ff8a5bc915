"""Pools over poses, and pools in the plane for each pose."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from sepgconv.conv.checks import INTEGERS, is_integer
from sepgconv.conv.geometry import MOST, Geometry, Pair, as_pair, conv_geometry
from sepgconv.ops.checks import FLOATS, NUMBERS, check_feature_map
from sepgconv.ops.layout import fold_image, fold_poses, unfold_poses
from sepgconv.ops.max_pool import max_pool
from sepgconv.ops.planar_conv import planar_conv2d
from sepgconv.symmetry import C1
from sepgconv.symmetry.basis import constant

WIDEST_BLUR = 31  # pixels; far wider than one that helps


def pool_pose_maxima(x: Tensor, caller: str) -> Tensor:
    """Run `sepgconv.functional.group_max_pool`; errors name the caller."""
    check_feature_map(x, None, None, caller, (*FLOATS, *INTEGERS, torch.bool))
    pooled = _over_poses(x, Tensor.amax)
    # The backward pass looks for the poses that equal the maximum: its own copy, so that the result is not needed.
    return pooled.clone() if torch.is_grad_enabled() else pooled


def pool_pose_means(x: Tensor, caller: str) -> Tensor:
    """Run `sepgconv.functional.group_mean_pool`; errors name the caller."""
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
    height, width = x.shape[-2:]
    if window is not None:
        window.check_size((height, width), caller)
        if x.shape[1] < 1:
            raise ValueError(f"{caller}: expected at least one channel, got {tuple(x.shape)}")
    elif height < 1 or width < 1:
        raise ValueError(f"{caller}: maps of {height} x {width} have no pixel")
    return unfold_poses(pool(fold_poses(x)), x.shape[2])


def pool_maxima(x: Tensor, window: Geometry, caller: str) -> Tensor:
    """Run `sepgconv.functional.max_pool2d` with a window at hand, as layers have it."""
    return _planar(partial(max_pool, window=window, caller=caller), x, caller, window, (*FLOATS, *INTEGERS))


def binomial_filter(sides: Pair, double: bool, *, device: torch.device | str | None = None) -> Tensor:
    """Return the filter (1, 1, *sides) of binomial coefficients along y and along x, with the sum 1."""
    dtype = torch.float64 if double else torch.float32
    along_y, along_x = (
        torch.tensor([math.comb(side - 1, i) / 2 ** (side - 1) for i in range(side)], dtype=dtype) for side in sides
    )
    return (along_y[:, None] * along_x)[None, None].to(device)


def blur_window(window: Geometry, blur_size: int | None, caller: str) -> Geometry:
    """Return the window of the blur that takes the steps of an anti-aliased pool, at the edge with pixels repeated.

    Args:
        window: of the pool, with its stride.
        blur_size: side of the blur in pixels; None: 2 stride - 1.
        caller: named in errors.

    Raises:
        ValueError: the side is no odd number from 1 to 31.
    """
    if blur_size is None:
        sides = tuple(min(2 * stride - 1, WIDEST_BLUR) for stride in window.stride)
    elif is_integer(blur_size) and blur_size.__index__() % 2 == 1 and 1 <= blur_size.__index__() <= WIDEST_BLUR:
        sides = (blur_size.__index__(),) * 2
    else:
        raise ValueError(f"{caller}: blur_size must be an odd number from 1 to {WIDEST_BLUR}, got {blur_size!r}")
    return Geometry(sides, window.stride, tuple(side // 2 for side in sides), (1, 1), "replicate")


def is_blur(blur: Geometry) -> bool:
    """Return whether a blur does anything; one of a single pixel without steps does not."""
    return blur.taps > 1 or max(blur.stride) > 1


def pool_antialiased(x: Tensor, window: Geometry, blur: Geometry, caller: str) -> Tensor:
    """Run `sepgconv.functional.antialiased_max_pool2d`: a maximum at every pixel, then a blur with a stride.

    Args:
        x: feature maps.
        window: of the maximum, with stride 1.
        blur: as `blur_window` returns it.
        caller: named in errors.
    """

    def pool(maps: Tensor) -> Tensor:
        maxima = max_pool(maps, window, caller)
        if not is_blur(blur):
            return maxima
        filters = constant(binomial_filter, blur.kernel_size, maps.dtype == torch.float64, like=maps)
        each = filters.to(maps.dtype).expand(maps.shape[1], -1, -1, -1)
        return planar_conv2d(maxima, each, None, blur, maps.shape[1])

    return _planar(pool, x, caller, window, FLOATS)


def pool_means(x: Tensor, window: Geometry, caller: str) -> Tensor:
    """Run `sepgconv.functional.avg_pool2d` with a window at hand, as layers have it."""

    def pool(maps: Tensor) -> Tensor:
        return F.avg_pool2d(maps, window.kernel_size, window.stride, window.padding)

    return _planar(pool, x, caller, window, (*FLOATS, torch.int64))


def check_output_size(output_size: int | Pair) -> None:
    """Raise if an output size is none; one side may be None as in torch, which leaves it as it is.

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
    """Run `sepgconv.functional.adaptive_avg_pool2d` to a checked size, as layers have it."""
    return _planar(lambda maps: F.adaptive_avg_pool2d(maps, output_size), x, caller, None, FLOATS)
