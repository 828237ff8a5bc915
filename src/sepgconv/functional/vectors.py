"""From feature maps on a group to vectors that turn with the image."""

from jaxtyping import Float
from torch import Tensor

from sepgconv.ops.vectors import pool_vectors, vector_filters
from sepgconv.symmetry import FiniteGroup
from sepgconv.symmetry import group as get_group


def group_to_vector(
    x: Float[Tensor, "b c g y x"], weight: Float[Tensor, "k c 2"], group: FiniteGroup | str, frequency: int = 1
) -> Float[Tensor, "b k 2"]:
    """Take vectors that turn with the image out of feature maps: `V[k] = sum_c,g R(g) w[k,c] mean_v X[c,g](v)`.

    R(g) is the matrix by which the element g moves vectors (`sepgconv.symmetry.vector_matrices`); so V of the image
    moved by h is R(h) V. It is the most general linear map with that property on the mean over positions.

    Args:
        x: feature maps (batch, channel, |G|, height, width).
        weight: w, (vectors, channel, 2).
        group: a group of the plane, or its name.
        frequency: 1 for vectors; 2 for axes, which turn twice while the image turns once; and so on.

    Returns:
        (batch, vectors, 2), each (x, y), x to the right and y up.

    Raises:
        TypeError: x is no tensor.
        ValueError: x is no feature map on the group, a group of space, or a frequency below 1.

    Example:
        >>> import torch
        >>> from sepgconv.functional import act
        >>> x, weight = torch.rand(2, 3, 4, 8, 8), torch.rand(1, 3, 2)
        >>> vector, moved = (group_to_vector(maps, weight, "p4") for maps in (x, act("p4", 1, x)))
        >>> torch.allclose(moved[..., 0], -vector[..., 1], atol=1e-6)  # a quarter turn
        True
    """
    group = get_group(group)
    return pool_vectors(x, vector_filters(weight, group, frequency), weight.shape[1], group, "group_to_vector")
