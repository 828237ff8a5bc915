"""How much of a filter bank separable terms hold: singular spectrum, and the energy lost at every rank."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sepgconv.conv.kinds import Sharing
from sepgconv.functional import separable_spectrum
from sepgconv.symmetry import KernelBasis


@dataclass(frozen=True, eq=False, slots=True)
class Separability:
    """How much of a filter bank is left when it is written with few separable terms.

    Attributes:
        sharing: what shares a spatial kernel: "gc" all poses and input channels, "g" all poses.
        singular_values: of every filter, descending: (out, R) for "gc", (out, in, R) for "g".
        lost_per_filter: share of a filter's energy (sum of its squared pixels, averaged over poses) that is lost at the
            ranks 1 .. R; the same shape. 0 for a filter that is zero everywhere.
        lost: share of the bank's energy that is lost at the ranks 1 .. R, (R,); descending, the last is 0.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import separability
        >>> found = separability(torch.ones(2, 3, 4, 3, 3), "gc")
        >>> tuple(found.singular_values.shape), round(found.lost_at(1), 6), found.lost_at(100)
        ((2, 9), 0.0, 0.0)
    """

    sharing: Sharing
    singular_values: Tensor
    lost_per_filter: Tensor
    lost: Tensor

    def lost_at(self, rank: int) -> float:
        """Return the share of the bank's energy that is lost at a rank, 0 beyond the full one.

        Raises:
            ValueError: the rank is not positive.
        """
        if rank < 1:
            raise ValueError(f"lost_at: a rank is 1 or more, got {rank}")
        return float(self.lost[rank - 1]) if rank <= len(self.lost) else 0.0


def separability(weight: Tensor, sharing: Sharing, *, basis: KernelBasis | None = None) -> Separability:
    """Return the singular spectrum of a filter bank and the energy lost at every rank (arXiv:2106.04914, section 3.3).

    The energy lost at rank r is the sum of the squared singular values after the first r, divided by the sum of all:
    the nearest sum of r separable terms is that far away (Eckart & Young 1936).

    Args:
        weight: (out, in, |G|, k, k); with a basis (out, in, |G|, *weight_shape).
        sharing: "gc" or "g".
        basis: how the weights become filters, as `GroupConv2d.spec.basis`; None: they are the pixels.

    Raises:
        ValueError: an unknown sharing, or a weight that does not have these axes or is not finite.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import separability
        >>> found = separability(torch.randn(2, 3, 4, 3, 3, generator=torch.Generator().manual_seed(0)), "g")
        >>> tuple(found.lost.shape), 0 < found.lost_at(1) < 1, float(found.lost[-1])
        ((4,), True, 0.0)
    """
    values = separable_spectrum(weight, sharing, basis=basis)
    # Added up from the smallest, so that a tail of nothing is nothing and not the rounding of a difference.
    left = values.square().flip(-1).cumsum(-1).flip(-1)  # (..., R): energy from this value on
    total, tails = left[..., :1], torch.cat([left[..., 1:], torch.zeros_like(left[..., :1])], -1)
    axes = tuple(range(values.ndim - 1))
    return Separability(
        sharing=sharing,
        singular_values=values,
        lost_per_filter=_share(tails, total),
        lost=_share(tails.sum(axes), total.sum(axes)),
    )


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole, 0.0)
