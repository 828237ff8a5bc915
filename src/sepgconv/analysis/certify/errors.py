"""How far a tensor is from what it should be: the relative errors of this package."""

import math

from torch import Tensor


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Return max|found - expected| / max|expected|.

    It is infinity if the shapes differ, or if all expected values are zero and others are not.

    Args:
        found: what came.
        expected: what should have come.
    """
    if found.shape != expected.shape:
        return math.inf
    return _ratio(float((found - expected).abs().max()), float(expected.abs().max()))


def mean_relative_error(found: Tensor, expected: Tensor) -> float:
    """Return |found - expected| / |expected|, Euclidean norms of all numbers; infinity as `relative_error`.

    Args:
        found: what came.
        expected: what should have come.
    """
    if found.shape != expected.shape:
        return math.inf
    return _ratio(float((found - expected).norm()), float(expected.norm()))


def _ratio(difference: float, scale: float) -> float:
    if scale == 0:  # relative to nothing, only nothing is no error
        return 0.0 if difference == 0 else math.inf
    return difference / scale
