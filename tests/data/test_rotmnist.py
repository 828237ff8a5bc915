import dataclasses
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy import ndarray

from sepgconv._rotation import rotate_images
from sepgconv.data.download import RemoteFile
from sepgconv.data.rotmnist import PUBLISHED, Sources, load_rotmnist

SIDE, SIZES = 6, (5, 3, 8)
Publish = Callable[..., RemoteFile]


def table_of(rows: int, seed: int) -> ndarray:
    generator = np.random.default_rng(seed)
    return np.column_stack([generator.random((rows, SIDE * SIDE)).round(6), generator.integers(0, 10, rows)])


TABLES = (table_of(SIZES[0] + SIZES[1], 0), table_of(SIZES[2], 1))


def text_of(table: ndarray) -> bytes:
    stream = io.BytesIO()
    np.savetxt(stream, table, fmt="%.16e")
    return stream.getvalue()


def archive_of(*texts: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in zip(PUBLISHED.tables, texts, strict=False):
            archive.writestr(name, text)
    return stream.getvalue()


@pytest.fixture(scope="module")
def digits() -> tuple[ndarray, ndarray]:
    """Twenty upright 6x6 images, each of its own grey level in the middle, with labels."""
    images = np.zeros((20, SIDE, SIDE), np.uint8)
    images[:, 2:4, 1:4] = np.arange(100, 120)[:, None, None]
    return images, np.arange(20, dtype=np.uint8) % 10


@pytest.fixture
def mnist_content(digits: tuple[ndarray, ndarray], idx: Callable[[ndarray], bytes]) -> dict[str, bytes]:
    parts = (digits[0][:15], digits[1][:15], digits[0][15:], digits[1][15:])
    return {file.name: idx(part) for file, part in zip(PUBLISHED.mnist, parts, strict=True)}


@pytest.fixture
def sources(tmp_path: Path, publish: Publish, mnist_content: dict[str, bytes]) -> Sources:
    """Small sources with the checksums of small files, and addresses that nobody answers; nothing is on disk."""
    away = tmp_path / "away"

    def file(name: str, content: bytes) -> RemoteFile:
        return publish(away / name, content, (f"http://127.0.0.1:9/{name}",))

    archive = file(PUBLISHED.archive.name, archive_of(*map(text_of, TABLES)))
    return Sources(archive, PUBLISHED.tables, [file(*item) for item in mnist_content.items()], SIZES)


def put(folder: Path, sources: Sources, tmp_path: Path, *, archive: bool = False, mnist: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in ([sources.archive] if archive else []) + (list(sources.mnist) if mnist else []):
        (folder / file.name).write_bytes((tmp_path / "away" / file.name).read_bytes())


def check_official(dataset) -> None:
    assert dataset.name == "rotmnist-official"
    assert dataset.classes == tuple("0123456789")
    assert dataset.image_shape == (1, SIDE, SIDE)
    rows = np.concatenate(TABLES)
    parts = (dataset.train, dataset.validation, dataset.test)
    assert tuple(map(len, parts)) == SIZES
    images = torch.cat([part.images for part in parts]).flatten(1)  # the order of the file, row by row
    torch.testing.assert_close(images, torch.from_numpy(rows[:, :-1]).float())
    assert torch.cat([part.labels for part in parts]).tolist() == rows[:, -1].tolist()


@pytest.mark.parametrize("folder", ["", "rotmnist", "downloads"])
def test_the_archive_is_read_wherever_it_is(tmp_path: Path, sources: Sources, folder: str):
    put(tmp_path / "data" / folder, sources, tmp_path, archive=True, mnist=True)  # official before generated
    check_official(load_rotmnist(tmp_path / "data", download=True, sources=sources))


@pytest.mark.parametrize("folder", ["", "rotmnist", "mnist_rotation_new"])
def test_the_two_tables_are_read_wherever_they_are(tmp_path: Path, sources: Sources, folder: str):
    put(tmp_path / "data", sources, tmp_path, mnist=True)
    (tmp_path / "data" / folder).mkdir(exist_ok=True)
    for name, table in zip(sources.tables, TABLES, strict=True):
        (tmp_path / "data" / folder / name).write_bytes(text_of(table))
    check_official(load_rotmnist(tmp_path / "data", download=True, sources=sources))


@pytest.mark.parametrize("folder", ["", "mnist", "MNIST/raw"])
def test_it_is_generated_from_mnist_without_a_download(
    tmp_path: Path, sources: Sources, folder: str, digits: tuple[ndarray, ndarray]
):
    put(tmp_path / "data" / folder, sources, tmp_path, mnist=True)
    dataset = load_rotmnist(tmp_path / "data", download=True, sources=sources)
    assert dataset.name == "rotmnist-generated"
    parts = (dataset.train, dataset.validation, dataset.test)
    assert tuple(map(len, parts)) == SIZES
    images, labels = (torch.cat([getattr(part, key) for part in parts]) for key in ("images", "labels"))
    levels = (images.amax((1, 2, 3)) * 255).round().long()  # tells each image, since bilinear keeps a flat inside
    sources_of = levels - 100
    assert len(set(sources_of.tolist())) == sum(SIZES)  # distinct images
    assert labels.tolist() == [int(digits[1][index]) for index in sources_of]
    upright = torch.from_numpy(digits[0]).unsqueeze(1).float()[sources_of] / 255
    candidates = torch.linspace(0, 2 * torch.pi, 721, dtype=torch.float64)
    angles = []
    for image, original in zip(images, upright, strict=True):
        errors = (rotate_images(original.expand(721, 1, SIDE, SIDE), candidates) - image).abs().amax((1, 2, 3))
        assert float(errors.min()) < 0.01
        angles.append(float(candidates[errors.argmin()]))
    assert len({round(angle, 1) for angle in angles}) > 10  # every image has an angle of its own
    again = load_rotmnist(tmp_path / "data", download=False, sources=sources)
    assert torch.equal(again.test.images, dataset.test.images)


def test_either_kind_can_be_asked_for_alone(tmp_path: Path, sources: Sources):
    data = tmp_path / "data"
    put(data, sources, tmp_path, mnist=True)
    with pytest.raises(
        FileNotFoundError, match=r"^rotmnist-official needs mnist_rotation_new\.zip: no intact"
    ) as caught:
        load_rotmnist(data, download=False, images="official", sources=sources)
    assert "train-images" not in str(caught.value)  # nothing that would not help
    put(data, sources, tmp_path, archive=True)
    check_official(load_rotmnist(data, download=False, images="official", sources=sources))
    assert load_rotmnist(data, download=False, images="generated", sources=sources).name == "rotmnist-generated"
    (data / sources.mnist[0].name).unlink()
    with pytest.raises(
        FileNotFoundError, match=r"^rotmnist-generated needs the four files of MNIST: no intact train-"
    ) as caught:
        load_rotmnist(data, download=False, images="generated", sources=sources)
    assert sources.archive.name not in str(caught.value)


def test_the_official_archive_is_downloaded_before_mnist(tmp_path: Path, sources: Sources, server):
    content = (tmp_path / "away" / sources.archive.name).read_bytes()
    remote = dataclasses.replace(sources, archive=server.publish(sources.archive.name, content))
    check_official(load_rotmnist(tmp_path / "data", download=True, sources=remote))
    check_official(load_rotmnist(tmp_path / "data", download=False, sources=remote))
    assert server.requests == [sources.archive.name]


def test_mnist_is_downloaded_when_the_archive_cannot_be(
    tmp_path: Path, sources: Sources, server, mnist_content: dict[str, bytes]
):
    remote = dataclasses.replace(sources, mnist=[server.publish(*item) for item in mnist_content.items()])
    with pytest.warns(UserWarning, match=r"mnist_rotation_new\.zip failed .* generated from MNIST instead"):
        dataset = load_rotmnist(tmp_path / "data", download=True, sources=remote)
    assert dataset.name == "rotmnist-generated"
    assert server.requests == list(mnist_content)


def test_without_files_and_network_one_error_says_everything(tmp_path: Path, sources: Sources, server):
    with pytest.raises(FileNotFoundError) as caught:
        load_rotmnist(tmp_path / "data", download=True, sources=sources)
    message = str(caught.value)
    for expected in (
        "rotmnist needs either mnist_rotation_new.zip or the four files of MNIST",
        *(file.name for file in sources.mnist),
        str(tmp_path / "data" / "mnist"),
        "download of mnist_rotation_new.zip failed (127.0.0.1:9: no connection)",
        "download of train-images-idx3-ubyte.gz failed (127.0.0.1:9: no connection)",
        "published at http://127.0.0.1:9",
    ):
        assert expected in message
    with pytest.raises(FileNotFoundError, match="downloading was not allowed"):
        load_rotmnist(tmp_path / "data", download=False, sources=sources)


def test_damaged_files_of_the_user_are_named_and_passed_over(tmp_path: Path, sources: Sources):
    data = tmp_path / "data"
    put(data, sources, tmp_path, archive=True, mnist=True)
    (data / sources.archive.name).write_bytes(b"damaged")
    with pytest.warns(UserWarning, match=r"mnist_rotation_new\.zip is damaged"):
        assert load_rotmnist(data, download=True, sources=sources).name == "rotmnist-generated"
    assert [path.name for path in data.glob("*.damaged")] == [f"{sources.archive.name}.damaged"]
    (data / sources.mnist[3].name).write_bytes(b"damaged")
    with (
        pytest.warns(UserWarning, match=r"t10k-labels-idx1-ubyte\.gz is damaged"),
        pytest.raises(FileNotFoundError, match="no intact"),
    ):
        load_rotmnist(data, download=False, sources=sources)


def test_a_lonely_table_is_named(tmp_path: Path, sources: Sources):
    put(tmp_path / "data", sources, tmp_path, mnist=True)
    (tmp_path / "data" / sources.tables[1]).write_bytes(text_of(TABLES[1]))
    with pytest.warns(UserWarning, match=r"float_test\.amat is not used: the other of the two tables"):
        assert load_rotmnist(tmp_path / "data", download=False, sources=sources).name == "rotmnist-generated"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table[:-1], r"must have \(8, 8\) rows of equal length, got \(8, 7\)"),
        (lambda table: table[:, 1:], "expected a square image and a label in every row, got 36 columns"),
        (lambda table: table * 255, r"expected pixels in \[0, 1\]"),
        (lambda table: table + 0.25, "expected a digit 0 to 9 as the last value"),
        (lambda table: np.where(table == table.max(), np.nan, table), "expected a digit 0 to 9"),
        (lambda table: np.where(table == table.min(), np.nan, table) * 0 + 1e9, r"expected pixels in \[0, 1\]"),
    ],
)
def test_tables_that_are_something_else_are_refused(
    tmp_path: Path, sources: Sources, change: Callable[[ndarray], ndarray], message: str
):
    (tmp_path / "data").mkdir()
    for name, table in zip(sources.tables, (TABLES[0], change(TABLES[1])), strict=True):
        (tmp_path / "data" / name).write_bytes(text_of(table))
    with pytest.raises(ValueError, match=message):
        load_rotmnist(tmp_path / "data", download=False, sources=sources)


def test_text_and_incomplete_archives_are_refused(tmp_path: Path, sources: Sources, publish: Publish):
    bad = publish(tmp_path / "data" / "mnist_rotation_new.zip", archive_of(text_of(TABLES[0])))
    with pytest.raises(ValueError, match=r"the archive has no mnist_all_rotation_normalized_float_test\.amat"):
        load_rotmnist(tmp_path / "data", download=False, sources=dataclasses.replace(sources, archive=bad))
    bad = publish(tmp_path / "data" / "mnist_rotation_new.zip", archive_of(text_of(TABLES[0]), b"1 2 three\n"))
    with pytest.raises(ValueError, match=r"float_test\.amat: not a table of numbers"):
        load_rotmnist(tmp_path / "data", download=False, sources=dataclasses.replace(sources, archive=bad))


def test_too_few_images_are_refused(tmp_path: Path, sources: Sources):
    put(tmp_path / "data", sources, tmp_path, mnist=True)
    with pytest.raises(ValueError, match="21 images of MNIST are needed, got 20"):
        load_rotmnist(tmp_path / "data", download=False, sources=dataclasses.replace(sources, sizes=(10, 1, 10)))


def test_the_published_sizes_and_checksum():
    assert PUBLISHED.sizes == (10_000, 2_000, 50_000)
    assert PUBLISHED.archive.checksum == "md5:0f9a947ff3d30e95cd685462cbf3b847"


def test_of_four_files_only_the_damaged_one_is_named(tmp_path: Path, sources: Sources):
    data = tmp_path / "data"
    put(data, sources, tmp_path, mnist=True)
    whole, damaged = sources.mnist[0].name, sources.mnist[2].name
    (data / damaged).write_bytes(b"damaged")
    with (
        pytest.warns(UserWarning, match=rf"{damaged} is damaged .* and was renamed to {damaged}\.damaged"),
        pytest.raises(FileNotFoundError, match=rf"no intact {damaged} in ") as caught,
    ):
        load_rotmnist(data, download=False, images="generated", sources=sources)
    assert whole not in str(caught.value)
