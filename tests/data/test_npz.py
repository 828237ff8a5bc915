from pathlib import Path

import numpy as np
import pytest
import torch

from sepgconv.data import load_dataset
from tests.covering import each


def arrays_of(**change: object) -> dict[str, object]:
    generator = np.random.default_rng(0)
    arrays: dict[str, object] = {
        "x_train": generator.integers(0, 256, (40, 7, 5)).astype(np.uint8),
        "y_train": np.arange(40) % 3,
        "x_test": generator.integers(0, 256, (9, 7, 5)).astype(np.uint8),
        "y_test": np.arange(9) % 3,
    }
    return {key: value for key, value in (arrays | change).items() if value is not None}


def write(path: Path, **change: object) -> Path:
    np.savez(path, **{key: np.asarray(value) for key, value in arrays_of(**change).items()})
    return path


def test_grey_bytes_with_a_validation_part_cut_off(tmp_path: Path):
    dataset = load_dataset(str(write(tmp_path / "mine.npz")))
    assert dataset.name == "npz:mine"
    assert dataset.classes == ("0", "1", "2")
    assert dataset.image_shape == (1, 7, 5)
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [34, 6, 9]  # 2 of each class
    assert torch.bincount(dataset.validation.labels).tolist() == [2, 2, 2]
    x_train = torch.from_numpy(arrays_of()["x_train"]).unsqueeze(1).float() / 255
    both = torch.cat([dataset.train.images, dataset.validation.images])
    assert sorted(both.flatten(1).tolist()) == sorted(x_train.flatten(1).tolist())
    torch.testing.assert_close(dataset.test.images[:, 0] * 255, torch.from_numpy(arrays_of()["x_test"]).float())
    again = load_dataset("folder", data_dir=tmp_path / "mine.npz")
    assert torch.equal(again.validation.images, dataset.validation.images)
    images = torch.rand(2, 1, 7, 5)
    assert torch.equal(dataset.preprocessing(images), images)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_channels_first_or_last_bytes_or_floats(tmp_path: Path, channels: int, last: bool, kind: type):
    x_all = np.random.default_rng(0).integers(0, 256, (53, channels, 6, 4)).astype(np.uint8)
    stored = x_all.transpose(0, 2, 3, 1) if last else x_all
    stored = stored if kind is np.uint8 else (stored / 255).astype(kind)
    parts = {"x_train": stored[:40], "x_test": stored[40:49], "x_valid": stored[49:], "y_valid": [2, 1, 0, 0]}
    dataset = load_dataset(str(write(tmp_path / "a.npz", **parts)))
    assert dataset.image_shape == (channels, 6, 4)
    torch.testing.assert_close(dataset.train.images, torch.from_numpy(x_all[:40]).float() / 255)
    assert dataset.validation.labels.tolist() == [2, 1, 0, 0]  # given, so nothing is cut off
    assert len(dataset.train) == 40


def test_other_numbers_of_channels_are_told_by_the_square(tmp_path: Path):
    x = np.zeros((40, 5, 8, 8), np.uint8)
    assert load_dataset(str(write(tmp_path / "a.npz", x_train=x, x_test=x[:9]))).image_shape == (5, 8, 8)
    x = x.transpose(0, 2, 3, 1)
    assert load_dataset(str(write(tmp_path / "b.npz", x_train=x, x_test=x[:9]))).image_shape == (5, 8, 8)


def test_class_names_and_columns_of_labels(tmp_path: Path):
    path = write(tmp_path / "a.npz", classes=["ant", "bee", "cat"], y_test=(np.arange(9) % 3)[:, None].astype(np.uint8))
    dataset = load_dataset(str(path))
    assert dataset.classes == ("ant", "bee", "cat")
    assert dataset.test.labels.tolist() == [0, 1, 2] * 3


def test_images_are_scaled_on_demand(tmp_path: Path):
    path = write(tmp_path / "a.npz", x_train=np.full((40, 12, 8), 51, np.uint8))
    path = write(path, x_train=np.full((40, 12, 8), 51, np.uint8), x_test=np.zeros((9, 12, 8), np.uint8))
    dataset = load_dataset(str(path), image_size=6)
    assert dataset.image_shape == (1, 6, 6)
    torch.testing.assert_close(dataset.train.images, torch.full_like(dataset.train.images, 0.2))


@each(
    ("change", "message"),
    [
        (
            {"x_test": None, "y_train": None},
            r"missing the labels that belong to x_train \(expected .*found x_train, y_test\)",
        ),
        ({"x_valid": np.zeros((2, 7, 5), np.uint8)}, "missing the labels that belong to x_valid"),
        ({"x_train": np.zeros((40, 35), np.uint8)}, r"a\.npz: x_train: expected \(n, h, w\), .* got shape \(40, 35\)"),
        ({"x_train": np.zeros((40, 3, 8, 3), np.uint8)}, r"cannot find the channels in shape \(40, 3, 8, 3\)"),
        ({"x_train": np.zeros((40, 5, 6, 7), np.uint8)}, r"cannot find the channels in shape \(40, 5, 6, 7\)"),
        (
            {"x_train": np.zeros((40, 7, 5), np.int64)},
            r"x_train: expected uint8 0..255, uint16, or floats in .*, got int64",
        ),
        ({"x_train": np.full((40, 7, 5), 255.0)}, r"x_train: floats must be in \[0, 1\], got 255.0 to 255.0"),
        ({"x_train": np.full((40, 7, 5), np.nan)}, r"x_train: 1400 values are not finite"),
        ({"y_train": np.arange(40) / 2}, "y_train: expected whole numbers as labels, got float64 such as 0.5"),
        ({"y_train": np.arange(39)}, "x_train holds 40 images, but y_train 39 labels"),
        ({"y_train": np.arange(40)}, "40 readable images are too few; at least one class needs 2"),
        ({"y_train": np.arange(40) % 3 - 1}, "y_train: labels must not be negative, got -1"),
        ({"classes": ["ant", "bee"]}, "y_train: label 2, but there are 2 classes"),
        ({"classes": [["ant", "bee"]]}, r"classes must be a list of names, got shape \(1, 2\)"),
        (
            {"x_test": np.zeros((9, 7, 6), np.uint8)},
            r"train images have shape \(1, 7, 5\), test images have shape \(1, 7, 6\)",
        ),
        (
            {"x_test": np.zeros((0, 7, 5), np.uint8), "y_test": np.zeros(0, int)},
            r"x_test: no images, or images without pixels: shape \(0, 7, 5\)",
        ),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, change: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        load_dataset(str(write(tmp_path / "a.npz", **change)))


def test_files_of_another_format_are_refused(tmp_path: Path):
    np.savez(tmp_path / "objects.npz", x_train=np.array([{}, {}], dtype=object))
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    content = write(tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[:-100])
    for name, message in (
        ("objects", "x_train holds Python objects, which can run code when read; save it as plain arrays"),
        ("single", r"not an \.npz file of plain arrays, but a single array \(\.npy\)"),
        ("text", r"not an \.npz file of plain arrays, but something else; write it with numpy\.savez"),
        ("empty", r"not an \.npz file of plain arrays, but empty"),
        ("cut", r"is damaged or cut off .*; copy or write the file again"),
    ):
        with pytest.raises(ValueError, match=rf"{name}\.npz.*{message}"):
            load_dataset(str(tmp_path / f"{name}.npz"))
