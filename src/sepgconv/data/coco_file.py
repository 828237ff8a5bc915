"""Data sets for segmentation from JSON files like those of COCO: polygons or run lengths for every object."""

import functools
import importlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray

from sepgconv._messages import require
from sepgconv.data.image_files import Wanted
from sepgconv.data.labelled import LabelledParts, part_to_judge
from sepgconv.data.listed_images import read_listing
from sepgconv.data.listing import ListedImage, Listing
from sepgconv.data.masks import fit_mask
from sepgconv.data.options import DataOptions
from sepgconv.data.origin import Origin
from sepgconv.data.part_names import Part
from sepgconv.data.reading import Fit
from sepgconv.data.regular_file import why_unreadable
from sepgconv.data.unreadable import UnreadableImageError

SUFFIX = ".json"
_BACKGROUND = "background"


@dataclass(frozen=True)
class CocoMask:
    """The mask of an image, of the objects that a JSON file has for it.

    Attributes:
        image: the file of the image.
        size: its height and width as the JSON file says them.
        objects: class and segmentation of each, the largest first, so that small ones are not hidden.
    """

    image: Path
    size: tuple[int, int]
    objects: tuple[tuple[int, Any], ...]

    def read(self, shape: tuple[int, int], fit: Fit = "crop") -> Int64[ndarray, "h w"]:
        """Return the class of every pixel, 0 for background, brought to (height, width) as the image is.

        Raises:
            UnreadableImageError: the image has another size, or a segmentation is of no known form.
        """
        from sepgconv.data.image_file import read_header

        header = read_header(self.image)
        if (header.height, header.width) != self.size:
            raise UnreadableImageError(
                self.image,
                f"its mask has {self.size[1]} x {self.size[0]} pixels, the image has {header.width} x {header.height}",
            )
        mask = np.zeros(self.size, np.int64)
        for label, segmentation in self.objects:
            try:
                mask[_inside(segmentation, self.size)] = label
            except (TypeError, ValueError, IndexError, KeyError) as error:
                raise UnreadableImageError(
                    self.image, f"an object of it has a segmentation that is neither polygons nor run lengths ({error})"
                ) from error
        return fit_mask(mask, shape, fit)


def load_coco(
    path: Path, *, root: Path | None = None, wanted: Wanted, options: DataOptions | None = None
) -> LabelledParts:
    """Read the images that a JSON file like those of COCO lists, with masks; the result is called `coco:<stem>`.

    The file has `images` (id, file_name, height, width), `categories` (id, name) and `annotations` (image_id,
    category_id, segmentation). Class 0 is the background, the others are the categories in the order of their ids. An
    object's pixels get its class; where objects overlap, the smaller one is on top. Images without objects are all
    background. Objects of crowds count like others.

    Args:
        path: the file.
        root: the folder with the images. Default: that of the file, or its folder `images` where that has them.
        wanted: the form of the images, and where they are kept.
        options: the rule of the split, and the pattern of the groups.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no such JSON file, or lists an image that is not there or twice.

    Warns:
        UserWarning: images of another size than the file says, or of unreadable segmentations: they are left out.
    """
    options = options or DataOptions()
    return read_listing(list_coco(path, root, options), wanted)


def load_coco_to_judge(
    path: Path, *, root: Path | None, wanted: Wanted, part: Part | None, options: DataOptions
) -> LabelledParts:
    """Read the images of a JSON file to judge a network by; they are taken whole.

    Raises:
        ValueError: as `load_coco`, and a part is wanted, which such a file does not have.
    """
    part_to_judge(("all",), part, str(path))
    return read_listing(list_coco(path, root, options), wanted)


def list_coco(path: Path, root: Path | None, options: DataOptions) -> Listing:
    """Return the images that the file lists; see `load_coco`. No image is read."""
    images, categories, annotations = _read(path)
    labels = {number: index + 1 for index, number in enumerate(sorted(categories))}
    objects: dict[int, list[tuple[float, int, Any]]] = {number: [] for number in images}
    for annotation in annotations:
        number, category = annotation.get("image_id"), annotation.get("category_id")
        if number not in images or category not in labels:
            what = f"image {number}" if number not in images else f"category {category}"
            raise ValueError(f"{path}: an annotation is of {what}, which the file does not list")
        if not annotation.get("segmentation"):
            raise ValueError(
                f"{path}: an object of {images[number].get('file_name')} has no segmentation, only a box; masks cannot "
                "be made of it, and as background it would be wrong"
            )
        objects[number].append((_area(annotation), labels[category], annotation["segmentation"]))
    folder = _folder(path, root, [str(image["file_name"]) for image in images.values()])
    listed: list[ListedImage] = []
    for number, image in images.items():
        name = str(image["file_name"])
        largest_first = sorted(objects[number], key=lambda entry: -entry[0])
        size = int(image["height"]), int(image["width"])
        mask = CocoMask(folder / name, size, tuple((label, shape) for _, label, shape in largest_first))
        listed.append(ListedImage(folder / name, mask, Origin(name, options.group_in(name, str(path)))))
    names = tuple(str(categories[number]) for number in sorted(categories))
    return Listing(
        f"coco:{path.stem}",
        str(path),
        (_BACKGROUND, *(f"{name} object" if name == _BACKGROUND else name for name in names)),
        "masks",
        {"all": listed},
        grouped_by=None if options.group_pattern is None else "group",
        fixed=True,
    )


def _read(path: Path) -> tuple[dict[int, Mapping[str, Any]], dict[int, str], Sequence[Mapping[str, Any]]]:
    if why := why_unreadable(path):
        if why == "is not there":
            raise FileNotFoundError(f"there is no file {path}")
        raise ValueError(f"{path} {why}")
    try:
        content: Any = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path} is not JSON ({error})") from error
    expected = "expected the keys images, annotations and categories, each a list, as in COCO"
    if not isinstance(content, dict):
        raise ValueError(f"{path}: {expected}")
    lists: list[list[Any]] = []
    for key in ("images", "categories", "annotations"):
        found = cast("dict[str, Any]", content).get(key)
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in cast("list[Any]", found)):
            raise ValueError(f"{path}: {key} is missing or no list of objects; {expected}")
        lists.append(cast("list[Any]", found))
    images, categories, annotations = lists
    _check_keys(images, ("id", "file_name", "height", "width"), "images", path)
    _check_keys(categories, ("id", "name"), "categories", path)
    for image in images:
        if not all(type(image[side]) is int and image[side] > 0 for side in ("height", "width")):
            raise ValueError(
                f"{path}: images, {image['file_name']}: expected height and width in pixels, got {image['height']} and "
                f"{image['width']}"
            )
    by_number = {image["id"]: image for image in images}
    names = [image["file_name"] for image in images]
    if len(by_number) < len(images) or len(set(names)) < len(names):
        twice = next((name for name in names if names.count(name) > 1), "one id")
        raise ValueError(f"{path}: images lists {twice} twice; keep one")
    return by_number, {category["id"]: category["name"] for category in categories}, annotations


def _check_keys(entries: Sequence[Mapping[str, Any]], keys: Sequence[str], title: str, path: Path) -> None:
    for index, entry in enumerate(entries):
        if missing := [key for key in keys if key not in entry]:
            raise ValueError(f"{path}: {title}, number {index + 1}, has no {' and no '.join(missing)}")


def _folder(path: Path, root: Path | None, names: Sequence[str]) -> Path:
    folders = [path.parent, path.parent / "images"] if root is None else [root]
    folder = max(folders, key=lambda folder: sum((folder / name).exists() for name in names))
    if missing := [name for name in names if not (folder / name).exists()]:
        raise ValueError(
            f"{path}: {len(missing)} of {len(names)} images are not there, as {missing[0]} in {folder}; say which "
            "folder they are in (data_dir, --data-dir)"
        )
    return folder


def _area(annotation: Mapping[str, Any]) -> float:
    area, box = annotation.get("area"), annotation.get("bbox")
    if isinstance(area, int | float):
        return float(area)
    return float(box[2]) * float(box[3]) if isinstance(box, list) and len(cast("list[Any]", box)) == 4 else 0.0


def _inside(segmentation: Any, size: tuple[int, int]) -> Bool[ndarray, "h w"]:
    """Return which pixels an object has: polygons as lists of x, y, x, y, ...; or run lengths, down the columns."""
    if isinstance(segmentation, dict):
        return _run_lengths(cast("dict[str, Any]", segmentation), size)
    draw = require("skimage.draw", extra="train", purpose="drawing the polygons of a COCO file")
    inside = np.zeros(size, bool)
    for polygon in segmentation:
        corners = np.asarray(polygon, float).reshape(-1, 2)
        rows, columns = draw.polygon(corners[:, 1] - 0.5, corners[:, 0] - 0.5, size)  # pixel centres lie at halves
        inside[rows, columns] = True
    return inside


def _run_lengths(segmentation: Mapping[str, Any], size: tuple[int, int]) -> Bool[ndarray, "h w"]:
    counts, own_size = segmentation["counts"], tuple(segmentation["size"])
    if own_size != size:
        raise ValueError(f"its run lengths are of {own_size[1]} x {own_size[0]} pixels")
    if isinstance(counts, str):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of pycocotools, for NumPy
            return _decoder()({"size": list(size), "counts": counts.encode()}).astype(bool)
    lengths = np.asarray(counts, np.int64)
    if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() != size[0] * size[1]:
        raise ValueError(f"its run lengths add up to {lengths.sum()}, the image has {size[0] * size[1]} pixels")
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)  # the first run is outside
    return flat.reshape(size[1], size[0]).T


@functools.cache
def _decoder() -> Any:
    try:
        return importlib.import_module("pycocotools.mask").decode
    except ModuleNotFoundError:
        raise ValueError("compressed run lengths need pycocotools: pip install pycocotools") from None
