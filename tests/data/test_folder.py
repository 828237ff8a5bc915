import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sepgconv.data import load_dataset
from sepgconv.data.dataset import Dataset


def picture(path: Path, *, seed: int = 0, size: tuple[int, int] = (8, 8), colour: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if colour else (size[1], size[0])
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)).save(path)


def class_folders(root: Path, counts: dict[str, int], *, start: int = 0, **options: object) -> Path:
    for name, count in counts.items():
        for number in range(start, start + count):
            picture(root / name / f"{number:03}.png", seed=zlib.crc32(f"{name}/{number}".encode()), **options)
    return root


def sizes(dataset: Dataset) -> list[int]:
    return [len(part) for part in (dataset.train, dataset.validation, dataset.test)]


def test_class_folders_are_split_class_by_class(tmp_path: Path):
    root = class_folders(tmp_path / "insects", {"bee": 20, "ant": 40, "wasp": 3})
    dataset = load_dataset("folder", data_dir=root, preprocessing="identity")
    assert dataset.name == "folder:insects"
    assert dataset.classes == ("ant", "bee", "wasp")
    assert dataset.image_shape == (1, 8, 8)
    assert sizes(dataset) == [28 + 14 + 1, 6 + 3 + 1, 6 + 3 + 1]
    assert torch.bincount(dataset.test.labels).tolist() == [6, 3, 1]
    parts = (dataset.train, dataset.validation, dataset.test)
    found = {
        (int(label), image.mul(255).round().byte().numpy().tobytes())
        for part in parts
        for image, label in zip(part.images, part.labels, strict=True)
    }
    expected = {
        (label, np.asarray(Image.open(path)).tobytes())
        for label, name in enumerate(dataset.classes)
        for path in (root / name).iterdir()
    }
    assert found == expected  # every picture once, with its own label and its own pixels
    assert dataset.skipped == ()
    again = load_dataset(str(root), preprocessing="identity")
    assert torch.equal(again.test.images, dataset.test.images)


@pytest.mark.parametrize("validation", [None, "validation", "val", "valid"])
def test_given_parts_are_kept(tmp_path: Path, validation: str | None):
    class_folders(tmp_path / "train", {"a": 20, "b": 20})
    class_folders(tmp_path / "test", {"a": 4, "b": 3}, start=50)
    if validation:
        class_folders(tmp_path / validation, {"b": 2}, start=80)
    if validation:
        with pytest.warns(UserWarning, match="the validation part has no images of a$"):
            dataset = load_dataset("folder", data_dir=tmp_path)
    else:
        dataset = load_dataset("folder", data_dir=tmp_path)
    assert dataset.classes == ("a", "b")
    assert sizes(dataset) == ([40, 2, 7] if validation else [34, 6, 7])
    assert dataset.test.labels.tolist() == [0] * 4 + [1] * 3
    if validation:
        assert dataset.validation.labels.tolist() == [1, 1]


def test_nested_and_foreign_files(tmp_path: Path):
    class_folders(tmp_path, {"a": 10, "b": 10})
    picture(tmp_path / "a" / "deeper" / "x.JPG")
    picture(tmp_path / ".hidden" / "x.png")
    picture(tmp_path / "a" / ".hidden.png")
    (tmp_path / "a" / "notes.txt").write_text("not a picture, and not meant to be one")
    dataset = load_dataset("folder", data_dir=tmp_path)
    assert dataset.classes == ("a", "b")
    assert sum(sizes(dataset)) == 21
    assert dataset.skipped == ()


def test_one_colour_picture_makes_all_rgb(tmp_path: Path):
    class_folders(tmp_path, {"a": 10, "b": 10})
    assert load_dataset("folder", data_dir=tmp_path).image_shape == (1, 8, 8)
    picture(tmp_path / "a" / "colour.png", colour=True)
    assert load_dataset("folder", data_dir=tmp_path).image_shape == (3, 8, 8)


def test_the_size_is_theirs_or_the_median_or_the_wanted_one(tmp_path: Path):
    class_folders(tmp_path, {"a": 5, "b": 5}, size=(12, 9))
    assert load_dataset("folder", data_dir=tmp_path).image_shape == (1, 9, 12)
    class_folders(tmp_path, {"c": 9}, size=(20, 16))
    assert load_dataset("folder", data_dir=tmp_path).image_shape == (1, 9, 9)  # shorter sides: ten 9, nine 16
    class_folders(tmp_path, {"d": 9}, size=(13, 30))
    assert load_dataset("folder", data_dir=tmp_path).image_shape == (1, 13, 13)
    assert load_dataset("folder", data_dir=tmp_path, image_size=5).image_shape == (1, 5, 5)


_UNREADABLE = (
    r"3 of 23 images cannot be read and are left out: a/text\.png \(not an image of a known format, or damaged\), "
    r"b/cut\.png \(.*\), b/empty\.jpg \(an empty file\)$"
)


def test_unreadable_pictures_are_named_counted_and_left_out(tmp_path: Path):
    class_folders(tmp_path, {"a": 10, "b": 10}, size=(64, 64))
    (tmp_path / "a" / "text.png").write_text("hello")
    (tmp_path / "b" / "empty.jpg").write_bytes(b"")
    whole = (tmp_path / "b" / "000.png").read_bytes()
    (tmp_path / "b" / "cut.png").write_bytes(whole[: len(whole) // 2])  # its header is fine
    with pytest.warns(UserWarning, match=_UNREADABLE):
        dataset = load_dataset("folder", data_dir=tmp_path)
    assert dataset.skipped == ("a/text.png", "b/cut.png", "b/empty.jpg")
    assert sum(sizes(dataset)) == 20


def test_many_unreadable_pictures_are_summed_up(tmp_path: Path):
    class_folders(tmp_path, {"a": 10, "b": 10})
    for number in range(8):
        (tmp_path / "a" / f"bad{number}.png").write_text("hello")
    with pytest.warns(UserWarning, match=r"bad4\.png \(.*\) and 3 more$"):
        assert len(load_dataset("folder", data_dir=tmp_path).skipped) == 8


def test_no_readable_picture_is_an_error(tmp_path: Path):
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("hello")
    with pytest.raises(ValueError, match=r"none of the 2 images can be read; the first: .*1\.png: not an image"):
        load_dataset("folder", data_dir=tmp_path)


def test_a_folder_without_classes_is_an_error_that_shows_the_layout(tmp_path: Path):
    picture(tmp_path / "pictures" / "1.png")
    picture(tmp_path / "pictures" / "2.png")
    with pytest.raises(
        ValueError, match=r"no class folders with images \(2 images lie in it directly\); expected pictures/<class>"
    ):
        load_dataset("folder", data_dir=tmp_path / "pictures")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match=r"no class folders with images; expected empty/<class>/<image> .* end with one of \.png"
    ):
        load_dataset("folder", data_dir=tmp_path / "empty")


def test_other_layouts_that_cannot_be_meant_are_refused(tmp_path: Path):
    class_folders(tmp_path / "train", {"a": 5, "b": 5})
    with pytest.raises(ValueError, match="has train but no test"):
        load_dataset("folder", data_dir=tmp_path)
    class_folders(tmp_path / "test", {"a": 5, "c": 1})
    with pytest.raises(ValueError, match=r"test has classes that train does not have: c"):
        load_dataset("folder", data_dir=tmp_path)
    class_folders(tmp_path / "val", {"a": 1})
    class_folders(tmp_path / "valid", {"a": 1})
    with pytest.raises(ValueError, match="val and valid both hold validation images"):
        load_dataset("folder", data_dir=tmp_path)


def test_a_class_may_be_called_train(tmp_path: Path):
    class_folders(tmp_path, {"train": 5, "bus": 5})
    assert load_dataset("folder", data_dir=tmp_path).classes == ("bus", "train")


def test_parts_without_class_folders_are_no_classes(tmp_path: Path):
    class_folders(tmp_path, {"train": 5, "test": 5})
    with pytest.raises(ValueError, match=r"test and train hold images directly; expected class folders in them"):
        load_dataset("folder", data_dir=tmp_path)


def test_too_few_pictures_are_an_error(tmp_path: Path):
    class_folders(tmp_path, {"a": 2, "b": 2})
    with pytest.raises(ValueError, match="4 readable images are too few; at least one class needs 3"):
        load_dataset("folder", data_dir=tmp_path)
    class_folders(tmp_path / "parts" / "train", {"a": 5, "b": 5})
    (tmp_path / "parts" / "test").mkdir()
    with pytest.raises(ValueError, match="test has no readable image"):
        load_dataset("folder", data_dir=tmp_path / "parts")


def test_more_pixels_than_memory_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class_folders(tmp_path, {"a": 5, "b": 5})
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PHYS_PAGES": 2, "SC_PAGE_SIZE": 1024}[name])
    with pytest.raises(ValueError, match=r"10 images of shape \(1, 8, 8\) take .* give a smaller image_size"):
        load_dataset("folder", data_dir=tmp_path, in_memory=True)
    assert load_dataset("folder", data_dir=tmp_path, image_size=3).image_shape == (1, 3, 3)


def test_a_missing_folder_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder or file .*none'"):
        load_dataset("folder", data_dir=tmp_path / "none")
