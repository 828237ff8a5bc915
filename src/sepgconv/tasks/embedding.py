"""The features of a trained network: what its last layer reads, for other programs to learn from."""

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from sepgconv._files import write_atomically
from sepgconv.tasks.evaluation import Run
from sepgconv.tasks.parts import head_of
from sepgconv.tasks.prediction import PREDICTION_BATCH, FileOutputs, outputs_for_files


def embed(
    run: Run, images: Iterable[str | Path], *, batch_size: int = PREDICTION_BATCH, device: str = "cpu"
) -> Iterator[FileOutputs]:
    """Yield the features of image files, a batch at a time: the numbers that the last layer with weights reads.

    Those of the library's networks do not change when an image is rotated by an element of the network's group. Files
    are read as `sepgconv.tasks.predict` reads them.

    Args:
        run: from `sepgconv.tasks.load_run`. Its network is moved to the device, and stays there.
        images: names of files.
        batch_size: images at once; it decides memory and speed. Default: 32.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".

    Yields:
        The files of a batch, their features as float32 (images, features), and which of them could not be read.

    Raises:
        ValueError: there is no such device.

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
        ...     (found,) = embed(load_run(f"{folder}/run"), [f"{folder}/black.png"])
        >>> found.outputs.shape
        torch.Size([1, 2])
    """
    _, head = head_of(run.model)
    read: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda module, given: read.append(given[0]))

    def features(images: Tensor) -> Tensor:
        read.clear()
        run.model(images)
        return read.pop().flatten(1)

    try:
        yield from outputs_for_files(run, features, images, batch_size=batch_size, device=device)
    finally:
        handle.remove()


def write_features(path: Path, names: Sequence[str], features: Sequence[Tensor]) -> None:
    """Write features as .npz, whole or not at all: the arrays "features", (images, features), and "paths", (images,).

    Args:
        path: the file.
        names: of the images.
        features: batches of rows, in the same order.

    Raises:
        OSError: it could not be written.
    """
    content = io.BytesIO()
    rows = np.concatenate([batch.numpy() for batch in features]) if features else np.zeros((0, 0), np.float32)
    np.savez(content, features=rows, paths=np.array(names, dtype=np.str_))
    write_atomically(path, content.getbuffer())
