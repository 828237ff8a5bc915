"""Reading: how the values in an image file become numbers from 0 to 1, where the file alone does not say."""

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, cast, get_args

from sepgconv._messages import one_of
from sepgconv.data.bit_depth import check_bit_depth

Pages: TypeAlias = Literal["channels", "images"]
# How an image of another size is brought to the wanted one: scaled and cut in the centre; stretched; scaled to lie
# within it, with black around.
Fit: TypeAlias = Literal["crop", "resize", "pad"]
FITS: tuple[Fit, ...] = get_args(Fit)
Range: TypeAlias = tuple[int | float, int | float]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How image files are read.

    Attributes:
        bit_depth: bits that files of 16 bits a value use: 8, 10, 12, 14 or 16. None: 16, or as a data set finds out.
        pages: whether the pages of a TIFF are the channels of one image or images of their own. None: a file of
            several pages is not read, unless it says itself that they are channels.
        value_range: the values that become 0 and 1, of TIFFs that hold floats or signed or 32-bit numbers; values
            beyond them are cut off. None: only floats from 0 to 1 are read.
        fit: how an image of another size is brought to the wanted one, see `read_image`.

    Raises:
        ValueError: another number of bits, word for the pages or the fit, or a range that is none.

    Example:
        >>> Reading(pages="channels").bit_depth is None
        True
    """

    bit_depth: int | None = None
    pages: Pages | None = None
    value_range: Range | None = None
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        one_of("fit", self.fit, FITS)
        if self.bit_depth is not None:
            check_bit_depth(self.bit_depth)
        if self.pages not in (None, "channels", "images"):
            raise ValueError(f"pages must be 'channels' or 'images', got {self.pages!r}")
        if self.value_range is not None:
            low, high = self.value_range
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(f"value_range must be two numbers, the smaller one first, got {low:g} and {high:g}")

    def with_bit_depth(self, bits: int | None) -> "Reading":
        """Return the same with another bit depth."""
        return replace(self, bit_depth=bits)


def check_fit(fit: str) -> Fit:
    """Return how images are brought to a size, if it is one of the ways.

    Raises:
        ValueError: it is none of them.
    """
    return cast(Fit, one_of("fit", fit, FITS))
