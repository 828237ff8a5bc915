"""Metrics of scores for each class against the rest, by torchmetrics."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from sepgconv._messages import require


def area_under_curve(probabilities: Tensor, truth: Tensor) -> list[float]:
    """Return the area under the ROC curve of each class; NaN for a class that all images have, or none.

    Args:
        probabilities: (n, classes), in [0, 1].
        truth: (n, classes), 0 or 1.
    """
    require("torchmetrics", extra="train", purpose="the area under the ROC curve")
    from torchmetrics.functional.classification import binary_auroc

    return _of_each_class(binary_auroc, probabilities, truth)


def average_precision(probabilities: Tensor, truth: Tensor) -> list[float]:
    """Return the average precision of each class; NaN for a class that all images have, or none.

    Args:
        probabilities: (n, classes), in [0, 1].
        truth: (n, classes), 0 or 1.
    """
    require("torchmetrics", extra="train", purpose="the average precision")
    from torchmetrics.functional.classification import binary_average_precision

    return _of_each_class(binary_average_precision, probabilities, truth)


def _of_each_class(score: Callable[..., Any], probabilities: Tensor, truth: Tensor) -> list[float]:
    return [
        float(score(found, right)) if 0 < int(right.sum()) < len(right) else math.nan
        for found, right in zip(probabilities.unbind(1), truth.long().unbind(1), strict=True)
    ]


def mean_over_classes(values: Sequence[float]) -> float:
    """Return the mean of the values that are numbers; NaN where none is."""
    kept = [value for value in values if not math.isnan(value)]
    return sum(kept) / len(kept) if kept else math.nan
