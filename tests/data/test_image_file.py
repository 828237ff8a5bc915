import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sepgconv.data import read_image
from sepgconv.data.image_file import ImageHeader, read_header

GREY = np.random.default_rng(0).integers(0, 256, (6, 5)).astype(np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (6, 5, 3)).astype(np.uint8)


def test_a_picture_of_the_right_size_keeps_its_pixels(tmp_path: Path):
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    Image.fromarray(COLOUR).save(tmp_path / "colour.bmp")
    grey, colour = read_image(tmp_path / "grey.png", (1, 6, 5)), read_image(str(tmp_path / "colour.bmp"), (3, 6, 5))
    assert grey.dtype == colour.dtype == torch.float32
    torch.testing.assert_close(grey, torch.from_numpy(GREY).float()[None] / 255)
    torch.testing.assert_close(colour, torch.from_numpy(COLOUR).float().movedim(-1, 0) / 255)


def test_grey_becomes_rgb_and_rgb_grey(tmp_path: Path):
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    Image.fromarray(COLOUR).save(tmp_path / "colour.png")
    assert torch.equal(
        read_image(tmp_path / "grey.png", (3, 6, 5)), (torch.from_numpy(GREY).float() / 255).expand(3, 6, 5)
    )
    weights = np.array([0.299, 0.587, 0.114])  # ITU-R 601
    expected = torch.from_numpy(COLOUR @ weights).float() / 255
    torch.testing.assert_close(read_image(tmp_path / "colour.png", (1, 6, 5))[0], expected, rtol=0, atol=1.01 / 255)


def test_another_size_fills_the_frame_without_distortion(tmp_path: Path):
    y, x = np.mgrid[0:80, 0:120]
    disc = (((y - 40) ** 2 + (x - 60) ** 2 <= 30**2) * 255).astype(np.uint8)
    Image.fromarray(disc).save(tmp_path / "disc.png")
    small = read_image(tmp_path / "disc.png", (1, 40, 40))[0]
    assert float(small.min()) == 0
    assert float(small.max()) == 1
    assert abs(float(small.sum()) - np.pi * 15**2) < 5  # still round, radius 15
    torch.testing.assert_close(small, small.flip(0), rtol=0, atol=0.6)
    assert abs(float(small[20].sum()) - float(small[:, 20].sum())) < 1.5  # as wide as high


@pytest.mark.parametrize(("mode", "depth"), [("I;16", np.uint16), ("I", np.int32)])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path: Path, mode: str, depth: type):
    levels = np.linspace(0, 65535, 30).reshape(6, 5).astype(depth)
    Image.fromarray(levels).save(tmp_path / "deep.tif")
    with Image.open(tmp_path / "deep.tif") as file:
        assert file.mode == mode
    image = read_image(tmp_path / "deep.tif", (1, 6, 5))[0]
    torch.testing.assert_close(image, torch.from_numpy(levels / 65535).float(), rtol=0, atol=1.01 / 255)


def test_a_photograph_is_turned_as_its_camera_says(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to show
    Image.fromarray(GREY).save(tmp_path / "turned.png", exif=exif)
    assert read_header(tmp_path / "turned.png") == ImageHeader(height=5, width=6, grey=True, orientation=6)
    expected = torch.rot90(torch.from_numpy(GREY).float() / 255, -1)
    torch.testing.assert_close(read_image(tmp_path / "turned.png", (1, 5, 6))[0], expected)


@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGBA", "CMYK"])
def test_other_modes_are_read(tmp_path: Path, mode: str):
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    Image.fromarray(COLOUR).convert(mode).save(path)
    assert read_image(path, (3, 6, 5)).shape == (3, 6, 5)
    assert read_image(path, (1, 6, 5)).shape == (1, 6, 5)
    assert read_header(path).grey is (mode in ("1", "LA"))


def test_transparency_is_ignored_without_a_warning(tmp_path: Path):
    Image.fromarray(COLOUR).quantize(8).save(tmp_path / "palette.png", transparency=bytes(range(0, 80, 10)))
    expected = np.array(Image.fromarray(COLOUR).quantize(8).convert("RGB"))
    image = read_image(tmp_path / "palette.png", (3, 6, 5))
    torch.testing.assert_close(image, torch.from_numpy(expected).float().movedim(-1, 0) / 255)


def test_what_is_not_a_picture_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"there is no image .*none\.png"):
        read_image(tmp_path / "none.png", (1, 6, 5))
    (tmp_path / "text.png").write_text("hello")
    for read in (lambda path: read_image(path, (1, 6, 5)), read_header):
        with pytest.raises(ValueError, match=r"cannot read the image .*text\.png"):
            read(tmp_path / "text.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(
        tmp_path / "whole.jpg"
    )
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    with pytest.raises(ValueError, match=r"cannot read the image .*cut\.jpg"):
        read_image(tmp_path / "cut.jpg", (3, 6, 5))
    with pytest.raises(ValueError, match="cannot read the image"):
        read_image(tmp_path, (3, 6, 5))


def test_other_numbers_of_channels_are_refused(tmp_path: Path):
    Image.fromarray(COLOUR).save(tmp_path / "any.png")
    with pytest.raises(ValueError, match=r"1 channel \(grey\) or 3 \(RGB\), not as 2"):
        read_image(tmp_path / "any.png", (2, 6, 5))


def test_a_missing_pillow_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"reading images needs 'PIL'.*sepgconv\[train\]"):
        read_image(tmp_path / "any.png", (1, 6, 5))
