"""Data sets in files of the user's own: one table of the formats, and of who reads them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sepgconv.data.coco_file import SUFFIX as COCO
from sepgconv.data.coco_file import load_coco, load_coco_to_judge
from sepgconv.data.folder import load_folder, load_folder_to_judge
from sepgconv.data.hdf5_file import SUFFIXES as HDF5
from sepgconv.data.hdf5_file import is_hdf5, load_hdf5
from sepgconv.data.image_files import Wanted
from sepgconv.data.labelled import LabelledParts
from sepgconv.data.listed_masks import find_pairs, load_masks, load_masks_to_judge
from sepgconv.data.listed_table import load_table, load_table_to_judge
from sepgconv.data.npz import load_npz
from sepgconv.data.options import DataOptions
from sepgconv.data.part_names import Part
from sepgconv.data.table_file import SUFFIXES as TABLES

ENDINGS = (".npz", COCO, *TABLES, *HDF5)
DESCRIPTION = (
    "your own images: a folder of class folders, or of images and masks; a CSV of paths and labels; a COCO file; an "
    "HDF5 file; or an .npz with x_train y_train x_test y_test"
)


@dataclass(frozen=True)
class Request:
    """What is asked of the files.

    Attributes:
        path: a folder or a file.
        root: the folder that paths in a file are relative to. None: that of the file.
        wanted: the form of the images, and where they are kept.
        options: how files are read.
        known: the classes of a network that is judged by the images; None: they are learned from.
        part: the only part that is wanted; see `sepgconv.data.labelled.part_to_judge`.
    """

    path: Path
    root: Path | None
    wanted: Wanted
    options: DataOptions
    known: tuple[str, ...] | None = None
    part: Part | None = None

    @property
    def side(self) -> int | None:
        """Height and width to which images in arrays are scaled; None: they stay as they are."""
        size = self.wanted.size
        return size[0] if size is not None and size[0] == size[1] else None


def load_own(request: Request) -> LabelledParts:
    """Read images of the user's own.

    Args:
        request: which, and how.

    Raises:
        FileNotFoundError, ValueError: as the loader of such a file; an option that is not for it.
    """
    form = next(form for form in _FORMATS if form.is_such(request.path))
    if request.known is None:
        odd = [name for name in request.options.to_dict() if name not in (*form.takes, *_SPLIT)]
        if odd:
            raise ValueError(
                f"{request.path}: {' and '.join(odd)} {'is' if len(odd) == 1 else 'are'} not for {form.title}, which "
                f"takes {', '.join(form.takes)}, and what divides the images"
            )
    return form.load(request)


def _is_npz(path: Path) -> bool:
    return not path.is_dir()


def _npz(request: Request) -> LabelledParts:
    if request.known is None and request.wanted.storage.in_memory is False:
        raise ValueError(
            f"{request.path} is always read into memory; in_memory=False is for images that are files of their own, "
            "and for HDF5 files"
        )
    bits = request.wanted.reading.bit_depth
    return load_npz(request.path, image_size=request.side, bit_depth=bits, targets=request.options.targets)


def _hdf5(request: Request) -> LabelledParts:
    wanted = request.wanted
    return load_hdf5(
        request.path,
        image_size=request.side,
        bit_depth=wanted.reading.bit_depth,
        storage=wanted.storage,
        options=request.options,
    )


def _is_coco(path: Path) -> bool:
    return path.suffix.lower() == COCO and not path.is_dir()


def _coco(request: Request) -> LabelledParts:
    path, root, wanted, options = request.path, request.root, request.wanted, request.options
    if request.known is None:
        return load_coco(path, root=root, wanted=wanted, options=options)
    return load_coco_to_judge(path, root=root, wanted=wanted, part=request.part, options=options)


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in TABLES and not path.is_dir()


def _table(request: Request) -> LabelledParts:
    path, root, wanted, options = request.path, request.root, request.wanted, request.options
    if request.known is None:
        return load_table(path, root=root, wanted=wanted, options=options)
    return load_table_to_judge(path, root=root, known=request.known, wanted=wanted, part=request.part, options=options)


def _folder(request: Request) -> LabelledParts:
    path, wanted, options = request.path, request.wanted, request.options
    pairs = find_pairs(path, options.masks)
    if not pairs and options.masks is not None:
        raise ValueError(
            f"{path}: no masks called {options.masks} (masks, --masks); expected a folder of images and one of masks "
            "with the same names, as images/1.png and masks/1.png, or a suffix such as _mask, as 1.png and 1_mask.png"
        )
    if request.known is None:
        if pairs:
            return load_masks(path, pairs, wanted=wanted, options=options)
        return load_folder(path, wanted=wanted, options=options)
    known, part = request.known, request.part
    if pairs:
        return load_masks_to_judge(path, pairs, known=known, wanted=wanted, part=part, options=options)
    return load_folder_to_judge(path, known=known, wanted=wanted, part=part, options=options)


@dataclass(frozen=True)
class _Format:
    # What a path may be of, who reads it, and which fields of `DataOptions` that takes besides `_SPLIT`.
    title: str
    is_such: Callable[[Path], bool]
    load: Callable[[Request], LabelledParts]
    takes: tuple[str, ...]


_SPLIT = ("validation", "test", "folds", "fold", "split_seed")
_READING = ("pages", "value_range", "fit")  # of files of one image each
_TABLE = ("path_column", "label_columns", "split_column", "group_column", "targets", *_READING)
# The first that a path is of.
_FORMATS = (
    _Format("an HDF5 file", is_hdf5, _hdf5, ("images_key", "labels_key", "targets")),
    _Format("a COCO file", _is_coco, _coco, ("group_pattern", *_READING)),
    _Format("a table", _is_table, _table, _TABLE),
    _Format("a folder", Path.is_dir, _folder, ("group_pattern", "masks", "mask_values", "foreground", *_READING)),
    _Format("an .npz file", _is_npz, _npz, ("targets",)),
)
