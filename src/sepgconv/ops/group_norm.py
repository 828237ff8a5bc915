"""Group norm of feature maps: every image over poses, pixels and a group of channels, by torch's kernel."""

import math

import torch
from torch import Tensor

from sepgconv.conv.checks import check_channels, check_eps
from sepgconv.ops.checks import check_feature_map, check_operands, check_per_channel
from sepgconv.ops.layout import fold_poses_into_width, unfold_poses_from_width


def check_channel_groups(num_groups: int, num_channels: int, caller: str) -> None:
    """Raise if channels cannot be normalised in so many groups.

    Raises:
        ValueError: no positive integer, or one that does not divide the number of channels.
    """
    check_channels(caller, num_groups=num_groups)
    if num_channels % num_groups:
        raise ValueError(f"{caller}: num_groups must divide the {num_channels} channels, got {num_groups}")


def normalize_channel_groups(
    x: Tensor,
    num_groups: int | None,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    channels: int | None,
    *,
    caller: str,
) -> Tensor:
    """Run `sepgconv.functional.group_group_norm` on maps of so many channels, None for any; errors name the caller.

    Without `num_groups` each channel is one.
    """
    check_feature_map(x, channels, None, caller)
    check_eps(eps, caller)
    check_operands(x, caller, {"weight": weight, "bias": bias}, mixes=True)
    width = x.shape[1]
    check_per_channel(caller, width, weight=weight, bias=bias)
    groups = width if num_groups is None else num_groups
    check_channel_groups(groups, width, caller)
    if width // groups * math.prod(x.shape[2:]) == 1:
        raise ValueError(
            f"{caller}: expected more than 1 value per group of channels, got {tuple(x.shape)}; use larger maps or "
            f"fewer groups"
        )
    maps = torch.group_norm(fold_poses_into_width(x), groups, weight, bias, eps)
    return unfold_poses_from_width(maps.contiguous(memory_format=torch.channels_last), x.shape[2])
