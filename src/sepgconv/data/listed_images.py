"""The images of a listing, read: brought to one form, with a warning of those that cannot be read."""

import warnings
from dataclasses import dataclass

from sepgconv.data.column import take
from sepgconv.data.decoding import decode
from sepgconv.data.image_files import Wanted
from sepgconv.data.labelled import Labelled, LabelledParts
from sepgconv.data.listing import ListedImage, Listing
from sepgconv.data.origin import Origin
from sepgconv.data.part_names import PartOrAll
from sepgconv.data.reading import Reading
from sepgconv.data.tiff_file import count_images
from sepgconv.data.unreadable import UnreadableImageError

_NAMED_AT_MOST = 5  # skipped files that the warning lists


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
    """Read all images of a listing, in memory or on the disk, as `decode` does.

    Args:
        listing: which images.
        wanted: the form of the images, and where they are kept.

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
    images = [image for part in found.values() for image in part]
    decoded = decode(images, wanted, listing.title)
    for note in decoded.notes if wanted.reading.bit_depth is None else ():
        warnings.warn(f"{listing.title}: {note}", stacklevel=3)
    skipped.reasons |= {images[number].origin.name: why for number, why in decoded.unreadable.items()}
    parts: dict[PartOrAll, Labelled] = {}
    listed = kept = 0
    for part, those in found.items():
        numbers = range(listed, listed + len(those))
        origins = tuple(images[number].origin for number in numbers if number not in decoded.unreadable)
        own = slice(kept, kept + len(origins))
        parts[part] = Labelled(take(decoded.images, own), take(decoded.targets, own), origins)
        listed, kept = listed + len(those), kept + len(origins)
    if not kept:
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
        bit_depth=decoded.form.reading.bit_depth,
        fixed=listing.fixed,
        grouped_by=listing.grouped_by,
        fit=decoded.form.reading.fit,
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
