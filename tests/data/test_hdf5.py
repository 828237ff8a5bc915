"""HDF5 files as people have them: keys of PCam and Galaxy10 or others, read a slice at a time."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy import ndarray

from sepgconv.data import DataOptions, hdf5_file, load_dataset, load_labelled_images
from sepgconv.data.array_file import Header

RANDOM = np.random.default_rng(0)


def noise(count: int = 20, *shape: int) -> ndarray:
    return RANDOM.integers(0, 256, (count, *(shape or (8, 8, 3)))).astype(np.uint8)


def write(path: Path, **arrays: ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for key, values in arrays.items():
            file.create_dataset(
                key, data=values, **({"chunks": True, "compression": "gzip"} if values.ndim > 1 else {})
            )
    return path


def test_galaxies(tmp_path: Path):
    images, answers = noise(), np.arange(20) % 2
    path = write(tmp_path / "Galaxy10.h5", images=images, ans=answers, ra=np.zeros(20), pxscale=np.ones(20))
    dataset = load_dataset(str(path))
    assert (dataset.name, dataset.classes, dataset.image_shape) == ("hdf5:Galaxy10", ("0", "1"), (3, 8, 8))
    division = dataset.division
    assert division is not None
    trained = [image for image in division.images if image.part == "train"]
    for image, pixels in zip(trained, dataset.train.images, strict=True):
        assert image.path == "Galaxy10.h5/images"
        assert torch.equal(pixels, torch.from_numpy(images[image.page].transpose(2, 0, 1).astype(np.float32)) / 255)
        assert image.label == str(answers[image.page])
    found = load_labelled_images(str(path), classes=("1", "0"), image_shape=(3, 4, 4))
    assert found.split.images.shape == (20, 3, 4, 4)
    assert found.split.labels.tolist() == (1 - answers).tolist()


def test_parts_in_files_of_their_own(tmp_path: Path):
    counts = {"train": 12, "valid": 4, "test": 6}
    labels = {name: np.arange(count).reshape(-1, 1, 1, 1) % 2 for name, count in counts.items()}
    for name, count in counts.items():
        write(tmp_path / f"camelyonpatch_level_2_split_{name}_x.h5", x=noise(count))
        write(tmp_path / f"camelyonpatch_level_2_split_{name}_y.h5", y=labels[name])
    (tmp_path / "meta.csv").write_text("of no interest here")
    dataset = load_dataset(str(tmp_path))
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [12, 4, 6]
    assert dataset.test.labels.tolist() == labels["test"].flatten().tolist()
    with pytest.raises(ValueError, match=r"_train_x.h5: missing the labels that belong to x"):
        load_dataset(str(tmp_path / "camelyonpatch_level_2_split_train_x.h5"))
    write(tmp_path / "copy_train_x.h5", x=noise(3))
    with pytest.raises(
        ValueError, match=r"camelyonpatch.*train_x.h5 and copy_train_x.h5 both hold x of train; keep one"
    ):
        load_dataset(str(tmp_path))


def test_keys_may_be_named_and_labels_be_text_numbers_or_many(tmp_path: Path):
    names = np.array([b"cat", b"dog "] * 10)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["deep/pixels"] = noise(20, 8, 8)
        file["deep/truth"] = names
        file["deep/words"] = [name.decode() for name in names]
        file["deep/size"] = np.linspace(0, 1, 20)
        file["deep/tags"] = RANDOM.integers(0, 2, (20, 3))
    for key in ("truth", "words"):
        options = DataOptions(images_key="deep/pixels", labels_key=f"deep/{key}")
        assert [name.strip() for name in load_dataset(str(path), options=options).classes] == ["cat", "dog"]
    options = DataOptions(images_key="deep/pixels", labels_key="deep/size", targets="numbers")
    assert load_dataset(str(path), options=options).train.labels.dtype == torch.float32
    options = DataOptions(images_key="deep/pixels", labels_key="deep/tags")
    assert load_dataset(str(path), options=options).classes == ("0", "1", "2")
    with pytest.raises(ValueError, match=r"unknown array 'deep/pixel'; did you mean 'deep/pixels'"):
        load_dataset(str(path), options=DataOptions(images_key="deep/pixel", labels_key="deep/truth"))
    with pytest.raises(ValueError, match="name both keys"):
        load_dataset(str(path), options=DataOptions(images_key="deep/pixels"))


def test_images_are_read_slice_by_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    values = RANDOM.integers(0, 1000, (50, 6, 6)).astype(np.uint16)
    path = write(tmp_path / "x.h5", x=values, y=np.arange(50) % 2)
    monkeypatch.setattr(hdf5_file, "_SLICE_BYTES", 6 * 6 * 2 * 7)
    with pytest.warns(UserWarning, match=f"its uint16 images reach {values.max()} and are read as 10 bits"):
        dataset = load_dataset(str(path))
    assert dataset.bit_depth == 10
    for size in (None, 4):
        with pytest.warns(UserWarning, match="are read as 10 bits"):
            inside, outside = (load_dataset(str(path), in_memory=where, image_size=size) for where in (True, False))
        assert (inside.in_memory, outside.in_memory) == (True, False)
        assert inside.digest() == outside.digest()
    source = hdf5_file.Hdf5Images((path, "x"), Header(values.shape, values.dtype), "x", 10)
    expected = torch.from_numpy(values.astype(np.float32))[:, None] / 1023
    assert torch.equal(source.all(), expected)
    for indices in ([3, 1, 1, 49], [0], list(range(49, -1, -1))):
        assert torch.equal(source.read(torch.tensor(indices)), expected[indices])


def test_damage_and_foreign_files_are_one_sentence(tmp_path: Path):
    path = write(tmp_path / "x.h5", x=noise(), y=np.arange(20) % 2)
    whole = path.read_bytes()
    for content in (b"not one", b"", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"x.h5 cannot be read: it is no HDF5 file, or damaged"):
            load_dataset(str(path))
    with h5py.File(path, "w") as file:
        file["y"] = np.arange(3)
        file.create_dataset("x", (3, 8, 8), "u1", external=[(str(tmp_path / "secret"), 0, 3 * 64)])
        file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")
    (tmp_path / "secret").write_bytes(bytes(3 * 64))
    with pytest.raises(ValueError, match=r"x.h5: missing the images that belong to y"):
        load_dataset(str(path))  # what lies in other files is not read
    with pytest.raises(FileNotFoundError, match="there is no folder or file"):
        load_dataset(str(tmp_path / "z.h5"))
