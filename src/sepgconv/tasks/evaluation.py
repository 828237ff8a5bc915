"""Finished runs, read back; the metrics of a network on a part of a data set."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from sepgconv._files import file_digest
from sepgconv.data import DataOptions, Split, read_image
from sepgconv.data.column import Entries, chunks
from sepgconv.data.reading import Fit
from sepgconv.models import Network
from sepgconv.models.storage import read_model
from sepgconv.tasks.config import DEFAULT_TASK
from sepgconv.tasks.folder import RunFolder
from sepgconv.tasks.record import WITHOUT_DIGEST, RunRecord, read_record
from sepgconv.tasks.registry import get_task
from sepgconv.tasks.results import read_preprocessing
from sepgconv.tasks.tally import Tally
from sepgconv.tasks.task import Metric, Task

# Images at once: larger batches are no faster on a CPU, and a wide network's maps take a gigabyte.
EVALUATION_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run.

    Attributes:
        record: what was trained, and how well.
        model: the network with the last epoch's weights, on the CPU, in evaluation mode.
        preprocessing: from raw images in [0, 1], (n, channels, height, width), to what the network was trained on.
        classes: names of the classes, in the order of the scores; none where the task knows no classes.
        bit_depth: bits that files of 16 bits a pixel used among its images; others of the kind are read with it
            (`sepgconv.data.read_image`). None: there were none, or the run is of a version that did not keep it.
        fit: how its images were brought to one size; others are read with it (`sepgconv.data.read_image`). None: they
            came in one size, or the run is of a version that only cropped.
        task: what the network was trained for, with its options and what it took from the targets: `describe` gives
            predictions in the user's units.

    Example:
        >>> from dataclasses import fields
        >>> [field.name for field in fields(Run)]  # what `load_run` returns
        ['record', 'model', 'preprocessing', 'classes', 'bit_depth', 'task', 'fit']
    """

    record: RunRecord
    model: Network
    preprocessing: nn.Module
    classes: tuple[str, ...]
    bit_depth: int | None = None
    task: Task = field(default_factory=lambda: get_task(DEFAULT_TASK))
    fit: Fit | None = None

    def read_image(self, path: str | Path) -> Tensor:
        """Read an image as those that the run was trained on: float32 in [0, 1], (channels, height, width).

        The run's `preprocessing` comes after it.

        Raises:
            FileNotFoundError, ValueError: as `sepgconv.data.read_image`.
        """
        channels, height, width = self.record.image_shape
        reading = self.data_options.reading
        return read_image(
            path,
            (channels, height, width),
            bit_depth=self.bit_depth,
            pages=reading.pages,
            value_range=reading.value_range,
            fit=reading.fit,
        )

    @property
    def data_options(self) -> DataOptions:
        """How its images were read; others of the kind are read alike (`sepgconv.data.load_labelled_images`)."""
        return options_of(self.record, self.fit)


def options_of(record: RunRecord, fit: Fit | None) -> DataOptions:
    """Return how the images of a run are read again.

    Args:
        record: the run's.
        fit: how they were brought to one size, as the run's preprocessing says; None where it does not.
    """
    options = DataOptions.from_dict(record.config.get("data_options", {}))
    if options.targets is None and record.task == "multi-label":  # others may have one label for each image
        options = dataclasses.replace(options, targets="labels")
    return options if fit is None else dataclasses.replace(options, fit=fit)


def load_run(folder: str | Path, *, checkpoint: Literal["last", "best"] | None = None) -> Run:
    """Read a finished run; nothing in its files is executed, and their digests are compared.

    Files of older versions have no digests; they are read with a warning.

    Args:
        folder: the run's.
        checkpoint: take the network of this checkpoint, also where the run is not finished: "last", of the last
            complete epoch, or "best", of the epoch with the best figure on the validation part. The record then has the
            epoch of the checkpoint and no figures. Default: the result of a finished run.

    Raises:
        FileNotFoundError: the folder is none of a run, the run is not finished, or there is no such checkpoint.
        OSError: a file cannot be read, as without the permission to.
        ValueError: a file in it is damaged or missing, or its task is not registered.

    Example:
        >>> import tempfile
        >>> from sepgconv.data import load_dataset, take_images
        >>> from sepgconv.tasks import TrainingConfig, train
        >>> config = TrainingConfig(model="z2cnn", data="rotated_digits", model_config={"width": 2}, epochs=1)
        >>> digits = take_images(load_dataset("rotated_digits"), 40, seed=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = train(config, folder=folder, data=digits, progress=False, accelerator="cpu")
        ...     run = load_run(folder)
        >>> run.record == record, evaluate(run, digits.test) == record.test_error
        (True, True)
    """
    if checkpoint is not None:
        from sepgconv.tasks.stopped import load_checkpoint  # which imports this module

        return load_checkpoint(Path(folder), checkpoint)
    files = RunFolder(Path(folder))
    if not files.setup.is_file():
        what = "holds no run" if files.root.is_dir() else "is no folder"
        raise FileNotFoundError(
            f"{folder} {what}; expected a folder that `sepgconv train` made, with {files.setup.name} and "
            f"{files.record.name} in it"
        )
    if not files.record.is_file():
        raise FileNotFoundError(f"the run in {folder} is not finished; continue it with resume=True (--resume)")
    kept = read_record(files.record)
    record = kept.record
    remedy = "train with resume=True (--resume) writes it anew from the checkpoint"
    remedy = remedy if files.checkpoint.is_file() else "train the run again"
    try:
        preprocessing = read_preprocessing(files.preprocessing)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{files.preprocessing} is damaged or missing ({error}); {remedy}") from error
    try:
        model, sealed = read_model(files.model)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"the network of the run in {folder} is damaged or missing ({error}); {remedy}") from error
    for name, path in files.results.items():
        if path.parent == files.model or path == files.preprocessing:
            if kept.files and file_digest(path) != kept.files.get(name):
                raise ValueError(f"{path} is not the file that the run's record was written with; {remedy}")
    _check_same_run(files, record, model)
    if not (kept.sealed and sealed):
        warnings.warn(f"the run in {folder} {WITHOUT_DIGEST}", stacklevel=2)
    return Run(
        record=record,
        model=model,
        preprocessing=preprocessing.module,
        classes=tuple(record.classes),
        bit_depth=preprocessing.bit_depth,
        task=record.fitted_task(),
        fit=preprocessing.fit,
    )


def _check_same_run(files: RunFolder, record: RunRecord, model: Network) -> None:
    # Files of two runs, of which each is whole.
    said = {"model": record.model, **record.model_config}
    found = {"model": model.name, **model.config}
    said |= {"in_channels": record.image_shape[0], **record.fitted_task().head(record.classes)}
    if wrong := [name for name, value in said.items() if name in found and found[name] != value]:
        differences = ", ".join(f"{name} {said[name]!r} and {found[name]!r}" for name in wrong)
        raise ValueError(f"{files.record} and {files.model} are of two runs: {differences}; train the run again")


def evaluate(
    run_or_model: Run | nn.Module, split: Split, *, batch_size: int = EVALUATION_BATCH, task: str | Task | None = None
) -> float:
    """Return the deciding metric of a task on a part of a data set; for classification the error in percent.

    Args:
        run_or_model: a run or a network; it computes on the network's device and in its precision.
        split: images as the network was trained on them, which is how `sepgconv.data` gives them.
        batch_size: images at once; it decides memory, not the result.
        task: what it is judged by, a task or a name of `list_tasks()`. Default: the run's; of a network,
            classification.

    Raises:
        ValueError: the images or labels are not of the kind that the network knows.

    Example:
        >>> import torch
        >>> from sepgconv.data import Split
        >>> brightest_pixel = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 4, bias=False))
        >>> _ = torch.nn.init.eye_(brightest_pixel[1].weight)
        >>> split = Split(torch.eye(4).view(4, 1, 2, 2), torch.tensor([0, 1, 2, 0]))
        >>> evaluate(brightest_pixel, split)
        25.0
    """
    model = _model(run_or_model, split)
    judge = _task(run_or_model, task)
    metric = judge.metrics[0]
    found = tally_answers(judge, model, split.images, split.labels, batch_size=batch_size, metrics=(metric,))
    return found.measure()[metric.name]


def measure(
    run_or_model: Run | nn.Module, split: Split, *, batch_size: int = EVALUATION_BATCH, task: str | Task | None = None
) -> Mapping[str, float]:
    """Return every metric of a task on a part of a data set, by name; the arguments are those of `evaluate`.

    Besides the metrics of the epochs and records these are the task's `further_metrics`, made of all outputs together.

    Raises:
        ValueError: the images or labels are not of the kind that the network knows.

    Example:
        >>> import torch
        >>> from sepgconv.data import Split
        >>> always_first = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> _ = torch.nn.init.zeros_(always_first[1].weight), torch.nn.init.zeros_(always_first[1].bias)
        >>> measure(always_first, Split(torch.ones(4, 1, 2, 2), torch.tensor([0, 0, 1, 1])))
        {'error': 50.0, 'accuracy': 50.0, 'balanced_accuracy': 50.0, 'auc': 0.5}
    """
    model = _model(run_or_model, split)
    judge = _task(run_or_model, task)
    metrics = (*judge.metrics, *judge.further_metrics)
    return tally_answers(judge, model, split.images, split.labels, batch_size=batch_size, metrics=metrics).measure()


def measure_each(
    run_or_model: Run | nn.Module,
    split: Split,
    *,
    classes: Sequence[str] = (),
    batch_size: int = EVALUATION_BATCH,
    task: str | Task | None = None,
) -> Mapping[str, Mapping[str, float | None]]:
    """Return the metrics of every class, as `{"iou": {"nucleus": 81.5}}`; nothing for tasks without such metrics.

    The arguments are those of `evaluate`, and:

    Args:
        run_or_model: a run or a network.
        split: images as the network was trained on them.
        classes: their names. Default: those of the run.
        batch_size: images at once.
        task: what it is judged by.

    Returns:
        None as the value of a class that is in no mask and no answer.

    Raises:
        ValueError: the images or labels are not of the kind that the network knows.

    Example:
        >>> import torch
        >>> from sepgconv.data import Split
        >>> bright = torch.nn.Conv2d(1, 1, 1)  # an object where it is brighter than a half
        >>> _ = torch.nn.init.ones_(bright.weight), torch.nn.init.constant_(bright.bias, -0.5)
        >>> split = Split(torch.tensor([[[[0.1, 0.9]]]]), torch.tensor([[[0, 1]]]))
        >>> measure_each(bright, split, classes=("ground", "object"), task="segmentation")["dice"]
        {'ground': 100.0, 'object': 100.0}
    """
    judge = _task(run_or_model, task)
    names = run_or_model.classes if isinstance(run_or_model, Run) and not classes else classes
    found = tally_answers(judge, _model(run_or_model, split), split.images, split.labels, batch_size=batch_size)
    return judge.measure_each(found.counts(), names)


def _model(run_or_model: Run | nn.Module, split: Split) -> nn.Module:
    if not isinstance(run_or_model, Run):
        return run_or_model
    check_image_shape(run_or_model, split)
    return run_or_model.model


def check_image_shape(run: Run, split: Split) -> None:
    """Raise if images are not of the shape that a run was trained on.

    Raises:
        ValueError: they are of another one.
    """
    expected, found = tuple(run.record.image_shape), split.image_shape
    if found != expected:
        raise ValueError(f"the run was trained on images of shape {expected} (channels, height, width), got {found}")


def _task(run_or_model: Run | nn.Module, task: str | Task | None) -> Task:
    if isinstance(task, Task):
        return task
    if task is None and isinstance(run_or_model, Run):
        return run_or_model.task
    return get_task(DEFAULT_TASK if task is None else task)


def tally_answers(
    task: Task,
    model: nn.Module,
    images: Entries,
    targets: Entries,
    *,
    batch_size: int = EVALUATION_BATCH,
    metrics: Sequence[Metric] | None = None,
) -> Tally:
    """Return what the metrics of a task are made of, for a network's outputs on images; the network keeps its mode.

    Args:
        task: what is counted.
        model: from images (n, channels, height, width) to what the task expects.
        images: on any device, or not in memory.
        targets: (n, ...).
        batch_size: images at once.
        metrics: which are asked for. Default: those of the task.

    Raises:
        ValueError: the targets are not what the task expects of such a network.
    """
    sample = next(model.parameters())
    was_training = model.training
    model.eval()
    found = Tally(task, metrics)
    try:
        with torch.inference_mode():
            for part, truth in zip(chunks(images, batch_size), chunks(targets, batch_size), strict=True):
                outputs = model(part.to(sample.device, sample.dtype))
                if not isinstance(targets, Tensor):
                    task.check(truth, outputs.shape[1])
                elif not found.images:
                    task.check(targets, outputs.shape[1])
                found.add(outputs, truth.to(sample.device))
    finally:
        model.train(was_training)
    if not found.images:
        raise ValueError("expected at least one image to judge a network by, got none")
    return found
