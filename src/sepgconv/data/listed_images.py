"""The images of a listing, read: brought to one form, with a warning of those that cannot be read."""

import statistics
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from numpy import ndarray
from torch import Tensor

from sepgconv.data.bit_depth import bit_depth_of
from sepgconv.data.image_file import ImageHeader, UnreadableImageError, read_header, read_pixels
from sepgconv.data.labelled import Labelled, LabelledParts
from sepgconv.data.listing import ListedImage, Listing
from sepgconv.data.memory import check_fits_memory
from sepgconv.data.options import DataOptions
from sepgconv.data.origin import Origin
from sepgconv.data.part_names import PartOrAll
from sepgconv.data.reading import Reading
from sepgconv.data.tiff_file import count_images

_NAMED_AT_MOST = 5  # skipped files that the warning lists
_GREY, _COLOUR = 1, 3


@dataclass(frozen=True)
class Wanted:
    """How images are brought to one form; what is None is decided by the images themselves.

    Attributes:
        channels: 1 for grey, 3 for RGB; other numbers of TIFFs that have so many.
        size: height and width.
        reading: how values become numbers in [0, 1].
    """

    channels: int | None = None
    size: tuple[int, int] | None = None
    reading: Reading = field(default_factory=Reading)

    @classmethod
    def of(cls, options: DataOptions, image_size: int | None) -> "Wanted":
        """Return what a user wants of a new data set.

        Args:
            options: the user's.
            image_size: height and width, or None.
        """
        return cls(size=None if image_size is None else (image_size, image_size), reading=options.reading)


@dataclass(frozen=True)
class Form:
    """The form of all images of a data set.

    Attributes:
        shape: (channels, height, width).
        reading: how values become numbers in [0, 1].
        deep: whether values need more than 8 bits: images are then float32 in [0, 1], else uint8.
    """

    shape: tuple[int, int, int]
    reading: Reading
    deep: bool = False

    def read(self, image: ListedImage) -> Shaped[ndarray, "c h w"]:
        """Return one image: float32 in [0, 1] if `deep`, else uint8.

        Raises:
            FileNotFoundError: its file is not there any more.
            UnreadableImageError: it cannot be read.
        """
        pixels = read_pixels(image.path, self.shape, self.reading, page=image.origin.page)
        return pixels.astype(np.float32) / 255 if self.deep and pixels.dtype == np.uint8 else pixels

    def read_target(self, image: ListedImage) -> Shaped[ndarray, "..."]:
        """Return the target of one image: int64 () or (height, width), or float32 (k,).

        Raises:
            UnreadableImageError: its mask cannot be read.
        """
        if isinstance(image.target, int):
            return np.array(image.target, np.int64)
        if isinstance(image.target, tuple):
            return np.array(image.target, np.float32)
        mask: Int64[ndarray, "h w"] = image.target.read(self.shape[1:])
        return mask


@dataclass
class _Skipped:
    """Images that cannot be read, by their names, with the reasons."""

    title: str
    reasons: dict[str, str]

    def warn(self, total: int) -> None:
        names = sorted(self.reasons)
        if not names:
            return
        listed = ", ".join(f"{name} ({self.reasons[name]})" for name in names[:_NAMED_AT_MOST])
        more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
        warnings.warn(
            f"{self.title}: {len(names)} of {total} images cannot be read and are left out: {listed}{more}",
            stacklevel=4,
        )


def read_listing(listing: Listing, wanted: Wanted) -> LabelledParts:
    """Read all images of a listing into memory.

    Images become grey if all are grey, else RGB; of TIFFs with another number of channels all must have as many. The
    size is the wanted one; theirs if all agree; else the side of the square is the median over all images of the
    shorter side.

    Args:
        listing: which images.
        wanted: the form of the images.

    Raises:
        ValueError: no image can be read, or they have more pixels than memory.

    Warns:
        UserWarning: the notes of the listing; images that are left out, with the reasons; a bit depth that was found.
    """
    for note in listing.notes:
        warnings.warn(note, stacklevel=3)
    skipped = _Skipped(listing.title, dict(listing.unreadable))
    found = _with_pages(listing, wanted.reading, skipped)
    total = sum(map(len, found.values())) + len(skipped.reasons)
    form = _common_form([image for part in found.values() for image in part], wanted, skipped)
    parts: dict[PartOrAll, Labelled] = {part: _decode(images, form, skipped) for part, images in found.items()}
    if not any(len(part.labels) for part in parts.values()):
        if not total:
            raise ValueError(f"{listing.title}: it lists no images")
        name, why = next(iter(skipped.reasons.items()))
        raise ValueError(f"{listing.title}: none of the {total} images can be read; the first: {name}: {why}")
    skipped.warn(total)
    return LabelledParts(
        listing.name,
        listing.title,
        listing.classes,
        parts,
        tuple(sorted(skipped.reasons)),
        bit_depth=form.reading.bit_depth,
        fixed=listing.fixed,
        grouped_by=listing.grouped_by,
    )


def _with_pages(listing: Listing, reading: Reading, skipped: _Skipped) -> dict[PartOrAll, list[ListedImage]]:
    """Return the images of every part; where pages are images, one for each page of a file."""
    if reading.pages != "images":
        return {part: list(images) for part, images in listing.parts.items()}
    if listing.grouped_by is None and "all" in listing.parts:
        warnings.warn(
            f"{listing.title}: pages of one file may come into several parts; to keep a file together, make it a group "
            "(group_pattern='.+', --group-pattern .+)",
            stacklevel=4,
        )
    found: dict[PartOrAll, list[ListedImage]] = {part: [] for part in listing.parts}
    for part, images in listing.parts.items():
        for image in images:
            try:
                pages = count_images(image.path)
            except UnreadableImageError as error:
                skipped.reasons[image.origin.path] = error.reason
                continue
            if pages == 1 or image.origin.page is not None:
                found[part].append(image)
                continue
            origins = (Origin(image.origin.path, image.origin.group, page) for page in range(pages))
            found[part] += [ListedImage(image.path, image.target, origin) for origin in origins]
    return found


def _common_form(images: Sequence[ListedImage], wanted: Wanted, skipped: _Skipped) -> Form:
    """Decide shape, bit depth and dtype of all images from their headers."""
    headers: dict[str, ImageHeader] = {}
    for image in images:
        name = image.origin.name
        try:
            headers[name] = read_header(image.path, wanted.reading, page=image.origin.page)
        except UnreadableImageError as error:
            skipped.reasons[name] = error.reason
        except FileNotFoundError:
            skipped.reasons[name] = "is not there any more"
    channels = wanted.channels or _channels(list(headers.values()))
    for name, header in list(headers.items()):
        if header.channels != channels and not {header.channels, channels} <= {_GREY, _COLOUR}:
            skipped.reasons[name] = _other_channels(header.channels, channels)
            del headers[name]
    kept = list(headers.values())
    sizes = {(header.height, header.width) for header in kept}
    if wanted.size is not None:
        height, width = wanted.size
    elif len(sizes) == 1:
        height, width = sizes.pop()
    else:
        height = width = round(statistics.median(min(h.height, h.width) for h in kept)) if kept else 1
    shape = (channels, height, width)
    needed = len(kept) * channels * height * width * 4  # float32
    check_fits_memory(needed, f"{len(kept)} images of shape {shape}", "give a smaller image_size")
    bits = wanted.reading.bit_depth or _bit_depth(kept, skipped.title)
    return Form(shape, wanted.reading.with_bit_depth(bits), deep=any(header.deep for header in kept))


def _channels(headers: Sequence[ImageHeader]) -> int:
    """Return the number of channels that all images get: that of the most, but colour if any image has colours."""
    counted = Counter(header.channels for header in headers)
    if set(counted) <= {_GREY, _COLOUR}:
        return _COLOUR if _COLOUR in counted else _GREY
    return counted.most_common(1)[0][0]


def _other_channels(found: int, wanted: int) -> str:
    return (
        f"it has {found} channel{'' if found == 1 else 's'}, and {wanted} are wanted, as most images here have; save "
        f"it with {wanted}, or keep it in another folder"
    )


def _bit_depth(headers: Sequence[ImageHeader], title: str) -> int | None:
    maxima = [header.maximum for header in headers if header.maximum is not None]
    if not maxima:
        return None
    bits = bit_depth_of(max(maxima))
    if bits < 16:
        warnings.warn(
            f"{title}: the values of {len(maxima)} images of 16 bits a pixel reach {max(maxima)} and are read as "
            f"{bits} bits, 0 to {2**bits - 1}",
            stacklevel=5,
        )
    return bits


def _decode(images: Sequence[ListedImage], form: Form, skipped: _Skipped) -> Labelled:
    pixels = np.empty((len(images), *form.shape), np.float32 if form.deep else np.uint8)
    targets: list[Shaped[ndarray, ...]] = []
    origins: list[Origin] = []
    for image in images:
        name = image.origin.name
        if name in skipped.reasons:
            continue
        try:
            target = form.read_target(image)
            pixels[len(origins)] = form.read(image)
        except UnreadableImageError as error:
            skipped.reasons[name] = error.reason
        except FileNotFoundError:
            skipped.reasons[name] = "is not there any more"
        else:
            targets.append(target)
            origins.append(image.origin)
    return Labelled(torch.from_numpy(pixels[: len(origins)]), _stacked(targets), tuple(origins))


def _stacked(targets: Sequence[Shaped[ndarray, "..."]]) -> Tensor:
    return torch.from_numpy(np.stack(targets)) if targets else torch.zeros(0, dtype=torch.int64)
