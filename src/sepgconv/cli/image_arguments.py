"""The images that a command works on, as arguments: files, folders, patterns, names from a file or standard input."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sepgconv._terminal import say

if TYPE_CHECKING:
    from sepgconv.data.image_names import ImageNames

STANDARD_INPUT = "-"


def named_images(images: Sequence[Path] | None, names_from: Path | None) -> "ImageNames":
    """Return the images that are named on the command line and in a list; what is none is said on standard error.

    Args:
        images: files, folders and patterns; "-" stands for the names on standard input.
        names_from: a file of names, one on each line, which are no patterns; "-" is standard input.

    Raises:
        ValueError: nothing is named.
        OSError: the list cannot be read.
    """
    from sepgconv.data.image_names import find_images, split_names

    given = list(images or ())
    listed: list[str] = []
    if names_from is not None and str(names_from) != STANDARD_INPUT:
        listed += split_names(names_from.read_bytes())
    if STANDARD_INPUT in (str(names_from), *map(str, given)):
        listed += split_names(_standard_input())
    given = [image for image in given if str(image) != STANDARD_INPUT]
    if not given and not listed:
        where = f"{names_from} names no image" if names_from is not None else "no image is named"
        raise ValueError(
            f"{where}; give files, a folder, a pattern in quotes, --from FILE, or - for names on standard input"
        )
    found = find_images(given)
    from_list = find_images(listed, patterns=False)
    known = set(found.paths)
    found.paths += [path for path in from_list.paths if path not in known]
    found.left_out |= from_list.left_out
    found.passed_over.update(from_list.passed_over)
    for path, why in found.left_out.items():
        say(f"Left out: {path}: {why}")
    if found.passed_over:
        listed_endings = ", ".join(f"{number:,} x {ending}" for ending, number in sorted(found.passed_over.items()))
        say(f"Passed over in folders, because their endings are not those of images: {listed_endings}")
    return found


def _standard_input() -> bytes:
    stream = getattr(sys.stdin, "buffer", None)
    return stream.read() if stream is not None else sys.stdin.read().encode(errors="surrogateescape")
