"""Spread: count, mean, median and quartiles of values."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Spread:
    """Count, mean, median and quartiles of values.

    Attributes:
        count: how many there are; values that are not defined (NaN) are left out.
        mean: their mean.
        lower: the lower quartile.
        median: the median.
        upper: the upper quartile.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import spread
        >>> spread(torch.arange(5.0))
        Spread(count=5, mean=2.0, lower=1.0, median=2.0, upper=3.0)
    """

    count: int
    mean: float
    lower: float
    median: float
    upper: float


def spread(values: Tensor) -> Spread | None:
    """Return mean, median and quartiles of values, or None where none is defined.

    Args:
        values: of any shape; NaN are left out. Between two values the quartiles are interpolated.

    Example:
        >>> import torch
        >>> from sepgconv.analysis import spread
        >>> spread(torch.tensor([1.0, 3.0, float("nan")])).median
        2.0
        >>> spread(torch.tensor([float("nan")])) is None
        True
    """
    known = values.detach().double().flatten()
    known = known[~known.isnan()]
    if len(known) == 0:
        return None
    # By sorting: torch.quantile takes at most 16 million values.
    ordered, last = known.sort().values, len(known) - 1
    places = [share * last for share in (0.25, 0.5, 0.75)]
    lower, median, upper = (
        float(torch.lerp(ordered[int(place)], ordered[min(int(place) + 1, last)], place % 1)) for place in places
    )
    return Spread(len(known), float(known.mean()), lower, median, upper)
