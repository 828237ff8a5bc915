"""Data sets from a folder of class folders of images."""

import warnings
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import torch

from sepgconv.data.column import take
from sepgconv.data.decoding import Storage, decode_files
from sepgconv.data.image_files import Wanted
from sepgconv.data.labelled import Labelled, LabelledParts, check_class_names, check_parts, part_to_judge
from sepgconv.data.layout import Layout, find_layout
from sepgconv.data.part_names import Part, PartOrAll

_NAMED_AT_MOST = 5  # skipped files that the warning lists


@dataclass
class _Skipped:
    """Files that cannot be read, with the reasons."""

    root: Path
    reasons: dict[Path, str] = field(default_factory=dict[Path, str])

    def names(self) -> tuple[str, ...]:
        return tuple(path.relative_to(self.root).as_posix() for path in sorted(self.reasons))

    def warn(self, total: int) -> None:
        names = self.names()
        if not names:
            return
        listed = ", ".join(
            f"{name} ({why})"
            for name, (_, why) in zip(names[:_NAMED_AT_MOST], sorted(self.reasons.items()), strict=False)
        )
        more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
        warnings.warn(
            f"{self.root}: {len(names)} of {total} images cannot be read and are left out: {listed}{more}", stacklevel=4
        )


def load_folder(root: Path, *, wanted: Wanted | None = None, storage: Storage | None = None) -> LabelledParts:
    """Read a folder of images to learn from; the name of the result is `folder:<name of the folder>`.

    Two layouts: `root/<class>/**/image`, of which 70 / 15 / 15 % of every class train, validate and test; and
    `root/train/<class>/**/image` with `root/test/<class>`, where `validation` is optional and otherwise 15 % of every
    class of `train`. Parts may be called by other usual names, in any case (`sepgconv.data.part_names`). Classes are in
    alphabetical order. A folder that only holds one other folder of folders is gone into, with a warning. Links to
    folders are followed. Hidden files and what archivers leave behind are passed over.

    Images become grey if all are grey, else RGB. Their size is the wanted one; theirs if all agree; else the side of
    the square is the median over all images of the shorter side. An image of another size is brought to it as
    `Wanted.fit` says. Files of 16 bits are scaled by the smallest of 8, 10, 12, 14 and 16 bits that holds the values of
    them all (`LabelledParts.bit_depth`).

    Args:
        root: the folder.
        wanted: the form of the images. Default: see above.
        storage: where the images are kept. Default: as `Storage` decides, without a cache.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no class folders or only one, folders that may be parts or classes, no test part, a class in one
            part only, no readable image, or more pixels than memory.

    Warns:
        UserWarning: what was left out, for which reason: images that cannot be read or have several pages (also listed
            in `LabelledParts.skipped`), files with other endings, images without a class folder, empty classes; a
            folder that was gone into; a bit depth that was found.
    """
    layout = find_layout(root)
    check_parts(layout.files, str(root))
    check_class_names(
        {part: [name for name, files in classes.items() if files] for part, classes in layout.files.items()}, str(root)
    )
    return _read(layout, wanted or Wanted(), storage or Storage())


def load_folder_to_judge(
    root: Path, *, known: Collection[str], wanted: Wanted, part: Part | None = None, storage: Storage | None = None
) -> LabelledParts:
    """Read the images of a folder to judge a network by; layouts and warnings are those of `load_folder`.

    Args:
        root: the folder.
        known: the network's classes.
        wanted: the form of the images.
        part: see `sepgconv.data.labelled.part_to_judge`; only this part is read.
        storage: where the images are kept. Default: as `Storage` decides, without a cache.

    Raises:
        ValueError: no class folders, no such part, or no readable image.
    """
    layout = find_layout(root, known=known)
    chosen = part_to_judge(layout.files, part, str(root))
    layout.files = {chosen: layout.files[chosen]}
    layout.unreadable = {
        path: why for path, why in layout.unreadable.items() if path.is_relative_to(layout.folders[chosen])
    }
    return _read(layout, wanted, storage or Storage())


def _read(layout: Layout, wanted: Wanted, storage: Storage) -> LabelledParts:
    root = layout.root
    for note in layout.notes:
        warnings.warn(note, stacklevel=3)
    classes = tuple(sorted({name for found in layout.files.values() for name in found}))
    labelled: dict[PartOrAll, list[tuple[Path, int]]] = {
        part: [(path, classes.index(name)) for name, paths in found.items() for path in paths]
        for part, found in layout.files.items()
    }
    paths = [path for entries in labelled.values() for path, _ in entries]
    total = len(paths) + len(layout.unreadable)
    decoded = decode_files(paths, wanted, root, storage)
    for note in decoded.notes if wanted.bit_depth is None else ():
        warnings.warn(f"{root}: {note}", stacklevel=3)
    unreadable = {paths[number]: why for number, why in decoded.unreadable.items()}
    skipped = _Skipped(root, {**layout.unreadable, **unreadable})
    parts: dict[PartOrAll, Labelled] = {}
    place = 0
    for part, entries in labelled.items():
        labels = [label for path, label in entries if path not in unreadable]
        images = take(decoded.images, slice(place, place + len(labels)))
        parts[part] = Labelled(images, torch.tensor(labels, dtype=torch.int64))
        place += len(labels)
    if place == 0:
        first = next(iter(skipped.reasons.items()))
        raise ValueError(f"{root}: none of the {total} images can be read; the first: {first[0]}: {first[1]}")
    skipped.warn(total)
    form = decoded.form
    return LabelledParts(
        f"folder:{root.resolve().name}",
        str(root),
        classes,
        parts,
        skipped.names(),
        bit_depth=form.bit_depth,
        fit=form.fit,
    )
