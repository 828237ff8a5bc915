"""From feature maps on a group to feature maps on a subgroup."""

from jaxtyping import Float
from torch import Tensor

from sepgconv.ops.restriction import restrict
from sepgconv.symmetry import FiniteGroup, subgroup_elements
from sepgconv.symmetry import group as get_group


def restrict_group(
    x: Float[Tensor, "b c g y x"], group: FiniteGroup | str, subgroup: FiniteGroup | str
) -> Float[Tensor, "b c2 h y x"]:
    """Take feature maps on a group as feature maps on a subgroup H, exactly: the cosets of H become channels.

    `X'[i C + c, h] = X[c, h r_i]`, where the representatives r_0, r_1, ... are the first elements of the cosets H r
    (`sepgconv.symmetry.coset_table`).

    Args:
        x: feature maps (batch, channel, |G|, height, width).
        group: the group G that they are on, or its name.
        subgroup: the group H, whose elements all are in G, or its name.

    Returns:
        Feature maps (batch, channel |G| / |H|, |H|, height, width): all channels of the first coset, then of the next.

    Raises:
        TypeError: x is no tensor.
        ValueError: H has elements that G has not, or x is no feature map on G.

    Example:
        >>> import torch
        >>> x = torch.rand(2, 3, 8, 5, 5)
        >>> y = restrict_group(x, "C8", "C4")
        >>> y.shape
        torch.Size([2, 6, 4, 5, 5])
        >>> torch.equal(y[:, :3], x[:, :, [0, 2, 4, 6]]), torch.equal(y[:, 3:], x[:, :, [1, 3, 5, 7]])
        (True, True)
    """
    group, subgroup = get_group(group), get_group(subgroup)
    subgroup_elements(group, subgroup)  # for the error that it raises
    return restrict(x, group, subgroup, "restrict_group")
