"""`python -m benchmarks.loading`: images from a folder, this package beside a plain torch Dataset and DataLoader.

Each way reads the same JPEG files in random order and gives batches of float32 images of one size, scaled and cut in
the centre, with mean and deviation taken off. The plain way is what people write: Pillow in `__getitem__`, torch's
default collation. `--memory` trains on the folder instead and prints the peak memory of the process and its readers.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from sepgconv.data import load_dataset
from sepgconv.tasks import TrainingConfig, train
from sepgconv.tasks.batches import Batches, epoch_order
from sepgconv.tasks.loading import Loader

BATCH = 64
LOOK = 0.05  # seconds between looks at the memory


@dataclass(frozen=True)
class Setting:
    """What is read.

    Attributes:
        images: how many files.
        stored: height and width of the files.
        side: height and width that they are brought to.
        workers: processes that read.
    """

    images: int
    stored: int
    side: int
    workers: int


def write_folder(root: Path, setting: Setting) -> Path:
    """Write JPEG files of two classes; smooth noise, which compresses about as photographs do."""
    generator = np.random.default_rng(0)
    for number in range(setting.images):
        small = generator.integers(0, 256, (16, 16, 3)).astype(np.uint8)
        large = Image.fromarray(small).resize((setting.stored, setting.stored), Image.Resampling.BICUBIC)
        path = root / "data" / str(number % 2) / f"{number:06}.jpg"
        if number < 2:
            path.parent.mkdir(parents=True)
        large.save(path, quality=90)
    return root / "data"


class PlainImages(Dataset[tuple[Tensor, int]]):
    """Files and their labels as people write them by hand."""

    def __init__(self, root: Path, side: int) -> None:
        self.paths = sorted(root.glob("*/*.jpg"))
        self.side = side
        self.mean, self.std = torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path = self.paths[index]
        with Image.open(path) as file:
            image = ImageOps.fit(file.convert("RGB"), (self.side, self.side), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return (pixels - self.mean) / self.std, int(path.parent.name)


def plain(root: Path, setting: Setting) -> Callable[[], Iterator[Any]]:
    """Return what reads an epoch with torch's own means."""
    images = PlainImages(root, setting.side)
    loader: DataLoader[Any] = DataLoader(
        images,
        BATCH,
        sampler=RandomSampler(images),
        num_workers=setting.workers,
        persistent_workers=setting.workers > 0,
    )
    return lambda: iter(loader)


def ours(root: Path, setting: Setting, *, cache: Path | None, in_memory: bool = False) -> Callable[[], Iterator[Any]]:
    """Return what reads an epoch as a training does, of all images."""
    data = load_dataset(
        str(root), image_size=setting.side, in_memory=in_memory, cache=False if cache is None else cache
    )
    parts = {"train": data.train}
    loader, split, epochs = Loader(parts, setting.workers), data.train, iter(range(1000))

    def epoch() -> Iterator[Any]:
        order = epoch_order(len(split), 1, next(epochs))
        return iter(Batches(split.images, split.labels, batch_size=BATCH, order=order, reader=loader.reader("train")))

    return epoch


def rate(epoch: Callable[[], Iterator[Any]], repeats: int) -> float:
    """Return images a second: the median over epochs, after one that starts the processes."""
    found: list[float] = []
    for _ in range(1 + repeats):
        begun, images = time.perf_counter(), 0
        for batch in epoch():
            images += len(batch[0])
        found.append(images / (time.perf_counter() - begun))
    return float(np.median(found[1:]))


def memory_of(process: int) -> dict[str, int]:
    """Return resident bytes, and the share of this process where pages are shared, of it and of those it started."""
    total = {"Rss": 0, "Pss": 0}
    children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    for one in (process, *map(int, children)):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text(encoding="ascii").splitlines()
        except OSError:
            continue  # it has ended
        for line in lines:
            name, _, value = line.partition(":")
            if name in total:
                total[name] += int(value.split()[0]) * 1024
    return total


def peak_memory(run: Callable[[], object]) -> dict[str, int]:
    """Return the most memory that this process and those it starts hold together while something runs."""
    peak, over = {"Rss": 0, "Pss": 0}, threading.Event()

    def watch() -> None:
        while not over.wait(LOOK):
            for name, value in memory_of(os.getpid()).items():
                peak[name] = max(peak[name], value)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    run()
    over.set()
    watcher.join()
    return peak


def main(
    images: Annotated[int, typer.Option(min=4, help="Files.")] = 2000,
    stored: Annotated[int, typer.Option(min=8, help="Height and width of the files in pixels.")] = 256,
    side: Annotated[int, typer.Option(min=8, help="Height and width that they are brought to.")] = 64,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read.")] = 2,
    repeats: Annotated[int, typer.Option(min=1, help="Epochs that are timed.")] = 3,
    memory: Annotated[bool, typer.Option(help="Train for one epoch instead, and print the peak memory.")] = False,
) -> None:
    """Read a folder of JPEG files that is written for it; print images a second, or the peak memory of a training."""
    setting = Setting(images, stored, side, workers)
    with tempfile.TemporaryDirectory() as place:
        root, cache = write_folder(Path(place), setting), Path(place) / "cache"
        title = f"{images:,} JPEG files of {stored} x {stored} to {side} x {side}, {workers} processes that read"
        table = Table(title=title, title_justify="left")
        if memory:
            _print_memory(table, setting, root, cache)
            return
        table.add_column("way")
        table.add_column("images a second", justify="right")
        ways = {
            "torch Dataset, DataLoader, Pillow": plain(root, setting),
            "this package, from the files (cache=False)": ours(root, setting, cache=None),
            "this package, from its cache": ours(root, setting, cache=cache),
            "this package, in memory": ours(root, setting, cache=None, in_memory=True),
        }
        for name, epoch in ways.items():
            table.add_row(name, f"{rate(epoch, repeats):,.0f}")
        Console().print(table)


def _print_memory(table: Table, setting: Setting, root: Path, cache: Path) -> None:
    config = TrainingConfig(
        model="gc_p4cnn", model_config={"width": 4}, data=str(root), batch_size=BATCH, epochs=1, hold_out=True
    )

    def run() -> None:
        data = load_dataset(str(root), image_size=setting.side, in_memory=False, cache=cache)
        train(config, folder=cache.parent / "run", data=data, workers=setting.workers, threads=1)

    begun = time.perf_counter()
    peak = peak_memory(run)
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_row("resident memory of all processes, shared pages counted in each", f"{peak['Rss'] / 2**20:,.0f} MiB")
    table.add_row("the same, shared pages counted once", f"{peak['Pss'] / 2**20:,.0f} MiB")
    size = setting.images * 3 * setting.side**2 * 4
    table.add_row("the images as float32", f"{size / 2**20:,.0f} MiB")
    table.add_row("seconds, decoding included", f"{time.perf_counter() - begun:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
