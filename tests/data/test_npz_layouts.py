"""`.npz` files as people write them: names of arrays, labels, classes, damage, bombs."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy import ndarray

from sepgconv.data import Dataset, load_dataset
from tests.covering import each

Arrays = dict[str, object]


def x(count: int, *shape: int, largest: int = 255, kind: type = np.uint8) -> ndarray:
    pixels = np.random.default_rng(count).integers(0, largest + 1, (count, *(shape or (8, 8)))).astype(kind)
    pixels.flat[:1] = largest
    return pixels


def y(count: int, classes: int = 3) -> ndarray:
    return np.arange(count) % classes


PLAIN: Arrays = {"x_train": x(40), "y_train": y(40), "x_test": x(9), "y_test": y(9)}


def load(tmp_path: Path, **arrays: object) -> Dataset:
    np.savez(tmp_path / "a.npz", **{key: np.asarray(value) for key, value in arrays.items()})
    return load_dataset(str(tmp_path / "a.npz"))


def sizes(dataset: Dataset) -> list[int]:
    return [len(part) for part in (dataset.train, dataset.validation, dataset.test)]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("x_val", "y_val"),
        ("x_validation", "y_validation"),
        ("x_valid", "y_valid"),
        ("X_dev", "Y_dev"),
        ("valX", "valY"),
    ],
)
def test_a_validation_part_has_many_names(tmp_path: Path, images: str, labels: str):
    dataset = load(tmp_path, **PLAIN, **{images: x(6), labels: y(6)})
    assert sizes(dataset) == [40, 6, 9]
    assert torch.equal(dataset.validation.images[:, 0], torch.from_numpy(x(6)).float() / 255)


def test_medmnist(tmp_path: Path):
    arrays: Arrays = {}
    for part, count in (("train", 40), ("val", 7), ("test", 9)):
        arrays |= {f"{part}_images": x(count, 28, 28, 3), f"{part}_labels": y(count)[:, None].astype(np.uint8)}
    dataset = load(tmp_path, **arrays)
    assert (sizes(dataset), dataset.image_shape, dataset.classes) == ([40, 7, 9], (3, 28, 28), ("0", "1", "2"))
    assert torch.equal(dataset.test.images, torch.from_numpy(x(9, 28, 28, 3)).movedim(-1, 1).float() / 255)
    assert dataset.test.labels.tolist() == y(9).tolist()


@pytest.mark.parametrize(
    "names",
    [
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("trainX", "trainY", "testX", "testY"),
        ("train_set_x", "train_set_y", "test_set_x", "test_set_y"),
        ("training_data", "training_targets", "testing_data", "testing_targets"),
    ],
)
def test_case_and_order_of_words_do_not_count(tmp_path: Path, names: tuple[str, ...]):
    assert sizes(load(tmp_path, **dict(zip(names, PLAIN.values(), strict=True)))) == [34, 6, 9]


@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y"), ("data", "targets")])
def test_images_without_parts_are_split_as_folders_are(tmp_path: Path, names: tuple[str, str]):
    dataset = load(tmp_path, **dict(zip(names, (x(60), y(60)), strict=True)))
    assert sizes(dataset) == [42, 9, 9]
    assert torch.bincount(dataset.test.labels).tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("start", "step", "classes"), [(1, 1, ("1", "2", "3")), (0, 100, ("0", "100", "200")), (7, 4, ("7", "11", "15"))]
)
def test_labels_with_gaps_are_classes_called_by_their_number(
    tmp_path: Path, start: int, step: int, classes: tuple[str, ...]
):
    labels = {"y_train": start + step * y(40), "y_test": start + step * y(9)}
    with pytest.warns(UserWarning, match=rf"a\.npz: labels do not count from 0 .*: {', '.join(classes)}$"):
        dataset = load(tmp_path, **PLAIN | labels)
    assert dataset.classes == classes
    assert dataset.test.labels.tolist() == y(9).tolist()


@pytest.mark.parametrize(
    "classes", [["cat", "dog", "été"], np.array([b"cat", b"dog", "été".encode()]), np.array(["cat", "dog", "été"])]
)
def test_class_names_may_be_bytes(tmp_path: Path, classes: object):
    assert load(tmp_path, **PLAIN, classes=classes).classes == ("cat", "dog", "été")
    assert load(tmp_path, **PLAIN, class_names=classes).classes == ("cat", "dog", "été")


@pytest.mark.parametrize("kind", ["float", "one-hot", "names", "bytes"])
def test_other_kinds_of_labels(tmp_path: Path, kind: str):
    forms = {
        "float": lambda labels: labels.astype(np.float32),
        "one-hot": lambda labels: np.eye(3)[labels],
        "names": lambda labels: np.array(["0", "1", "2"])[labels],
        "bytes": lambda labels: np.array([b"0", b"1", b"2"])[labels],
    }
    dataset = load(tmp_path, **PLAIN | {"y_train": forms[kind](y(40)), "y_test": forms[kind](y(9))})
    assert (dataset.classes, dataset.test.labels.tolist()) == (("0", "1", "2"), y(9).tolist())


def test_names_as_labels_are_indices_of_the_classes(tmp_path: Path):
    names = np.array(["x", "y", "z"])
    dataset = load(tmp_path, **PLAIN | {"y_train": names[y(40)], "y_test": names[y(9)]}, classes=["z", "y", "x"])
    assert (dataset.classes, dataset.test.labels[:3].tolist()) == (("z", "y", "x"), [2, 1, 0])


def test_a_given_class_without_images_is_told_and_stays(tmp_path: Path):
    with pytest.warns(UserWarning, match=r"a\.npz: no images of d, which stays a class that is never seen"):
        assert load(tmp_path, **PLAIN, classes=list("abcd")).classes == ("a", "b", "c", "d")


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_images_of_16_bits(tmp_path: Path, bits: int, order: str):
    train, test = (x(count, largest=2**bits - 1, kind=np.uint16).astype(f"{order}u2") for count in (40, 9))
    deep = {"x_train": train, "x_test": test}
    if bits < 16:
        with pytest.warns(UserWarning, match=rf"uint16 images reach {2**bits - 1} and are read as {bits} bits"):
            dataset = load(tmp_path, **PLAIN | deep)
    else:
        dataset = load(tmp_path, **PLAIN | deep)
    assert dataset.bit_depth == bits
    torch.testing.assert_close(dataset.test.images[:, 0], torch.from_numpy(test.astype(np.float32)) / (2**bits - 1))


def test_arrays_that_look_like_images_are_not_passed_over_in_silence(tmp_path: Path):
    with pytest.warns(UserWarning, match=r"a\.npz: x_extra are not used; known names are x_train y_train"):
        load(tmp_path, **PLAIN, x_extra=x(4))
    load(tmp_path, **PLAIN, train_index=np.arange(40))  # no images


@each(
    ("change", "message"),
    [
        ({"x_val": x(6)}, "missing the labels that belong to x_val"),
        ({"y_val": y(6)}, "missing the images that belong to y_val"),
        ({"x_val": x(6), "y_val": y(6), "x_valid": x(6)}, "x_val and x_valid both hold the images of validation"),
        ({"images": x(6), "labels": y(6)}, "images belongs to no part, x_train, x_test does"),
        ({"y_test": y(9, 5)}, r"y_test: labels that .*y_train does not have: 3, 4"),
        ({"y_test": y(9, 5), "classes": list("abcde")}, r"y_test: labels that .*y_train does not have: d, e"),
        ({"y_train": y(40) + 1, "y_test": y(9) + 1, "classes": list("abc")}, "y_train: label 3, .* count from 0"),
        ({"y_train": y(40) * 0, "y_test": y(9) * 0}, "only one class, 0; expected"),
        ({"y_train": np.full(40, np.nan)}, "y_train: expected whole numbers as labels, got float64 such as nan"),
        ({"y_train": np.ones((40, 3))}, "y_train: expected one label per image, .* single 1"),
        ({"y_train": np.array(3)}, "y_train: no labels"),
        ({"y_test": np.array(["0", "1", "2"])[y(9)]}, "numbers in one part and names in another"),
        ({"classes": np.array([b"a", b"b", b"\xff"])}, r"classes: .*xff.* is not text in UTF-8"),
        ({"classes": ["a", "a", "b"]}, "classes must be distinct names, but a occurs more than once"),
        ({"x_train": x(0), "y_train": y(0)}, r"x_train: no images, or images without pixels: shape \(0, 8, 8\)"),
        ({"x_train": x(40, 28, 28, 28)}, r"x_train: cannot find the channels in shape \(40, 28, 28, 28\)"),
    ],
)
def test_every_refusal_names_file_and_key(tmp_path: Path, change: Arrays, message: str):
    with pytest.raises(ValueError, match=rf"a\.npz.*{message}"):
        load(tmp_path, **PLAIN | change)


def test_arrays_without_names_get_the_list_of_known_ones(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no images with labels \(expected x_train .* found arr_0, arr_1\)"):
        load(tmp_path, arr_0=x(40), arr_1=y(40))
    with pytest.raises(ValueError, match=r"a\.npz: has train but no test"):
        load(tmp_path, x_train=x(40), y_train=y(40))


def test_no_flipped_bit_goes_unseen(tmp_path: Path):
    digest = load(tmp_path, **PLAIN).digest()
    whole = (tmp_path / "a.npz").read_bytes()
    refused = 0
    for place in range(0, len(whole), 61):
        changed = bytearray(whole)
        changed[place] ^= 4
        (tmp_path / "b.npz").write_bytes(changed)
        try:
            assert load_dataset(str(tmp_path / "b.npz")).digest() == digest  # a field that nobody reads
        except ValueError as error:
            assert "b.npz" in str(error)  # noqa: PT017  (either is right)
            refused += 1
    assert refused > len(whole) / 61 / 2
    for length in (10, len(whole) // 2, len(whole) - 5):
        (tmp_path / "b.npz").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"b\.npz is damaged or cut off .*; copy or write the file again"):
            load_dataset(str(tmp_path / "b.npz"))


def test_pickled_objects_are_refused_and_not_executed(tmp_path: Path):
    class Trap:
        def __reduce__(self) -> object:
            return os.mkdir, (str(tmp_path / "executed"),)

    trap = np.empty(3, object)
    trap[:] = [Trap(), 1, 2]
    for key in ("classes", "x_train", "y_test"):
        np.savez(tmp_path / "a.npz", **PLAIN | {key: trap})
        with pytest.raises(ValueError, match=rf"a\.npz: {key} holds Python objects, which can run code when read"):
            load_dataset(str(tmp_path / "a.npz"))
    assert not (tmp_path / "executed").exists()


def header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_bombs_are_refused_before_anything_is_allocated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with zipfile.ZipFile(tmp_path / "header.npz", "w") as archive:
        archive.writestr("x_train.npy", header((10**12, 32, 32)))
    with pytest.raises(ValueError, match=r"header\.npz: x_train is damaged: shape .* 1,024,000,000,000,000 bytes"):
        load_dataset(str(tmp_path / "header.npz"))
    zeros = {"x_train": np.zeros((64, 512, 512), np.uint8), "y_train": y(64), "x_test": x(9, 512, 512), "y_test": y(9)}
    np.savez_compressed(tmp_path / "zeros.npz", **zeros)
    assert (tmp_path / "zeros.npz").stat().st_size < 5e6
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PHYS_PAGES": 2**14, "SC_PAGE_SIZE": 4096}[name])
    monkeypatch.setattr(np.lib.format, "read_array", None)
    with pytest.raises(ValueError, match=r"zeros\.npz: the images as float32 take 0\.1 GiB, and this machine has 0\.1"):
        load_dataset(str(tmp_path / "zeros.npz"))


def test_memory_that_runs_out_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*args: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np.lib.format, "read_array", fail)
    with pytest.raises(ValueError, match=r"a\.npz: x_train takes 0\.0 GiB, for which there is no memory"):
        load(tmp_path, **PLAIN)
    monkeypatch.undo()
    monkeypatch.setattr("sepgconv.data.npz.as_images", fail)
    with pytest.raises(ValueError, match=r"a\.npz does not fit into memory; give a smaller image_size"):
        load(tmp_path, **PLAIN)
