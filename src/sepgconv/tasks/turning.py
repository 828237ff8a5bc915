"""Regression of what turns with the image: vectors and orientations. Augmentation turns the targets with the images.

Vectors are (x, y), x to the right and y up, as in a plot; angles are counter-clockwise from the right, as seen on the
screen. `sepgconv.nn.GroupToVector` gives such vectors from feature maps, so that the network turns them exactly as the
image; an ordinary network with as many outputs learns to.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sepgconv.data.augmentation import as_augmentation
from sepgconv.tasks.regression import Regression
from sepgconv.tasks.task import Metric, Task


@dataclass(frozen=True, eq=False)
class VectorRegression(Regression):
    """Vectors of an image, which turn with it. Targets are float32 (n, 2) or (n, k, 2), (x, y) with y up.

    The outputs are (n, 2 k) or (n, k, 2), in units in which the mean length is 1; there is no mean vector, which would
    not turn. Options and metrics are those of `Regression`.

    Example:
        >>> import torch
        >>> task = VectorRegression().fit(torch.tensor([[3.0, 4.0], [0.0, 5.0]]))
        >>> task.describe(torch.tensor([[1.0, 0.0]]), ())
        [{'x': 5.0, 'y': 0.0}]
    """

    name = "vector"

    def fit(self, targets: Tensor) -> Regression:
        """Return the task with the mean length of the vectors."""
        columns = self._columns(targets)
        length = float(columns.double().unflatten(1, (-1, 2)).norm(dim=2).mean()) if self.standardise else 1.0
        return self._with([0.0] * columns.shape[1], [length or 1.0] * columns.shape[1])

    def check(self, targets: Tensor, outputs: int) -> None:
        """Raise if targets are not vectors, float32 (n, 2) or (n, k, 2), as many as there are outputs.

        Raises:
            ValueError: they are not.
        """
        if targets.ndim not in (2, 3) or targets.dtype != torch.float32 or targets.shape[-1] != 2:
            raise ValueError(
                f"{self.name}: expected float32 vectors (x, y) of shape (n, 2) or (n, k, 2), got {targets.dtype} "
                f"{tuple(targets.shape)}"
            )
        columns = self._columns(targets).shape[1]
        self._check_columns(columns, columns if 2 * outputs == columns else outputs)  # (n, k, 2) has k outputs of two

    def augment(self, augmentation: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Move the images, and turn the vectors with them."""
        moved = as_augmentation(augmentation).move(images)
        return moved.images, turned(moved.matrices, targets)

    def _names(self, columns: int, classes: Sequence[str]) -> list[str]:
        if len(classes) == columns or columns == 2:
            return list(classes) if len(classes) == columns else ["x", "y"]
        return [f"{axis} {i}" for i in range(1, columns // 2 + 1) for axis in "xy"]


def turned(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Return vectors (n, ..., 2) moved by a matrix of each image, (n, 2, 2)."""
    return torch.einsum("nij,n...j->n...i", matrices.to(vectors), vectors)


@dataclass(frozen=True, eq=False)
class Orientation(Task):
    """The angle of an image, in degrees. Targets are float32 (n,); outputs are vectors (n, 2) or (n, 1, 2).

    The network learns the unit vector (cos f t, sin f t) of the angle t, with f = 1; or f = 2 if what it judges looks
    alike from both ends, as a fibre does ("axial"). The direction of its output is the answer. The loss is the squared
    distance of the two vectors. The metric is the mean deviation in degrees, at most 180, of axial angles 90.

    `sepgconv.nn.GroupToVector(..., frequency=f)` gives such vectors so that they turn exactly as the image.

    Args:
        axial: whether t and t + 180 degrees are the same. Default: False.

    Raises:
        ValueError: `axial` is neither True nor False.

    Example:
        >>> import torch
        >>> upwards = torch.tensor([[0.0, 2.0]])
        >>> Orientation().describe(upwards, ()), Orientation(axial=True).describe(upwards, ())
        ([{'angle': 90.0, 'length': 2.0}], [{'angle': 45.0, 'length': 2.0}])
        >>> Orientation().measure(Orientation().count(upwards, torch.tensor([350.0])))
        {'deviation': 100.0}
    """

    name = "orientation"
    loss_name = "squared distance"
    metrics = (Metric(name="deviation", unit="°", most=180.0),)

    axial: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.axial, bool):
            raise ValueError(f"axial must be True or False, got {self.axial!r}")

    @property
    def frequency(self) -> int:
        """How many times the learned vector turns while the image turns once."""
        return 2 if self.axial else 1

    def check(self, targets: Tensor, outputs: int) -> None:
        """Raise if targets are not angles, float32 (n,) or (n, 1), or the outputs not two numbers.

        Raises:
            ValueError: they are not.
        """
        if targets.shape[1:] not in ((), (1,)) or targets.dtype != torch.float32:
            raise ValueError(
                f"orientation: expected float32 angles in degrees of shape (n,) or (n, 1), got {targets.dtype} "
                f"{tuple(targets.shape)}"
            )
        if outputs not in (0, 1, 2):  # 1: a vector of two numbers
            raise ValueError(f"orientation: the network must give two numbers, a vector, got {outputs} outputs")

    def head(self, classes: Sequence[str]) -> Mapping[str, Any]:
        """Return two outputs."""
        return {"num_classes": 2}

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the squared distance to the unit vector, summed over the images."""
        return (_vectors(outputs) - self._unit(targets)).square().sum()

    def count(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of the deviations in degrees, and the number of images: float64 (2,)."""
        period = 360 / self.frequency
        apart = (self._angles(outputs) - _column(targets)).double().remainder(period)
        deviations = apart.minimum(period - apart)
        return torch.stack((deviations.sum(), torch.ones_like(deviations).sum()))

    def measure(self, counts: Tensor) -> Mapping[str, float]:
        """Return the mean deviation in degrees."""
        return {"deviation": float(counts[0] / counts[1])}

    def describe(self, outputs: Tensor, classes: Sequence[str]) -> list[dict[str, str | float]]:
        """Return the angle in degrees, from 0 to below 360, of axial ones 180; and the length, 1 where it is sure."""
        angles, lengths = self._angles(outputs).tolist(), _vectors(outputs).norm(dim=1).tolist()
        return [{"angle": angle, "length": length} for angle, length in zip(angles, lengths, strict=True)]

    def augment(self, augmentation: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Move the images, and turn the angles with them; of a mirror image they are mirrored."""
        moved = as_augmentation(augmentation).move(images)
        radians = _column(targets) * (math.pi / 180)
        pointers = turned(moved.matrices, torch.stack((radians.cos(), radians.sin()), 1))
        return moved.images, (torch.atan2(pointers[:, 1], pointers[:, 0]) * (180 / math.pi)).view_as(targets)

    def _unit(self, targets: Tensor) -> Tensor:
        radians = _column(targets) * (self.frequency * math.pi / 180)
        return torch.stack((radians.cos(), radians.sin()), 1)

    def _angles(self, outputs: Tensor) -> Tensor:
        x, y = _vectors(outputs).float().unbind(1)
        degrees = torch.atan2(y, x) * (180 / math.pi)
        return degrees.remainder(360) / self.frequency


def _column(targets: Tensor) -> Tensor:
    return targets.reshape(len(targets))  # of one column, as tables have it


def _vectors(outputs: Tensor) -> Tensor:
    return outputs.reshape(len(outputs), 2)
