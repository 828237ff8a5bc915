"""Classification: one class for each image, learned with cross entropy and judged by the share of wrong predictions."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sepgconv.data.column import Entries, chunks
from sepgconv.tasks.scores import area_under_curve, mean_over_classes
from sepgconv.tasks.task import Metric, Task

BALANCED = "balanced"


@dataclass(frozen=True, eq=False)
class Classification(Task):
    """The class of an image. Targets are int64 (n,), indices of classes; outputs are class scores (n, classes).

    Args:
        class_weights: how much an image of each class counts in the loss that training lowers: "balanced", so that all
            classes count alike, n / (classes x images of the class); a number above 0 for each class; or None, every
            image alike. The loss that is reported does not have them. Default: None.

    Raises:
        ValueError: weights that are neither.

    Example:
        >>> import torch
        >>> task = Classification()
        >>> scores, labels = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]]), torch.tensor([0, 1, 1])
        >>> task.measure(task.count(scores, labels))
        {'error': 33.333333333333336}
        >>> task.describe(scores, ("cat", "dog"))[1]["class"]
        'dog'
        >>> round(task.measure_all(scores, labels)["balanced_accuracy"], 6)
        75.0
        >>> Classification(class_weights="balanced").fit(labels).weights
        (1.5, 0.75)
    """

    name = "classification"
    loss_name = "cross entropy"
    metrics = (Metric(name="error", unit="%", most=100.0),)
    further_metrics = (
        Metric(name="accuracy", higher_is_better=True, unit="%", most=100.0, needs_all=True),
        Metric(name="balanced_accuracy", higher_is_better=True, unit="%", most=100.0, needs_all=True),
        Metric(name="auc", higher_is_better=True, most=1.0, needs_all=True, digits=4),
    )

    class_weights: str | Sequence[float | int] | None = None
    weights: tuple[float, ...] | None = field(init=False, default=None)  # of the classes, found by `fit`

    def __post_init__(self) -> None:
        given = self.class_weights
        if given is None or given == BALANCED:
            return
        if isinstance(given, str) or not given or not all(_is_weight(value) for value in given):
            raise ValueError(
                f"class_weights must be {BALANCED!r}, a number above 0 for each class, or None, got {given!r}"
            )
        object.__setattr__(self, "weights", tuple(map(float, given)))

    def fit(self, targets: Tensor) -> "Classification":
        """Return the task with the weights of its classes, if they are to be balanced."""
        if self.class_weights != BALANCED:
            return self
        counts = targets.bincount()
        present = int((counts > 0).sum())
        found = dataclasses.replace(self)
        weights = (len(targets) / (present * count) if count else 0.0 for count in counts.tolist())
        object.__setattr__(found, "weights", tuple(weights))
        return found

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
        """Return the cross entropy with smoothed labels, summed over the images (Szegedy et al., CVPR 2016).

        The weights of the classes count here.

        Raises:
            ValueError: there are weights for another number of classes.
        """
        weights = None if self.weights is None else self._weights_for(outputs)
        return F.cross_entropy(outputs, targets, weights, reduction="sum", label_smoothing=label_smoothing)

    def _weights_for(self, outputs: Tensor) -> Tensor:
        given, classes = self.weights or (), outputs.shape[1]
        if len(given) > classes or (len(given) < classes and self.class_weights != BALANCED):
            raise ValueError(f"class_weights has {len(given)} weights, but the network knows {classes} classes")
        missing = classes - len(given)  # classes without an image
        return torch.tensor([*given, *[0.0] * missing], device=outputs.device, dtype=outputs.dtype)

    def count(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return how many images are given another class than theirs, and how many there are: int64 (2,)."""
        wrong = outputs.argmax(1) != targets
        return torch.stack((wrong.sum(), torch.ones_like(targets).sum()))

    def measure(self, counts: Tensor) -> Mapping[str, float]:
        """Return the error in percent."""
        wrong, images = counts.tolist()
        return {"error": 100 * wrong / images}

    def measure_all(self, outputs: Tensor, targets: Tensor) -> Mapping[str, float]:
        """Return accuracy and balanced accuracy in percent, and the area under the ROC curve.

        The balanced accuracy is the mean over the classes of the share of their images that is right. The area is that
        of every class against the rest, the mean over the classes (macro). Both are of the classes that have images;
        the area is NaN if all images are of one class.
        """
        right = outputs.argmax(1) == targets
        of_each = [float(right[targets == label].float().mean()) for label in targets.unique()]
        probabilities = outputs.double().softmax(1)
        areas = area_under_curve(probabilities, F.one_hot(targets, outputs.shape[1]))
        return {
            "accuracy": 100 * float(right.double().mean()),
            "balanced_accuracy": 100 * sum(of_each) / len(of_each),
            "auc": mean_over_classes(areas),
        }

    def strata(self, targets: Tensor) -> Tensor:
        """Return the targets, which are the classes."""
        return targets

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

    def findings(self, model: nn.Module, images: Entries) -> Mapping[str, str]:
        """Return how many predictions change when the image is rotated."""
        from sepgconv.analysis import answer_changes

        title = "predictions that change when the image is rotated by 90, 180 or 270 degrees"
        if isinstance(images, Tensor):
            return {title: f"{answer_changes(model, images):.2f} %"}
        changes = sum(len(batch) * answer_changes(model, batch) for batch in chunks(images))
        return {title: f"{changes / len(images):.2f} %"}


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
