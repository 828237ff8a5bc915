"""Whether two networks answer alike: the largest difference, and what is still rounding."""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

# Largest difference of two answers, as a part of the largest answer, that rounding explains. A network adds up some
# hundreds of products per layer, over tens of layers, in another order.
ROUNDING = {torch.float64: 1e-10, torch.float32: 1e-4}
COARSE_ROUNDING = 0.05  # half precision


def largest_difference(found: Any, expected: Any) -> float:
    """Return the largest difference of two answers, as a part of the largest number expected.

    Args:
        found: a tensor, or tensors in tuples, lists and dictionaries.
        expected: the same.

    Returns:
        0 for the same answers; infinity where the two do not have the same form or shape, or one is not a number.
    """
    (ours, form), (theirs, expected_form) = pytree.tree_flatten(found), pytree.tree_flatten(expected)
    if form != expected_form:
        return float("inf")
    worst = 0.0
    for ours_part, theirs_part in zip(ours, theirs, strict=True):
        if not isinstance(theirs_part, Tensor):
            worst = max(worst, 0.0 if ours_part == theirs_part else float("inf"))
            continue
        if not isinstance(ours_part, Tensor) or ours_part.shape != theirs_part.shape:
            return float("inf")
        a, b = ours_part.detach().cpu().double(), theirs_part.detach().cpu().double()
        difference = float((a - b).abs().max()) / max(float(b.abs().max()), torch.finfo(torch.float64).tiny)
        worst = max(worst, difference if difference == difference else float("inf"))
    return worst


def rounding(dtype: torch.dtype) -> float:
    """Return the largest difference that is still rounding."""
    return ROUNDING.get(dtype, COARSE_ROUNDING)
