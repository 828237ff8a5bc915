"""DepthwiseGroupConv2d: one kernel per channel, rotated to every pose; and it after a 1x1 group convolution."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sepgconv.conv import DEPTHWISE, SECOND_STEP
from sepgconv.conv.checks import check_channels
from sepgconv.conv.geometry import Sides
from sepgconv.nn import GroupConvLayer
from sepgconv.nn.group_conv import GroupConv2d
from sepgconv.symmetry import FiniteGroup, KernelBasis
from sepgconv.symmetry.kernels import Kernel
from sepgconv.symmetry.steerable import FilterFamily


class DepthwiseGroupConv2d(GroupConvLayer):
    """Planar filtering of every map with its channel's kernel: `X'[n,h] = (T_h K[n]) * X[n,h] + b[n]`.

    Channels and poses do not mix. Shapes: (batch, channels, |G|, height, width) -> (batch, channels, |G|, height',
    width').

    Args:
        channels: channels of the feature map.
        kernel_size: side of the kernel in pixels, odd or even; a pair (y, x) where the group keeps each axis.
        group: a `FiniteGroup` or its name.
        stride: step in pixels; exact as said for `GroupConv2d`.
        padding: pixels on every side, "same" (stride 1, odd kernel) or "valid".
        dilation: distance of kernel pixels.
        bias: whether to add a bias per channel, shared over poses.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        device: of the parameters.
        dtype: of the parameters.
        kernel: "pixel", a weight for each pixel, for groups that keep the pixel grid; "steerable", a weight for each
            filter of one angular frequency, which turns by any angle; "auto", the first where it is possible.
        basis: of steerable kernels, "optimal" (the default) or "rings"; or a basis (`sepgconv.symmetry.KernelBasis`) of
            the same group and kernel size, as `SteerableBasis` with another tolerance.
        gain: of the variance with which the weight is drawn, gain / k^2: 2 before a ReLU, 1 after a mixing whose
            weights have the 2 already.

    Attributes:
        weight: K, (channels, k, k), or (channels, filters) of a steerable kernel, drawn with variance gain / E, where E
            is k^2, or `spec.kernel_energy` of a steerable one.
        bias: (channels,), zero at first, or None.

    Raises:
        ValueError: as `GroupConv2d`.

    Example:
        >>> import torch
        >>> layer = DepthwiseGroupConv2d(8, 3, "p4", padding=1)
        >>> layer(torch.rand(2, 8, 4, 28, 28)).shape
        torch.Size([2, 8, 4, 28, 28])
    """

    weight: nn.Parameter

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sides,
        group: FiniteGroup | str,
        stride: int | Sides = 1,
        padding: int | Sides | str = 0,
        dilation: int | Sides = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        gain: int = 2,
        kernel: Kernel = "auto",
        basis: KernelBasis | FilterFamily | None = None,
    ) -> None:
        check_channels(type(self).__name__, channels=channels)
        super().__init__(
            DEPTHWISE if gain == 2 else SECOND_STEP,
            channels,
            channels,
            kernel_size,
            group,
            stride,
            padding,
            dilation,
            1,
            bias,
            padding_mode,
            device,
            dtype,
            kernel=kernel,
            basis=basis,
        )

    def forward(self, x: Float[Tensor, "b o g y x"]) -> Float[Tensor, "b o g y2 x2"]:
        """Filter feature maps in the plane."""
        return super().forward(x)


class DepthwiseSeparableGroupConv2d(nn.Sequential):
    """The ordinary depthwise-separable convolution on a group: a 1x1 `GroupConv2d`, then a `DepthwiseGroupConv2d`.

    Each step has its own bias, unlike in `SeparableGroupConv2d`; on p1 it is the layer of c-Z2CNN (theory.md,
    Rotated MNIST). Shapes: (batch, in_channels, |G|, height, width) -> (batch, out_channels, |G|, height', width').

    Args:
        in_channels: channels of the feature map that comes in.
        out_channels: channels of the feature map that goes out.
        kernel_size: side of the planar kernel.
        group: a `FiniteGroup` or its name.
        stride: step of the second step.
        padding: of the second step.
        dilation: of the second step.
        groups: channel groups of the first step, which do not mix.
        bias: whether each step adds a bias per channel.
        padding_mode: of the second step.
        device: of the parameters.
        dtype: of the parameters.
        kernel: "pixel", a weight for each pixel, for groups that keep the pixel grid; "steerable", a weight for each
            filter of one angular frequency, which turns by any angle; "auto", the first where it is possible.
        basis: of steerable kernels, "optimal" (the default) or "rings"; or a basis (`sepgconv.symmetry.KernelBasis`) of
            the same group and kernel size, as `SteerableBasis` with another tolerance.

    Raises:
        ValueError: as `GroupConv2d`.

    Example:
        >>> import torch
        >>> layer = DepthwiseSeparableGroupConv2d(8, 16, 3, "p4", padding=1)
        >>> layer(torch.rand(2, 8, 4, 28, 28)).shape
        torch.Size([2, 16, 4, 28, 28])
    """

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
        # A kernel of one pixel is the same in every basis.
        mixing = GroupConv2d(in_channels, out_channels, 1, group, groups=groups, bias=bias, device=device, dtype=dtype)
        planar = (stride, padding, dilation, bias, padding_mode, device, dtype)
        filtering = DepthwiseGroupConv2d(out_channels, kernel_size, group, *planar, gain=1, kernel=kernel, basis=basis)
        super().__init__(mixing, filtering)
