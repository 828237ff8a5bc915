import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from sepgconv.data.mnist import MNIST_FILES, read_idx, read_mnist
from tests.covering import each

Idx = Callable[[ndarray], bytes]


def test_a_file_is_read_as_it_was_written(tmp_path: Path, idx: Idx):
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "images.gz").write_bytes(idx(images))
    (tmp_path / "labels.gz").write_bytes(idx(np.array([7, 1], np.uint8)))
    assert np.array_equal(read_idx(tmp_path / "images.gz", dimensions=3), images)
    assert read_idx(tmp_path / "labels.gz", dimensions=1).tolist() == [7, 1]


@each(
    ("content", "message"),
    [
        (b"no gzip", "not a complete gzip file"),
        (gzip.compress(bytes(500), mtime=0)[:-9], "not a complete gzip file"),
        (gzip.compress(b"\0\0\x08", mtime=0), "3 bytes are too short for an IDX header of 16"),
        (gzip.compress(struct.pack(">4I", 2049, 1, 1, 1) + b"\0", mtime=0), r"expected magic number 2051 .* got 2049"),
        (gzip.compress(struct.pack("<4I", 2051, 1, 1, 1) + b"\0", mtime=0), "expected magic number 2051"),
        (
            gzip.compress(struct.pack(">4I", 2051, 1, 2, 2) + b"\0\0\0", mtime=0),
            r"header says shape \(1, 2, 2\), but 3 values",
        ),
        (
            gzip.compress(struct.pack(">4I", 2051, 1, 1, 1) + b"\0\0", mtime=0),
            r"header says shape \(1, 1, 1\), but 2 values",
        ),
    ],
)
def test_anything_else_is_refused_by_name(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "images.gz").write_bytes(content)
    with pytest.raises(ValueError, match=rf"images\.gz: {message}"):
        read_idx(tmp_path / "images.gz", dimensions=3)


def test_train_comes_before_test(tmp_path: Path, idx: Idx):
    parts = [np.full((2, 3, 3), 1), np.array([4, 5]), np.full((1, 3, 3), 2), np.array([6])]
    paths = [tmp_path / f"{number}.gz" for number in range(4)]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(idx(part))
    images, labels = read_mnist(paths)
    assert images[:, 0, 0].tolist() == [1, 1, 2]
    assert labels.tolist() == [4, 5, 6]


@pytest.mark.parametrize("labels", [[1], [1, 10]])
def test_images_and_labels_must_fit(tmp_path: Path, idx: Idx, labels: list[int]):
    (tmp_path / "images.gz").write_bytes(idx(np.zeros((2, 3, 3))))
    (tmp_path / "labels.gz").write_bytes(idx(np.array(labels)))
    with pytest.raises(ValueError, match=rf"2 images, {len(labels)} labels, the largest {max(labels)}"):
        read_mnist([tmp_path / "images.gz", tmp_path / "labels.gz"])


def test_the_published_checksums():
    assert {file.name: file.checksum for file in MNIST_FILES} == {
        "train-images-idx3-ubyte.gz": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "md5:d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "md5:9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "md5:ec29112dd5afa0611ce80d1b7f02629c",
    }
