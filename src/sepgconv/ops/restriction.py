"""Feature maps on a group as feature maps on a subgroup: poses are sorted by cosets, which become channels."""

import torch
from torch import Tensor

from sepgconv.ops.checks import NUMBERS, check_feature_map
from sepgconv.ops.layout import fold_poses, unfold_poses
from sepgconv.symmetry import FiniteGroup, coset_table
from sepgconv.symmetry.basis import constant


def coset_poses(group: FiniteGroup, subgroup: FiniteGroup, *, device: torch.device | str | None = None) -> Tensor:
    """Return the poses of the group in the order (pose of the subgroup, coset), (|G|,)."""
    return torch.tensor(coset_table(group, subgroup).ravel(), device=device)


def restrict(x: Tensor, group: FiniteGroup, subgroup: FiniteGroup, caller: str) -> Tensor:
    """Run `sepgconv.functional.restrict_group` for a group that has the subgroup; errors name the caller."""
    check_feature_map(x, None, group, caller, NUMBERS)
    poses = fold_poses(x).permute(0, 2, 3, 1).unflatten(3, (group.order, -1))  # (b, y, x, g, c)
    sorted_poses = poses.index_select(3, constant(coset_poses, group, subgroup, like=x))
    return unfold_poses(sorted_poses.flatten(3).permute(0, 3, 1, 2), subgroup.order)
