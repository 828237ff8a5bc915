import dataclasses
import hashlib
import io
import pickle
import pickletools
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy import ndarray
from PIL import Image
from torch import nn

from sepgconv.data import build_preprocessing, cifar10
from sepgconv.data.cifar10 import (
    JPEG75,
    LOSSLESS_SUBSET,
    PUBLISHED,
    Batches,
    load_cifar10,
    load_cifar10_jpeg75,
    load_cifar10_lossless_subset,
    read_batch,
)
from sepgconv.data.download import RemoteFile
from sepgconv.data.preprocessing import GcnZca, fit_gcn_zca
from tests.covering import each

Publish = Callable[..., RemoteFile]
COUNT = 4


def python2_pickle(data: ndarray, labels: list[int]) -> bytes:
    """Write a batch as the published ones are: protocol 2 from Python 2, byte strings, arrays by `_reconstruct`."""

    def short(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + number(0) + b"\x85" + short(b"b") + b"tR"
        b"(" + number(1) + number(data.shape[0]) + number(data.shape[1]) + b"\x86"
        b"cnumpy\ndtype\n(" + short(b"u1") + number(0) + number(1) + b"tR"
        b"(" + number(3) + short(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
        b"\x89T" + struct.pack("<i", data.size) + data.tobytes() + b"tb"
    )
    entries = short(b"batch_label") + short(b"training batch 1 of 5")
    entries += short(b"labels") + b"](" + b"".join(map(number, labels)) + b"e" + short(b"data") + array
    content = b"\x80\x02}(" + entries + b"u."
    pickletools.dis(content, out=io.StringIO())  # fails if this is not a pickle
    return content


def batch_arrays(number: int, count: int = COUNT) -> tuple[ndarray, list[int]]:
    generator = np.random.default_rng(number)
    return generator.integers(0, 256, (count, 3072)).astype(np.uint8), generator.integers(0, 10, count).tolist()


@pytest.fixture(scope="module")
def content() -> dict[str, bytes]:
    return {name: python2_pickle(*batch_arrays(number)) for number, name in enumerate(PUBLISHED.md5)}


def batches_of(content: Mapping[str, bytes], archive: RemoteFile) -> Batches:
    md5 = {name: hashlib.md5(data, usedforsecurity=False).hexdigest() for name, data in content.items()}
    return Batches(archive, md5, COUNT)


def tar_of(content: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, data in content.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


class Halving(nn.Module):
    """Stands for the whitening of 3072 values, which takes long to fit."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images / 2


@pytest.fixture
def fitted_on(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Replace the fit, and record what it was asked to fit to."""
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(cifar10, "fit_gcn_zca", lambda pixels: seen.append(pixels) or Halving())
    return seen


def check(dataset, fitted_on: list[torch.Tensor]) -> None:
    arrays = [batch_arrays(number) for number in range(6)]
    pixels = torch.from_numpy(np.concatenate([data for data, _ in arrays]).reshape(-1, 3, 32, 32))
    labels = [label for _, batch in arrays for label in batch]
    assert dataset.name == "cifar10"
    assert dataset.classes[3] == "cat"
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [18, 2, COUNT]
    parts = (dataset.train, dataset.validation, dataset.test)  # in the published order: the last tenth validates
    torch.testing.assert_close(torch.cat([part.images for part in parts]), pixels.float() / 510)
    assert torch.cat([part.labels for part in parts]).tolist() == labels
    assert torch.equal(fitted_on[0], pixels[:18])  # the training split alone
    assert isinstance(dataset.preprocessing, Halving)


@pytest.mark.parametrize("folder", ["", "cifar10", "downloads"])
def test_the_archive_is_read_wherever_it_is(
    tmp_path: Path, content: dict[str, bytes], publish: Publish, fitted_on: list[torch.Tensor], folder: str
):
    archive = publish(tmp_path / folder / PUBLISHED.archive.name, tar_of(content))
    check(load_cifar10(tmp_path, download=True, published=batches_of(content, archive)), fitted_on)


@pytest.mark.parametrize("folder", ["", "cifar10"])
@pytest.mark.parametrize("inside", [False, True])
def test_the_extracted_folder_is_read_wherever_it_is(
    tmp_path: Path, content: dict[str, bytes], fitted_on: list[torch.Tensor], folder: str, inside: bool
):
    batches = tmp_path / folder / "cifar-10-batches-py"
    batches.mkdir(parents=True)
    for name, data in content.items():
        (batches / name).write_bytes(data)
    archive = RemoteFile("cifar-10-python.tar.gz", "md5:0", ("http://127.0.0.1:9/x",))
    data_dir = batches if inside else tmp_path
    check(load_cifar10(data_dir, download=True, published=batches_of(content, archive)), fitted_on)


def test_the_archive_is_downloaded(tmp_path: Path, content: dict[str, bytes], server, fitted_on: list[torch.Tensor]):
    archive = server.publish(PUBLISHED.archive.name, tar_of(content))
    check(load_cifar10(tmp_path, download=True, published=batches_of(content, archive)), fitted_on)
    assert (tmp_path / "downloads" / archive.name).is_file()


def test_without_files_one_error_says_what_and_where(tmp_path: Path, content: dict[str, bytes]):
    with pytest.raises(FileNotFoundError, match=r"no intact cifar-10-python\.tar\.gz in .*downloading was not allowed"):
        load_cifar10(tmp_path, download=False, published=PUBLISHED)


def test_a_damaged_batch_is_named_and_not_used(tmp_path: Path, content: dict[str, bytes]):
    (tmp_path / "cifar-10-batches-py").mkdir()
    for name, data in content.items():
        (tmp_path / "cifar-10-batches-py" / name).write_bytes(data[:-1] if name == "data_batch_3" else data)
    published = batches_of(content, PUBLISHED.archive)
    with pytest.raises(ValueError, match=r"data_batch_3 is damaged \(expected md5 \w{32}\) and is not used"):
        load_cifar10(tmp_path, download=False, published=published)


def test_an_incomplete_archive_is_refused(tmp_path: Path, content: dict[str, bytes], publish: Publish):
    part = {name: data for name, data in content.items() if name != "test_batch"}
    archive = publish(tmp_path / PUBLISHED.archive.name, tar_of(part))
    with pytest.raises(ValueError, match="the archive has no file cifar-10-batches-py/test_batch"):
        load_cifar10(tmp_path, download=False, published=batches_of(content, archive))


def test_a_batch_is_read_as_it_was_written():
    data, labels = batch_arrays(7)
    images, digits = read_batch(python2_pickle(data, labels), "batch", COUNT)
    assert np.array_equal(images, data.reshape(COUNT, 3, 32, 32))
    assert digits.tolist() == labels


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("import pathlib; pathlib.Path('harm').touch()",)


@pytest.mark.parametrize("key", [b"data", b"labels", b"other"])
def test_a_batch_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: bytes):
    monkeypatch.chdir(tmp_path)
    harmful = pickle.dumps({key: Harmful()}, protocol=3)
    with pytest.raises(ValueError, match=r"not a batch of CIFAR-10 \(it names \w+\.exec, which is not allowed\)"):
        read_batch(harmful, "batch", COUNT)
    assert not Path("harm").exists()
    pickle.loads(harmful)
    assert Path("harm").exists()  # the unrestricted reader does run it


@pytest.mark.parametrize("name", ["os system", "builtins eval", "numpy load", "numpy.core.multiarray scalar"])
def test_no_other_name_is_admitted(name: str):
    module, attribute = name.split()
    with pytest.raises(ValueError, match=f"it names {module}.{attribute}, which is not allowed"):
        read_batch(f"c{module}\n{attribute}\n.".encode(), "batch", COUNT)


@each(
    ("content", "message"),
    [
        (b"", "batch: not a batch of CIFAR-10"),
        (python2_pickle(*batch_arrays(0))[:-40], "batch: not a batch of CIFAR-10"),
        (pickle.dumps([1, 2], protocol=2), r"expected uint8 data of shape \(4, 3072\), got NoneType"),
        (python2_pickle(*batch_arrays(0, 3)), r"expected uint8 data of shape \(4, 3072\), got uint8 \(3, 3072\)"),
        (python2_pickle(batch_arrays(0)[0], [1, 2, 3]), "expected a list of 4 labels"),
        (python2_pickle(batch_arrays(0)[0], [1, 2, 3, 10]), "expected labels 0 to 9"),
        (python2_pickle(batch_arrays(0)[0], [1, 2, 3, -1]), "expected labels 0 to 9"),
    ],
)
def test_batches_that_are_something_else_are_refused(content: bytes, message: str):
    with pytest.raises(ValueError, match=message):
        read_batch(content, "batch", COUNT)


def npz_of(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **{key: np.asarray(value) for key, value in arrays.items()})
    return stream.getvalue()


CLASSES = [f"class{number}" for number in range(10)]


def jpegs_of(images: ndarray) -> list[bytes]:
    files = []
    for image in images:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=75)
        files.append(stream.getvalue())
    return files


def decoded(file: bytes) -> ndarray:
    return np.asarray(Image.open(io.BytesIO(file))).transpose(2, 0, 1)


def packed(**change: object) -> tuple[bytes, list[bytes]]:
    """Return a packed set of 40 training and 10 test pictures of 8x8, and its JPEG files."""
    pictures = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3)).astype(np.uint8)
    files = jpegs_of(pictures)
    header = files[0][:20]
    assert all(file.startswith(header) for file in files)
    rest = [file[len(header) :] for file in files]
    arrays: dict[str, object] = {"header": np.frombuffer(header, np.uint8), "classes": CLASSES}
    for split, part in (("train", rest[:40]), ("test", rest[40:])):
        arrays[f"{split}_jpeg"] = np.frombuffer(b"".join(part), np.uint8)
        arrays[f"{split}_length"] = np.array([len(file) for file in part], np.uint16)
        arrays[f"{split}_labels"] = (np.arange(len(part)) % 10).astype(np.uint8)
    return npz_of(**{key: value for key, value in (arrays | change).items() if value is not None}), files


@pytest.mark.parametrize("folder", ["", "cifar10_jpeg75"])
def test_the_jpeg_substitute(tmp_path: Path, publish: Publish, folder: str):
    content, files = packed()
    file = publish(tmp_path / folder / JPEG75.name, content)
    dataset = load_cifar10_jpeg75(tmp_path, file=file)
    assert dataset.name == "cifar10-jpeg75"
    assert dataset.classes == tuple(CLASSES)
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [36, 4, 10]
    assert dataset.validation.labels.tolist() == [6, 7, 8, 9]
    pixels = torch.from_numpy(np.stack([decoded(jpeg) for jpeg in files]))
    expected = fit_gcn_zca(pixels[:36])
    images = torch.cat([dataset.train.images, dataset.validation.images, dataset.test.images])
    torch.testing.assert_close(images, expected(pixels / 255), rtol=1e-4, atol=1e-4)
    rebuilt = build_preprocessing("gcn-zca", dataset.preprocessing.state_dict())
    torch.testing.assert_close(rebuilt(pixels[-10:] / 255), dataset.test.images, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_length": None}, "missing test_length"),
        ({"classes": None}, "missing classes"),
        ({"train_length": np.array([3, 4])}, r"train has 2 lengths that add up to 7, 40 labels and \d+ bytes"),
        ({"header": np.zeros(20, np.uint8)}, "train image 0 does not decode"),
        ({"test_labels": np.full(10, 10)}, "test label 10, but there are 10 classes"),
    ],
)
def test_a_packed_set_that_does_not_fit_is_refused(
    tmp_path: Path, publish: Publish, change: dict[str, object], message: str
):
    file = publish(tmp_path / JPEG75.name, packed(**change)[0])
    with pytest.raises(ValueError, match=message):
        load_cifar10_jpeg75(tmp_path, file=file)


@pytest.mark.parametrize("folder", ["", "cifar10_lossless_subset"])
def test_the_lossless_substitute(tmp_path: Path, publish: Publish, folder: str):
    generator = np.random.default_rng(0)
    x_train, x_test = (generator.integers(0, 256, (n, 3, 5, 5)).astype(np.uint8) for n in (25, 7))
    y_train, y_test = (np.arange(n).astype(np.uint8) % 10 for n in (25, 7))
    content = npz_of(x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test, classes=CLASSES)
    file = publish(tmp_path / folder / LOSSLESS_SUBSET.name, content)
    dataset = load_cifar10_lossless_subset(tmp_path, file=file)
    assert dataset.name == "cifar10-lossless-subset"
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [23, 2, 7]
    assert dataset.validation.labels.tolist() == [3, 4]
    expected = fit_gcn_zca(torch.from_numpy(x_train[:23]))
    torch.testing.assert_close(dataset.test.images, expected(torch.from_numpy(x_test) / 255), rtol=1e-4, atol=1e-4)
    assert isinstance(dataset.preprocessing, GcnZca)


def test_the_substitutes_are_not_downloaded(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no intact cifar10_jpeg75\.npz in .*cannot be downloaded"):
        load_cifar10_jpeg75(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no intact cifar10_lossless_subset\.npz"):
        load_cifar10_lossless_subset(tmp_path)


def test_another_file_of_that_name_is_not_used(tmp_path: Path):
    (tmp_path / JPEG75.name).write_bytes(packed()[0])
    with pytest.warns(UserWarning, match="is damaged"), pytest.raises(FileNotFoundError):
        load_cifar10_jpeg75(tmp_path)


def test_the_published_checksums():
    assert PUBLISHED.archive.checksum == "md5:c58f30108f718f92721af3b95e74349a"
    assert PUBLISHED.images_per_batch == 10_000
    assert list(PUBLISHED.md5) == [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    assert dataclasses.astuple(PUBLISHED)[1]["test_batch"] == "40351d587109b95175f43aff81a1287e"
