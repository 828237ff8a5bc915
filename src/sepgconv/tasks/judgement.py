"""A run judged image by image: metrics, what it answered for each, and the classes that it confuses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sepgconv.data import Split
from sepgconv.tasks.devices import find_device
from sepgconv.tasks.evaluation import EVALUATION_BATCH, Run, check_image_shape
from sepgconv.tasks.prediction import Answer
from sepgconv.tasks.tally import Tally


@dataclass(frozen=True, eq=False)
class Judgement:
    """How well a run does its task on images, one by one.

    Attributes:
        metrics: the value of every metric of the task, by name, the further ones among them.
        answers: what the task says of each image (`Task.describe`).
        confusion: which classes were answered for which; None for a task without one class for each image.
        of_classes: metrics of every class (`Task.measure_each`); none for most tasks.

    Example:
        >>> Judgement({"error": 0.0}, [{"class": "cat", "probability": 0.75}]).confusion is None
        True
    """

    metrics: Mapping[str, float]
    answers: Sequence[Answer]
    confusion: "Confusion | None" = None
    of_classes: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict[str, Mapping[str, float | None]])


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often each class was answered for images of each class.

    Attributes:
        matrix: int64, (classes, classes): row the true class, column the answer.
        classes: their names.

    Example:
        >>> import torch
        >>> found = Confusion(torch.tensor([[3, 1], [0, 4]]), ("cat", "dog"))
        >>> found.accuracy, [(row.name, row.precision, row.recall) for row in found.by_class]
        (87.5, [('cat', 100.0, 75.0), ('dog', 80.0, 100.0)])
        >>> found.mistakes()
        [('cat', 'dog', 1)]
    """

    matrix: Tensor
    classes: Sequence[str]
    by_class: "Sequence[ClassFigures]" = field(init=False)

    def __post_init__(self) -> None:
        rows = zip(
            self.classes,
            self.matrix.diagonal().tolist(),
            self.matrix.sum(1).tolist(),
            self.matrix.sum(0).tolist(),
            strict=True,
        )
        object.__setattr__(self, "by_class", tuple(ClassFigures(*row) for row in rows))

    @property
    def accuracy(self) -> float:
        """Share of right answers, in percent."""
        return 100 * int(self.matrix.diagonal().sum()) / int(self.matrix.sum())

    def mistakes(self) -> list[tuple[str, str, int]]:
        """Return true class, answer and number of images of every kind of mistake, the most frequent first."""
        found = [
            (self.classes[int(row)], self.classes[int(column)], int(self.matrix[row, column]))
            for row, column in self.matrix.nonzero().tolist()
            if row != column
        ]
        return sorted(found, key=lambda mistake: -mistake[2])


@dataclass(frozen=True)
class ClassFigures:
    """How well a class is known.

    Attributes:
        name: of the class.
        right: images of it that were answered so.
        images: of this class.
        answers: images that were answered so, whatever they are.

    Example:
        >>> figures = ClassFigures("cat", right=3, images=4, answers=3)
        >>> figures.precision, figures.recall, round(figures.f1, 1)
        (100.0, 75.0, 85.7)
    """

    name: str
    right: int
    images: int
    answers: int

    @property
    def precision(self) -> float | None:
        """Share of its answers that are right, in percent; None where it was never answered."""
        return 100 * self.right / self.answers if self.answers else None

    @property
    def recall(self) -> float | None:
        """Share of its images that are found, in percent; None where there are none."""
        return 100 * self.right / self.images if self.images else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of the two, in percent; None where there are neither images nor answers of it."""
        return 200 * self.right / (self.images + self.answers) if self.images + self.answers else None


def judge(run: Run, split: Split, *, batch_size: int = EVALUATION_BATCH, device: str = "cpu") -> Judgement:
    """Judge a run on images, each by itself and all together.

    Args:
        run: the run; its network is moved to the device, and stays there.
        split: images as the network was trained on them.
        batch_size: images at once; it decides memory, not the result.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".

    Raises:
        ValueError: images or labels are not of the kind that the network knows, or there is no such device.

    Example:
        >>> import tempfile
        >>> from sepgconv.data import load_dataset, take_images
        >>> from sepgconv.tasks import TrainingConfig, load_run, train
        >>> config = TrainingConfig(model="z2cnn", data="rotated_digits", model_config={"width": 2}, epochs=1)
        >>> digits = take_images(load_dataset("rotated_digits"), 40, seed=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = train(config, folder=folder, data=digits, progress=False, accelerator="cpu")
        ...     found = judge(load_run(folder), digits.test)
        >>> found.metrics["error"] == record.test_error, len(found.answers)
        (True, 597)
        >>> abs(100 - found.confusion.accuracy - record.test_error) < 1e-6
        True
    """
    task = run.task
    check_image_shape(run, split)
    place = find_device(device)
    model = run.model.to(place)
    dtype = next(model.parameters()).dtype
    answers: list[Answer] = []
    tally = Tally(task, (*task.metrics, *task.further_metrics))
    given: list[Tensor] = []
    with torch.inference_mode():
        for images, targets in split.batches(batch_size):
            outputs = model(images.to(place, dtype)).float()
            if not isinstance(split.labels, Tensor):
                task.check(targets, outputs.shape[1])
            elif not tally.images:
                task.check(split.labels, outputs.shape[1])
            tally.add(outputs, targets.to(place))
            outputs = outputs.cpu()
            answers += task.describe(outputs, run.classes)
            probabilities = task.probabilities(outputs)
            if probabilities is not None and targets.ndim == 1 and split.has_classes:
                given.append(probabilities.argmax(1))
    if not tally.images:
        raise ValueError("expected at least one image to judge a run by, got none")
    confusion = _confusion(split.labels[:], torch.cat(given), run.classes) if given else None
    return Judgement(tally.measure(), answers, confusion, task.measure_each(tally.counts(), run.classes))


def _confusion(labels: Tensor, given: Tensor, classes: Sequence[str]) -> Confusion:
    number = len(classes)
    return Confusion((labels * number + given).bincount(minlength=number**2).view(number, number), classes)
