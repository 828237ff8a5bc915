"""Data sets from a CSV or TSV file with the paths of images and their labels."""

import dataclasses
import math
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from sepgconv.data.image_files import Wanted
from sepgconv.data.labelled import LabelledParts, check_class_names, check_parts, part_to_judge
from sepgconv.data.listed_images import read_listing
from sepgconv.data.listing import ListedImage, Listing, TargetKind
from sepgconv.data.options import DataOptions, Targets
from sepgconv.data.origin import Origin
from sepgconv.data.part_names import Part, PartOrAll, part_of
from sepgconv.data.table_file import TextTable, read_table
from sepgconv.data.target_text import SEPARATOR

_PATH = ("path", "file", "filename", "filepath", "image", "imagepath", "imagefile", "imagename", "img", "imgpath")
_LABEL = ("label", "labels", "class", "classname", "category", "target", "y")
_SPLIT = ("split", "part", "set", "subset", "partition")
_GROUP = (
    "group", "groupid", "patient", "patientid", "subject", "subjectid", "case", "caseid", "slide", "slideid", "donor",
    "donorid",
)  # fmt: skip
_PAGE = ("page",)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_MANY = 20  # classes that are whole numbers, from which on they may be meant as numbers


def load_table(
    path: Path, *, root: Path | None = None, wanted: Wanted, options: DataOptions | None = None
) -> LabelledParts:
    """Read the images that a CSV or TSV file lists; the name of the result is `table:<stem>`.

    The first line has the names of the columns. They are found by their usual names, or named in the options: the path
    of each image, its label, and, where there are such columns, its part (train, validation, test, or what they are
    else called) and its group (a patient or a slide, which is never divided). A column `page` says which image of a
    TIFF is meant, counted from 0.

    Labels in one column are classes, unless some of them are numbers with decimals: then all are numbers. Several
    columns of 0 and 1 are labels that an image may have any number of; so is one column with `|` between labels.
    Several columns of other numbers are numbers. `DataOptions.targets` says it otherwise.

    Args:
        path: the file.
        root: the folder that paths are relative to. Default: that of the file.
        wanted: the form of the images, and where they are kept.
        options: names of columns, what labels are. Default: they are found.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such column, a row without path, file, label, part or group, a path that stands in two rows, a
            part that is none, labels of another kind; the message names file, line and column.

    Warns:
        UserWarning: as `sepgconv.data.folder.load_folder`.
    """
    options = options or DataOptions()
    listing = list_table(path, root=root, options=options)
    check_parts(listing.parts, listing.title)
    if listing.kind == "classes":
        check_class_names(
            {
                part: sorted({listing.classes[image.target] for image in images if isinstance(image.target, int)})
                for part, images in listing.parts.items()
            },
            listing.title,
        )
    return read_listing(listing, wanted)


def load_table_to_judge(
    path: Path,
    *,
    root: Path | None = None,
    known: Collection[str],
    wanted: Wanted,
    part: Part | None = None,
    options: DataOptions | None = None,
) -> LabelledParts:
    """Read the images that a file lists to judge a network by; what it may hold is said at `load_table`.

    Args:
        path: the file.
        root: the folder that paths are relative to. Default: that of the file.
        known: the network's classes.
        wanted: the form of the images.
        part: see `sepgconv.data.labelled.part_to_judge`; only this part is read.
        options: as in `load_table`.

    Raises:
        ValueError: as `load_table`, and no such part.
    """
    listing = list_table(path, root=root, options=options, known=known)
    chosen = part_to_judge(listing.parts, part, listing.title)
    return read_listing(dataclasses.replace(listing, parts={chosen: listing.parts[chosen]}), wanted)


def list_table(
    path: Path,
    *,
    root: Path | None = None,
    options: DataOptions | None = None,
    known: Collection[str] | None = None,
) -> Listing:
    """Return the images that a file lists; see `load_table`. No image is read.

    Args:
        path: the file.
        root: the folder that paths are relative to. Default: that of the file.
        options: names of columns, what labels are. Default: they are found.
        known: the classes or labels of a network, () of one that answers with numbers. Default: they are to be learned.

    Raises:
        FileNotFoundError, ValueError: as `load_table`.
    """
    options, table, folder = options or DataOptions(), read_table(path), path.parent if root is None else root
    path_column = _column(table, options.path_column, _PATH, "paths of the images", "path_column, --path-column")
    split_column = _optional(table, options.split_column, _SPLIT, "parts", "split_column, --split-column")
    group_column = _optional(table, options.group_column, _GROUP, "groups", "group_column, --group-column")
    page_column = table.found(_PAGE, "pages", "path_column, --path-column")
    labels = [table.given(name, "label_columns, --label-column") for name in options.label_columns] or [
        _column(table, None, _LABEL, "labels", "label_columns, --label-column")
    ]
    table.check_filled(path_column, "path")
    names = table.cells(path_column)
    pages = [None] * len(names) if page_column is None else _pages(table, page_column)
    _check_distinct(table, list(zip(names, pages, strict=True)), path_column)
    files = _files(table, names, folder)
    kind, classes, targets, notes = _targets(table, labels, options.targets, known)
    everything: list[PartOrAll] = ["all"] * len(names)
    parts = everything if split_column is None else _parts(table, split_column)
    groups = [""] * len(names) if group_column is None else _groups(table, group_column)
    found: dict[PartOrAll, list[ListedImage]] = {}
    for row, part in enumerate(parts):
        origin = Origin(names[row], groups[row], pages[row])
        found.setdefault(part, []).append(ListedImage(files[row], targets[row], origin))
    return Listing(f"table:{path.stem}", str(path), classes, kind, found, notes=notes, grouped_by=group_column)


def _column(table: TextTable, given: str | None, names: Sequence[str], what: str, option: str) -> str:
    found = _optional(table, given, names, what, option)
    if found is None:
        raise ValueError(
            f"{table.path}: no column is called {', '.join(names[:4])} or the like; say which one holds the {what} "
            f"({option}; columns: {', '.join(table.columns)})"
        )
    return found


def _optional(table: TextTable, given: str | None, names: Collection[str], what: str, option: str) -> str | None:
    return table.found(names, what, option) if given is None else table.given(given, option)


def _pages(table: TextTable, column: str) -> list[int | None]:
    cells = table.cells(column)
    if wrong := [line for line, cell in zip(table.lines, cells, strict=True) if cell and not cell.isdecimal()]:
        raise ValueError(
            f"{table.path}: {table.at(wrong)}: the column {column!r} must say which image of a file is meant, counted "
            "from 0"
        )
    return [int(cell) if cell else None for cell in cells]


def _parts(table: TextTable, column: str) -> list[PartOrAll]:
    table.check_filled(column, "a part")
    cells = table.cells(column)
    if unknown := [cell for cell in dict.fromkeys(cells) if part_of(cell) is None]:
        raise ValueError(
            f"{table.path}: the column {column!r} holds {', '.join(map(repr, unknown[:5]))}; expected train, "
            "validation and test"
        )
    return [part for cell in cells if (part := part_of(cell)) is not None]


def _groups(table: TextTable, column: str) -> list[str]:
    table.check_filled(column, "a group")
    return table.cells(column)


def _check_distinct(table: TextTable, images: Sequence[tuple[str, int | None]], column: str) -> None:
    first: dict[tuple[str, int | None], int] = {}
    for image, line in zip(images, table.lines, strict=True):
        if (before := first.setdefault(image, line)) != line:
            repeated = len(images) - len(set(images))
            more = f", the first of {repeated} such rows" if repeated > 1 else ""
            raise ValueError(
                f"{table.path}, line {line}: the {column} {image[0]} stands in line {before}, too{more}; give each "
                "image one row"
            )


def _files(table: TextTable, names: Sequence[str], folder: Path) -> list[Path]:
    files = [folder / (name if os.sep == "\\" else name.replace("\\", "/")) for name in names]
    missing = [(line, name) for line, name, file in zip(table.lines, names, files, strict=True) if not file.exists()]
    if missing:
        lines = [line for line, _ in missing]
        raise ValueError(
            f"{table.path}: {table.at(lines)} without file: there is no {missing[0][1]} in {folder}; correct the path, "
            "or say which folder paths are relative to (data_dir, --data-dir)"
        )
    return files


_Found = tuple[TargetKind, tuple[str, ...], Sequence[int | tuple[float, ...]], tuple[str, ...]]


def _targets(table: TextTable, columns: Sequence[str], wanted: Targets | None, known: Collection[str] | None) -> _Found:
    """Return what the targets are, the names of classes or labels, the target of each row, and notes."""
    cells = [table.cells(column) for column in columns]
    for column, held in zip(columns, cells, strict=True):
        for cell, line in zip(held, table.lines, strict=True):
            if any(0xDC80 <= ord(letter) <= 0xDCFF for letter in cell):
                raise ValueError(
                    f"{table.path}, line {line}: the column {column!r} holds text that is not UTF-8; save the file in "
                    "UTF-8"
                )
    kind = wanted or _kind(cells, known)
    if kind != "labels" or len(columns) > 1:
        for column in columns:
            table.check_filled(column, "label")
    if kind == "classes":
        if len(columns) > 1:
            raise ValueError(
                f"{table.path}: {len(columns)} columns of classes ({', '.join(columns)}), but an image has one class; "
                "name one column, or say that they are labels or numbers (targets, --targets)"
            )
        return _classes(table, columns[0])
    if kind == "labels" and len(columns) == 1:
        return _several_labels(table, columns[0], known)
    numbers = [_numbers(table, column, labels=kind == "labels") for column in columns]
    names = tuple(columns) if kind == "labels" else ()
    return kind, names, list(zip(*numbers, strict=True)), ()


def _kind(cells: Sequence[Sequence[str]], known: Collection[str] | None) -> TargetKind:
    if known is not None and not known:
        return "numbers"
    values = [_number(cell) for column in cells for cell in column]
    if len(cells) > 1:
        return "labels" if all(value in (0, 1) for value in values) else "numbers"
    if any(SEPARATOR in cell for cell in cells[0]):
        return "labels"
    numbers = [value for value in values if value is not None]
    decimals = len(numbers) == len(values) and any(value != round(value) for value in numbers)
    return "numbers" if decimals else "classes"


def _classes(table: TextTable, column: str) -> _Found:
    cells = table.cells(column)
    values = {cell: _number(cell) for cell in cells}
    if all(value is not None and _is_whole(cell, value) for cell, value in values.items()):
        cells = [str(round(values[cell] or 0)) for cell in cells]  # 1.0 is the class 1
        classes = tuple(map(str, sorted({int(cell) for cell in cells})))
        many = len(classes) > _MANY
    else:
        classes, many = tuple(sorted(set(cells))), False
    notes = (
        (
            f"{table.path}: the column {column!r} holds {len(classes)} whole numbers, each a class; if they "
            "are numbers to predict, say so (targets='numbers', --targets numbers)",
        )
        if many
        else ()
    )
    order = {name: index for index, name in enumerate(classes)}
    return "classes", classes, [order[cell] for cell in cells], notes


def _is_whole(cell: str, value: float) -> bool:
    # 1.0 is the class 1; 01 is a name.
    return value == round(value) and (cell == str(round(value)) or "." in cell)


def _several_labels(table: TextTable, column: str, known: Collection[str] | None) -> _Found:
    rows = [[label.strip() for label in cell.split(SEPARATOR) if label.strip()] for cell in table.cells(column)]
    present = sorted({label for row in rows for label in row})
    names = tuple(known) if known else tuple(present)
    if unknown := [label for label in present if label not in names]:
        raise ValueError(
            f"{table.path}: the column {column!r} holds the labels {', '.join(unknown)}; the network knows "
            f"{', '.join(names)}"
        )
    return "labels", names, [tuple(float(name in row) for name in names) for row in rows], ()


def _numbers(table: TextTable, column: str, *, labels: bool) -> list[float]:
    values = [_number(cell) for cell in table.cells(column)]
    for value, cell, line in zip(values, table.cells(column), table.lines, strict=True):
        if value is None or (labels and value not in (0, 1)):
            expected = "0 or 1, as the columns of labels hold" if labels else "a number"
            raise ValueError(f"{table.path}, line {line}: the column {column!r} holds {cell!r}; expected {expected}")
    return [value for value in values if value is not None]


def _number(cell: str) -> float | None:
    # Spreadsheets of many languages write 0,5; then semicolons stand between the cells.
    text = cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
