"""Which folders of a tree are parts and which are classes; where that is unclear, an error is raised."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from sepgconv.data.image_file import SUFFIXES
from sepgconv.data.part_names import PARTS, Part, PartOrAll, part_of
from sepgconv.data.tree import Tree, read_tree

_NAMED_AT_MOST = 5
_ALIKE = 0.5  # share of folder names that two "classes" have in common where they cannot be classes
# Folders that only contain a class's images, as in <class>/images/1.png.
_CONTAINERS = {"images", "image", "imgs", "img", "pictures", "photos", "jpg", "jpeg", "png", "tif", "data", "original"}
_ANNOTATIONS = {
    "labels", "label", "masks", "mask", "annotations", "annotation", "annots", "segmentation", "segmentations",
    "groundtruth", "gt", "targets", "target", "truth", "bboxes",
}  # fmt: skip


@dataclass
class Layout:
    """Image files of a data set, sorted by part and class.

    Attributes:
        root: the folder that was asked for.
        files: of every part, the files of every class folder, which may be none; the only part is "all" where the
            folder is not divided.
        folders: of every part, its folder.
        unreadable: what ends like an image, or lies among them, and cannot be opened, with the reasons.
        notes: what a user must know of how the folder was understood, a sentence each.
    """

    root: Path
    files: dict[PartOrAll, dict[str, list[Path]]] = field(default_factory=dict[PartOrAll, dict[str, list[Path]]])
    folders: dict[PartOrAll, Path] = field(default_factory=dict[PartOrAll, Path])
    unreadable: dict[Path, str] = field(default_factory=dict[Path, str])
    notes: list[str] = field(default_factory=list[str])


def find_layout(root: Path, *, known: Collection[str] = ()) -> Layout:
    """Find parts and classes.

    Args:
        root: the folder.
        known: names of classes that are known beforehand; a folder with such a name is a class. Default: none, and the
            classes are to be learned, so that they must be two or more and beyond doubt.

    Raises:
        ValueError: no class folders, only one class, or folders that may be parts or classes; the message says which.
    """
    layout = Layout(root)
    tree = _unwrapped(read_tree(root), layout, known)
    parts = _parts(tree, layout, known)
    for part, folder in parts.items():
        inner = folder if part == "all" else _unwrapped(folder, layout, known, inside_part=True)
        classes = inner.holding()
        layout.folders[part] = inner.path
        layout.files[part] = {
            name: child.all_images() for name, child in inner.folders.items() if not _empty_odd(child)
        }
        if any(below.linked for below in inner.walk()):
            _check_one_class_each(layout.files[part])
        layout.unreadable |= inner.unreadable()
        if not known and part in ("train", "all"):
            _check_are_classes(classes, inner.path)
        _note_left_out(inner, layout)
    if not any(any(classes.values()) for classes in layout.files.values()):
        raise ValueError(_no_classes(tree, layout))
    return layout


def _unwrapped(tree: Tree, layout: Layout, known: Collection[str], *, inside_part: bool = False) -> Tree:
    """Go down through folders that only hold one other folder of folders, as in PetImages/<class>."""
    while True:
        holding = tree.holding()
        if len(holding) != 1 or tree.images:
            return tree
        ((name, only),) = holding.items()
        if (
            name in known
            or (part_of(name) and not inside_part)
            or only.images
            or not only.holding()
            or _only_containers(only)
        ):
            return tree
        layout.notes.append(f"{tree.path}: its only folder with images is {name}, so classes are looked for in {name}")
        tree = only


def _parts(tree: Tree, layout: Layout, known: Collection[str]) -> Mapping[PartOrAll, Tree]:
    """Return the folders that hold class folders: the tree itself, or those called train, validation and test."""
    named: dict[Part, dict[str, Tree]] = {part: {} for part in PARTS}
    for name, child in tree.folders.items():
        if name not in known and (part := part_of(name)) is not None:
            named[part][name] = child
    divided = any(child.holding() for children in named.values() for child in children.values())
    holding = tree.holding()
    if not divided:
        flat = [name for name in holding if part_of(name) and name not in known]
        if flat and len(flat) == len(holding) and len({part_of(name) for name in flat}) > 1:
            raise ValueError(
                f"{tree.path}: {' and '.join(flat)} hold images directly; expected class folders in them, as in "
                f"{flat[0]}/<class>/<image>"
            )
        return {"all": tree}
    parts: dict[PartOrAll, Tree] = {}
    for part, children in named.items():
        full = [name for name in children if name in holding]
        if len(full) > 1:
            raise ValueError(f"{tree.path}: {' and '.join(full)} both hold {part} images; keep one")
        for name in full or list(children)[:1]:
            if children[name].images and not children[name].holding():
                raise ValueError(
                    f"{children[name].path}: {len(children[name].images)} images lie in it directly; expected class "
                    f"folders in it, as in {name}/<class>/<image>"
                )
            parts[part] = children[name]
    if others := [name for name in holding if part_of(name) is None]:
        layout.notes.append(
            f"{tree.path}: {', '.join(others)} is left out, because it is none of the parts "
            f"{', '.join(part.path.name for part in parts.values())}"
        )
    return parts


def _check_are_classes(classes: Mapping[str, Tree], path: Path) -> None:
    """Raise if the folders are no classes: images beside their masks, parts of a data set, or a single folder."""
    annotations = [name for name in classes if _plain(name) in _ANNOTATIONS]
    if annotations and any(_plain(name) in _CONTAINERS for name in classes):
        raise ValueError(
            f"{path}: {', '.join(classes)} are images beside their annotations, as for segmentation or detection; "
            "expected a folder for each class"
        )
    for (name, first), (other, second) in combinations(classes.items(), 2):
        if first.images or second.images:
            continue
        ours, theirs = first.leaves(), second.leaves()
        shared = ours.keys() & theirs.keys()
        if len(shared) >= _ALIKE * len(ours.keys() | theirs.keys()) and not _only_gather(shared, ours, theirs):
            raise ValueError(
                f"{path}: {name} and {other} hold folders of the same names ({_some(sorted(shared))}), so it cannot "
                f"be told which are the classes; expected {path.name}/<class>/<image>, or train/<class>/<image> and "
                "test/<class>/<image>"
            )
    if len(classes) == 1:
        (name,) = classes
        raise ValueError(
            f"{path}: only one class, {name}; expected a folder for each of two or more classes, as in "
            f"{path.name}/<class>/<image>"
        )


def _check_one_class_each(files: Mapping[str, list[Path]]) -> None:
    """Raise if links put one image into two classes."""
    found: dict[str, tuple[str, Path]] = {}
    for name, paths in files.items():
        for path in paths:
            other, first = found.setdefault(os.path.realpath(path), (name, path))
            if other != name:
                raise ValueError(f"{first} and {path} are one image, through a link, but of two classes; keep one")


def _note_left_out(tree: Tree, layout: Layout) -> None:
    if tree.images and tree.holding():
        names = _some([path.name for path in tree.images])
        layout.notes.append(
            f"{tree.path}: {len(tree.images)} images beside the class folders are left out, because they have no "
            f"class: {names}"
        )
    if repeats := [path.relative_to(tree.path).as_posix() for below in tree.walk() for path in below.repeats]:
        layout.notes.append(f"{tree.path}: links to folders that are read already are not followed: {_some(repeats)}")
    if passed_over := _passed_over(tree):
        layout.notes.append(f"{tree.path}: {passed_over} (read are {' '.join(SUFFIXES)})")


def _passed_over(tree: Tree) -> str:
    others: Counter[str] = sum((below.others for below in tree.walk()), Counter[str]())
    counted = ", ".join(f"{count} x {ending}" for ending, count in sorted(others.items()))
    return f"{sum(others.values())} files are passed over for their endings: {counted}" if others else ""


def _no_classes(tree: Tree, layout: Layout) -> str:
    root = tree.path
    beside = f" ({len(tree.images)} images lie in it directly)" if tree.images else ""
    found = "; ".join(filter(None, [_passed_over(tree), *_reasons(layout)]))
    return (
        f"{root}: no class folders with images{beside}; expected {root.name}/<class>/<image> or "
        f"{root.name}/train/<class>/<image> and {root.name}/test/<class>/<image>, in files that end with one of "
        f"{' '.join(SUFFIXES)}{f'; {found}' if found else ''}"
    )


def _reasons(layout: Layout) -> Iterator[str]:
    for path, why in list(layout.unreadable.items())[:_NAMED_AT_MOST]:
        yield f"{path} {why}"


def _empty_odd(tree: Tree) -> bool:
    # A folder that is called like an image and holds none is no class.
    return tree.path in tree.unreadable() and not tree.all_images()


def _only_gather(shared: Collection[str], ours: Mapping[str, Tree], theirs: Mapping[str, Tree]) -> bool:
    """Return whether folders of the same names only hold images of a class: <class>/images, or one link in each."""
    if len(shared) == 1 and all(found[name].path.is_symlink() for found in (ours, theirs) for name in shared):
        return True
    return all(_plain(name) in _CONTAINERS for name in shared)


def _only_containers(tree: Tree) -> bool:
    return all(_plain(name) in _CONTAINERS for name in tree.holding())


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


def _some(names: Collection[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _NAMED_AT_MOST} more" if len(listed) > _NAMED_AT_MOST else ""
    return f"{', '.join(listed[:_NAMED_AT_MOST])}{more}"
