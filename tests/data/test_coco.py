"""JSON files like those of COCO: polygons and run lengths against the pixels that they mean."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from PIL import Image

from sepgconv.data import DataOptions, load_dataset

POLYGON = [2.0, 1.0, 9.0, 1.5, 8.0, 6.0, 2.5, 5.0]
SQUARE = [4, 3, 6, 3, 6, 5, 4, 5]  # within the polygon


def coco(root: Path, count: int = 12) -> dict[str, Any]:
    """Write images of 12 x 8; return a file that says: a polygon in each, in which a small square lies."""
    (root / "images").mkdir(parents=True)
    content: dict[str, Any] = {
        "images": [{"id": 100 + i, "file_name": f"{i}.png", "height": 8, "width": 12} for i in range(count)],
        "categories": [{"id": 7, "name": "nucleus"}, {"id": 3, "name": "cell"}],
        "annotations": [],
    }
    for i in range(count):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 12)).astype(np.uint8)).save(
            root / f"images/{i}.png"
        )
        if i:  # the first has no object
            small = {"image_id": 100 + i, "category_id": 7, "area": 4, "segmentation": [SQUARE]}
            content["annotations"] += [small, {**small, "category_id": 3, "area": 30, "segmentation": [POLYGON]}]
    return content


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def masks(path: Path) -> dict[str, Any]:
    dataset = load_dataset(str(path))
    assert dataset.classes == ("background", "cell", "nucleus")
    assert dataset.division is not None
    labels = [mask for split in (dataset.train, dataset.validation, dataset.test) for mask in split.labels.numpy()]
    return {image.path: mask for image, mask in zip(dataset.division.images, labels, strict=True)}


def test_polygons_cover_the_pixels_whose_centres_they_contain(tmp_path: Path):
    found = masks(write(tmp_path / "x.json", coco(tmp_path)))
    rows, columns = np.mgrid[:8, :12] + 0.5
    centres = np.column_stack((columns.ravel(), rows.ravel()))
    expected = Outline(np.reshape(POLYGON, (4, 2))).contains_points(centres).reshape(8, 12).astype(int)
    expected[3:5, 4:6] = 2  # the square, which is smaller and on top
    assert (found["5.png"] == expected).all()
    assert (found["0.png"] == 0).all()


def test_run_lengths_go_down_the_columns(tmp_path: Path):
    content = coco(tmp_path)
    inside = np.zeros((8, 12), np.uint8)
    inside[2:5, 3:7] = 1
    flat = inside.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    content["annotations"] = [{"image_id": 101, "category_id": 3, "segmentation": {"size": [8, 12], "counts": counts}}]
    content["annotations"] += [
        {"image_id": 100 + number, "category_id": category, "segmentation": [SQUARE]}
        for number in range(2, 12)
        for category in (3 + 4 * (number % 2),)
    ]
    assert (masks(write(tmp_path / "x.json", content))["1.png"] == inside).all()
    content["annotations"][0]["segmentation"] = {"size": [8, 12], "counts": "h05O1O0001"}
    if importlib.util.find_spec("pycocotools") is None:
        with pytest.warns(UserWarning, match=r"1.png \(.*compressed run lengths need pycocotools: pip install"):
            load_dataset(str(write(tmp_path / "x.json", content)))
        return
    coded = importlib.import_module("pycocotools.mask").encode(np.asfortranarray(inside))
    content["annotations"][0]["segmentation"]["counts"] = coded["counts"].decode()
    assert (masks(write(tmp_path / "x.json", content))["1.png"] == inside).all()


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["images"][3].pop(key)


MISTAKES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no annotations": (
        lambda content: content.pop("annotations"),
        "annotations is missing or no list of objects; expected",
    ),
    "no height": (without("height"), "images, number 4, has no height"),
    "an unknown image": (
        lambda content: content["annotations"][0].update(image_id=5),
        "an annotation is of image 5, which the file does not list",
    ),
    "an unknown category": (
        lambda content: content["annotations"][0].update(category_id=5),
        "an annotation is of category 5, which the file",
    ),
    "no file": (
        lambda content: content["images"][2].update(file_name="x.png"),
        r"1 of 12 images are not there, as x.png in .*; say which folder they are in \(data_dir, --data-dir\)",
    ),
    "twice": (lambda content: content["images"][2].update(file_name="1.png"), "images lists 1.png twice; keep one"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(tmp_path: Path, mistake: str):
    content = coco(tmp_path)
    change, said = MISTAKES[mistake]
    change(content)
    with pytest.raises(ValueError, match=said):
        load_dataset(str(write(tmp_path / "x.json", content)))


def test_objects_that_do_not_fit_are_left_out_by_name(tmp_path: Path):
    content = coco(tmp_path, 16)
    content["images"][1]["width"] = 13
    for number, segmentation in ((4, {"size": [8, 12], "counts": [3, 4]}), (6, [["a"]]), (8, {"counts": "x"})):
        content["annotations"][number]["segmentation"] = segmentation
    with pytest.warns(UserWarning, match="4 of 16 images cannot be read") as told:
        dataset = load_dataset(str(write(tmp_path / "x.json", content)))
    assert dataset.skipped == ("1.png", "3.png", "4.png", "5.png")
    (warning,) = told
    assert "1.png (its mask has 13 x 8 pixels, the image has 12 x 8)" in str(warning.message)
    assert "its run lengths add up to 7, the image has 96 pixels" in str(warning.message)


def test_no_json_and_groups(tmp_path: Path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ValueError, match=r"x\.json is not JSON"):
        load_dataset(str(tmp_path / "x.json"))
    path = write(tmp_path / "y.json", coco(tmp_path))
    dataset = load_dataset(str(path), options=DataOptions(group_pattern=r"\d"))  # 10 and 11 go with 1
    assert dataset.division is not None
    assert len({image.part for image in dataset.division.images if image.path[0] == "1"}) == 1


def test_what_cannot_become_masks_is_named(tmp_path: Path):
    content = coco(tmp_path)
    content["annotations"][0]["segmentation"] = []
    with pytest.raises(ValueError, match=r"an object of 1\.png has no segmentation, only a box"):
        load_dataset(str(write(tmp_path / "boxes.json", content)))
    content = coco(tmp_path / "other")
    content["images"][2]["height"] = None
    with pytest.raises(ValueError, match=r"2\.png: expected height and width in pixels, got None and 12"):
        load_dataset(str(write(tmp_path / "other" / "sizes.json", content)))
