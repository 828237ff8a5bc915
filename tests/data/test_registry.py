import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sepgconv import data
from sepgconv.data import describe_dataset, list_datasets, load_dataset


def test_the_names_and_their_descriptions():
    assert list_datasets() == (
        "rotated_digits",
        "rotmnist",
        "rotmnist-official",
        "rotmnist-generated",
        "cifar10",
        "cifar10-jpeg75",
        "cifar10-lossless-subset",
        "folder",
    )
    for name in list_datasets():
        assert "\n" not in describe_dataset(name)
    for name in ("cifar10-jpeg75", "cifar10-lossless-subset"):
        assert "substitute" in describe_dataset(name)


def test_unknown_names_get_the_nearest():
    with pytest.raises(
        ValueError, match=r"unknown data set 'rotmnst'; did you mean 'rotmnist' or .*\(valid: rotated_digits,"
    ):
        describe_dataset("rotmnst")
    with pytest.raises(ValueError, match="unknown data set ''"):
        describe_dataset("")


def test_a_misspelt_name_or_path_gets_the_nearest_of_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "rotmnist_mine").mkdir()
    (tmp_path / "flowers").mkdir()
    (tmp_path / "notes.txt").write_text("no images")
    monkeypatch.chdir(tmp_path)
    missing = "there is no folder or file '{}', and no data set of that name; did you mean {}"
    for given, expected in (
        ("rotmnst", missing.format("rotmnst", r"'rotmnist' or .* or rotmnist_mine\? \(data sets: rotated_digits,")),
        ("flower", missing.format("flower", r".* or flowers\? \(")),
    ):
        with pytest.raises(ValueError, match=expected):
            load_dataset(given)
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}/flowres', .*; did you mean {tmp_path}/flowers\?"):
        load_dataset(str(tmp_path / "flowres"))
    with pytest.raises(
        FileNotFoundError, match=rf"\({tmp_path}/flowrs is missing\).*did you mean {tmp_path}/flowers\?"
    ):
        load_dataset(str(tmp_path / "flowrs" / "roses"))
    with pytest.raises(ValueError, match=r"there is no folder or file '', and no data set of that name \(data sets"):
        load_dataset("")


def test_a_path_that_is_not_there_is_not_taken_for_a_name(tmp_path: Path):
    for path in (tmp_path / "none", "none.npz"):
        with pytest.raises(FileNotFoundError, match=r"there is no folder or file .*none"):
            load_dataset(str(path))


def test_a_folder_in_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("a", "b"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "pictures" / name / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    assert load_dataset("pictures").name == "folder:pictures"


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="rotated_digits has images of 28x28; image_size=32 is for your own images"):
        load_dataset("rotated_digits", image_size=32)
    assert load_dataset("rotated_digits", image_size=28).image_shape == (1, 28, 28)
    with pytest.raises(ValueError, match="image_size must be positive, got 0"):
        load_dataset("folder", image_size=0)


def test_folder_needs_to_know_which():
    with pytest.raises(ValueError, match="the data set 'folder' needs data_dir"):
        load_dataset("folder")


@pytest.mark.parametrize("name", ["rotmnist", "cifar10", "cifar10-jpeg75", "cifar10-lossless-subset"])
def test_data_dir_and_download_are_passed_on(tmp_path: Path, name: str):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        load_dataset(name, data_dir=str(tmp_path), download=False)


def test_public_names():
    assert sorted(data.__all__) == data.__all__
    assert all(hasattr(data, name) for name in data.__all__)


def test_a_missing_pooch_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"needs 'pooch'.*sepgconv\[train\]"):
        load_dataset("rotmnist")


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    load_dataset("rotated_digits")
    assert torch.equal(torch.get_rng_state(), before)
