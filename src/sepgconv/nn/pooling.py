"""Pools over poses, and pools in the plane for each pose."""

from jaxtyping import Float
from torch import Tensor, nn

from sepgconv import functional
from sepgconv.functional.geometry import Pair, as_pair, check_equal_sides
from sepgconv.groups import FiniteGroup
from sepgconv.groups import group as find_group


class GroupMaxPool(nn.Module):
    """Maximum over poses (coset pooling); the result turns with the picture like an image, and is not yet invariant.

    Shapes: (batch, channels, |G|, height, width) -> (batch, channels, height, width).

    Raises:
        ValueError: in `forward`, an input that is no feature map.
    """

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c y x"]:
        """Pool over poses."""
        return functional.group_max_pool(x)


class GroupMeanPool(nn.Module):
    """Mean over poses; the result turns with the picture like an image, and is not yet invariant.

    Shapes: (batch, channels, |G|, height, width) -> (batch, channels, height, width).

    Raises:
        ValueError: in `forward`, an input that is no feature map.
    """

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c y x"]:
        """Pool over poses."""
        return functional.group_mean_pool(x)


def _sides(group: FiniteGroup | str | None, least: int, name: str, value: int | Pair) -> Pair:
    """Check a planar size; without a group it must suit every group."""
    pair = as_pair(value, name, least=least)
    if group is None and pair[0] != pair[1]:
        raise ValueError(
            f"{name}={pair} breaks equivariance to groups that exchange the two axes, as p4 does; give both axes the "
            f"same {name}, or name a group that keeps each axis, as in group='pmm'"
        )
    if group is not None:
        check_equal_sides(find_group(group), **{name: pair})
    return pair


def _check_padding(padding: Pair, kernel_size: Pair) -> None:
    if any(2 * p > k for p, k in zip(padding, kernel_size, strict=True)):
        raise ValueError(f"padding must be at most half of kernel_size={kernel_size}, got {padding}")


class MaxPool2d(nn.Module):
    """Max-pooling of every pose in the plane.

    Exact under the group on maps of side S where (S + 2 padding - dilation (kernel_size - 1) - 1) is a multiple of
    stride, as for 2 x 2 pools on even maps. Shapes: (batch, channels, |G|, height, width) -> (..., height', width').

    Args:
        kernel_size: side of the window in pixels.
        stride: step in pixels, kernel_size if not given.
        padding: pixels of minus infinity on every side, at most half of kernel_size.
        dilation: distance of window pixels.
        group: only to allow unequal sides: a group that keeps each axis.

    Raises:
        ValueError: an argument is out of range, or unequal sides without such a group; in `forward`, no feature map.
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        *,
        group: FiniteGroup | str | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = _sides(group, 1, "kernel_size", kernel_size)
        self.stride = _sides(group, 1, "stride", kernel_size if stride is None else stride)
        self.padding = _sides(group, 0, "padding", padding)
        _check_padding(self.padding, self.kernel_size)
        self.dilation = _sides(group, 1, "dilation", dilation)

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c g y2 x2"]:
        """Pool in the plane."""
        return functional.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}"


class AvgPool2d(nn.Module):
    """Average pooling of every pose in the plane; padded zeros count.

    Exact under the group on maps of side S where (S + 2 padding - kernel_size) is a multiple of stride. Shapes: (batch,
    channels, |G|, height, width) -> (..., height', width').

    Args:
        kernel_size: side of the window in pixels.
        stride: step in pixels, kernel_size if not given.
        padding: pixels of zeros on every side, at most half of kernel_size.
        group: only to allow unequal sides: a group that keeps each axis.

    Raises:
        ValueError: an argument is out of range, or unequal sides without such a group; in `forward`, no feature map.
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        *,
        group: FiniteGroup | str | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = _sides(group, 1, "kernel_size", kernel_size)
        self.stride = _sides(group, 1, "stride", kernel_size if stride is None else stride)
        self.padding = _sides(group, 0, "padding", padding)
        _check_padding(self.padding, self.kernel_size)

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c g y2 x2"]:
        """Pool in the plane."""
        return functional.avg_pool2d(x, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(nn.Module):
    """Average pooling of every pose down to a given size; exact under the group for every input size.

    Shapes: (batch, channels, |G|, height, width) -> (batch, channels, |G|, *output_size).

    Args:
        output_size: side of the result in pixels.
        group: only to allow unequal sides: a group that keeps each axis.

    Raises:
        ValueError: an argument is out of range, or unequal sides without such a group; in `forward`, no feature map.
    """

    def __init__(self, output_size: int | Pair, *, group: FiniteGroup | str | None = None) -> None:
        super().__init__()
        self.output_size = _sides(group, 1, "output_size", output_size)

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c g y2 x2"]:
        """Pool in the plane."""
        return functional.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"output_size={self.output_size}"
