"""DepthwiseGroupConv2d: one kernel per channel, turned to every pose; TwoStepGroupConv2d: it after a 1x1 one."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sepgconv.functional.checks import check_channels
from sepgconv.functional.convolution import filter_depthwise
from sepgconv.functional.geometry import Pair
from sepgconv.nn._base import GroupConvLayer
from sepgconv.nn.group_conv import GroupConv2d
from sepgconv.symmetry import FiniteGroup


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

    Attributes:
        weight: K, (channels, k, k), drawn with variance 2 / k^2.
        bias: (channels,), zero at first, or None.

    Raises:
        ValueError: as `GroupConv2d`.
    """

    weight: nn.Parameter

    def __init__(
        self,
        channels: int,
        kernel_size: int | Pair,
        group: FiniteGroup | str,
        *,
        stride: int | Pair = 1,
        padding: int | Pair | str = 0,
        dilation: int | Pair = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_channels("DepthwiseGroupConv2d", channels=channels)
        super().__init__(
            channels,
            channels,
            kernel_size,
            group,
            stride=stride,
            padding=padding,
            dilation=dilation,
            padding_mode=padding_mode,
        )
        self._add_parameters({"weight": (channels, *self.kernel_size)}, bias=bias, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw the weight with variance 2 / k^2, so that E[y^2] = 2 E[x^2] before a ReLU; set the bias to zero."""
        super().reset_parameters()
        nn.init.normal_(self.weight, std=math.sqrt(2 / self.weight[0].numel()))

    def forward(self, x: Float[Tensor, "b o g y x"]) -> Float[Tensor, "b o g y2 x2"]:
        """Filter feature maps in the plane."""
        return filter_depthwise(x, self.weight, self.group, self.bias, self.geometry, self._get_name())


class _SecondStep(DepthwiseGroupConv2d):
    """The filtering after a mixing, whose weight already has He's factor of 2 for the one ReLU that follows both."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.normal_(self.weight, std=math.sqrt(1 / self.weight[0].numel()))

    def _get_name(self) -> str:
        return "DepthwiseGroupConv2d"


class TwoStepGroupConv2d(nn.Sequential):
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
        bias: whether each step adds a bias per channel.
        padding_mode: of the second step.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ValueError: as `GroupConv2d`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        group: FiniteGroup | str,
        *,
        stride: int | Pair = 1,
        padding: int | Pair | str = 0,
        dilation: int | Pair = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        mixing = GroupConv2d(in_channels, out_channels, 1, group, bias=bias, device=device, dtype=dtype)
        filtering = _SecondStep(
            out_channels,
            kernel_size,
            group,
            stride=stride,
            padding=padding,
            dilation=dilation,
            bias=bias,
            padding_mode=padding_mode,
            device=device,
            dtype=dtype,
        )
        super().__init__(mixing, filtering)
