"""GroupToVector: a head whose answer turns with the image."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sepgconv.conv.checks import is_integer
from sepgconv.nn._base import check_dtype, empty_parameter
from sepgconv.ops.checks import FLOATS
from sepgconv.ops.vectors import pool_vectors, vector_filters
from sepgconv.symmetry import FiniteGroup
from sepgconv.symmetry import group as get_group
from sepgconv.symmetry.vectors import vector_matrices


class GroupToVector(nn.Module):
    """Vectors that turn with the image: `V[k] = sum_c,g R(g) w[k,c] mean_v X[c,g](v)`.

    R(g) is the matrix by which the element g moves vectors (x, y), x to the right and y up: a true vector, which a
    mirror reflects. The answer for the image moved by h is R(h) V, exactly on the grid and, as far as the filters
    before it are exact, for every element. There is no bias, since a constant vector would not turn. Shapes: (batch,
    channels, |G|, height, width) -> (batch, vectors, 2); `nn.Flatten()` behind it gives (batch, 2 vectors).

    Args:
        in_channels: channels of the feature maps.
        vectors: how many come out.
        group: a `FiniteGroup` of the plane, or its name. Under a group without rotations by less than 180 degrees the
            vectors turn by those that it has.
        frequency: 1 for vectors; 2 for axes, as of a fibre, which look alike from both ends: the answer is (cos 2t,
            sin 2t) times a length, and turns twice while the image turns once. Default: 1.
        device: of the parameter.
        dtype: of the parameter.

    Attributes:
        weight: w, (vectors, in_channels, 2), drawn with variance 1 / (in_channels |G|).

    Raises:
        ValueError: an argument is out of range; in `forward`, no feature map on the group.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from sepgconv.nn import GroupToVector, LiftingConv2d
        >>> network = nn.Sequential(LiftingConv2d(1, 8, 5, "p4"), nn.ReLU(), GroupToVector(8, 1, "p4"))
        >>> image = torch.rand(1, 1, 9, 9)
        >>> (x, y), (x2, y2) = (network(one)[0, 0] for one in (image, torch.rot90(image, 1, (-2, -1))))
        >>> torch.allclose(x2, -y, atol=1e-6), torch.allclose(y2, x, atol=1e-6)
        (True, True)
    """

    weight: nn.Parameter

    def __init__(
        self,
        in_channels: int,
        vectors: int,
        group: FiniteGroup | str,
        *,
        frequency: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("vectors", vectors)):
            if not is_integer(value) or value.__index__() < 1:
                raise ValueError(f"GroupToVector: {name} must be an integer of at least 1, got {value!r}")
        self.in_channels, self.vectors, self.group, self.frequency = in_channels, vectors, get_group(group), frequency
        vector_matrices(self.group, frequency)  # for the errors that it raises
        check_dtype(dtype, "GroupToVector", FLOATS)
        self.weight = empty_parameter(self, "weight", (vectors, in_channels, 2), device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight anew."""
        nn.init.normal_(self.weight, std=(self.in_channels * self.group.order) ** -0.5)

    def output_matrices(self, group: FiniteGroup) -> Tensor:
        """Return the matrices (|G|, 2, 2) by which the elements of a group move the last axis of the output.

        `sepgconv.analysis.certify` asks for them.

        Args:
            group: any group of the plane; the vectors turn with the image whatever it is.
        """
        return torch.from_numpy(vector_matrices(group, self.frequency))

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b k 2"]:
        """Give the vectors."""
        filters = vector_filters(self.weight, self.group, self.frequency)
        return pool_vectors(x, filters, self.in_channels, self.group, self._get_name())

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"{self.in_channels}, vectors={self.vectors}, group={self.group.name!r}, frequency={self.frequency}"
