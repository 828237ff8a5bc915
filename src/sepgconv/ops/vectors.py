"""Vectors that turn with the image, from the poses of feature maps."""

import torch
from torch import Tensor
from torch.nn import functional as F

from sepgconv.ops.checks import FLOATS, check_feature_map
from sepgconv.ops.layout import fold_poses
from sepgconv.symmetry import FiniteGroup
from sepgconv.symmetry.basis import constant
from sepgconv.symmetry.vectors import vector_table


def vector_filters(weight: Tensor, group: FiniteGroup, frequency: int) -> Tensor:
    """Return the linear map from means of folded maps to vectors, (vectors * 2, |G| * channels), poses first.

    Args:
        weight: (vectors, channels, 2).
        group: of the plane.
        frequency: how often the vectors turn while the image turns once.
    """
    matrices = constant(vector_table, group, frequency, like=weight).to(weight.dtype)
    return torch.einsum("gij,kcj->kigc", matrices, weight).flatten(2).flatten(0, 1)


def pool_vectors(x: Tensor, filters: Tensor, channels: int, group: FiniteGroup, caller: str) -> Tensor:
    """Run `sepgconv.functional.group_to_vector` with the filters at hand; errors name the caller."""
    check_feature_map(x, channels, group, caller, FLOATS)
    return F.linear(fold_poses(x).mean((-2, -1)), filters).unflatten(1, (-1, 2))
