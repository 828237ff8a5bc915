"""Training on images that stay on the disk: the same run bit for bit, with any number of processes that read ahead."""

import dataclasses
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sepgconv.data import DataOptions, Dataset, load_dataset
from sepgconv.tasks import LostImagesError, RunRecord, TrainingConfig, load_run, read_history, train
from sepgconv.tasks.module import TrainingModule
from tests.covering import named
from tests.runs import stopped_before


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 20 noisy images of 28 x 28: bars that lie and bars that stand."""
    root = tmp_path_factory.mktemp("files") / "bars"
    generator = np.random.default_rng(0)
    for number in range(40):
        pixels = generator.integers(0, 120, (28, 28))
        place = slice(8 + number % 7, 12 + number % 7)
        pixels[place if number % 2 else slice(4, 24), slice(4, 24) if number % 2 else place] += 100
        path = root / ("level" if number % 2 else "upright") / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return root


@pytest.fixture(scope="module")
def ours(folder: Path) -> TrainingConfig:
    return TrainingConfig(
        model="z2cnn",
        model_config={"width": 2},
        data=str(folder),
        batch_size=8,
        epochs=2,
        augmentation="quarter-turn",
    )


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def stored(folder: Path, kept: Path) -> Dataset:
    return load_dataset(str(folder), in_memory=False, cache=kept)


@pytest.fixture(scope="module")
def in_memory(folder: Path, ours: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("in_memory") / "run"
    train(ours, folder=run, data=load_dataset(str(folder)), progress=False, threads=1)
    return run


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    assert multiprocessing.active_children() == []


def check_same(run: Path, other: Path) -> None:
    assert (run / "model" / "model.safetensors").read_bytes() == (other / "model" / "model.safetensors").read_bytes()
    assert (run / "preprocessing.safetensors").read_bytes() == (other / "preprocessing.safetensors").read_bytes()
    passing = ("seconds", "cpu_seconds", "peak_memory_bytes", "commit")
    first, second = (
        [
            {name: value for name, value in row.items() if name not in passing}
            for row in [*read_history(place / "metrics.csv"), RunRecord.read(place / "record.json").to_dict()]
        ]
        for place in (run, other)
    )
    assert first == second


def in_batch(monkeypatch: pytest.MonkeyPatch, epoch: int, batch: int, action) -> None:
    step = TrainingModule.training_step

    def training_step(self, data, batch_idx):
        if (self.current_epoch, batch_idx) == (epoch, batch):
            action()
        return step(self, data, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", training_step)


def test_a_run_is_the_same_in_memory_and_on_the_disk(tmp_path, folder, ours, stored, in_memory):
    from_files = load_dataset(str(folder), in_memory=False, cache=False)
    for number, (data, workers) in enumerate(((stored, 0), (stored, 2), (from_files, 1), (from_files, None))):
        with named(cached=data is stored, workers=workers):
            run = tmp_path / str(number)
            train(ours, folder=run, data=data, progress=False, threads=1, workers=workers)
            check_same(run, in_memory)
    run = load_run(tmp_path / "1")
    assert (run.preprocessing.name, run.fit) == ("mean-std", "crop")
    path = next(folder.glob("*/*.png"))
    pixels = np.asarray(Image.open(path)) / np.float32(255)
    assert np.array_equal(run.read_image(path)[0].numpy(), pixels)


def test_without_hold_out_and_with_two_parts_in_one(tmp_path, folder, ours, stored):
    once = dataclasses.replace(ours, epochs=1, hold_out=False)
    for name, data in (("memory", load_dataset(str(folder))), ("disk", stored)):
        train(once, folder=tmp_path / name, data=data, progress=False, threads=1, workers=1)
    check_same(tmp_path / "memory", tmp_path / "disk")


@pytest.mark.parametrize("stop", ["Ctrl-C", "SIGTERM", "an error"])
def test_a_stopped_run_leaves_no_process_and_resumes(stop, tmp_path, ours, stored, in_memory, monkeypatch):
    def fail() -> None:
        raise RuntimeError("of the user's own code")

    action = {
        "Ctrl-C": lambda: os.kill(os.getpid(), signal.SIGINT),
        "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
        "an error": fail,
    }[stop]
    run = tmp_path / "run"
    in_batch(monkeypatch, 1, 1, action)
    with pytest.raises((KeyboardInterrupt, SystemExit, RuntimeError)):
        train(ours, folder=run, data=stored, progress=False, threads=1, workers=2)
    assert multiprocessing.active_children() == []
    monkeypatch.undo()
    # It resumes with another number of processes, and from memory.
    train(ours, folder=run, progress=False, threads=1, resume=True)
    check_same(run, in_memory)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_vanishes_is_named_with_what_is_left(workers, tmp_path, folder, ours, monkeypatch):
    copy = tmp_path / "copy"
    for path in sorted(folder.glob("*/*.png")):
        (copy / path.parent.name).mkdir(parents=True, exist_ok=True)
        (copy / path.parent.name / path.name).write_bytes(path.read_bytes())
    data = load_dataset(str(copy), in_memory=False, cache=False)
    in_batch(monkeypatch, 1, 0, lambda: [path.unlink() for path in copy.glob("level/*.png")])
    sentence = (
        r"cannot be read any more: there is no image .*copy/level/\d+\.png; training stopped: the last good checkpoint "
        r"is .*last\.ckpt \(epoch 1 of 2\); continue with resume"
    )
    with pytest.raises(LostImagesError, match=sentence):
        train(ours, folder=tmp_path / "run", data=data, progress=False, threads=1, workers=workers)


def test_a_process_that_is_killed_is_told(tmp_path, ours, stored, monkeypatch):
    def kill() -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)
            child.join()

    in_batch(monkeypatch, 1, 0, kill)
    with pytest.raises(LostImagesError, match=r"a process that reads images was killed.* \(epoch 1 of 2\); continue"):
        train(ours, folder=tmp_path / "run", data=stored, progress=False, threads=1, workers=1)


def test_the_reading_of_a_run_is_part_of_it(tmp_path, folder, ours, in_memory):
    """A resumed run reads its images as it was begun, also one of a version that kept pixels as they were."""
    padded = load_dataset(str(folder), options=DataOptions(fit="pad"), preprocessing="identity", image_size=30)
    with stopped_before(1), pytest.raises(RuntimeError, match="stop here"):
        train(ours, folder=tmp_path / "run", data=padded, progress=False, threads=1)
    with pytest.raises(ValueError, match=r"preprocessing was 'identity', is 'mean-std'; fit was 'pad', is 'crop'"):
        train(ours, folder=tmp_path / "run", data=load_dataset(str(folder)), progress=False, resume=True)
    record = train(ours, folder=tmp_path / "run", progress=False, threads=1, resume=True)
    assert record.image_shape == [1, 30, 30]
    assert load_run(tmp_path / "run").fit == "pad"
    assert load_run(in_memory).fit == "crop"
