"""Classification: one class for each image, learned with cross entropy and judged by the share of wrong predictions."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sepgconv.tasks.task import Metric, Task


class Classification(Task):
    """The class of an image. Targets are int64 (n,), indices of classes; outputs are class scores (n, classes).

    Example:
        >>> import torch
        >>> task = Classification()
        >>> scores, labels = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]]), torch.tensor([0, 1, 1])
        >>> task.measure(task.count(scores, labels))
        {'error': 33.333333333333336}
        >>> task.describe(scores, ("cat", "dog"))[1]["class"]
        'dog'
    """

    name = "classification"
    loss_name = "cross entropy"
    metrics = (Metric(name="error", unit="%", most=100.0),)

    def check(self, targets: Tensor, outputs: int) -> None:
        """Raise if targets are not labels, int64 (n,), of classes that the network has.

        Raises:
            ValueError: they are not.
        """
        if targets.ndim != 1 or targets.dtype != torch.int64:
            raise ValueError(
                f"classification: expected int64 labels of shape (n,), got {targets.dtype} {tuple(targets.shape)}"
            )
        if int(targets.max()) >= outputs:
            raise ValueError(
                f"the network knows {outputs} classes, but an image is labelled {int(targets.max())}; is it another "
                "data set?"
            )

    def head(self, classes: Sequence[str]) -> Mapping[str, Any]:
        """Return one output for each class.

        Raises:
            ValueError: there is no class.
        """
        if not classes:
            raise ValueError("classes must name one class or more")
        return {"num_classes": len(classes)}

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross entropy, summed over the images."""
        return F.cross_entropy(outputs, targets, reduction="sum")

    def training_loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
        """Return the cross entropy with smoothed labels, summed over the images (Szegedy et al., CVPR 2016)."""
        return F.cross_entropy(outputs, targets, reduction="sum", label_smoothing=label_smoothing)

    def count(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return how many images are given another class than theirs, and how many there are: int64 (2,)."""
        wrong = outputs.argmax(1) != targets
        return torch.stack((wrong.sum(), torch.ones_like(targets).sum()))

    def measure(self, counts: Tensor) -> Mapping[str, float]:
        """Return the error in percent."""
        wrong, images = counts.tolist()
        return {"error": 100 * wrong / images}

    def describe(self, outputs: Tensor, classes: Sequence[str]) -> list[dict[str, str | float]]:
        """Return the class of each image, and its probability."""
        rows: list[dict[str, str | float]] = []
        for probabilities in self.probabilities(outputs):
            best = int(probabilities.argmax())
            rows.append({"class": classes[best], "probability": float(probabilities[best])})
        return rows

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return the softmax of the scores."""
        return outputs.softmax(1)

    def findings(self, model: nn.Module, images: Tensor) -> Mapping[str, str]:
        """Return how many predictions change when the image is rotated."""
        from sepgconv.analysis import answer_changes

        title = "predictions that change when the image is rotated by 90, 180 or 270 degrees"
        return {title: f"{answer_changes(model, images):.2f} %"}
