"""Images to judge a network by: whole, or the part that was asked for, with labels by name."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sepgconv.data import LabelledImages, load_dataset, load_labelled_images
from tests.data.builders import deep_images, folders, images

KNOWN = ("b", "c", "a")  # another order than the alphabet's


def judge(path: Path, **options: object) -> LabelledImages:
    return load_labelled_images(str(path), **{"classes": KNOWN, "image_shape": (1, 8, 8)} | options)


def test_a_folder_without_parts_is_judged_whole_with_labels_by_name(tmp_path: Path):
    root = folders(tmp_path / "new", "a", "b")
    found = judge(root)
    assert (found.name, found.part) == ("folder:new", "all")
    assert found.split.labels.tolist() == [2] * 6 + [0] * 6
    own = load_dataset(str(root), preprocessing="identity")
    everything = torch.cat([own.train.images, own.validation.images, own.test.images])
    assert sorted(found.split.images.flatten(1).tolist()) == sorted(everything.flatten(1).tolist())
    with pytest.raises(ValueError, match="is not divided into parts and has no test part; it can be judged as a whole"):
        judge(root, part="test")


def test_one_class_is_enough_to_judge_by(tmp_path: Path):
    assert judge(folders(tmp_path, "c")).split.labels.tolist() == [1] * 6
    assert judge(folders(tmp_path / "deep", "c/day", "c/night")).split.labels.tolist() == [1] * 12


def test_of_a_folder_with_parts_the_test_part_is_judged(tmp_path: Path):
    root = folders(tmp_path, "Train/a", "Train/b", "Test/b", "Val/a")
    images(root / "Train" / "a", 30)
    (root / "Train" / "b" / "0.png").write_text("damaged, but of no interest here")
    found = judge(root)
    assert (found.part, found.split.labels.tolist(), found.skipped) == ("test", [0] * 6, ())
    found = judge(root, part="validation")
    assert (found.part, found.split.labels.tolist()) == ("validation", [2] * 6)
    only = judge(folders(tmp_path / "only", "val/a", "val/b"))
    assert (only.part, len(only.split)) == ("validation", 12)
    folders(tmp_path / "only", "train/a")
    with pytest.raises(ValueError, match=r"has no test part, only train and validation; name one of them"):
        judge(tmp_path / "only")


def test_a_known_class_is_no_part(tmp_path: Path):
    root = folders(tmp_path, "train/fast", "train/slow", "test")
    found = judge(root, classes=("bus", "test", "train"))
    assert (found.part, found.split.labels.tolist()) == ("all", [1] * 6 + [2] * 12)


def test_classes_that_the_network_does_not_know_are_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"has images of the classes cat, dog; the network knows b, c, a"):
        judge(folders(tmp_path, "a", "cat", "dog"))


def test_images_are_brought_to_the_networks_shape(tmp_path: Path):
    root = folders(tmp_path, "a", "b")
    assert judge(root, image_shape=(3, 5, 7)).split.images.shape == (12, 3, 5, 7)


def test_the_bit_depth_is_that_of_the_run(tmp_path: Path):
    deep_images(tmp_path / "a", 10)
    found = judge(tmp_path, bit_depth=12)
    assert float(found.split.images.max()) == pytest.approx((1023 >> 4) / 255)
    images(tmp_path / "b", 3)
    deep_images(tmp_path / "b", 16, count=2)
    with pytest.warns(UserWarning, match=r"2 of 11 images cannot be read .* b/0.tif \(holds values up to 65535, but"):
        assert judge(tmp_path, bit_depth=12).skipped == ("b/0.tif", "b/1.tif")


def test_an_empty_class_folder_is_told(tmp_path: Path):
    (folders(tmp_path, "a") / "b").mkdir()
    with pytest.warns(UserWarning, match="no images of b to judge by"):
        assert len(judge(tmp_path).split) == 6


def test_npz_files(tmp_path: Path):
    pixels, labels = np.random.default_rng(0).integers(0, 256, (9, 8, 8)).astype(np.uint8), np.arange(9) % 3
    for name, arrays in (
        ("test", {"x_test": pixels, "y_test": labels}),
        ("all", {"images": pixels, "labels": labels}),
    ):
        np.savez(tmp_path / f"{name}.npz", classes=["a", "b", "c"], **arrays)
        found = judge(tmp_path / f"{name}.npz")
        assert found.part == name
        assert found.split.labels.tolist() == [2, 0, 1] * 3
        assert torch.equal(found.split.images[:, 0], torch.from_numpy(pixels).float() / 255)
    np.savez(tmp_path / "numbers.npz", images=pixels, labels=labels)  # never by position
    with pytest.raises(ValueError, match=r"numbers\.npz has images of the classes 0, 1, 2; the network knows b, c, a"):
        judge(tmp_path / "numbers.npz")


def test_a_data_set_by_name(tmp_path: Path):
    classes = tuple("9876543210")
    found = load_labelled_images("rotated_digits", classes=classes, image_shape=(1, 28, 28))
    own = load_dataset("rotated_digits")
    assert found.part == "test"
    assert torch.equal(found.split.labels, 9 - own.test.labels)
    assert torch.equal(found.split.images, own.test.images)
