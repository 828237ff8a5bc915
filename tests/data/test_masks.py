"""Images with masks: pairs found in every usual layout, values that are classes, and what does not fit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy import ndarray
from PIL import Image

from sepgconv.data import DataOptions, load_dataset, load_labelled_images


def nuclei(
    images: Path, masks: Path, count: int = 12, *, suffix: str = "", start: int = 0, values: tuple[int, ...] = (0, 255)
) -> None:
    """Write images of 10 x 8 whose bright half is the class of their number, with masks."""
    images.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        inside = mask_of(number, values)
        pixels = np.where(inside > 0, 200, 20).astype(np.uint8)
        pixels[0, 0] = number
        Image.fromarray(pixels).save(images / f"cell [{number}].jpg", quality=100)
        Image.fromarray(inside).save(masks / f"cell [{number}]{suffix}.png")


def mask_of(number: int, values: tuple[int, ...] = (0, 255)) -> ndarray:
    inside = np.zeros((8, 10), np.uint8)
    inside[number % 4 :, 3:7] = values[1 + number % (len(values) - 1)]
    return inside


def check(path: Path, options: DataOptions | None = None, values: tuple[int, ...] = (0, 255)) -> list[int]:
    """Check every mask of a data set; return the sizes of its parts."""
    dataset = load_dataset(str(path), options=options)
    division = dataset.division
    assert division is not None
    for part in ("train", "validation", "test"):
        split = getattr(dataset, part)
        found = [image for image in division.images if image.part == part]
        for image, mask, pixels in zip(found, split.labels, split.images, strict=True):
            number = int(Path(image.path).stem[6:-1])
            assert torch.equal(mask, torch.from_numpy(np.searchsorted(values, mask_of(number, values))))
            assert float(((pixels[0] > 0.5).long() - (mask > 0).long()).abs().float().mean()) < 0.1
    return [len(dataset.train), len(dataset.validation), len(dataset.test)]


def test_pairs_are_found_in_the_usual_layouts(tmp_path: Path):
    nuclei(tmp_path / "1" / "Images", tmp_path / "1" / "masks")
    assert sum(check(tmp_path / "1")) == 12
    for start, part in enumerate(("train", "val", "Test")):
        nuclei(tmp_path / "2" / part / "imgs", tmp_path / "2" / part / "labels", 4 + start, start=10 * start)
        nuclei(tmp_path / "3" / "images" / part, tmp_path / "3" / "gt" / part, 4 + start, start=10 * start)
        nuclei(tmp_path / "4" / part, tmp_path / "4" / part, 4 + start, start=10 * start, suffix="_mask")
    assert [check(tmp_path / name) for name in "23"] == [[4, 5, 6]] * 2
    assert check(tmp_path / "4", DataOptions(masks="_mask")) == [4, 5, 6]
    nuclei(tmp_path / "5" / "slides", tmp_path / "5" / "slides", suffix=" seg")
    assert sum(check(tmp_path / "5", DataOptions(masks=" seg"))) == 12
    nuclei(tmp_path / "6" / "images", tmp_path / "6" / "nuclei")
    assert sum(check(tmp_path / "6", DataOptions(masks="nuclei"))) == 12
    with pytest.raises(
        ValueError, match=r"no masks called cells \(masks, --masks\); expected a folder of images and one"
    ):
        load_dataset(str(tmp_path / "6"), options=DataOptions(masks="cells"))


def test_values_are_classes(tmp_path: Path):
    values = (0, 3, 7)
    nuclei(tmp_path / "images", tmp_path / "masks", values=values)
    dataset = load_dataset(str(tmp_path))
    assert dataset.classes == ("0", "3", "7")
    check(tmp_path, values=values)
    judged = load_labelled_images(str(tmp_path), classes=("0", "3", "7"), image_shape=(1, 8, 10))
    place = [origin.path for origin in judged.origins].index("images/cell [1].jpg")
    assert torch.equal(judged.split.labels[place], torch.from_numpy(np.searchsorted(values, mask_of(1, values))))
    dataset = load_dataset(str(tmp_path), options=DataOptions(foreground=True))
    assert (dataset.classes, int(dataset.train.labels.max())) == (("background", "foreground"), 1)
    with pytest.warns(
        UserWarning, match=r"6 of 12 .*images/cell \[1\].jpg \(its mask holds the value 7, and known are"
    ):
        dataset = load_dataset(str(tmp_path), options=DataOptions(mask_values=(0, 3)))
    assert len(dataset.skipped) == 6
    with pytest.warns(UserWarning, match=r"its mask holds the value 7, and known are the values 0, 3, 5"):
        load_labelled_images(str(tmp_path), classes=("0", "3", "5"), image_shape=(1, 8, 10))


def test_masks_are_scaled_with_their_images(tmp_path: Path):
    nuclei(tmp_path / "images", tmp_path / "masks")
    for size in (4, 16):
        dataset = load_dataset(str(tmp_path), image_size=size)
        assert dataset.train.labels.shape[1:] == (size, size)
        assert set(dataset.train.labels.unique().tolist()) == {0, 1}
        bright = (dataset.train.images[:, 0] > 0.43).long()
        assert float((bright != dataset.train.labels).float().mean()) < 0.12


def test_palettes_grey_colours_and_deep_masks_are_read(tmp_path: Path):
    nuclei(tmp_path / "images", tmp_path / "masks", values=(0, 1, 2))
    for number in range(12):
        path = tmp_path / "masks" / f"cell [{number}].png"
        mask = Image.open(path).copy()
        if number % 3 == 0:
            mask.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        elif number % 3 == 1:
            mask = mask.convert("RGB")
        else:
            mask = Image.fromarray(np.asarray(mask).astype(np.uint16))
        mask.save(path)
    check(tmp_path, values=(0, 1, 2))


def test_what_does_not_fit_is_left_out_by_name(tmp_path: Path):
    nuclei(tmp_path / "images", tmp_path / "masks", 16)
    masks = tmp_path / "masks"
    Image.new("L", (5, 5)).save(masks / "cell [0].png")
    (masks / "cell [1].png").unlink()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 10, 3)).astype(np.uint8)).save(masks / "cell [2].png")
    (masks / "cell [3].png").write_text("damaged")
    Image.new("L", (10, 8)).save(masks / "alone.png")
    with pytest.warns(UserWarning, match="of 16 images|masks are left out") as told:
        dataset = load_dataset(str(tmp_path))
    assert len(dataset.skipped) == 4
    said = "\n".join(str(warning.message) for warning in told)
    for sentence in (
        "images/cell [0].jpg (its mask cell [0].png has 5 x 5 pixels, the image has 10 x 8)",
        "images/cell [1].jpg (has no mask)",
        "images/cell [2].jpg (as a mask it must hold a number for each class, and it has colours",
        "images/cell [3].jpg (not an image of a known format, or damaged)",
        "1 masks are left out, because they have no image: alone.png",
    ):
        assert sentence in said
    for number in range(4, 16):
        values = np.arange(80).reshape(8, 10).astype(np.uint8) + number
        Image.fromarray(values).save(masks / f"cell [{number}].png")
    with pytest.raises(
        ValueError, match=r"more than 32 values \(the values 0, .*\), so they are masks of instances, or"
    ):
        load_dataset(str(tmp_path))
    with pytest.raises(ValueError, match="mask_values must be two or more distinct numbers"):
        DataOptions(mask_values=(1, 1))
    with pytest.raises(ValueError, match="leave out mask_values"):
        DataOptions(mask_values=(0, 1), foreground=True)


def test_masks_of_background_alone_are_judged(tmp_path: Path):
    nuclei(tmp_path / "seen" / "images", tmp_path / "seen" / "masks")
    nuclei(tmp_path / "new" / "images", tmp_path / "new" / "masks", 3)
    for path in (tmp_path / "new" / "masks").iterdir():
        Image.new("L", (10, 8)).save(path)
    known = load_dataset(str(tmp_path / "seen")).classes
    assert known == ("background", "foreground")
    judged = load_labelled_images(str(tmp_path / "new"), classes=known, image_shape=(1, 8, 10))
    assert int(judged.split.labels.max()) == 0


def test_an_image_that_a_tag_rotates_needs_a_mask_that_is_rotated_too(tmp_path: Path):
    nuclei(tmp_path / "images", tmp_path / "masks")
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    path = tmp_path / "images" / "cell [0].jpg"
    Image.open(path).save(path, exif=exif)
    with pytest.warns(UserWarning, match=r"cell \[0\].*is rotated by its EXIF tag and its mask .* is not"):
        dataset = load_dataset(str(tmp_path))
    assert len(dataset.skipped) == 1
