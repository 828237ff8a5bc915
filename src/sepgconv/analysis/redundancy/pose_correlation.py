"""Correlation of the kernels of a filter between poses; kernels may be negatives of each other."""

from dataclasses import dataclass

import torch
from torch import Tensor

STRONG = 0.8  # a correlation from which on kernels count as strongly alike; of 9 random pixels, 1 in 200 reaches it


@dataclass(frozen=True, eq=False, slots=True)
class PoseCorrelation:
    """Correlation between the kernels of a filter at two poses, over the filters of a layer.

    Attributes:
        per_filter: Pearson's correlation over the k^2 pixels, (out, in, |G|, |G|); NaN with a constant kernel.
        mean: its mean over filters, (|G|, |G|); NaN where there is no value.
        mean_absolute: the mean of its absolute value, which kernels that are negatives of each other raise, too.
        positive: share of pairs of different poses whose correlation is at least `STRONG`; over all filters.
        negative: share of those whose correlation is at most -`STRONG`: one kernel is nearly the negative of the other.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import pose_correlation
        >>> found = pose_correlation(torch.randn(2, 3, 4, 3, 3))
        >>> tuple(found.per_filter.shape), tuple(found.mean.shape)
        ((2, 3, 4, 4), (4, 4))
    """

    per_filter: Tensor
    mean: Tensor
    mean_absolute: Tensor
    positive: float
    negative: float


def pose_correlation(weight: Tensor) -> PoseCorrelation:
    """Return how the kernels of every filter correlate from pose to pose (arXiv:2106.04914, section 3.2).

    Kernels that are multiples of one kernel have the correlations 1 and -1: an edge detector makes the filters that
    read it inversely correlated, and both can share one spatial kernel.

    Args:
        weight: (out, in, |G|, k, k).

    Raises:
        ValueError: the weight is not of rank 5.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import pose_correlation
        >>> edge = torch.tensor([[1.0, 0.0, -1.0]]).expand(3, 3)
        >>> found = pose_correlation(torch.stack([edge, -edge])[None, None])
        >>> found.mean.round().tolist(), found.negative
        ([[1.0, -1.0], [-1.0, 1.0]], 1.0)
    """
    if weight.ndim != 5:
        raise ValueError(f"pose_correlation: expected a filter bank (out, in, |G|, k, k), got {tuple(weight.shape)}")
    kernels = weight.detach().double().flatten(3)
    centred = kernels - kernels.mean(-1, keepdim=True)
    energy = centred.square().sum(-1, keepdim=True)
    # What is left of a constant kernel is rounding, and its correlations would mean nothing.
    smallest = torch.finfo(torch.float32).eps * kernels.square().sum(-1, keepdim=True)
    unit = torch.where(energy > smallest, centred / energy.sqrt(), torch.nan)
    found = (unit @ unit.mT).clamp(-1, 1)
    poses = weight.shape[2]
    pairs = found[..., torch.triu(torch.ones(poses, poses, dtype=torch.bool, device=weight.device), diagonal=1)]
    known = pairs[~pairs.isnan()]
    positive, negative = (
        float(strong.double().mean()) if len(known) else 0.0 for strong in (known >= STRONG, known <= -STRONG)
    )
    return PoseCorrelation(found, found.nanmean((0, 1)), found.abs().nanmean((0, 1)), positive, negative)
