"""What makes a test look better than it is: one image, or one group, in several parts of a data set."""

import hashlib
import warnings
from collections.abc import Mapping
from typing import TypeAlias

from jaxtyping import Shaped
from torch import Tensor

from sepgconv._numbers import plural
from sepgconv.data.column import Column, chunks
from sepgconv.data.division import Division
from sepgconv.data.origin import Origin
from sepgconv.data.part_names import Part

_NAMED_AT_MOST = 3
_BLANK = 1 / 512  # of white: half a step of 8 bits, which scaling may leave in an image of one colour


# The images of a part, and where they are from; () where that is not known.
Images: TypeAlias = tuple[Shaped[Tensor, "n c h w"] | Column, tuple[Origin, ...]]


def warn_of_leaks(parts: Mapping[Part, Images], division: Division | None, title: str) -> None:
    """Warn of images that are the same, bit for bit, in two parts, and of groups of which two parts have images.

    Args:
        parts: the images of every part.
        division: of the same parts; None where it is not known.
        title: what the warning calls the data set.

    Warns:
        UserWarning: what was found, and what to do.
    """
    if repeated := repeated_images(parts):
        listed = "; ".join(f"{first} and {second}" for first, second in repeated[:_NAMED_AT_MOST])
        more = "; ..." if len(repeated) > _NAMED_AT_MOST else ""
        warnings.warn(
            f"{title}: {plural(len(repeated), 'image is', 'images are')} in two parts: {listed}{more}; "
            "what is judged by them looks better than it is, so keep each only once",
            stacklevel=4,
        )
    if division is not None and (broken := division.groups_in_several_parts()):
        listed = ", ".join(f"{group} ({' and '.join(where)})" for group, where in list(broken.items())[:_NAMED_AT_MOST])
        more = " and others" if len(broken) > _NAMED_AT_MOST else ""
        warnings.warn(
            f"{title}: {plural(len(broken), 'group')} of {division.grouped_by} in more than one part: {listed}{more}; "
            "leave out the column of the split to have it cut by group",
            stacklevel=4,
        )


def repeated_images(parts: Mapping[Part, Images]) -> list[tuple[str, str]]:
    """Return the images that a later part has, too, each with its twin in an earlier one: equal in every bit.

    Images of a single colour are passed over: many are blank.

    Args:
        parts: the images of every part.
    """
    seen: dict[bytes, tuple[Part, str]] = {}
    found: list[tuple[str, str]] = []
    for part, (images, origins) in parts.items():
        for index, image in enumerate(image for batch in chunks(images) for image in batch):
            if float((image.amax((1, 2)).float() - image.amin((1, 2)).float()).max()) < _BLANK:
                continue
            digest = hashlib.blake2b(image.contiguous().numpy().data, digest_size=16).digest()
            name = origins[index].name if origins else f"image {index + 1}"
            other, first = seen.setdefault(digest, (part, name))
            if other != part:
                found.append((f"{first} ({other})", f"{name} ({part})"))
    return found
