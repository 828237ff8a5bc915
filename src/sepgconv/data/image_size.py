"""How images and their masks are brought to one size: both by the same rule."""

from typing import TYPE_CHECKING

from sepgconv.data.reading import Fit

if TYPE_CHECKING:
    from PIL.Image import Image


def bring_to_size(
    image: "Image", width: int, height: int, *, fit: Fit = "crop", nearest: bool = False, around: int = 0
) -> "Image":
    """Return an image of a size, as `read_image` says.

    Args:
        image: of any size.
        width: wanted.
        height: wanted.
        fit: how.
        nearest: take the nearest pixel, as masks need it, instead of a mean of several.
        around: the value around an image that is padded. Default: black.
    """
    from PIL import Image, ImageOps

    if image.size == (width, height):
        return image
    size, method = (width, height), Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    if fit == "resize":
        return image.resize(size, method)
    if fit == "pad":
        colour = around if len(image.getbands()) == 1 else (around,) * len(image.getbands())
        return ImageOps.pad(image, size, method, colour)
    return ImageOps.fit(image, size, method)
