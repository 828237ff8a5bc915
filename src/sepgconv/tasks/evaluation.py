"""Finished runs, read back; the metrics of a network on a part of a data set."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from sepgconv._files import file_digest
from sepgconv.data import Split
from sepgconv.models import Network
from sepgconv.models.storage import read_model
from sepgconv.tasks.config import DEFAULT_TASK
from sepgconv.tasks.folder import RunFolder
from sepgconv.tasks.record import WITHOUT_DIGEST, RunRecord, read_record
from sepgconv.tasks.registry import get_task
from sepgconv.tasks.results import read_preprocessing
from sepgconv.tasks.task import Task

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

    Example:
        >>> from dataclasses import fields
        >>> [field.name for field in fields(Run)]  # what `load_run` returns
        ['record', 'model', 'preprocessing', 'classes', 'bit_depth']
    """

    record: RunRecord
    model: Network
    preprocessing: nn.Module
    classes: tuple[str, ...]
    bit_depth: int | None = None


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
    )


def _check_same_run(files: RunFolder, record: RunRecord, model: Network) -> None:
    # Files of two runs, of which each is whole.
    said = {"model": record.model, **record.model_config}
    found = {"model": model.name, **model.config}
    said |= {"in_channels": record.image_shape[0], **get_task(record.task).head(record.classes)}
    if wrong := [name for name, value in said.items() if name in found and found[name] != value]:
        differences = ", ".join(f"{name} {said[name]!r} and {found[name]!r}" for name in wrong)
        raise ValueError(f"{files.record} and {files.model} are of two runs: {differences}; train the run again")


def evaluate(
    run_or_model: Run | nn.Module, split: Split, *, batch_size: int = EVALUATION_BATCH, task: str | None = None
) -> float:
    """Return the deciding metric of a task on a part of a data set; for classification the error in percent.

    Args:
        run_or_model: a run or a network; it computes on the network's device and in its precision.
        split: images as the network was trained on them, which is how `sepgconv.data` gives them.
        batch_size: images at once; it decides memory, not the result.
        task: what it is judged by, a name of `list_tasks()`. Default: the run's; of a network, classification.

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
    found = measure(run_or_model, split, batch_size=batch_size, task=task)
    return found[_task(run_or_model, task).metrics[0].name]


def measure(
    run_or_model: Run | nn.Module, split: Split, *, batch_size: int = EVALUATION_BATCH, task: str | None = None
) -> Mapping[str, float]:
    """Return every metric of a task on a part of a data set, by name; the arguments are those of `evaluate`.

    Raises:
        ValueError: the images or labels are not of the kind that the network knows.

    Example:
        >>> import torch
        >>> from sepgconv.data import Split
        >>> always_first = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> _ = torch.nn.init.zeros_(always_first[1].weight), torch.nn.init.zeros_(always_first[1].bias)
        >>> measure(always_first, Split(torch.ones(4, 1, 2, 2), torch.tensor([0, 0, 1, 1])))
        {'error': 50.0}
    """
    if isinstance(run_or_model, Run):
        model, expected = run_or_model.model, tuple(run_or_model.record.image_shape)
        if tuple(split.images.shape[1:]) != expected:
            raise ValueError(
                f"the run was trained on images of shape {expected} (channels, height, width), got "
                f"{tuple(split.images.shape[1:])}"
            )
    else:
        model = run_or_model
    judge = _task(run_or_model, task)
    return judge.measure(count_answers(judge, model, split.images, split.labels, batch_size=batch_size))


def _task(run_or_model: Run | nn.Module, task: str | None) -> Task:
    own = run_or_model.record.task if isinstance(run_or_model, Run) else DEFAULT_TASK
    return get_task(own if task is None else task)


def count_answers(
    task: Task, model: nn.Module, images: Tensor, targets: Tensor, *, batch_size: int = EVALUATION_BATCH
) -> Tensor:
    """Return what a task counts of a network's outputs on images; the network keeps its mode.

    Args:
        task: what is counted.
        model: from images (n, channels, height, width) to what the task expects.
        images: on any device.
        targets: (n, ...).
        batch_size: images at once.

    Returns:
        The sum of `task.count` over the batches, on the device of the network.

    Raises:
        ValueError: the targets are not what the task expects of such a network.
    """
    sample = next(model.parameters())
    was_training = model.training
    model.eval()
    found: Tensor | None = None
    try:
        with torch.inference_mode():
            for part, truth in zip(images.split(batch_size), targets.split(batch_size), strict=True):
                outputs = model(part.to(sample.device, sample.dtype))
                if found is None:
                    task.check(targets, outputs.shape[1])
                counts = task.count(outputs, truth.to(sample.device))
                found = counts if found is None else found + counts
    finally:
        model.train(was_training)
    if found is None:
        raise ValueError("expected at least one image to judge a network by, got none")
    return found.clone()  # out of inference mode: an ordinary tensor
