"""How a group element moves an image or a feature map."""

import torch
from torch import Tensor

from sepgconv.conv.checks import INTEGERS, is_integer
from sepgconv.ops.checks import NUMBERS, check_tensor
from sepgconv.symmetry import FiniteGroup, pose_division
from sepgconv.symmetry import group as get_group


def act(group: FiniteGroup | str, g: int, x: Tensor) -> Tensor:
    """Move an image or a feature map by a group element: `(g · f)(v, h) = f(g^-1 v, g^-1 h)`.

    The pixels are permuted exactly, nothing is interpolated; sizes may be odd or even. A rotation by 90 degrees of a
    map that is not square exchanges its height and width.

    Args:
        group: the group or its name.
        g: index of the element, 0 .. |G| - 1; 0 is the identity.
        x: image (batch, channel, height, width) or feature map (batch, channel, pose, height, width).

    Returns:
        The moved image or feature map.

    Raises:
        TypeError: x is no tensor.
        ValueError: there is no element g, x is not dense, or x has another rank or number of poses.

    Example:
        >>> import torch
        >>> x = torch.rand(1, 3, 6, 8)
        >>> torch.equal(act("p4", 1, x), torch.rot90(x, 1, (-2, -1)))
        True
    """
    group = get_group(group)
    if not is_integer(g) or not 0 <= g.__index__() < group.order:
        raise ValueError(f"act: {group.name} has the elements 0..{group.order - 1}, got {g!r}")
    check_tensor(x, "x", "act", (*NUMBERS, *INTEGERS, torch.bool))
    if x.ndim not in (4, 5) or (x.ndim == 5 and x.shape[2] != group.order):
        raise ValueError(
            f"act: expected an image (batch, channel, height, width) or a feature map "
            f"(batch, channel, {group.order}, height, width) for {group.name}, got {tuple(x.shape)}"
        )
    if x.ndim == 5:
        x = x.index_select(2, torch.from_numpy(pose_division(group)[g]).to(x.device))
    # The value that comes to lie on v = (y, x) is f(M^T v): M is a signed permutation, so this is a transposition of
    # the axes where M is anti-diagonal, and then a flip of each axis whose row of M is negative.
    (m00, m01), (m10, m11) = group.matrices[g]
    if m00 == 0:
        x = x.transpose(-2, -1)
    return x.flip([axis for axis, sign in ((-2, m00 + m01), (-1, m10 + m11)) if sign < 0])
