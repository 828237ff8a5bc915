"""TIFFs that Pillow does not read: each value against the array that was written, and no guessing."""

import functools
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from numpy import ndarray
from PIL import Image

from sepgconv.data import DataOptions, load_dataset, load_labelled_images, read_image
from sepgconv.data.image_file import ImageHeader, read_header
from sepgconv.data.reading import Reading

load = functools.partial(load_dataset, preprocessing="identity")  # pixels as they are

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (5, 6, 7)).astype(np.uint8)  # five pages or channels of 6 x 7
WORDS = RANDOM.integers(0, 4096, (5, 6, 7)).astype(np.uint16)
FLOATS = RANDOM.random((5, 6, 7)).astype(np.float32)


def read(path: Path, channels: int, **options: object) -> ndarray:
    return read_image(path, (channels, 6, 7), **options).numpy()


WAYS: dict[str, dict[str, object]] = {
    "pages": {},
    "one plane after the other": {"planarconfig": "separate", "photometric": "minisblack"},
    "BigTIFF": {"bigtiff": True},
    "big-endian": {"byteorder": ">"},
    "deflated": {"compression": "zlib"},
    "tiles": {"tile": (16, 16)},
    "OME": {"ome": True, "metadata": {"axes": "CYX"}},
    "ImageJ": {"imagej": True, "metadata": {"axes": "CYX"}},
}


@pytest.mark.parametrize("way", WAYS)
def test_channels_are_read_in_every_layout(tmp_path: Path, way: str):
    said = way in ("OME", "ImageJ", "one plane after the other")  # the file itself says that they are channels
    for values, scale in ((BYTES, 255), (WORDS, 4095), (FLOATS, 1)):
        if way == "big-endian" and values is BYTES:
            continue
        path = tmp_path / f"{values.dtype}.tif"
        tifffile.imwrite(path, values, **({"photometric": "minisblack"} | WAYS[way]))
        found = read(path, 5, bit_depth=12 if values is WORDS else None, pages=None if said else "channels")
        np.testing.assert_array_equal(found, values.astype(np.float32) / scale)
        header = read_header(path, Reading(pages="channels"))
        maximum = int(WORDS.max()) if values is WORDS else None
        assert header == ImageHeader(6, 7, False, maximum, values is not BYTES, 5)


def test_channels_of_a_pixel_together(tmp_path: Path):
    for values, scale in ((BYTES, 255), (FLOATS, 1)):
        tifffile.imwrite(tmp_path / "x.tif", values.transpose(1, 2, 0), photometric="minisblack", planarconfig="contig")
        np.testing.assert_array_equal(read(tmp_path / "x.tif", 5), values.astype(np.float32) / scale)


def test_pages_are_not_guessed(tmp_path: Path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, BYTES, photometric="minisblack")
    said = r"stack.tif: it has 5 pages; say what they are, pages='channels' or pages='images' \(--pages\), or save each"
    for channels in (1, 5):
        with pytest.raises(ValueError, match=said):
            read(path, channels)
    for page in range(5):
        np.testing.assert_array_equal(read(path, 1, pages="images", page=page)[0], BYTES[page] / np.float32(255))
    with pytest.raises(ValueError, match=r"it holds 5 images; say which one \(page=0 is the first\)"):
        read(path, 1, pages="images")
    with pytest.raises(ValueError, match="it has 5 images, and no image 6"):
        read(path, 1, pages="images", page=5)
    with pytest.raises(ValueError, match="it has 5 channels, and 1 are wanted"):
        read(path, 1, pages="channels")


def test_stacks_of_images_with_channels(tmp_path: Path):
    values = RANDOM.random((4, 2, 6, 7)).astype(np.float32)
    for axes in ("TCYX", "ZCYX"):
        path = tmp_path / f"{axes}.ome.tif"
        tifffile.imwrite(path, values, ome=True, metadata={"axes": axes}, photometric="minisblack")
        with pytest.raises(ValueError, match="it has 4 pages; say"):
            read(path, 2)
        np.testing.assert_array_equal(read(path, 2, pages="images", page=3), values[3])
        np.testing.assert_array_equal(read(path, 8, pages="channels"), values.reshape(8, 6, 7))
    colours = RANDOM.integers(0, 256, (3, 6, 7, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "rgb.tif", colours, photometric="rgb")
    found = read(tmp_path / "rgb.tif", 3, pages="images", page=1)
    np.testing.assert_array_equal(found, colours[1].transpose(2, 0, 1) / np.float32(255))
    grey = np.asarray(Image.fromarray(colours[1]).convert("L"))
    assert np.abs(read(tmp_path / "rgb.tif", 1, pages="images", page=1)[0] * 255 - grey).max() <= 1


def test_pages_of_several_sizes(tmp_path: Path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        for size in (6, 9):
            file.write(np.full((size, size), 20 * size, np.uint8), photometric="minisblack")
    with pytest.raises(
        ValueError, match="it has 2 images of different sizes or kinds; read them as images of their own"
    ):
        read(tmp_path / "x.tif", 2, pages="channels")
    for page, level in enumerate((120, 180)):
        assert read(tmp_path / "x.tif", 1, pages="images", page=page).max() == np.float32(level) / np.float32(255)


@pytest.mark.parametrize("kind", ["float32", "float64", "int16", "int32", "uint32"])
def test_values_without_a_range_are_not_guessed(tmp_path: Path, kind: str):
    lowest, highest = (0, 90_000) if kind == "uint32" else (-200, 32_000)
    values = np.linspace(lowest, highest, 42).reshape(6, 7).astype(kind)
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="minisblack")
    said = rf"x.tif: it holds {kind} values from {lowest} to {highest}; say which become 0 and 1 .*--value-range"
    with pytest.raises(ValueError, match=said):
        read(tmp_path / "x.tif", 1)
    found = read(tmp_path / "x.tif", 1, value_range=(-100, 50_000))
    expected = np.clip((values.astype(np.float64) + 100) / 50_100, 0, 1)
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    values = values.astype(np.float32)
    values[2, 3] = np.nan
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="minisblack")
    with pytest.raises(ValueError, match="1 of its values are not finite"):
        read(tmp_path / "x.tif", 1, value_range=(0, 1))


def test_what_a_file_says_of_white_transparency_and_rotation_is_heeded(tmp_path: Path):
    tifffile.imwrite(tmp_path / "white.tif", BYTES, photometric="miniswhite")
    np.testing.assert_array_equal(read(tmp_path / "white.tif", 5, pages="channels"), (255 - BYTES) / np.float32(255))
    rgba = RANDOM.random((6, 7, 4)).astype(np.float32)
    tifffile.imwrite(tmp_path / "rgba.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read(tmp_path / "rgba.tif", 3), rgba[..., :3].transpose(2, 0, 1))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(BYTES[0]).save(tmp_path / "x.png", exif=exif)
        header = read_header(tmp_path / "x.png")
        shape = (1, header.height, header.width)
        expected = read_image(tmp_path / "x.png", shape)
        tag = [(274, 3, 1, orientation, True)]
        for values, compression in ((BYTES[0], None), (BYTES[0], "zlib"), (BYTES[0].astype(np.float32) / 255, None)):
            path = tmp_path / "x.tif"
            tifffile.imwrite(path, values, photometric="minisblack", extratags=tag, compression=compression)
            found = read_header(path)
            assert (found.height, found.width) == shape[1:], orientation
            assert torch.equal(read_image(path, shape), expected), (orientation, compression, values.dtype)


def test_sizes_are_brought_as_pillow_brings_them(tmp_path: Path):
    tifffile.imwrite(tmp_path / "float.tif", BYTES[0].astype(np.float32) / 255, photometric="minisblack")
    Image.fromarray(BYTES[0]).save(tmp_path / "byte.png")
    for shape in ((1, 4, 4), (1, 12, 3), (3, 9, 20)):
        both = read_image(tmp_path / "float.tif", shape), read_image(tmp_path / "byte.png", shape)
        assert both[0].shape == shape
        torch.testing.assert_close(*both, atol=1.01 / 255, rtol=0)


def stacks(root: Path, count: int = 3, *, channels: int = 4, bits: int = 12) -> Path:
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for number in range(count):
            values = RANDOM.integers(0, 2**bits, (channels, 6, 7)).astype(np.uint16)
            values[0, 0, 0] = 2**bits - 1
            tifffile.imwrite(root / name / f"{number}.tif", values, photometric="minisblack")
    return root


def test_a_data_set_of_many_channels(tmp_path: Path):
    root = stacks(tmp_path)
    with pytest.warns(
        UserWarning, match="the values of 6 images of 16 bits a pixel reach 4095 and are read as 12 bits"
    ):
        dataset = load(str(root), options=DataOptions(pages="channels"))
    assert (dataset.image_shape, dataset.bit_depth) == ((4, 6, 7), 12)
    written = tifffile.imread(root / dataset.division.images[0].path)
    assert torch.equal(dataset.train.images[0], torch.from_numpy(written.astype(np.float32) / 4095))
    found = load_labelled_images(
        str(root), classes=("a", "b"), image_shape=(4, 3, 3), bit_depth=12, options=DataOptions(pages="channels")
    )
    assert found.split.images.shape == (6, 4, 3, 3)


def test_an_image_of_other_channels_is_left_out_with_what_to_do(tmp_path: Path):
    root = stacks(tmp_path, bits=16)
    tifffile.imwrite(root / "a" / "odd.tif", WORDS, photometric="minisblack")
    Image.fromarray(BYTES[0]).save(root / "b" / "grey.png")
    said = (
        r"2 of 8 images cannot be read and are left out: a/odd.tif \(it has 5 channels, and 4 are wanted, as most "
        r"images here have; save it with 4, or keep it in another folder\), b/grey.png \(it has 1 channel, and 4"
    )
    with pytest.warns(UserWarning, match=said):
        dataset = load(str(root), options=DataOptions(pages="channels"))
    assert dataset.skipped == ("a/odd.tif", "b/grey.png")


def test_a_data_set_whose_pages_are_images(tmp_path: Path):
    root = stacks(tmp_path, count=5, bits=16)
    with pytest.warns(UserWarning, match=r"pages of one file may come into several parts; .* \(group_pattern='.\+'"):
        dataset = load(str(root), options=DataOptions(pages="images"))
    assert sum(map(len, (dataset.train, dataset.validation, dataset.test))) == 2 * 5 * 4
    together = load(str(root), options=DataOptions(pages="images", group_pattern=".+"))
    division = together.division
    assert division is not None
    assert division.groups_in_several_parts() == {}
    assert len(division.images) == 40
    first = division.images[1]
    written = tifffile.imread(root / first.path)[first.page]
    assert torch.equal(together.train.images[1, 0], torch.from_numpy(written.astype(np.float32) / 65535))
    (tmp_path / "split.csv").write_bytes(division.to_csv())
    again = load(str(tmp_path / "split.csv"), data_dir=root, options=DataOptions(pages="images"))
    assert again.digest() == together.digest()


def test_what_tifffile_cannot_read_is_said_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    (tmp_path / "x.tif").write_bytes(b"II*\0" + bytes(40))
    tifffile.imwrite(tmp_path / "y.tif", FLOATS, photometric="minisblack")
    (tmp_path / "y.tif").write_bytes((tmp_path / "y.tif").read_bytes()[:700])
    tifffile.imwrite(tmp_path / "z.tif", FLOATS[0] + 1j, photometric="minisblack")
    for name in "xyz":
        for channels in (1, 5):
            with pytest.raises(ValueError, match=rf"cannot read the image .*{name}\.tif: ") as raised:
                read(tmp_path / f"{name}.tif", channels, pages="channels")
            assert "\n" not in str(raised.value)
    assert capfd.readouterr().err == ""
    Image.fromarray(BYTES[0]).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"it can be read as 1 channel \(grey\) or 3 \(RGB\), not as 5, which only"):
        read(tmp_path / "x.png", 5)
    with pytest.raises(FileNotFoundError, match="there is no image"):
        read(tmp_path / "nothing.tif", 5)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"pages": "colours"}, "pages must be 'channels' or 'images', got 'colours'"),
        ({"value_range": (1.0, 1.0)}, "value_range must be two numbers, the smaller one first, got 1 and 1"),
        ({"bit_depth": 9}, "bit_depth must be one of 8, 10, 12, 14, 16, got 9"),
    ],
)
def test_a_reading_that_is_none_is_an_error(unchecked, values: dict[str, object], said: str):
    with pytest.raises(ValueError, match=said):
        Reading(**values)


def test_a_compression_that_needs_another_library_is_named(tmp_path: Path):
    pages = [Image.fromarray(page) for page in BYTES]
    for name in ("packbits", "tiff_lzw"):
        pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:], compression=name)
        if name == "tiff_lzw" and importlib.util.find_spec("imagecodecs") is None:
            with pytest.raises(ValueError, match="install it with: pip install imagecodecs"):
                read(tmp_path / "x.tif", 5, pages="channels")
        else:
            np.testing.assert_array_equal(read(tmp_path / "x.tif", 5, pages="channels"), BYTES / np.float32(255))
