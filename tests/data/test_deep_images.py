"""Files of 16 bits a value that use 8 to 16 of them: grey and colour, PNG and TIFF, either order of bytes."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sepgconv.data import load_dataset, read_image
from sepgconv.data.image_file import ImageHeader, read_header
from tests.data.builders import deep_images, images, write_png16, write_tiff

TWELVE = np.random.default_rng(0).integers(0, 4096, (6, 5, 4)).astype(np.uint16)
TWELVE[0, 0] = 4095
WANTED = torch.from_numpy(TWELVE >> 4).movedim(-1, 0).float() / 255


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_the_range_is_that_of_the_data_set(tmp_path: Path, bits: int):
    deep_images(tmp_path / "a", bits)
    deep_images(tmp_path / "b", bits)
    with pytest.warns(
        UserWarning, match=rf"12 images of 16 bits a pixel reach {2**bits - 1} and are read as {bits} bits"
    ):
        dataset = load_dataset(str(tmp_path), preprocessing="identity")
    assert dataset.bit_depth == bits
    assert float(dataset.train.images.max()) == 1.0
    levels = np.asarray(Image.open(tmp_path / "a" / "3.tif"))
    image = read_image(tmp_path / "a" / "3.tif", (1, 8, 8), bit_depth=bits)
    assert torch.equal(image[0], torch.from_numpy(levels >> (bits - 8)).float() / 255)
    assert any(
        torch.equal(image, other) for part in (dataset.train, dataset.validation, dataset.test) for other in part.images
    )


def test_the_whole_range_needs_no_words(tmp_path: Path):
    deep_images(tmp_path / "a", 16)
    deep_images(tmp_path / "b", 12)  # of the same camera, and dark
    dataset = load_dataset(str(tmp_path), preprocessing="identity")
    assert dataset.bit_depth == 16
    dark = dataset.train.images[dataset.train.labels == 1]
    assert float(dark.max() * 255) == pytest.approx(4095 >> 8)


def test_files_of_8_bits_beside_keep_their_range(tmp_path: Path):
    deep_images(tmp_path / "a", 12)
    images(tmp_path / "b")
    with pytest.warns(
        UserWarning, match="the values of 6 images of 16 bits a pixel reach 4095 and are read as 12 bits"
    ):
        dataset = load_dataset(str(tmp_path), preprocessing="identity")
    assert [float(dataset.train.images[dataset.train.labels == label].max()) for label in (0, 1)] == [1.0, 1.0]
    images(tmp_path / "c" / "a")
    images(tmp_path / "c" / "b")
    assert load_dataset(str(tmp_path / "c")).bit_depth is None


@pytest.mark.parametrize("colours", [1, 2, 3, 4])
def test_png(tmp_path: Path, colours: int):
    write_png16(tmp_path / "x.png", TWELVE[..., :colours] if colours > 1 else TWELVE[..., 0])
    grey = colours < 3
    assert read_header(tmp_path / "x.png") == ImageHeader(6, 5, grey, int(TWELVE[..., :colours].max()))
    image = read_image(tmp_path / "x.png", (1 if grey else 3, 6, 5), bit_depth=12)
    assert torch.equal(image, WANTED[:1] if grey else WANTED[:3])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("colours", [1, 3])
def test_tiff(tmp_path: Path, colours: int, order: str, packed: bool):
    write_tiff(
        tmp_path / "x.tif",
        TWELVE[..., :colours].squeeze(-1) if colours == 1 else TWELVE[..., :3],
        order=order,
        packed=packed,
    )
    image = read_image(tmp_path / "x.tif", (colours, 6, 5), bit_depth=12)
    assert torch.equal(image, WANTED[:colours])


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint32])
def test_other_integers_are_read_where_they_fit(tmp_path: Path, kind: type):
    write_tiff(tmp_path / "x.tif", TWELVE[..., 0].astype(kind))
    assert torch.equal(read_image(tmp_path / "x.tif", (1, 6, 5), bit_depth=12), WANTED[:1])


def test_what_has_no_known_range_is_refused(tmp_path: Path):
    path = tmp_path / "x.tif"
    write_tiff(path, TWELVE[..., 0].astype(np.int16) - 100)
    with pytest.raises(ValueError, match=r"it holds int16 values from -\d+ to \d+; say which become 0 and 1"):
        read_image(path, (1, 6, 5))


def test_what_pillow_misreads_is_read_by_tifffile(tmp_path: Path):
    path, exact = tmp_path / "x.tif", torch.from_numpy(TWELVE.astype(np.float32) / 4095).movedim(-1, 0)
    for packed in (False, True):
        write_tiff(path, TWELVE[..., :3], planes=True, packed=packed)
        assert torch.equal(read_image(path, (3, 6, 5), bit_depth=12), exact[:3])
    write_tiff(path, TWELVE[..., 0].astype(np.int16), order=">", packed=True)
    assert torch.equal(read_image(path, (1, 6, 5), bit_depth=12), exact[:1])


def test_a_declared_range_is_used(tmp_path: Path):
    (tmp_path / "x.pgm").write_bytes(b"P5 5 6 4095\n" + TWELVE[..., 0].astype(">u2").tobytes())
    image = read_image(tmp_path / "x.pgm", (1, 6, 5))
    torch.testing.assert_close(image, WANTED[:1], rtol=0, atol=1.01 / 255)


def test_a_deep_photograph_is_turned_as_its_camera_says(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to show
    Image.fromarray(TWELVE[..., 0]).save(tmp_path / "turned.png", exif=exif)
    assert read_header(tmp_path / "turned.png") == ImageHeader(5, 6, True, 4095, orientation=6)
    image = read_image(tmp_path / "turned.png", (1, 5, 6), bit_depth=12)
    assert torch.equal(image[0], torch.rot90(WANTED[0], -1))


def test_values_beyond_the_range_are_refused_and_a_dark_image_without_one_is_told(tmp_path: Path):
    Image.fromarray(TWELVE[..., 0]).save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match=r"x\.tif: holds values up to 4095, but .* hold 10 bits \(0 to 1023\)"):
        read_image(tmp_path / "x.tif", (1, 6, 5), bit_depth=10)
    with pytest.warns(UserWarning, match=r"x\.tif has 16 bits a pixel, but values only up to 4095; .* nearly black"):
        dark = read_image(tmp_path / "x.tif", (1, 6, 5))
    assert torch.equal(dark[0], torch.from_numpy(TWELVE[..., 0] >> 8).float() / 255)  # as runs without a range did
    with pytest.raises(ValueError, match="bit_depth must be one of 8, 10, 12, 14, 16, got 11"):
        read_image(tmp_path / "x.tif", (1, 6, 5), bit_depth=11)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(tmp_path / "x.tif", (1, 6, 5), bit_depth=16)


def test_images_that_are_nearly_black_are_told(tmp_path: Path):
    images(tmp_path / "a", brightest=20)
    images(tmp_path / "b", brightest=31)
    with pytest.warns(UserWarning, match=r"the brightest pixel of all images is 0\.122 of white"):
        load_dataset(str(tmp_path))
