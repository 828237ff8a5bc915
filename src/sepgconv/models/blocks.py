"""The one choice in which the networks of a family differ: how a group convolution is factored."""

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from sepgconv._messages import one_of
from sepgconv.conv import SHARINGS
from sepgconv.functional import full_rank
from sepgconv.models.renaming import takes_old_options
from sepgconv.nn import DepthwiseSeparableGroupConv2d, GroupConv2d, SeparableGroupConv2d
from sepgconv.ops.dispatch import Execution
from sepgconv.symmetry import group as get_group
from sepgconv.symmetry import kernel_basis
from sepgconv.symmetry.kernels import Kernel

NetworkSharing = Literal["full", "g", "gc", "two-step"]
NETWORK_SHARINGS: tuple[NetworkSharing, ...] = ("full", "g", "gc", "two-step")
Rank = int | tuple[int, ...]


@takes_old_options
def group_convolution(
    sharing: str,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    group: str,
    *,
    stride: int = 1,
    padding: int = 0,
    bias: bool = True,
    rank: int = 1,
    execution: Execution = "auto",
    recompute: bool | None = None,
    kernel: Kernel = "auto",
) -> nn.Module:
    """Build a group convolution.

    Args:
        sharing: "full", a `GroupConv2d`; "g" or "gc", a `SeparableGroupConv2d` of that sharing; "two-step", a
            `DepthwiseSeparableGroupConv2d` (c-Z2CNN).
        in_channels: channels in.
        out_channels: channels out.
        kernel_size: side of the kernel.
        group: name of the group.
        stride: step in pixels.
        padding: pixels on every side.
        bias: whether to add a bias per channel (with "two-step", after each step).
        rank: of a separable convolution, the number of its terms; 0 keeps it full, a `GroupConv2d`.
        execution: of a separable convolution.
        recompute: whether a separable convolution keeps only its input for backward; None: where that costs little.
        kernel: "auto", "pixel" or "steerable", as in the layers.

    Raises:
        ValueError: an unknown sharing.

    Example:
        >>> from sepgconv.models import group_convolution
        >>> group_convolution("gc", 8, 16, 3, "p4", padding=1).sharing
        'gc'
    """
    kind: NetworkSharing = one_of("sharing", sharing, NETWORK_SHARINGS)
    if kind == "full" or (kind != "two-step" and rank == 0):
        return GroupConv2d(in_channels, out_channels, kernel_size, group, stride, padding, bias=bias, kernel=kernel)
    if kind == "two-step":
        return DepthwiseSeparableGroupConv2d(
            in_channels, out_channels, kernel_size, group, stride, padding, bias=bias, kernel=kernel
        )
    return SeparableGroupConv2d(
        in_channels,
        out_channels,
        kernel_size,
        group,
        sharing=kind,
        rank=rank,
        execution=execution,
        recompute=recompute,
        stride=stride,
        padding=padding,
        bias=bias,
        kernel=kernel,
    )


def convolution_ranks(
    rank: Rank,
    sharing: str,
    group: str,
    channels: Sequence[int],
    kernel_sizes: Sequence[int],
    caller: str,
    kernel: Kernel = "auto",
) -> tuple[int, ...]:
    """Return the rank of every convolution of a network, as `group_convolution` takes it.

    Args:
        rank: one for all, at least 1, or one for each in order, where 0 keeps a convolution full.
        sharing: how the network is factored; those that are not separable have rank 1.
        group: name of the group.
        channels: that come into each convolution.
        kernel_sizes: of each convolution.
        caller: named in the error.
        kernel: "auto", "pixel" or "steerable", as in the layers.

    Raises:
        ValueError: no such number or list of numbers, too few or too many of them, or one above the full rank.
    """
    if sharing not in SHARINGS:
        if rank != 1:
            raise ValueError(f"{caller}: rank is of separable convolutions, those here are {sharing}; got {rank!r}")
        return (1,) * len(channels)
    ranks = rank if isinstance(rank, tuple) else (rank,) * len(channels)
    if len(ranks) != len(channels):
        raise ValueError(
            f"{caller}: rank must be one number, or one for each of the {len(channels)} convolutions that can be "
            f"separable, got {len(ranks)}"
        )
    least, found = 0 if isinstance(rank, tuple) else 1, get_group(group)
    for index, (terms, inner, side) in enumerate(zip(ranks, channels, kernel_sizes, strict=True)):
        weights = kernel_basis(found, (side, side), kernel, caller=caller).weight_shape
        most = full_rank(inner, found.order, weights, sharing)
        if not isinstance(terms, int) or isinstance(terms, bool) or not least <= terms <= most:
            lowest = "0 (which keeps it full)" if least == 0 else "1"
            raise ValueError(
                f"{caller}: the rank of convolution {index + 1} of {len(ranks)} must be an integer from {lowest} to "
                f"{most}, its full rank, got {terms!r}"
            )
    return ranks


def name_options(sharing: str, group: str, size: dict[str, object]) -> dict[str, Any]:
    """Return what a name such as "gc_p4cnn" fixes and presets, as `register_model` takes it.

    Args:
        sharing: how its group convolutions are factored; the name fixes it.
        group: preset; "p1", the ordinary network, is fixed.
        size: the widths that it presets.
    """
    fixed: dict[str, object] = {"sharing": sharing}
    if sharing not in SHARINGS:
        # Only separable convolutions have a choice.
        fixed |= {"execution": "auto", "recompute": None, "rank": 1}
    if group == "p1":
        return {"fixed": {**fixed, "group": group}, "preset": size}
    return {"fixed": fixed, "preset": {**size, "group": group}}
