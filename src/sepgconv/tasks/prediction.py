"""What a trained network predicts for image files, a batch at a time: memory does not grow with their number."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from sepgconv.data.image_file import UnreadableImageError
from sepgconv.data.regular_file import reason
from sepgconv.tasks.devices import find_device
from sepgconv.tasks.evaluation import Run
from sepgconv.tasks.task import Task

PREDICTION_BATCH = 32

Answer: TypeAlias = dict[str, str | float]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a network predicts for an image.

    Attributes:
        path: the file, as it was given.
        answer: what `sepgconv.tasks.Task.describe` says, and what was asked for besides; None where it was left out.
        left_out: why the file could not be read; None where it was.

    Example:
        >>> from pathlib import Path
        >>> Prediction(Path("scan.png"), None, "is not there").left_out
        'is not there'
    """

    path: Path
    answer: Mapping[str, str | float] | None
    left_out: str | None = None


def predict(
    run: Run,
    images: Iterable[str | Path],
    *,
    top: int = 1,
    probabilities: bool = False,
    batch_size: int = PREDICTION_BATCH,
    device: str = "cpu",
    draw_to: Callable[[Sequence[Path], Tensor], object] | None = None,
) -> Iterator[Prediction]:
    """Yield what a run predicts for image files, in their order; a file that cannot be read has its reason instead.

    Files are read as the images were that the run learned from: grey or colour, size, bit depth, preprocessing. They
    are read when they are needed and forgotten afterwards.

    Args:
        run: from `sepgconv.tasks.load_run`. Its network is moved to the device, and stays there.
        images: names of files.
        top: how many classes to name, the most probable first.
        probabilities: give the probability of every class, too.
        batch_size: images at once; it decides memory and speed. Default: 32.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        draw_to: called with the files of a batch that were read and the outputs for them, as to write masks
            (`sepgconv.tasks.write_images`). Default: nothing is called.

    Raises:
        ValueError: there is no such device, or the task gives no probabilities of classes and some are asked for.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from sepgconv.data import load_dataset, take_images
        >>> from sepgconv.tasks import TrainingConfig, load_run, train
        >>> config = TrainingConfig(model="z2cnn", data="rotated_digits", model_config={"width": 2}, epochs=1)
        >>> digits = take_images(load_dataset("rotated_digits"), 40, seed=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = train(config, folder=f"{folder}/run", data=digits, progress=False, accelerator="cpu")
        ...     Image.new("L", (28, 28)).save(f"{folder}/black.png")
        ...     (found,) = predict(load_run(f"{folder}/run"), [f"{folder}/black.png"], top=2)
        >>> list(found.answer)
        ['class', 'probability', 'class 2', 'probability 2']
    """
    for batch in outputs_for_files(run, run.model, images, batch_size=batch_size, device=device):
        found = describe(run.task, batch.outputs, run.classes, top=top, probabilities=probabilities)
        answers = iter(found)
        if draw_to is not None and batch.outputs is not None:
            draw_to([path for path in batch.paths if path not in batch.left_out], batch.outputs)
        for path in batch.paths:
            if path in batch.left_out:
                yield Prediction(path, None, batch.left_out[path])
            else:
                yield Prediction(path, next(answers))


def describe(
    task: Task, outputs: Tensor | None, classes: Sequence[str], *, top: int = 1, probabilities: bool = False
) -> list[Answer]:
    """Return what a task says of outputs, and further classes and probabilities as columns of their own.

    Args:
        task: of the network.
        outputs: (batch, ...); None for no image.
        classes: names of the classes.
        top: how many classes to name.
        probabilities: name the probability of every class, too.

    Raises:
        ValueError: the task gives no probabilities of classes, and some are asked for.
    """
    if outputs is None:
        return []
    rows = task.describe(outputs, classes)
    if top == 1 and not probabilities:
        return rows
    found = task.probabilities(outputs)
    if found is None:
        raise ValueError(
            f"the task {task.name!r} gives no probabilities of classes; leave out top and probabilities "
            "(--top-k, --probabilities)"
        )
    best = found.topk(min(top, found.shape[1]))
    for row, values, highest, indices in zip(
        rows, found.tolist(), best.values.tolist(), best.indices.tolist(), strict=True
    ):
        for rank, (value, index) in enumerate(zip(highest, indices, strict=True), 1):
            if rank > 1 or "class" not in row:
                row |= {f"class {rank}": classes[index], f"probability {rank}": value}
        if probabilities:
            row |= {f"probability of {name}": value for name, value in zip(classes, values, strict=True)}
    return rows


@dataclass(frozen=True, eq=False)
class FileOutputs:
    """What a network returns for some files.

    Attributes:
        paths: the files.
        outputs: (images, ...) on the CPU, of those that were read, in their order; None where none was.
        left_out: the others, with the reason.
    """

    paths: Sequence[Path]
    outputs: Tensor | None
    left_out: Mapping[Path, str]


def outputs_for_files(
    run: Run,
    network: nn.Module | Callable[[Tensor], Tensor],
    images: Iterable[str | Path],
    *,
    batch_size: int,
    device: str,
) -> Iterator[FileOutputs]:
    """Yield what a run's network, or a part of it, returns for image files, a batch at a time.

    Args:
        run: the run; its network is moved to the device.
        network: what the preprocessed images go into.
        images: names of files.
        batch_size: images at once.
        device: as `predict` takes it.

    Raises:
        ValueError: there is no such device, or less than one image at once.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
    place = find_device(device)
    run.model.to(place)
    dtype = next(run.model.parameters()).dtype
    for paths in _batches(images, batch_size):
        read: list[Tensor] = []
        left_out: dict[Path, str] = {}
        for path in paths:
            try:
                read.append(read_file(run, path))
            except UnreadableImageError as error:
                left_out[path] = error.reason
            except FileNotFoundError:
                left_out[path] = "is not there"
            except OSError as error:
                left_out[path] = reason(error)
        outputs: Tensor | None = None
        if read:
            with torch.inference_mode():
                outputs = network(run.preprocessing(torch.stack(read)).to(place, dtype)).float().cpu()
        yield FileOutputs(paths, outputs, left_out)


def read_file(run: Run, path: Path) -> Tensor:
    """Return an image, (channels, height, width) in [0, 1], as the run's images were read; it is not preprocessed yet.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or not as the run's images were.
    """
    return run.read_image(path)


def _batches(images: Iterable[str | Path], size: int) -> Iterator[list[Path]]:
    batch: list[Path] = []
    for image in images:
        batch.append(Path(image))
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
