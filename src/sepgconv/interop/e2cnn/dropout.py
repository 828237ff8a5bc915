"""FieldDropout: dropout of single positions, all poses alike, as e2cnn and escnn do it."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class FieldDropout(nn.Dropout):
    """Dropout of the whole fibre at single positions: all poses of a channel at a pixel stay or go together.

    `sepgconv.nn.GroupDropout` drops whole channels instead. Shapes: (batch, channels, |G|, height, width), unchanged.

    Args:
        p: probability of a fibre to be zeroed in training; the others are scaled by 1 / (1 - p).
        inplace: whether to change the input.

    Raises:
        ValueError: p is no probability.
    """

    def forward(self, input: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c g y x"]:
        """Drop fibres."""
        if not self.training:
            return input
        kept = F.dropout(input.new_ones(input[:, :, :1].shape), self.p)
        return input.mul_(kept) if self.inplace else input * kept
