"""GroupConv2d: the full group convolution."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sepgconv.conv import FULL
from sepgconv.conv.geometry import Sides
from sepgconv.nn import GroupConvLayer
from sepgconv.symmetry import FiniteGroup, KernelBasis
from sepgconv.symmetry.kernels import Kernel
from sepgconv.symmetry.steerable import FilterFamily


class GroupConv2d(GroupConvLayer):
    """Group convolution: `X'[n,h] = sum_c sum_g (T_h F[n,c,h^-1 g]) * X[c,g] + b[n]` (Cohen & Welling 2016).

    Shapes: (batch, in_channels, |G|, height, width) -> (batch, out_channels, |G|, height', width').

    Args:
        in_channels: channels of the feature map that comes in.
        out_channels: channels of the feature map that goes out.
        kernel_size: side of the kernel in pixels, odd or even; a pair (y, x) where the group keeps each axis.
        group: a `FiniteGroup` or its name.
        stride: step in pixels. On a map of side S equivariance is exact only where
            (S + 2 padding - dilation (kernel_size - 1) - 1) is a multiple of it.
        padding: pixels on every side, "same" (stride 1, odd kernel) or "valid".
        dilation: distance of kernel pixels.
        groups: channel groups that do not mix, as in `torch.nn.Conv2d`: each output channel reads the input channels of
            its group only.
        bias: whether to add a bias per channel, shared over poses.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        device: of the parameters.
        dtype: of the parameters.
        kernel: "pixel", a weight for each pixel, for groups that keep the pixel grid; "steerable", a weight for each
            filter of one angular frequency, which turns by any angle; "auto", the first where it is possible.
        basis: of steerable kernels, "optimal" (the default) or "rings"; or a basis (`sepgconv.symmetry.KernelBasis`) of
            the same group and kernel size, as `SteerableBasis` with another tolerance.

    Attributes:
        weight: F, (out_channels, in_channels / groups, |G|, k, k), or (..., filters) of a steerable kernel, drawn with
            variance 2 / (in_channels |G| E), where E is k^2, or `spec.kernel_energy` of a steerable one.
        bias: (out_channels,), zero at first, or None.

    Raises:
        ValueError: an unknown group, or arguments that are out of range or break equivariance; in `forward`, an input
            of another rank, number of channels or poses, or too small.

    Example:
        >>> import torch
        >>> layer = GroupConv2d(8, 16, 3, "p4", padding=1)
        >>> layer(torch.rand(2, 8, 4, 28, 28)).shape
        torch.Size([2, 16, 4, 28, 28])
    """

    weight: nn.Parameter

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sides,
        group: FiniteGroup | str,
        stride: int | Sides = 1,
        padding: int | Sides | str = 0,
        dilation: int | Sides = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        kernel: Kernel = "auto",
        basis: KernelBasis | FilterFamily | None = None,
    ) -> None:
        super().__init__(
            FULL,
            in_channels,
            out_channels,
            kernel_size,
            group,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
            kernel=kernel,
            basis=basis,
        )

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b o g y2 x2"]:
        """Convolve feature maps on the group."""
        return super().forward(x)
