"""Data sets from a folder of class folders of images."""

from collections.abc import Collection
from pathlib import Path

from sepgconv.data.image_files import Wanted
from sepgconv.data.labelled import LabelledParts, check_class_names, check_parts, part_to_judge
from sepgconv.data.layout import Layout, find_layout
from sepgconv.data.listed_images import read_listing
from sepgconv.data.listing import ListedImage, Listing
from sepgconv.data.options import DataOptions
from sepgconv.data.origin import Origin
from sepgconv.data.part_names import Part, PartOrAll


def load_folder(root: Path, *, wanted: Wanted, options: DataOptions | None = None) -> LabelledParts:
    """Read a folder of images to learn from; the name of the result is `folder:<name of the folder>`.

    Two layouts: `root/<class>/**/image`, of which 70 / 15 / 15 % of every class train, validate and test; and
    `root/train/<class>/**/image` with `root/test/<class>`, where `validation` is optional and otherwise 15 % of every
    class of `train`. Parts may be called by other usual names, in any case (`sepgconv.data.part_names`). Classes are in
    alphabetical order. A folder that only holds one other folder of folders is gone into, with a warning. Links to
    folders are followed. Hidden files and what archivers leave behind are passed over.

    Images become grey if all are grey, else RGB. Their size is the wanted one; theirs if all agree; else the
    side of the square is the median over all images of the shorter side. An image of another size is brought to
    it as `Reading.fit` says. Files of 16 bits are scaled by the smallest of 8, 10, 12, 14 and 16 bits that holds
    the values of them all (`LabelledParts.bit_depth`).

    Args:
        root: the folder.
        wanted: the form of the images, and where they are kept.
        options: the pattern of the groups. Default: no groups.

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
    return read_listing(_listed(layout, options or DataOptions()), wanted)


def load_folder_to_judge(
    root: Path,
    *,
    known: Collection[str],
    wanted: Wanted,
    part: Part | None = None,
    options: DataOptions | None = None,
) -> LabelledParts:
    """Read the images of a folder to judge a network by; layouts and warnings are those of `load_folder`.

    Args:
        root: the folder.
        known: the network's classes.
        wanted: the form of the images.
        part: see `sepgconv.data.labelled.part_to_judge`; only this part is read.
        options: as in `load_folder`.

    Raises:
        ValueError: no class folders, no such part, or no readable image.
    """
    layout = find_layout(root, known=known)
    chosen = part_to_judge(layout.files, part, str(root))
    layout.files = {chosen: layout.files[chosen]}
    layout.unreadable = {
        path: why for path, why in layout.unreadable.items() if path.is_relative_to(layout.folders[chosen])
    }
    return read_listing(_listed(layout, options or DataOptions()), wanted)


def _listed(layout: Layout, options: DataOptions) -> Listing:
    root = layout.root
    classes = tuple(sorted({name for found in layout.files.values() for name in found}))
    parts: dict[PartOrAll, list[ListedImage]] = {
        part: [
            ListedImage(path, classes.index(name), _origin(path.relative_to(root).as_posix(), options, root))
            for name, paths in found.items()
            for path in paths
        ]
        for part, found in layout.files.items()
    }
    return Listing(
        f"folder:{root.resolve().name}",
        str(root),
        classes,
        "classes",
        parts,
        {path.relative_to(root).as_posix(): why for path, why in layout.unreadable.items()},
        tuple(layout.notes),
        None if options.group_pattern is None else "group",
    )


def _origin(name: str, options: DataOptions, root: Path) -> Origin:
    return Origin(name, options.group_in(name, str(root)))
