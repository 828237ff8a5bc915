"""Image files of several pages, too large ones, and ones that are not what their ending says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sepgconv.data import load_dataset, read_image
from sepgconv.data.image_file import ImageHeader, read_header
from tests.data.builders import folders

PAGES = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (0, 80, 160, 240)]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("x.tif", r"pages; say what they are, pages='channels' or pages='images' \(--pages\), or"),
        ("x.gif", "frames;"),
        ("x.png", "frames;"),
        ("x.webp", "frames;"),
    ],
)
def test_several_pages_are_refused_and_named(tmp_path: Path, name: str, what: str):
    root = folders(tmp_path, "a", "b")
    PAGES[0].save(root / "a" / name, save_all=True, append_images=PAGES[1:])
    with pytest.raises(ValueError, match=rf"cannot read the image .*: it has 4 {what} save each as a file of its own"):
        read_image(root / "a" / name, (1, 8, 8))
    with pytest.warns(UserWarning, match=rf"1 of 13 .* left out: a/{name} \(it has 4 {what} save each"):
        assert load_dataset(str(root)).skipped == (f"a/{name}",)


@pytest.mark.parametrize("name", ["x.tif", "x.gif", "x.webp"])
def test_one_page_is_read(tmp_path: Path, name: str):
    PAGES[1].save(tmp_path / name, save_all=True)
    torch.testing.assert_close(read_image(tmp_path / name, (1, 8, 8)), torch.full((1, 8, 8), 80 / 255))


def test_of_a_cameras_previews_the_photograph_is_taken(tmp_path: Path):
    PAGES[3].save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[PAGES[0]])
    with Image.open(tmp_path / "x.jpg") as file:
        assert file.format == "MPO"
    torch.testing.assert_close(read_image(tmp_path / "x.jpg", (1, 8, 8)), torch.full((1, 8, 8), 240 / 255))


def test_large_images_are_told_and_larger_ones_refused_in_our_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3_000_000)
    Image.new("L", (2000, 2000), 200).save(tmp_path / "large.png")
    Image.new("L", (3000, 3000), 200).save(tmp_path / "bomb.png")
    with pytest.warns(
        UserWarning, match=r"large\.png has 4 million pixels; reading it takes 0\.0 GiB of memory"
    ) as told:
        torch.testing.assert_close(read_image(tmp_path / "large.png", (1, 4, 4)), torch.full((1, 4, 4), 200 / 255))
    assert len(told) == 1
    with pytest.raises(ValueError, match=r"bomb\.png: it has 9 million pixels; at most 6 million are read at once"):
        read_image(tmp_path / "bomb.png", (1, 4, 4))


def test_a_palette_of_greys_is_grey(tmp_path: Path):
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 5)).astype(np.uint8))
    grey.convert("P").save(tmp_path / "x.png")
    assert read_header(tmp_path / "x.png") == ImageHeader(6, 5, grey=True)
    coloured = grey.convert("P")
    palette = coloured.getpalette() or []
    used = int(np.asarray(coloured)[0, 0])
    palette[3 * used : 3 * used + 3] = [255, 0, 0]
    coloured.putpalette(palette)
    coloured.save(tmp_path / "y.png")
    assert not read_header(tmp_path / "y.png").grey


def test_no_other_program_is_started_for_a_file(tmp_path: Path):
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(ValueError, match=r"x\.png: not an image of a known format"):
        read_image(tmp_path / "x.png", (1, 8, 8))
