"""Segmentation: a class for each pixel, learned with cross entropy and Dice, judged by Dice and IoU of each class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sepgconv.data.augmentation import as_augmentation
from sepgconv.tasks.instances import split_instances
from sepgconv.tasks.task import Metric, Task

SMOOTHING = 1.0  # pixels, added to numerator and denominator of the Dice loss, for classes that are not there


@dataclass(frozen=True, eq=False)
class Segmentation(Task):
    """The class of every pixel. Targets are masks, int64 (n, height, width); outputs are scores (n, classes, h, w).

    A network with a single output map knows two classes: the map is the score of class 1, the object.

    The loss of an image is the cross entropy, the mean over its pixels, and `dice_weight` times the soft Dice loss, the
    mean over the classes (Milletari et al., 3DV 2016). The metrics are Dice and IoU in percent, counted over all pixels
    of the data: of two classes those of class 1, of more the mean over the classes that are in a mask or an answer.
    `measure_each` gives those of every class.

    Args:
        ignore_index: the number of mask pixels that are not judged. Augmentation gives it to what comes in from outside
            of the image. Default: 255.
        dice_weight: of the Dice loss beside the cross entropy, 0 or more. Default: 1.
        instances: whether `draw` also separates the objects, all that is not class 0, and numbers them, by a watershed
            of the distance to the background (`split_instances`). Default: False.

    Raises:
        ValueError: a value is out of range.

    Example:
        >>> import torch
        >>> task = Segmentation()
        >>> masks = torch.tensor([[[0, 1], [1, 255]]])
        >>> scores = torch.tensor([[[[-1.0, 1.0], [-1.0, 1.0]]]])  # one map: class 1 where it is above 0
        >>> task.measure_each(task.count(scores, masks), ("ground", "nucleus"))["iou"]
        {'ground': 50.0, 'nucleus': 50.0}
        >>> task.describe(scores, ("ground", "nucleus"))
        [{'ground': 0.5, 'nucleus': 0.5}]
    """

    name = "segmentation"
    loss_name = "cross entropy + Dice"
    metrics = (
        Metric(name="dice", higher_is_better=True, unit="%", most=100.0),
        Metric(name="iou", higher_is_better=True, unit="%", most=100.0),
    )

    ignore_index: int = 255
    dice_weight: float | int = 1.0
    instances: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.ignore_index, bool) or not isinstance(self.ignore_index, int) or self.ignore_index < 0:
            raise ValueError(f"ignore_index must be a whole number, 0 or more, got {self.ignore_index!r}")
        if isinstance(self.dice_weight, bool) or not isinstance(self.dice_weight, int | float) or self.dice_weight < 0:
            raise ValueError(f"dice_weight must be a number, 0 or more, got {self.dice_weight!r}")
        if not isinstance(self.instances, bool):
            raise ValueError(f"instances must be True or False, got {self.instances!r}")

    def check(self, targets: Tensor, outputs: int) -> None:
        """Raise if targets are not masks, int64 (n, height, width), of classes that the network has.

        Raises:
            ValueError: they are not.
        """
        if targets.ndim != 3 or targets.dtype != torch.int64:
            raise ValueError(
                f"segmentation: expected int64 masks of shape (n, height, width), got {targets.dtype} "
                f"{tuple(targets.shape)}"
            )
        classes = max(2, outputs)
        unknown = [value for value in targets.unique().tolist() if value >= classes and value != self.ignore_index]
        if unknown:
            listed = ", ".join(map(str, unknown[:10]))
            raise ValueError(
                f"segmentation: the masks hold {listed}; expected classes from 0 to {classes - 1}, or "
                f"{self.ignore_index} for pixels that are not judged (ignore_index)"
            )

    def head(self, classes: Sequence[str]) -> Mapping[str, Any]:
        """Return one output map for each class.

        Raises:
            ValueError: there are fewer than two classes.
        """
        if len(classes) < 2:
            raise ValueError(f"segmentation: expected two classes or more, background among them, got {list(classes)}")
        return {"num_classes": len(classes)}

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return cross entropy and Dice loss, summed over the images; an image without a pixel to judge has none.

        Raises:
            ValueError: outputs and masks are of different sizes.
        """
        scores, known = self._scores(outputs, targets), targets != self.ignore_index
        pixels = known.sum((1, 2))
        wrong = F.cross_entropy(scores, targets, ignore_index=self.ignore_index, reduction="none").sum((1, 2))
        found = wrong / pixels.clamp(min=1)
        if self.dice_weight:
            found = found + self.dice_weight * self._dice_loss(scores, targets, known) * (pixels > 0)
        return found.sum()

    def _dice_loss(self, scores: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        classes = scores.shape[1]
        truth = F.one_hot(targets.where(known, 0), classes).movedim(-1, 1) * known[:, None]
        found = scores.softmax(1) * known[:, None]
        shared, both = (found * truth).sum((2, 3)), (found + truth).sum((2, 3))
        return 1 - ((2 * shared + SMOOTHING) / (both + SMOOTHING)).mean(1)

    def count(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the confusion matrix of the pixels, int64 (classes, classes): a row for each true class.

        Raises:
            ValueError: outputs and masks are of different sizes.
        """
        scores = self._scores(outputs, targets)
        classes, known = scores.shape[1], targets != self.ignore_index
        pairs = targets[known] * classes + scores.argmax(1)[known]
        return pairs.bincount(minlength=classes**2).view(classes, classes)

    def measure(self, counts: Tensor) -> Mapping[str, float]:
        """Return Dice and IoU in percent: of two classes those of class 1, else the mean over those that occur."""
        found: dict[str, float] = {}
        for name, values in self._of_classes(counts).items():
            kept = values[1:] if len(values) == 2 else values
            numbers = [value for value in kept if value is not None]
            found[name] = sum(numbers) / len(numbers) if numbers else 100.0  # no object, and none found
        return found

    def measure_each(self, counts: Tensor, classes: Sequence[str]) -> Mapping[str, Mapping[str, float | None]]:
        """Return Dice and IoU of every class in percent; None for one that is in no mask and no answer."""
        return {name: dict(zip(classes, values, strict=True)) for name, values in self._of_classes(counts).items()}

    def _of_classes(self, counts: Tensor) -> dict[str, list[float | None]]:
        hits, true, found = (each.tolist() for each in (counts.diagonal(), counts.sum(1), counts.sum(0)))
        rows = [(hit, a + b) for hit, a, b in zip(hits, true, found, strict=True)]
        return {
            "dice": [100 * 2 * hit / both if both else None for hit, both in rows],
            "iou": [100 * hit / (both - hit) if both else None for hit, both in rows],
        }

    def describe(self, outputs: Tensor, classes: Sequence[str]) -> list[dict[str, str | float]]:
        """Return the share of the pixels of each class."""
        rows: list[dict[str, str | float]] = []
        for answer in self._two_or_more(outputs).argmax(1):
            counts = answer.flatten().bincount(minlength=len(classes)).tolist()
            rows.append({name: count / answer.numel() for name, count in zip(classes, counts, strict=True)})
        return rows

    def draw(self, outputs: Tensor) -> list[dict[str, NDArray[Any]]]:
        """Return for each image "mask", its classes as bytes, and "instances", numbers of objects, if asked for.

        Raises:
            ValueError: more than 256 classes.
        """
        scores = self._two_or_more(outputs)
        if scores.shape[1] > 256:
            raise ValueError(f"a mask of bytes holds 256 classes, got {scores.shape[1]}")
        drawn: list[dict[str, NDArray[Any]]] = []
        for answer in scores.argmax(1).cpu().numpy():
            images: dict[str, NDArray[Any]] = {"mask": answer.astype(np.uint8)}
            if self.instances:
                images["instances"] = split_instances(answer > 0)
            drawn.append(images)
        return drawn

    def augment(self, augmentation: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Move images and masks alike; what comes in from outside of an image is not judged."""
        moved = as_augmentation(augmentation).move(images, targets, fill=self.ignore_index)
        return moved.images, targets if moved.masks is None else moved.masks

    def _scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.ndim != 4 or outputs.shape[-2:] != targets.shape[-2:]:
            raise ValueError(
                f"segmentation: expected scores (n, classes, height, width) as large as the masks, "
                f"{tuple(targets.shape)}, got {tuple(outputs.shape)}; let the network end with an up-sampling"
            )
        return self._two_or_more(outputs)

    def _two_or_more(self, outputs: Tensor) -> Tensor:
        """Return scores of at least two classes: of one map, 0 for class 0, which makes of softmax the sigmoid."""
        return torch.cat((torch.zeros_like(outputs), outputs), 1) if outputs.shape[1] == 1 else outputs
