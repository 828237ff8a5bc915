"""RestrictGroup: a network goes on with a subgroup."""

from jaxtyping import Float
from torch import Tensor, nn

from sepgconv.ops.restriction import restrict
from sepgconv.symmetry import FiniteGroup, subgroup_elements
from sepgconv.symmetry import group as get_group


class RestrictGroup(nn.Module):
    """From feature maps on a group to feature maps on a subgroup H, exactly: the cosets of H become channels.

    The layers before it commute with the whole group, those after it with H alone: "D16 first, C16 later" (M. Weiler &
    G. Cesa, NeurIPS 2019). Nothing is lost and nothing is computed. With the first elements r_0, r_1, ... of the cosets
    H r (`sepgconv.symmetry.coset_table`), `X'[i C + c, h] = X[c, h r_i]`: all C channels of the first coset, then of
    the next. Elements of H are found in the group by their matrices. Shapes: (batch, channels, |G|, height, width) ->
    (batch, channels |G| / |H|, |H|, height, width).

    Args:
        group: the `FiniteGroup` that comes in, or its name.
        subgroup: the one that goes out, or its name.

    Raises:
        ValueError: the subgroup has elements that the group has not; in `forward`, no feature map on the group.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import sepgconv.nn as snn
        >>> net = nn.Sequential(
        ...     snn.LiftingConv2d(1, 4, 5, "D8"), snn.RestrictGroup("D8", "C8"), snn.SeparableGroupConv2d(8, 8, 5, "C8")
        ... )
        >>> net(torch.rand(2, 1, 16, 16)).shape
        torch.Size([2, 8, 8, 8, 8])
    """

    def __init__(self, group: FiniteGroup | str, subgroup: FiniteGroup | str) -> None:
        super().__init__()
        self.group, self.subgroup = get_group(group), get_group(subgroup)
        subgroup_elements(self.group, self.subgroup)  # for the error that it raises

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c2 h y x"]:
        """Sort poses by cosets."""
        return restrict(x, self.group, self.subgroup, self._get_name())

    def extra_repr(self) -> str:
        """Return the names of the groups."""
        return f"{self.group.name!r}, {self.subgroup.name!r}"
