"""What stands at the end of a residual branch: a scale for each channel, and branches that are left out at random."""

import torch
from torch import Tensor
from torch.nn import functional as F

from sepgconv.conv.checks import INTEGERS
from sepgconv.ops.checks import FLOATS, NUMBERS, check_feature_map, check_operands, check_per_channel
from sepgconv.ops.layout import fold_poses, fold_poses_into_width, unfold_poses, unfold_poses_from_width


def scale_channels(x: Tensor, weight: Tensor, channels: int, *, caller: str) -> Tensor:
    """Multiply feature maps by one number for each channel, the same for all poses; errors name the caller."""
    check_feature_map(x, channels, None, caller)
    check_operands(x, caller, {"weight": weight}, mixes=True)
    check_per_channel(caller, channels, weight=weight)
    return unfold_poses_from_width(fold_poses_into_width(x) * weight.to(x.dtype)[:, None, None], x.shape[2])


def drop_images(x: Tensor, p: float, training: bool, *, caller: str) -> Tensor:
    """Set images of a batch to zero in training, with all channels, poses and pixels; errors name the caller.

    Args:
        x: feature maps.
        p: probability of an image to be zeroed; the others are scaled by 1 / (1 - p).
        training: whether to drop at all.
        caller: named in errors.
    """
    check_feature_map(x, None, None, caller, FLOATS if training else (*NUMBERS, *INTEGERS, torch.bool))
    maps = fold_poses(x)
    if training and p > 0:
        maps = maps * F.dropout(maps.new_ones(maps.shape[0], 1, 1, 1), p, True)
    return unfold_poses(maps, x.shape[2])
