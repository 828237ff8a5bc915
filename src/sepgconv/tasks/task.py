"""What a network is trained for: the interface of a task, and the metrics that it is judged by."""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray
from torch import Tensor, nn

from sepgconv._messages import unknown_name
from sepgconv.data.column import Entries


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number that says how well a network does its task.

    Attributes:
        name: one word. A history has it as "train_error" and "validation_error", a record as "test_error", too.
        unit: what is printed behind it. Default: nothing.
        least: the smallest possible value. Default: 0.
        most: the largest possible value. Default: there is none.
        higher_is_better: whether the best epoch is the one with the largest value. Default: False, as of an error.
        needs_all: whether it is made of all outputs together (`Task.measure_all`), as the area under a curve is, and
            not of counts that add up (`Task.measure`). Default: False.
        digits: decimals that people read. Default: 2.

    Example:
        >>> error = Metric(name="error", unit="%", most=100.0)
        >>> error.title, error.text(1.744), error.text(None)
        ('error in %', '1.74 %', '-')
    """

    name: str
    unit: str = ""
    least: float = 0.0
    most: float = math.inf
    higher_is_better: bool = False
    needs_all: bool = False
    digits: int = 2

    @property
    def title(self) -> str:
        """Its name and unit, as beside the axis of a figure."""
        return f"{self.name} in {self.unit}" if self.unit else self.name

    def text(self, value: float | None) -> str:
        """Return a value as people read it: its decimals and the unit, or a dash where there is no value or a NaN."""
        return "-" if value is None or math.isnan(value) else f"{value:.{self.digits}f} {self.unit}".rstrip()


class Task(ABC):
    """What a network is trained for: its loss, its metrics, and what is particular to its targets.

    A subclass defines `name`, `loss_name`, `metrics` and the abstract methods, and `register_task` makes an instance
    known; runs, checkpoints, records and the command line then need nothing else. One instance serves every run, so it
    never changes: `with_options`, `fit` and `restored` return another one. A task with options is a frozen dataclass
    whose fields are the options. `sepgconv.tasks.classification` is the example to begin with.

    A batch is images (batch, channels, height, width) and targets (batch, ...), which are the `labels` of a
    `sepgconv.data.Split`; outputs are what the network returns for the images.

    Attributes:
        name: what configs and the command line call it.
        loss_name: what the loss is called beside the axis of a figure.
        metrics: what a network is judged by, after every epoch and in the record. The first decides: `evaluate`
            returns it, and the curves show it.
        further_metrics: what `measure` and `sepgconv evaluate` give besides, from all outputs of a part of the data
            (`measure_all`). Default: none.

    Example:
        >>> import torch
        >>> class Age(Task):
        ...     name = "age"
        ...     loss_name = "squared error"
        ...     metrics = (Metric(name="deviation", unit="years"),)
        ...
        ...     def check(self, targets, outputs):
        ...         if targets.ndim != 1 or not targets.is_floating_point():
        ...             raise ValueError(f"age: expected float targets of shape (n,), got {tuple(targets.shape)}")
        ...
        ...     def head(self, classes):
        ...         return {"num_classes": 1}
        ...
        ...     def loss(self, outputs, targets):
        ...         return (outputs[:, 0] - targets).square().sum()
        ...
        ...     def count(self, outputs, targets):
        ...         deviations = (outputs[:, 0] - targets).abs()
        ...         return torch.stack((deviations.sum(), torch.ones_like(deviations).sum()))
        ...
        ...     def measure(self, counts):
        ...         return {"deviation": float(counts[0] / counts[1])}
        ...
        ...     def describe(self, outputs, classes):
        ...         return [{"age": float(age)} for age in outputs[:, 0]]
        >>> outputs, targets = torch.tensor([[30.0], [51.0]]), torch.tensor([31.0, 48.0])
        >>> Age().measure(Age().count(outputs, targets))
        {'deviation': 2.0}
    """

    name: ClassVar[str]
    loss_name: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    further_metrics: ClassVar[tuple[Metric, ...]] = ()

    def with_options(self, options: Mapping[str, Any]) -> "Task":
        """Return the task with some of its options changed (`TrainingConfig.task_options`).

        Raises:
            ValueError: an unknown option, or a value that it does not take.
        """
        if not options:
            return self
        this: Any = self
        known = [field.name for field in dataclasses.fields(this) if field.init] if _is_dataclass(self) else []
        for name in options:
            if not known:
                raise ValueError(f"the task {self.name!r} has no options, got {name}")
            if name not in known:
                raise ValueError(unknown_name(f"option of the task {self.name}", name, known))
        return dataclasses.replace(this, **options)

    def fit(self, targets: Tensor) -> "Task":
        """Return the task with what it takes from the targets that are learned from. Default: it takes nothing.

        Regression takes their mean and their scale, classification the weights of its classes.

        Args:
            targets: (n, ...), of all images that are trained on.
        """
        return self

    def state(self) -> dict[str, Any]:
        """Return what predictions need of `fit`, in types that JSON keeps; it goes into the run's record."""
        return {}

    def restored(self, state: Mapping[str, Any]) -> "Task":
        """Return the task with what `state` returned.

        Raises:
            ValueError: it is not the state of such a task.
        """
        if state:
            raise ValueError(f"the task {self.name!r} has no state, got {', '.join(state)}")
        return self

    @abstractmethod
    def check(self, targets: Tensor, outputs: int) -> None:
        """Raise if targets are not what this task learns from.

        Args:
            targets: (n, ...), of a whole part of a data set.
            outputs: channels of the network's outputs; before there is a network, the number of the data set's classes.

        Raises:
            ValueError: another shape or dtype, or values that the outputs cannot stand for.
        """

    @abstractmethod
    def head(self, classes: Sequence[str]) -> Mapping[str, Any]:
        """Return the options of `create_model` that the data decide besides `in_channels`, as in `{"num_classes": 10}`.

        Args:
            classes: names of the data set's classes.

        Raises:
            ValueError: the task cannot be learned with these classes.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar: the *sum* over the images of what each of them loses."""

    def training_loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
        """Return the loss that a training step lowers, a scalar summed over the images. Default: `loss`.

        Args:
            outputs: (batch, ...), of the network.
            targets: (batch, ...).
            label_smoothing: of the run's config.

        Raises:
            ValueError: label smoothing is asked for, and the task has none.
        """
        if label_smoothing:
            raise ValueError(f"the task {self.name!r} has no label smoothing; leave label_smoothing at 0")
        return self.loss(outputs, targets)

    @abstractmethod
    def count(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return what the metrics of a batch are made of, as one tensor on the device of the outputs.

        These counts add up: those of an epoch are the sum over its batches and processes, as wrong answers and images
        do, or a confusion matrix.
        """

    @abstractmethod
    def measure(self, counts: Tensor) -> Mapping[str, float]:
        """Return the value of every metric, by name, from the counts of all batches."""

    def measure_all(self, outputs: Tensor, targets: Tensor) -> Mapping[str, float]:
        """Return the value of every metric that needs all outputs together, by name. Default: there are none.

        Args:
            outputs: (n, ...), of a whole part of the data, on the CPU.
            targets: (n, ...).
        """
        return {}

    def measure_each(self, counts: Tensor, classes: Sequence[str]) -> Mapping[str, Mapping[str, float | None]]:
        """Return metrics of every class, as `{"iou": {"nucleus": 81.5}}`, from all counts. Default: there are none.

        Args:
            counts: as `count` makes them.
            classes: names of the data set's classes.
        """
        return {}

    def strata(self, targets: Tensor) -> Tensor:
        """Return the class of each image, int64 (n,), for `TrainingConfig.sampling="balanced"`. Default: raise.

        Raises:
            ValueError: an image has no single class in this task.
        """
        raise ValueError(f"the task {self.name!r} has no class for each image to balance; leave sampling at 'shuffle'")

    @abstractmethod
    def describe(self, outputs: Tensor, classes: Sequence[str]) -> list[dict[str, str | float]]:
        """Return what `sepgconv predict` prints: for each image the named columns of its row.

        Args:
            outputs: (batch, ...), of the network.
            classes: names of the data set's classes.
        """

    def probabilities(self, outputs: Tensor) -> Tensor | None:
        """Return the probability of every class, (batch, classes), or None for a task that has none. Default: None.

        What names classes asks for it: `sepgconv predict --top-k` and `sepgconv evaluate`.

        Args:
            outputs: (batch, ...), of the network.
        """
        return None

    def draw(self, outputs: Tensor) -> list[dict[str, NDArray[Any]]]:
        """Return the images that are written for each image, by the ending of their names. Default: none.

        Segmentation gives its masks. `sepgconv.tasks.write_images` writes them as PNG.

        Args:
            outputs: (batch, ...), of the network.
        """
        return [{} for _ in range(len(outputs))]

    def augment(self, augmentation: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return a training batch after augmentation. Default: the images are augmented and the targets stay.

        A task whose targets move with the image, as the masks of a segmentation do, transforms both alike.

        Args:
            augmentation: as `sepgconv.data.augmentation` builds it: from a batch of images to one of the same shape.
                Its `move` transforms masks as well and says how vectors turn.
            images: (batch, channels, height, width).
            targets: (batch, ...).
        """
        return augmentation(images), targets

    def findings(self, model: nn.Module, images: Entries) -> Mapping[str, str]:
        """Return what `sepgconv evaluate` prints besides the metrics, as text by its title. Default: nothing.

        Args:
            model: the network, in evaluation mode.
            images: (n, channels, height, width), as it takes them; a tensor, or not in memory (`sepgconv.data.Column`).
        """
        return {}


def _is_dataclass(task: Task) -> bool:
    return dataclasses.is_dataclass(task)


def needs_outputs(metrics: Sequence[Metric]) -> bool:
    """Return whether a metric is made of all outputs together, so that they must be kept."""
    return any(metric.needs_all for metric in metrics)
