"""The one choice in which the networks of a family differ: how a group convolution is factored."""

from typing import Literal

from torch import nn

from sepgconv._messages import one_of
from sepgconv.functional.execution import Execution
from sepgconv.nn import GroupConv2d, SeparableGroupConv2d, TwoStepGroupConv2d

Convolution = Literal["full", "g", "gc", "two-step"]
CONVOLUTIONS: tuple[Convolution, ...] = ("full", "g", "gc", "two-step")


def group_convolution(
    convolution: str,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    group: str,
    *,
    stride: int = 1,
    padding: int = 0,
    bias: bool = True,
    execution: Execution = "auto",
    recompute: bool | None = None,
) -> nn.Module:
    """Build a group convolution.

    Args:
        convolution: "full", a `GroupConv2d`; "g" or "gc", a `SeparableGroupConv2d` of that sharing; "two-step", a
            `TwoStepGroupConv2d` (c-Z2CNN).
        in_channels: channels in.
        out_channels: channels out.
        kernel_size: side of the kernel.
        group: name of the group.
        stride: step in pixels.
        padding: pixels on every side.
        bias: whether to add a bias per channel (with "two-step", after each step).
        execution: of a separable convolution.
        recompute: whether a separable convolution keeps only its input for backward; None: where that costs little.

    Raises:
        ValueError: an unknown convolution.
    """
    kind: Convolution = one_of("convolution", convolution, CONVOLUTIONS)
    if kind == "full":
        return GroupConv2d(in_channels, out_channels, kernel_size, group, stride=stride, padding=padding, bias=bias)
    if kind == "two-step":
        return TwoStepGroupConv2d(
            in_channels, out_channels, kernel_size, group, stride=stride, padding=padding, bias=bias
        )
    return SeparableGroupConv2d(
        in_channels,
        out_channels,
        kernel_size,
        group,
        sharing=kind,
        execution=execution,
        recompute=recompute,
        stride=stride,
        padding=padding,
        bias=bias,
    )
