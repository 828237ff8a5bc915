"""Data sets from a folder of class folders of images."""

import statistics
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from sepgconv.data.bit_depth import bit_depth_of
from sepgconv.data.image_file import ImageHeader, UnreadableImageError, read_header, read_pixels
from sepgconv.data.labelled import Labelled, LabelledParts, check_class_names, check_parts, part_to_judge
from sepgconv.data.layout import Layout, find_layout
from sepgconv.data.memory import check_fits_memory
from sepgconv.data.part_names import Part, PartOrAll

_NAMED_AT_MOST = 5  # skipped files that the warning lists


@dataclass(frozen=True)
class Wanted:
    """How images are brought to one form; what is None is decided by the images themselves.

    Attributes:
        channels: 1 for grey, 3 for RGB.
        size: height and width.
        bit_depth: bits that files of 16 bits use.
    """

    channels: int | None = None
    size: tuple[int, int] | None = None
    bit_depth: int | None = None


@dataclass(frozen=True)
class _Form:
    shape: tuple[int, int, int]
    bit_depth: int | None


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


def load_folder(root: Path, *, image_size: int | None = None) -> LabelledParts:
    """Read a folder of images to learn from; the name of the result is `folder:<name of the folder>`.

    Two layouts: `root/<class>/**/image`, of which 70 / 15 / 15 % of every class train, validate and test; and
    `root/train/<class>/**/image` with `root/test/<class>`, where `validation` is optional and otherwise 15 % of every
    class of `train`. Parts may be called by other usual names, in any case (`sepgconv.data.part_names`). Classes are in
    alphabetical order. A folder that only holds one other folder of folders is gone into, with a warning. Links to
    folders are followed. Hidden files and what archivers leave behind are passed over.

    Images become grey if all are grey, else RGB. Their size is `image_size` if given; theirs if all agree; else the
    side of the square is the median over all images of the shorter side. An image of another size is scaled and cut
    in the centre (`read_image`). Files of 16 bits are scaled by the smallest of 8, 10, 12, 14 and 16 bits that holds
    the values of them all (`LabelledParts.bit_depth`).

    Args:
        root: the folder.
        image_size: height and width. Default: see above.

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
    return _read(layout, Wanted(size=None if image_size is None else (image_size, image_size)))


def load_folder_to_judge(
    root: Path, *, known: Collection[str], wanted: Wanted, part: Part | None = None
) -> LabelledParts:
    """Read the images of a folder to judge a network by; layouts and warnings are those of `load_folder`.

    Args:
        root: the folder.
        known: the network's classes.
        wanted: the form of the images.
        part: see `sepgconv.data.labelled.part_to_judge`; only this part is read.

    Raises:
        ValueError: no class folders, no such part, or no readable image.
    """
    layout = find_layout(root, known=known)
    chosen = part_to_judge(layout.files, part, str(root))
    layout.files = {chosen: layout.files[chosen]}
    layout.unreadable = {
        path: why for path, why in layout.unreadable.items() if path.is_relative_to(layout.folders[chosen])
    }
    return _read(layout, wanted)


def _read(layout: Layout, wanted: Wanted) -> LabelledParts:
    root = layout.root
    for note in layout.notes:
        warnings.warn(note, stacklevel=3)
    skipped = _Skipped(root, dict(layout.unreadable))
    classes = tuple(sorted({name for found in layout.files.values() for name in found}))
    files: dict[PartOrAll, list[tuple[Path, int]]] = {
        part: [(path, classes.index(name)) for name, paths in found.items() for path in paths]
        for part, found in layout.files.items()
    }
    total = sum(map(len, files.values())) + len(layout.unreadable)
    form = _common_form([path for part in files.values() for path, _ in part], wanted, skipped, root)
    parts: dict[PartOrAll, Labelled] = {part: _decode(entries, form, skipped) for part, entries in files.items()}
    if not any(len(part.labels) for part in parts.values()):
        first = next(iter(skipped.reasons.items()))
        raise ValueError(f"{root}: none of the {total} images can be read; the first: {first[0]}: {first[1]}")
    skipped.warn(total)
    return LabelledParts(
        f"folder:{root.resolve().name}", str(root), classes, parts, skipped.names(), bit_depth=form.bit_depth
    )


def _common_form(paths: Sequence[Path], wanted: Wanted, skipped: _Skipped, root: Path) -> _Form:
    """Decide shape and bit depth of all images from their headers."""
    headers: list[ImageHeader] = []
    for path in paths:
        try:
            headers.append(read_header(path))
        except UnreadableImageError as error:
            skipped.reasons[path] = error.reason
        except FileNotFoundError:
            skipped.reasons[path] = "is not there any more"
    channels = wanted.channels or (1 if all(header.grey for header in headers) else 3)
    sizes = {(header.height, header.width) for header in headers}
    if wanted.size is not None:
        height, width = wanted.size
    elif len(sizes) == 1:
        height, width = sizes.pop()
    else:
        height = width = round(statistics.median(min(h.height, h.width) for h in headers)) if headers else 1
    shape = (channels, height, width)
    needed = len(headers) * channels * height * width * 4  # float32
    check_fits_memory(needed, f"{len(headers)} images of shape {shape}", "give a smaller image_size")
    return _Form(shape, wanted.bit_depth or _bit_depth(headers, root))


def _bit_depth(headers: Sequence[ImageHeader], root: Path) -> int | None:
    maxima = [header.maximum for header in headers if header.maximum is not None]
    if not maxima:
        return None
    bits = bit_depth_of(max(maxima))
    if bits < 16:
        warnings.warn(
            f"{root}: the values of {len(maxima)} images of 16 bits a pixel reach {max(maxima)} and are read as "
            f"{bits} bits, 0 to {2**bits - 1}",
            stacklevel=5,
        )
    return bits


def _decode(entries: Sequence[tuple[Path, int]], form: _Form, skipped: _Skipped) -> Labelled:
    pixels = np.empty((len(entries), *form.shape), np.uint8)
    labels: list[int] = []
    for path, label in entries:
        if path in skipped.reasons:
            continue
        try:
            pixels[len(labels)] = read_pixels(path, form.shape, bit_depth=form.bit_depth)
        except UnreadableImageError as error:
            skipped.reasons[path] = error.reason
        except FileNotFoundError:
            skipped.reasons[path] = "is not there any more"
        else:
            labels.append(label)
    return Labelled(torch.from_numpy(pixels[: len(labels)]), torch.tensor(labels, dtype=torch.int64))
