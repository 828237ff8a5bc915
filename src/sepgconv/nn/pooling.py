"""Pools over poses, and pools in the plane for each pose."""

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor, nn

from sepgconv.conv.geometry import Geometry, Pair, as_pair, check_equal_sides
from sepgconv.ops.pools import (
    blur_window,
    check_output_size,
    is_blur,
    pool_antialiased,
    pool_maxima,
    pool_means,
    pool_pose_maxima,
    pool_pose_means,
    pool_to,
    pool_window,
)
from sepgconv.symmetry import FiniteGroup
from sepgconv.symmetry import group as get_group


class GroupMaxPool(nn.Module):
    """Maximum over poses (coset pooling); the result is an image that still rotates with the input, not yet invariant.

    Shapes: (batch, channels, |G|, height, width) -> (batch, channels, height, width).

    Raises:
        ValueError: in `forward`, an input that is no feature map.

    Example:
        >>> import torch
        >>> GroupMaxPool()(torch.rand(2, 8, 4, 12, 12)).shape
        torch.Size([2, 8, 12, 12])
    """

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c y x"]:
        """Pool over poses."""
        return pool_pose_maxima(x, self._get_name())


class GroupMeanPool(nn.Module):
    """Mean over poses; the result is an image that still rotates with the input, not yet invariant.

    Shapes: (batch, channels, |G|, height, width) -> (batch, channels, height, width).

    Raises:
        ValueError: in `forward`, an input that is no feature map.

    Example:
        >>> import torch
        >>> GroupMeanPool()(torch.rand(2, 8, 4, 12, 12)).shape
        torch.Size([2, 8, 12, 12])
    """

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c y x"]:
        """Pool over poses."""
        return pool_pose_means(x, self._get_name())


def _sides(group: FiniteGroup | str | None, least: int, name: str, value: int | Pair) -> Pair:
    """Check a planar size; without a group it must suit every group."""
    pair = as_pair(value, name, least=least)
    if group is None and pair[0] != pair[1]:
        raise ValueError(
            f"{name}={pair} breaks equivariance to groups that exchange the two axes, as p4 does; give both axes the "
            f"same {name}, or name a group that keeps each axis, as in group='pmm'"
        )
    if group is not None:
        check_equal_sides(get_group(group), **{name: pair})
    return pair


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
        ValueError: an argument is out of range, or unequal sides without such a group; in `forward`, no feature map
            of real numbers, a map that is too small, or a window that lies in the padding whole.

    Example:
        >>> import torch
        >>> MaxPool2d(2)(torch.rand(2, 8, 4, 12, 12)).shape
        torch.Size([2, 8, 4, 6, 6])
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
        self.dilation = _sides(group, 1, "dilation", dilation)
        pool_window(self.kernel_size, self.stride, self.padding, self.dilation)

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c g y2 x2"]:
        """Pool in the plane."""
        window = Geometry(self.kernel_size, self.stride, self.padding, self.dilation, "zeros")
        return pool_maxima(x, window, self._get_name())

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}"


class AntialiasedMaxPool2d(nn.Module):
    """Max-pooling of every pose at every pixel, then a blur that takes the steps (R. Zhang, ICML 2019).

    A maximum makes frequencies that a coarser grid cannot hold, and a plain pool keeps them: under rotations that do
    not keep the pixel grid, and under shifts, it loses more than the filters do (docs/layers.md has the figures). The
    blur is the product of binomial coefficients along y and x, with the sum 1 (of stride 2: 1 2 1 and 1 2 1, over 16);
    beyond the edge it sees the nearest maximum once more. Sizes are those of `MaxPool2d`. It is exact on the elements
    that keep the grid by the same rule: on maps of side S where (S + 2 padding - kernel_size) is a multiple of stride.
    Shapes: (batch, channels, |G|, height, width) -> (..., height', width').

    Args:
        kernel_size: side of the window in pixels.
        stride: step in pixels, kernel_size if not given.
        padding: pixels of minus infinity on every side, at most half of kernel_size.
        blur_size: side of the blur in pixels, odd; 2 stride - 1 if not given, and at most 31.
        group: only to allow unequal sides: a group that keeps each axis.

    Raises:
        ValueError: an argument is out of range, or unequal sides without such a group; in `forward`, no feature map
            of floating point numbers, or a map that is too small.

    Example:
        >>> import torch
        >>> AntialiasedMaxPool2d(3, 2, padding=1)(torch.rand(2, 8, 8, 13, 13)).shape
        torch.Size([2, 8, 8, 7, 7])
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        *,
        blur_size: int | None = None,
        group: FiniteGroup | str | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = _sides(group, 1, "kernel_size", kernel_size)
        self.stride = _sides(group, 1, "stride", kernel_size if stride is None else stride)
        self.padding = _sides(group, 0, "padding", padding)
        window = pool_window(self.kernel_size, self.stride, self.padding)
        self.blur = blur_window(window, blur_size, type(self).__name__)
        self._window = replace(window, stride=(1, 1))

    @property
    def blurs(self) -> bool:
        """Whether anything follows the maximum; with stride 1 nothing need."""
        return is_blur(self.blur)

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c g y2 x2"]:
        """Pool in the plane."""
        return pool_antialiased(x, self._window, self.blur, self._get_name())

    def extra_repr(self) -> str:
        """Return the arguments."""
        blur = self.blur.kernel_size if len(set(self.blur.kernel_size)) > 1 else self.blur.kernel_size[0]
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, blur_size={blur}"


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

    Example:
        >>> import torch
        >>> AvgPool2d(2)(torch.rand(2, 8, 4, 12, 12)).shape
        torch.Size([2, 8, 4, 6, 6])
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
        pool_window(self.kernel_size, self.stride, self.padding)

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c g y2 x2"]:
        """Pool in the plane."""
        window = Geometry(self.kernel_size, self.stride, self.padding, (1, 1), "zeros")
        return pool_means(x, window, self._get_name())

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

    Example:
        >>> import torch
        >>> AdaptiveAvgPool2d(3)(torch.rand(2, 8, 4, 12, 12)).shape
        torch.Size([2, 8, 4, 3, 3])
    """

    def __init__(self, output_size: int | Pair, *, group: FiniteGroup | str | None = None) -> None:
        super().__init__()
        self.output_size = _sides(group, 1, "output_size", output_size)
        check_output_size(self.output_size)

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c g y2 x2"]:
        """Pool in the plane."""
        return pool_to(x, self.output_size, self._get_name())

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"output_size={self.output_size}"
