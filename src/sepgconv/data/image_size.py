"""How images and their masks are brought to one size: both by the same rule."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def bring_to_size(image: "Image", width: int, height: int, *, nearest: bool = False) -> "Image":
    """Return an image of a size: scaled and cut in the centre, so that it fills the frame without being distorted.

    Args:
        image: of any size.
        width: wanted.
        height: wanted.
        nearest: take the nearest pixel, as masks need it, instead of a mean of several.
    """
    from PIL import Image, ImageOps

    if image.size == (width, height):
        return image
    return ImageOps.fit(image, (width, height), Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR)
