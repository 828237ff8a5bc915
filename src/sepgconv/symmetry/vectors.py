"""How the elements of a group of the plane move vectors, and what turns several times as fast."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sepgconv.symmetry.finite import FiniteGroup
from sepgconv.symmetry.registry import group as get_group


def vector_matrices(group: FiniteGroup | str, frequency: int = 1) -> NDArray[np.float64]:
    """Return the matrices by which the elements of a group move vectors (x, y), x to the right and y up.

    With frequency f they move what turns f times while the image turns once, as an axis does with f = 2: its vector is
    (cos 2t, sin 2t), the same for t and t + 180 degrees. A rotation by t becomes one by f t, and a mirror at the axis
    of angle t one at that of f t; they multiply as the elements do.

    Args:
        group: a group of the plane, or its name.
        frequency: 1 or more.

    Returns:
        (|G|, 2, 2), orthogonal; exact integers where a rotation by a quarter of the circle is one.

    Raises:
        ValueError: no group has that name, it is not one of the plane, or the frequency is no whole number above 0.

    Example:
        >>> vector_matrices("p4")[1].tolist()  # a quarter turn counter-clockwise: to the right becomes up
        [[0.0, -1.0], [1.0, 0.0]]
        >>> vector_matrices("p4", 2)[1].tolist()  # a horizontal axis becomes a vertical one
        [[-1.0, 0.0], [0.0, -1.0]]
    """
    group = get_group(group)
    if group.dimension != 2:
        raise ValueError(f"vector_matrices: expected a group of the plane, got {group.name} of space")
    if isinstance(frequency, bool) or not isinstance(frequency, int) or frequency < 1:
        raise ValueError(f"vector_matrices: frequency must be a whole number, 1 or more, got {frequency!r}")
    found = np.empty((group.order, 2, 2))
    for g, ((m00, m01), (m10, m11)) in enumerate(group.matrices):  # of (y, x), y pointing down
        sign = 1.0 if m00 * m11 - m01 * m10 > 0 else -1.0
        angle = frequency * np.arctan2(-m01, m11)  # to where the element moves the direction to the right
        cos, sin = np.cos(angle), np.sin(angle)
        found[g] = ((cos, -sign * sin), (sin, sign * cos))
    whole = found.round()
    return np.where(np.abs(found - whole) < 1e-12, whole + 0.0, found)


def vector_table(group: FiniteGroup, frequency: int, *, device: torch.device | str | None = None) -> Tensor:
    """Return `vector_matrices` as a float64 tensor, a constant of the library."""
    return torch.tensor(vector_matrices(group, frequency), device=device)
