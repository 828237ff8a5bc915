"""A task that knows no classes: one number for each image."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sepgconv.tasks import Metric, Task, register_task


class Brightness(Task):
    """How much of an image is lit, from 0 to 1: targets float32 (n,), outputs (n, 1)."""

    name = "brightness"
    loss_name = "squared error"
    metrics = (Metric(name="deviation"), Metric(name="hits", unit="%", most=100.0))

    def check(self, targets: Tensor, outputs: int) -> None:
        """Raise an error unless targets are one number for each image."""
        if targets.ndim != 1 or targets.dtype != torch.float32:
            raise ValueError(f"brightness: expected float32 numbers of shape (n,), got {targets.dtype}")

    def head(self, classes: Sequence[str]) -> Mapping[str, int]:
        """Return one output."""
        return {"num_classes": 1}

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the squared error, summed over the images."""
        return (outputs[:, 0] - targets).square().sum()

    def count(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of deviations, the number of those below 0.1, and that of images."""
        deviations = (outputs[:, 0] - targets).abs()
        return torch.stack((deviations.sum(), (deviations < 0.1).sum(), torch.ones_like(deviations).sum()))

    def measure(self, counts: Tensor) -> Mapping[str, float]:
        """Return the mean deviation and the share of hits."""
        deviation, hits, images = counts.tolist()
        return {"deviation": deviation / images, "hits": 100 * hits / images}

    def describe(self, outputs: Tensor, classes: Sequence[str]) -> list[dict[str, str | float]]:
        """Return the number."""
        return [{"brightness": float(value)} for value in outputs[:, 0]]


register_task(Brightness())
