"""CosetReordering: feature maps as those on a subgroup, where cosets begin elsewhere than in `RestrictGroup`."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class CosetReordering(nn.Module):
    """Another order of channels and poses together. `sepgconv.nn.RestrictGroup` does the same in an order of its own.

    Shapes: (batch, channels, |G|, height, width) -> (batch, channels |G| / |H|, |H|, height, width).

    Args:
        index: for every channel and pose that goes out, the place c |G| + g of what comes in.
        order: |H|.
    """

    index: Tensor

    def __init__(self, index: tuple[int, ...], order: int) -> None:
        super().__init__()
        self.register_buffer("index", torch.tensor(index))
        self.order = order

    def forward(self, x: Float[Tensor, "b c g y x"]) -> Float[Tensor, "b c2 h y x"]:
        """Sort channels and poses."""
        return x.flatten(1, 2).index_select(1, self.index).unflatten(1, (-1, self.order))
