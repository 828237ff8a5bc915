"""Regression: numbers for each image, learned in units in which they have mean 0 and deviation 1."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.nn import functional as F

from sepgconv._messages import unknown_name
from sepgconv.tasks.task import Metric, Task

CRITERIA = ("mse", "smooth-l1")


@dataclass(frozen=True, eq=False)
class Regression(Task):
    """Numbers of an image. Targets are float32 (n,) or (n, k), in the user's units; outputs are (n, k), standardised.

    The network gives (number - mean) / deviation of each column; the run's record keeps both, from the targets that
    were trained on, so that metrics and predictions are in the user's units.

    The metrics are the mean absolute error ("mae"), in the unit of the targets, and the coefficient of determination
    ("r2"); of several columns both are the mean over them. Of targets that are all alike, r2 is 1 if the answers are
    right and 0 if not.

    Args:
        criterion: "mse", the squared error; or "smooth-l1", which is linear for errors above one deviation (Girshick,
            ICCV 2015), where single targets are far off. Default: "mse".
        standardise: whether the network learns in units of mean 0 and deviation 1; False: in the user's own, for
            targets that are so already. Default: True.

    Raises:
        ValueError: an unknown criterion.

    Example:
        >>> import torch
        >>> weights = torch.tensor([60.0, 80.0])
        >>> task = Regression().fit(weights)
        >>> task.state()
        {'mean': [70.0], 'scale': [10.0]}
        >>> outputs = torch.tensor([[-1.0], [2.0]])
        >>> task.describe(outputs, ()), task.measure(task.count(outputs, weights))["mae"]
        ([{'value': 60.0}, {'value': 90.0}], 5.0)
    """

    name = "regression"
    loss_name = "loss"
    metrics = (
        Metric(name="mae", digits=4),
        Metric(name="r2", higher_is_better=True, least=-math.inf, most=1.0, digits=4),
    )

    criterion: str = "mse"
    standardise: bool = True
    mean: tuple[float, ...] = field(init=False, default=())  # of the columns of the targets, found by `fit`
    scale: tuple[float, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise ValueError(unknown_name("criterion", self.criterion, CRITERIA))
        if not isinstance(self.standardise, bool):
            raise ValueError(f"standardise must be True or False, got {self.standardise!r}")

    def fit(self, targets: Tensor) -> "Regression":
        """Return the task with mean and deviation of every column."""
        columns = self._columns(targets).double()
        mean, scale = torch.zeros(columns.shape[1]), torch.ones(columns.shape[1])
        if self.standardise:
            mean, scale = columns.mean(0), columns.std(0, correction=0)
        return self._with(mean.tolist(), scale.where(scale > 0, 1.0).tolist())

    def _with(self, mean: Sequence[float], scale: Sequence[float]) -> "Regression":
        found = dataclasses.replace(self)
        for name, values in (("mean", mean), ("scale", scale)):
            object.__setattr__(found, name, tuple(map(float, values)))
        return found

    def state(self) -> dict[str, Any]:
        """Return mean and deviation of the columns."""
        return {"mean": list(self.mean), "scale": list(self.scale)}

    def restored(self, state: Mapping[str, Any]) -> "Regression":
        """Return the task with a mean and a deviation for each column.

        Raises:
            ValueError: they are not.
        """
        if not state:
            return self
        mean, scale = (state.get(name) for name in ("mean", "scale"))
        if not (_are_numbers(mean) and _are_numbers(scale) and len(mean) == len(scale) and min(scale, default=1) > 0):
            raise ValueError(f"{self.name}: expected the mean and the scale of each column, got {dict(state)}")
        return self._with(mean, scale)

    def check(self, targets: Tensor, outputs: int) -> None:
        """Raise if targets are not numbers, float32 (n,) or (n, k), as many as there are outputs.

        Raises:
            ValueError: they are not.
        """
        if targets.ndim not in (1, 2) or targets.dtype != torch.float32:
            raise ValueError(
                f"{self.name}: expected float32 targets of shape (n,) or (n, k), got {targets.dtype} "
                f"{tuple(targets.shape)}"
            )
        self._check_columns(self._columns(targets).shape[1], outputs)

    def _check_columns(self, columns: int, outputs: int) -> None:
        if outputs not in (0, columns):  # 0: before there is a network, and the columns have no names
            raise ValueError(
                f"{self.name}: the targets have {columns} numbers for each image, but there are {outputs} outputs; is "
                "it another data set?"
            )

    def head(self, classes: Sequence[str]) -> Mapping[str, Any]:
        """Return one output for each column of the targets."""
        return {"num_classes": len(self.mean) or len(classes) or 1}

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the error in standardised units, the mean over the columns, summed over the images."""
        outputs, truth = outputs.flatten(1), self._standardised(self._columns(targets))
        error = F.mse_loss if self.criterion == "mse" else F.smooth_l1_loss
        return error(outputs, truth, reduction="none").mean(1).sum()

    def count(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return, float64, the number of images, and of each column sums: of |error|, error^2, the target, its square.

        The last two are of standardised targets, which are small, so that no digits are lost.
        """
        truth, found = self._columns(targets), self._in_units(outputs.flatten(1))
        errors, small = (found - truth).double(), self._standardised(truth).double()
        sums = (errors.abs().sum(0), errors.square().sum(0), small.sum(0), small.square().sum(0))
        return torch.cat((torch.full_like(sums[0][:1], len(truth)), *sums))

    def measure(self, counts: Tensor) -> Mapping[str, float]:
        """Return the mean absolute error, and R2, the mean over the columns."""
        images, sums = float(counts[0]), counts[1:].cpu().view(4, -1)
        _, scale = self._units(sums)
        spread = (sums[3] - sums[2].square() / images).clamp(min=0) * scale.squeeze(0).square()
        none = torch.tensor(0.0, dtype=torch.float64)
        level = 1e-12 * scale.squeeze(0).square() * images
        shares = torch.where(spread > level, 1 - sums[1] / spread.clamp(min=1e-300), none)
        shares = shares.where((spread > level) | (sums[1] > level), none + 1)
        return {"mae": float(sums[0].mean() / images), "r2": float(shares.mean())}

    def describe(self, outputs: Tensor, classes: Sequence[str]) -> list[dict[str, str | float]]:
        """Return the numbers in the user's units, by the names of the columns: "value", "value 1" and so on without."""
        answers = self._in_units(outputs.flatten(1))
        names = self._names(answers.shape[1], classes)
        return [dict(zip(names, answer, strict=True)) for answer in answers.tolist()]

    def _names(self, columns: int, classes: Sequence[str]) -> list[str]:
        if len(classes) == columns:
            return list(classes)
        return ["value"] if columns == 1 else [f"value {i}" for i in range(1, columns + 1)]

    def _columns(self, targets: Tensor) -> Tensor:
        """Return targets as (n, k)."""
        return targets.flatten(1) if targets.ndim > 1 else targets[:, None]

    def _units(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of the columns, (1, k) each."""
        mean, scale = ((values or default) for values, default in ((self.mean, (0.0,)), (self.scale, (1.0,))))
        return like.new_tensor(mean)[None], like.new_tensor(scale)[None]

    def _standardised(self, columns: Tensor) -> Tensor:
        mean, scale = self._units(columns)
        return (columns - mean) / scale

    def _in_units(self, outputs: Tensor) -> Tensor:
        mean, scale = self._units(outputs.float())
        return outputs.float() * scale + mean


def _are_numbers(values: object) -> TypeGuard[list[float]]:
    return isinstance(values, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) for value in values
    )
