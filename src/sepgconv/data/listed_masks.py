"""Data sets for segmentation: images with masks of the same names in a folder beside, or with a suffix."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sepgconv.data.image_files import Wanted
from sepgconv.data.labelled import LabelledParts, check_parts, part_to_judge
from sepgconv.data.listed_images import read_listing
from sepgconv.data.listing import ListedImage, Listing
from sepgconv.data.masks import BINARY, MaskFile, MaskValues, find_values
from sepgconv.data.options import DataOptions
from sepgconv.data.origin import Origin
from sepgconv.data.part_names import PARTS, Part, PartOrAll, part_of
from sepgconv.data.tree import Tree, read_tree

_ALL: PartOrAll = "all"
_IMAGES = ("images", "image", "imgs", "img", "pictures")
_MASKS = ("masks", "mask", "segmentations", "segmentation", "labels", "label", "groundtruth", "gt", "annotations")


@dataclass
class _Pairs:
    """Images and masks of one part, by the name that they share."""

    images: dict[str, Path] = field(default_factory=dict[str, Path])
    masks: dict[str, Path] = field(default_factory=dict[str, Path])


def find_pairs(root: Path, masks: str | None) -> dict[PartOrAll, _Pairs]:
    """Find images and masks: {} where the folder has none.

    They may lie in `images` and `masks`, each of which may hold train, validation and test; in train, validation and
    test, each of which holds `images` and `masks`; or side by side, where masks have a suffix.

    Args:
        root: the folder.
        masks: the name of the folder of masks, or the suffix; None: a folder with a usual name.
    """
    tree = read_tree(root)
    if masks is not None and not masks[:1].isalnum():
        return _by_suffix(tree, masks)
    names = _MASKS if masks is None else (masks.lower(),)
    found = _beside(tree, names)
    if found:
        return found
    divided: dict[PartOrAll, _Pairs] = {}
    for name, child in tree.folders.items():
        part = part_of(name)
        inner = _beside(child, names) if part else {}
        if part and "all" in inner:
            divided[part] = inner["all"]
    return divided


def load_masks(root: Path, pairs: Mapping[PartOrAll, _Pairs], *, wanted: Wanted, options: DataOptions) -> LabelledParts:
    """Read images with their masks; the name of the result is `masks:<name of the folder>`.

    Args:
        root: the folder.
        pairs: what `find_pairs` found.
        wanted: the form of the images, and where they are kept.
        options: values of the masks.

    Raises:
        ValueError: no image with a mask, no test part, or masks of too many values.

    Warns:
        UserWarning: images without masks, masks of another size or with unknown values: they are left out; masks
            without images.
    """
    check_parts(pairs, str(root))
    return read_listing(_listed(root, pairs, options), wanted)


def load_masks_to_judge(
    root: Path,
    pairs: Mapping[PartOrAll, _Pairs],
    *,
    known: Sequence[str],
    wanted: Wanted,
    part: Part | None,
    options: DataOptions,
) -> LabelledParts:
    """Read images with their masks to judge a network by; `known` are its classes, as `MaskValues.classes` calls them.

    Raises:
        ValueError: no such part, no image with a mask.
    """
    chosen = part_to_judge(pairs, part, str(root))
    if not options.mask_values and not options.foreground and all(name.isdecimal() for name in known):
        values = MaskValues(tuple(map(int, known)))
        return read_listing(_listed(root, {chosen: pairs[chosen]}, options, values), wanted)
    if tuple(known) == BINARY and not options.mask_values and not options.foreground:
        held = find_values(list(pairs[chosen].masks.values()), str(root)).values
        if len(held) == 1:  # of one value all are background, or all foreground
            values = MaskValues((0, held[0] or 255))
            return read_listing(_listed(root, {chosen: pairs[chosen]}, options, values), wanted)
    return read_listing(_listed(root, {chosen: pairs[chosen]}, options), wanted)


def _listed(
    root: Path, pairs: Mapping[PartOrAll, _Pairs], options: DataOptions, values: MaskValues | None = None
) -> Listing:
    masks = [path for found in pairs.values() for path in found.masks.values()]
    if options.foreground:
        values = MaskValues((0, 1), foreground=True)
    elif options.mask_values:
        values = MaskValues(options.mask_values)
    values = find_values(masks, str(root)) if values is None else values
    parts: dict[PartOrAll, list[ListedImage]] = {}
    unreadable: dict[str, str] = {}
    notes: list[str] = []
    for part in (*PARTS, "all"):
        if part not in pairs:
            continue
        found = pairs[part]
        parts[part] = []
        for name, image in found.images.items():
            origin = image.relative_to(root).as_posix()
            if name not in found.masks:
                unreadable[origin] = "has no mask"
                continue
            target = MaskFile(found.masks[name], image, values)
            parts[part].append(ListedImage(image, target, Origin(origin, options.group_in(origin, str(root)))))
        if alone := [found.masks[name] for name in found.masks if name not in found.images]:
            notes.append(f"{root}: {len(alone)} masks are left out, because they have no image: {_some(alone)}")
    return Listing(
        f"masks:{root.resolve().name}",
        str(root),
        values.classes,
        "masks",
        parts,
        unreadable,
        tuple(notes),
        None if options.group_pattern is None else "group",
        fixed=True,
    )


def _beside(tree: Tree, names: Sequence[str]) -> dict[PartOrAll, _Pairs]:
    images = [child for name, child in tree.folders.items() if name.lower() in _IMAGES]
    masks = [child for name, child in tree.folders.items() if name.lower() in names and child.all_images()]
    others = set(tree.holding()) - {folder.path.name for folder in (*images, *masks)}
    if len(images) != 1 or len(masks) != 1 or not images[0].all_images() or (others and len(names) > 1):
        return {}  # a folder of masks that was named may have others beside it
    parts: dict[PartOrAll, _Pairs] = {}
    for kind, folder in (("images", images[0]), ("masks", masks[0])):
        divided: dict[str, Part] = {name: part for name in folder.folders if (part := part_of(name))}
        whole = not divided or folder.images or len(divided) < len(folder.folders)
        places: list[tuple[Tree, PartOrAll]] = [(folder.folders[name], part) for name, part in divided.items()]
        undivided: list[tuple[Tree, PartOrAll]] = [(folder, _ALL)]
        for below, part in undivided if whole else places:
            entries = {path.relative_to(below.path).with_suffix("").as_posix(): path for path in below.all_images()}
            setattr(parts.setdefault(part, _Pairs()), kind, entries)
    return parts


def _by_suffix(tree: Tree, suffix: str) -> dict[PartOrAll, _Pairs]:
    parts: dict[PartOrAll, _Pairs] = {}
    divided: dict[str, Part] = {name: part for name in tree.folders if (part := part_of(name))}
    places: list[tuple[Tree, PartOrAll]] = [(tree.folders[name], part) for name, part in divided.items()]
    for below, part in places or [(tree, _ALL)]:
        found = parts.setdefault(part, _Pairs())
        for path in below.all_images():
            name = path.relative_to(below.path).with_suffix("").as_posix()
            if name.endswith(suffix):
                found.masks[name.removesuffix(suffix)] = path
            else:
                found.images[name] = path
    return parts if any(found.masks for found in parts.values()) else {}


def _some(paths: Iterable[Path]) -> str:
    listed = [path.name for path in paths]
    return f"{', '.join(listed[:3])}{', ...' if len(listed) > 3 else ''}"
