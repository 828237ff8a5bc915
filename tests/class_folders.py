"""Folders of classes whose images differ in brightness."""

from pathlib import Path

import numpy as np
from PIL import Image


def write(folder: Path, names: dict[str, int], *, count: int = 12, deep: bool = False) -> Path:
    """Write images of 28x28 around a grey level for each class; deep ones use 12 bits of 16."""
    generator = np.random.default_rng(0)
    for name, level in names.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = level + generator.integers(0, 60, (28, 28))
            pixels[0, 0] = 255 if deep else pixels[0, 0]
            array = (pixels << 4).astype(np.uint16) if deep else pixels.astype(np.uint8)
            Image.fromarray(array).save(folder / name / f"{number}.{'tif' if deep else 'png'}")
    return folder
