"""The packed JPEG layout, read as a user's own `.npz`."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sepgconv.data import load_dataset


def jpeg_of(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def write(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    generator, arrays = np.random.default_rng(0), {"header": np.zeros(0, np.uint8), "classes": np.array(["a", "b"])}
    pictures = generator.integers(0, 256, (24, *shape)).astype(np.uint8)
    for split, part in (("train", pictures[:20]), ("test", pictures[20:])):
        files = [jpeg_of(picture) for picture in part]
        arrays[f"{split}_jpeg"] = np.frombuffer(b"".join(files), np.uint8)
        arrays[f"{split}_length"] = np.array([len(file) for file in files], np.uint16)
        arrays[f"{split}_labels"] = (np.arange(len(part)) % 2).astype(np.uint8)
    np.savez(path, **arrays)
    return np.stack([np.asarray(Image.open(io.BytesIO(jpeg_of(picture)))) for picture in pictures])


@pytest.mark.parametrize("shape", [(9, 6), (9, 6, 3)])
def test_packed_pictures_are_decoded(tmp_path: Path, shape: tuple[int, ...]):
    decoded = write(tmp_path / "packed.npz", shape)
    dataset = load_dataset(str(tmp_path / "packed.npz"))
    assert dataset.name == "npz:packed"
    assert dataset.classes == ("a", "b")
    assert dataset.image_shape == (1 if len(shape) == 2 else 3, 9, 6)
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [16, 4, 4]
    expected = torch.from_numpy(decoded[20:]).float().reshape(4, 9, 6, -1).movedim(-1, 1) / 255
    torch.testing.assert_close(dataset.test.images, expected)


def test_pictures_of_unequal_shapes_are_refused(tmp_path: Path):
    first, second = jpeg_of(np.zeros((4, 4), np.uint8)), jpeg_of(np.zeros((5, 4), np.uint8))
    arrays = {"header": np.zeros(0, np.uint8)}
    for split in ("train", "test"):
        arrays[f"{split}_jpeg"] = np.frombuffer(first + second, np.uint8)
        arrays[f"{split}_length"] = np.array([len(first), len(second)])
        arrays[f"{split}_labels"] = np.array([0, 0])
    np.savez(tmp_path / "packed.npz", **arrays)
    with pytest.raises(ValueError, match=r"train image 1 has shape \(5, 4\), the first one \(4, 4\)"):
        load_dataset(str(tmp_path / "packed.npz"))
