"""Several classes for each image, or none: a yes or no for each class, judged by the mean average precision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sepgconv.tasks.scores import average_precision, mean_over_classes
from sepgconv.tasks.task import Metric, Task

NONE = "-"  # what is printed where no class is above the threshold


@dataclass(frozen=True, eq=False)
class MultiLabel(Task):
    """The classes of an image. Targets are float32 (n, classes), 0 or 1; outputs are scores (n, classes).

    The loss of an image is the binary cross entropy, the mean over the classes. The metrics are the mean over the
    classes of the average precision ("map"), the mean of the F1 score ("f1"), and the share of images of which all
    classes are right ("exact"), all in percent. Classes that no image has, or all have, have no average precision; a
    class that is neither there nor predicted has no F1 score.

    Args:
        threshold: the probability above which an image has a class, between 0 and 1. Default: 0.5.

    Raises:
        ValueError: the threshold is not between 0 and 1.

    Example:
        >>> import torch
        >>> task = MultiLabel()
        >>> scores, targets = torch.tensor([[2.0, -1.0], [1.0, 3.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> task.measure(task.count(scores, targets))["exact"], task.measure_all(scores, targets)
        (50.0, {'map': 100.0})
        >>> [row["classes"] for row in task.describe(scores, ("cat", "dog"))]
        ['cat', 'dog; cat']
    """

    name = "multi-label"
    loss_name = "binary cross entropy"
    metrics = (
        Metric(name="map", higher_is_better=True, unit="%", most=100.0, needs_all=True),
        Metric(name="f1", higher_is_better=True, unit="%", most=100.0),
        Metric(name="exact", higher_is_better=True, unit="%", most=100.0),
    )

    threshold: float = 0.5

    def __post_init__(self) -> None:
        if (
            isinstance(self.threshold, bool)
            or not isinstance(self.threshold, int | float)
            or not 0 < self.threshold < 1
        ):
            raise ValueError(f"threshold must be a number between 0 and 1, got {self.threshold!r}")

    def check(self, targets: Tensor, outputs: int) -> None:
        """Raise if targets are not a 0 or 1, float32, for each image and each output.

        Raises:
            ValueError: they are not.
        """
        if targets.ndim != 2 or targets.dtype != torch.float32:
            raise ValueError(
                f"multi-label: expected float32 targets of shape (n, classes), got {targets.dtype} "
                f"{tuple(targets.shape)}"
            )
        others = targets[(targets != 0) & (targets != 1)]
        if len(others):
            raise ValueError(f"multi-label: targets must be 0 or 1 (an image has the class), got {float(others[0]):g}")
        if targets.shape[1] != outputs:
            raise ValueError(
                f"the network knows {outputs} classes, but the targets have {targets.shape[1]} columns; is it another "
                "data set?"
            )

    def head(self, classes: Sequence[str]) -> Mapping[str, Any]:
        """Return one output for each class.

        Raises:
            ValueError: there is no class.
        """
        if not classes:
            raise ValueError("multi-label: classes must name the columns of the targets, one or more")
        return {"num_classes": len(classes)}

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the binary cross entropy, the mean over the classes, summed over the images."""
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").mean(1).sum()

    def training_loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
        """Return the loss for targets that are moved towards 1/2 by the share `label_smoothing`."""
        return self.loss(outputs, targets + label_smoothing * (0.5 - targets))

    def count(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return how often each class is found, found wrongly and missed, then all right images, and images: int64."""
        found, there = outputs.sigmoid() > self.threshold, targets > 0.5
        each = torch.cat(((found & there).sum(0), (found & ~there).sum(0), (~found & there).sum(0)))
        right = (found == there).all(1)
        return torch.cat((each, right.sum()[None], torch.ones_like(right, dtype=torch.int64).sum()[None]))

    def measure(self, counts: Tensor) -> Mapping[str, float]:
        """Return F1 and the share of images that are all right, in percent."""
        *each, right, images = counts.tolist()
        classes = len(each) // 3
        found, wrong, missed = (each[i * classes : (i + 1) * classes] for i in range(3))
        scores = [2 * hit / (2 * hit + a + b) for hit, a, b in zip(found, wrong, missed, strict=True) if hit + a + b]
        return {"f1": 100 * sum(scores) / max(1, len(scores)), "exact": 100 * right / images}

    def measure_all(self, outputs: Tensor, targets: Tensor) -> Mapping[str, float]:
        """Return the mean average precision in percent; 0 where no class has one."""
        found = mean_over_classes(average_precision(outputs.double().sigmoid(), targets))
        return {"map": 0.0 if found != found else 100 * found}  # NaN

    def describe(self, outputs: Tensor, classes: Sequence[str]) -> list[dict[str, str | float]]:
        """Return the classes of each image above the threshold, the likeliest first, and their probabilities."""
        rows: list[dict[str, str | float]] = []
        for probabilities in outputs.sigmoid():
            chances: list[float] = probabilities.tolist()
            order = sorted(
                (i for i, chance in enumerate(chances) if chance > self.threshold), key=lambda i: -chances[i]
            )
            rows.append(
                {
                    "classes": "; ".join(classes[i] for i in order) or NONE,
                    "probabilities": "; ".join(f"{chances[i]:.3f}" for i in order) or NONE,
                }
            )
        return rows
