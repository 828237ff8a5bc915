"""Pools: over the poses of a feature map, and in the plane for each pose.

The planar ones take any sides; whether unequal ones suit the group is for the modules of `sepgconv.nn` to check.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sepgconv.functional.checks import check_feature_map
from sepgconv.functional.geometry import Geometry, Pair, conv_geometry
from sepgconv.functional.layout import fold_poses, unfold_poses
from sepgconv.groups import C1


def group_max_pool(x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c y x"]:
    """Take the maximum over poses; the result turns with the picture like an image (coset pooling).

    Poses that tie share the gradient, so that the backward pass is equivariant as well.

    Raises:
        ValueError: x is not a feature map.
    """
    check_feature_map(x, None, None, "group_max_pool")
    return x.amax(2)


def group_mean_pool(x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c y x"]:
    """Take the mean over poses; the result turns with the picture like an image.

    Raises:
        ValueError: x is not a feature map.
    """
    check_feature_map(x, None, None, "group_mean_pool")
    return x.mean(2)


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
    return _planar(lambda maps: F.max_pool2d(maps, kernel_size, stride, padding, dilation), x, "max_pool2d", window)


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
