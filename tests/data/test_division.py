"""Which file is in which part: as a table, as a file that can be trained on again, with the leaks found."""

import dataclasses
import functools
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sepgconv.data import DataOptions, Dataset, load_dataset, load_labelled_images, take_images
from tests.data.builders import images

load = functools.partial(load_dataset, preprocessing="identity")  # pixels as they are


def slides(root: Path) -> Path:
    """Write two classes of 20 images; slide s has the images 4 s to 4 s + 3 of both."""
    for name in ("a", "b"):
        images(root / name, 20)
        for path in list((root / name).iterdir()):
            path.rename(path.with_name(f"slide{int(path.stem) // 4}_{int(path.stem):02}.png"))
    return root


def parts_of(dataset: Dataset) -> dict[str, str]:
    assert dataset.division is not None
    return {image.path: image.part for image in dataset.division.images}


def test_a_division_says_where_every_image_is(tmp_path: Path):
    root = slides(tmp_path / "cells")
    dataset = load(str(root))
    division = dataset.division
    assert division is not None
    assert division.rule == "15 % for validation and 15 % for test, of every class, seed 20210919"
    assert [len(line.split()) for line in str(division).splitlines()[3:]] == [4, 4, 4]
    for part in ("train", "validation", "test"):
        found = [image for image in division.images if image.part == part]
        split = getattr(dataset, part)
        for image, pixels, label in zip(found, split.images, split.labels.tolist(), strict=True):
            assert image.label == dataset.classes[label] == image.path[0]
            assert (np.asarray(Image.open(root / image.path)) == pixels[0].mul(255).round().byte().numpy()).all()


def test_the_file_of_a_division_is_the_same_data_set_again(tmp_path: Path):
    root = slides(tmp_path / "cells")
    dataset = load(str(root), options=DataOptions(group_pattern=r"slide(\d+)", folds=5, fold=2))
    assert dataset.division is not None
    (tmp_path / "split.csv").write_bytes(dataset.division.to_csv())
    again = load(str(tmp_path / "split.csv"), data_dir=root)
    assert again.digest() == dataset.digest()
    assert again.division is not None
    assert again.division.digest() == dataset.division.digest()
    assert (again.division.rule, again.division.grouped_by) == ("as the data set is divided", "group")


def test_groups_of_a_folder_stay_together(tmp_path: Path):
    root = slides(tmp_path)
    dataset = load(str(root), options=DataOptions(group_pattern=r"slide\d+"))
    parts = parts_of(dataset)
    for slide in range(5):
        assert len({part for path, part in parts.items() if f"slide{slide}_" in path}) == 1
    assert set(parts.values()) == {"train", "validation", "test"}
    assert parts_of(load(str(root))) != parts  # without groups they are divided
    with pytest.raises(ValueError, match=r"pattern of the groups 'patient' matches nothing in a/slide0_00.png"):
        load(str(root), options=DataOptions(group_pattern="patient"))
    with pytest.raises(ValueError, match="1 groups cannot be divided into 3 parts"):
        load(str(root), options=DataOptions(group_pattern="slide"))


def test_folds_of_a_folder_test_every_image_once(tmp_path: Path):
    root = slides(tmp_path)
    tested: list[str] = []
    for fold in (1, 2, 3):
        parts = parts_of(load(str(root), options=DataOptions(folds=3, fold=fold)))
        tested += [path for path, part in parts.items() if part == "test"]
    assert sorted(tested) == sorted(parts_of(load(str(root))))
    for part in ("train", "test"):
        slides(tmp_path / "divided" / part)
    with pytest.raises(ValueError, match="divided already, folds are for undivided ones"):
        load(str(tmp_path / "divided"), options=DataOptions(folds=3))


def test_one_image_in_two_parts_is_named(tmp_path: Path):
    root = images(tmp_path / "train" / "a").parents[1]
    images(root / "train" / "c")
    images(root / "test" / "d", 4).rename(root / "test" / "a")
    images(root / "test" / "e", 4).rename(root / "test" / "c")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(str(root))
    Image.open(root / "train" / "c" / "3.png").save(root / "test" / "a" / "copy.bmp")
    said = (
        r"1 image is in two parts: train/c/3.png \(train\) and test/a/copy.bmp \(test\); what is judged by them looks"
    )
    with pytest.warns(UserWarning, match=said) as told:
        load(str(root))
    assert len(told) == 1


def test_a_group_in_two_parts_is_named(tmp_path: Path):
    slides(tmp_path / "train")
    images(tmp_path / "test" / "e", 4).rename(tmp_path / "test" / "a")
    images(tmp_path / "test" / "f", 4).rename(tmp_path / "test" / "b")
    for name in "ab":
        for path in list((tmp_path / "test" / name).iterdir()):
            path.rename(path.with_name(f"slide{3 if path.stem == '0' else 7}_{path.name}"))
    said = r"1 group of group in more than one part: 3 \(train and test\); leave out the column"
    with pytest.warns(UserWarning, match=said):
        load(str(tmp_path), options=DataOptions(group_pattern=r"slide(\d)"))


def test_fewer_images_keep_their_places(tmp_path: Path):
    whole = load(str(slides(tmp_path)))
    few = take_images(whole, 17, seed=1)
    assert few.division is not None
    assert whole.division is not None
    trained = [image for image in few.division.images if image.part == "train"]
    assert len(trained) == len(few.train)
    names = [image.path for image in whole.division.images if image.part == "train"]
    for image, pixels in zip(trained, few.train.images, strict=True):
        assert torch.equal(pixels, whole.train.images[names.index(image.path)])
    assert few.division.rule.endswith("; 17 to learn from, drawn with seed 1")


def test_the_digest_is_that_of_paths_and_parts(tmp_path: Path):
    division = load(str(slides(tmp_path))).division
    assert division is not None
    other = dataclasses.replace(division, images=division.images[::-1])
    assert re.fullmatch("[0-9a-f]{64}", division.digest())
    assert other.digest() != division.digest()
    assert dataclasses.replace(division, rule="another word").digest() == division.digest()


def test_images_to_judge_say_where_they_are_from(tmp_path: Path):
    found = load_labelled_images(str(slides(tmp_path)), classes=("a", "b"), image_shape=(1, 8, 8))
    assert [origin.path for origin in found.origins][:2] == ["a/slide0_00.png", "a/slide0_01.png"]
    assert len(found.origins) == 40


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match=r"unknown data option 'fods'; did you mean 'folds'"):
        DataOptions.from_dict({"fods": 5})
    with pytest.raises(ValueError, match="rotated_digits is read in one way; folds is for your own images only"):
        load_dataset("rotated_digits", options=DataOptions(folds=5))
