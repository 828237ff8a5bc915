"""Kernels that are the same at v and -v, with one weight for both: a basis with about half of the weights."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sepgconv.symmetry import FiniteGroup, KernelBasis, PixelBasis


@dataclass(frozen=True)
class EvenPixels:
    """The even kernels of odd sides, K(-v) = K(v). A rotation or mirror T commutes with v -> -v, so T K is even too."""

    group: FiniteGroup
    size: tuple[int, ...]

    def __post_init__(self) -> None:
        if any(side % 2 == 0 for side in self.size):
            raise ValueError(f"EvenPixels: the sides of the kernel must be odd, got {self.size}")

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """The first half of the pixels, with the middle."""
        return (math.prod(self.size) // 2 + 1,)

    def expand(self, weight: Tensor, *, over_poses: bool = False) -> Tensor:
        """Write out the second half of the pixels, which is the first one backwards; then move them."""
        pixels = torch.cat((weight, weight[..., :-1].flip(-1)), -1).unflatten(-1, self.size)
        return PixelBasis(self.group, self.size).expand(pixels, over_poses=over_poses)


_: type[KernelBasis] = EvenPixels
