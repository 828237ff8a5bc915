"""A data set and a config so small that a run takes seconds; the run that disturbed ones are compared with."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from sepgconv._files import write_atomically
from sepgconv.data import Dataset, load_dataset
from sepgconv.tasks import TrainingConfig, results, train
from tests.runs import stopped_before


@pytest.fixture(scope="session", autouse=True)
def _curves_drawn_once():
    """Draw the same curves once: nearly all runs here have the same, and a drawing takes as long as two epochs."""
    drawn, draw = {}, results.draw_curves

    def repeat(path, history, *, task, title, test, chosen):
        rows = [sorted((name, value) for name, value in row.items() if name != "seconds") for row in history]
        key = (repr(rows), repr(task.metrics), task.loss_name, title, test, chosen)
        if key in drawn:
            write_atomically(path, drawn[key])
        else:
            draw(path, history, task=task, title=title, test=test, chosen=chosen)
            drawn[key] = path.read_bytes()

    results.draw_curves = repeat
    yield
    results.draw_curves = draw


@pytest.fixture(scope="session")
def npz(tmp_path_factory):
    """Three classes of noisy 28 x 28 pictures with a bright bar: 41 to train, 9 to validate, 21 to test."""
    generator = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 41), ("valid", 9), ("test", 21)):
        labels = np.arange(count) % 3
        images = generator.uniform(0, 0.5, (count, 28, 28))
        for image, label in zip(images, labels, strict=True):
            image[6 + 6 * label : 10 + 6 * label, 4:20] += 0.5
        arrays |= {f"x_{part}": images.astype(np.float32), f"y_{part}": labels}
    path = tmp_path_factory.mktemp("data") / "bars.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def bars(npz) -> Dataset:
    return load_dataset(str(npz))


@pytest.fixture(scope="session")
def config(npz) -> TrainingConfig:
    """Adam, random augmentation, four epochs of three batches, the last of which is shorter."""
    return TrainingConfig(
        model="gc_p4cnn",
        model_config={"width": 3},
        data=str(npz),
        batch_size=16,
        epochs=4,
        augmentation="crop-flip",
        schedule="step",
        milestones=(2,),
    )


@dataclasses.dataclass(frozen=True)
class Undisturbed:
    folder: Path
    weights: bytes


@pytest.fixture(scope="session")
def undisturbed(config, bars, tmp_path_factory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    train(config, folder=folder, data=bars, progress=False, threads=1)
    return Undisturbed(folder, weights(folder))


@pytest.fixture(scope="session")
def stop_after(config, bars):
    """Train in a folder until a number of epochs is complete; then an error ends the run."""

    def train_until(complete: int, folder: Path) -> None:
        with stopped_before(complete), pytest.raises(RuntimeError, match="stop here"):
            train(config, folder=folder, data=bars, progress=False, threads=1)

    return train_until


@pytest.fixture(scope="session")
def half_trained(stop_after, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("half_trained") / "run"
    stop_after(2, folder)
    return folder


@pytest.fixture
def stopped(half_trained, tmp_path) -> Path:
    """A run of which two epochs are complete."""
    return Path(shutil.copytree(half_trained, tmp_path / "run"))


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="session")
def read_weights():
    return weights
