"""A data set whose labels are numbers: how much of an image is lit."""

from pathlib import Path

import torch

from sepgconv.data import Dataset, Split, build_preprocessing, register_dataset

SIDE = 16


def _part(count: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, SIDE, SIDE, generator=generator) / 4
    heights = torch.randint(1, SIDE, (count,), generator=generator)
    for image, height in zip(images, heights.tolist(), strict=True):
        image[:, :height] += 0.5
    return Split(images, heights / SIDE)


def load_light(data_dir: Path | None, download: bool) -> Dataset:
    """Return 16 images to train on, and 8 for each of the other parts."""
    identity = build_preprocessing("identity", {})
    return Dataset("light", (), _part(16, 1), _part(8, 2), _part(8, 3), identity)


register_dataset("light", load_light, description="32 images that are lit from above, 16x16 grey", side=SIDE)
