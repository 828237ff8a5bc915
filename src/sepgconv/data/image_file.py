"""Reading image files: size and colour from the header, pixels of a wanted shape.

Pillow reads them; `sepgconv.data.tiff_file` the TIFFs that Pillow does not read.
"""

import contextlib
import re
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Integer, Shaped, UInt8
from numpy import ndarray
from torch import Tensor

from sepgconv._messages import require
from sepgconv.data.bit_depth import DARK, too_bright
from sepgconv.data.deep_image import DeepImageError, deep_levels, from_levels, is_deep_grey
from sepgconv.data.image_size import bring_to_size
from sepgconv.data.reading import Pages, Range, Reading, check_fit
from sepgconv.data.regular_file import reason, why_unreadable
from sepgconv.data.tiff_file import Tiff, is_tiff
from sepgconv.data.unreadable import UnreadableImageError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp",
    ".pgm", ".ppm", ".pbm", ".pnm",
)  # fmt: skip
# The formats that are read, for any file ending; others of Pillow's formats start programs (EPS) or fetch
# other files.
_FORMATS = ("PNG", "JPEG", "MPO", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
_GREY_MODES = ("1", "L", "LA")
_WIDTH, _HEIGHT = 0x0100, 0x0101  # TIFF tags, as stored
_ORIENTATION = 0x0112  # EXIF tag; values 5 to 8 rotate the image by 90 degrees


@dataclass(frozen=True)
class ImageHeader:
    """What is known of an image before its pixels are wanted.

    Attributes:
        height: as shown.
        width: as shown.
        grey: whether it has no colours.
        maximum: the largest value of an image of 16 bits a value; None: of all others.
        deep: whether its values need more than 8 bits. Those of 16 bits that Pillow reads become 8 bits.
        several: its number of channels where that is neither 1 (grey) nor 3 (RGB); else 0.
        orientation: the EXIF tag by which it is rotated when it is shown; 1: not at all.
    """

    height: int
    width: int
    grey: bool
    maximum: int | None = None
    deep: bool = False
    several: int = 0
    orientation: int = 1

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.several or (1 if self.grey else 3)


def read_image(
    path: str | Path,
    image_shape: tuple[int, int, int],
    *,
    bit_depth: int | None = None,
    pages: Pages | None = None,
    page: int | None = None,
    value_range: Range | None = None,
    fit: str = "crop",
) -> Tensor:
    """Read an image as a network wants it: float32 in [0, 1], (channels, height, width).

    It is rotated as its EXIF orientation says, made grey or RGB, and, where its size differs, brought to the wanted one
    (`fit`). Transparency is ignored. Of a file of 16 bits a pixel that Pillow reads, the 8 highest of `bit_depth` bits
    are used.

    A TIFF that Pillow does not read, with floats, several pages or other numbers of channels, is read with tifffile in
    full precision.

    Args:
        path: the file.
        image_shape: wanted (channels, height, width); 1 channel means grey, 3 mean RGB, others are those of a TIFF that
            has as many.
        bit_depth: bits that files of 16 bits a pixel use, of the data set or run that the image belongs to
            (`Dataset.bit_depth`, `Run.bit_depth`): 8, 10, 12, 14 or 16. Default: 16.
        pages: whether the pages of a TIFF are the "channels" of one image or "images" of their own. Default: a file of
            several pages is not read, unless it says that they are channels, as OME-TIFFs do.
        page: which of a TIFF's images, counted from 0, where its pages are images. Default: the only one.
        value_range: values that become 0 and 1, of TIFFs that hold floats or signed or 32-bit numbers; values beyond
            them are cut off. Default: only floats from 0 to 1 are read.
        fit: how an image of another size is brought to the wanted one, bilinearly with antialiasing. "crop": scaled so
            that it fills the frame, and cut in the centre. "resize": stretched, each side by itself. "pad": scaled so
            that it lies within the frame, in the centre, with black around. Default: "crop".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a readable image, has several pages or frames, values beyond `bit_depth`, or another
            number of channels.
        ImportError: it is a TIFF for tifffile, and the extra "train" is missing.

    Warns:
        UserWarning: no `bit_depth` is given, and an image of 16 bits is so dark that it may have fewer; or the image
            is larger than 89 million pixels.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (40, 30), "white").save(f"{folder}/white.png")
        ...     image = read_image(f"{folder}/white.png", (1, 28, 28))
        >>> image.shape, float(image.min())
        (torch.Size([1, 28, 28]), 1.0)
    """
    reading = Reading(bit_depth=bit_depth, pages=pages, value_range=value_range, fit=check_fit(fit))
    pixels = torch.from_numpy(read_pixels(Path(path), image_shape, reading, page=page))
    return pixels if pixels.is_floating_point() else pixels.float() / 255


def read_pixels(
    path: Path, image_shape: tuple[int, int, int], reading: Reading, *, page: int | None = None
) -> Shaped[ndarray, "c h w"]:
    """Read an image as `read_image` does: as bytes 0..255, or as float32 in [0, 1] where they need more than 8 bits.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read so.
    """
    channels = image_shape[0]
    if page is None and channels in (1, 3):
        try:
            return _read_with_pillow(path, image_shape, reading)
        except UnreadableImageError as error:
            if not is_tiff(path):
                raise
            return Tiff(path, reading, page, error).pixels(image_shape)
    if not is_tiff(path):
        with _opened(path):  # what is wrong with the file itself is said first
            raise UnreadableImageError(
                path, f"it can be read as 1 channel (grey) or 3 (RGB), not as {channels}, which only TIFFs can have"
            )
    return Tiff(path, reading, page).pixels(image_shape)


def _read_with_pillow(path: Path, image_shape: tuple[int, int, int], reading: Reading) -> UInt8[ndarray, "c h w"]:
    channels, height, width = image_shape
    with _opened(path) as file:
        from PIL import ImageOps

        upright = ImageOps.exif_transpose(_eight_bit(file, path, reading.bit_depth))
        image = bring_to_size(upright.convert("L" if channels == 1 else "RGB"), width, height, fit=reading.fit)
        pixels = np.asarray(image, np.uint8).reshape(height, width, channels)
    return pixels.transpose(2, 0, 1).copy()  # Pillow's memory is read-only


def read_header(path: Path, reading: Reading | None = None, *, page: int | None = None) -> ImageHeader:
    """Read size and colour of an image; only one of more than 8 bits, or of a palette with colours, is decoded.

    Args:
        path: the file.
        reading: how it is read. Default: as Pillow does.
        page: which image of a TIFF of several images. Default: the only one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not an image, or has several pages or frames.
    """
    reading = Reading() if reading is None else reading
    if page is None:
        try:
            return _header_with_pillow(path)
        except UnreadableImageError as error:
            if not is_tiff(path):
                raise
            tiff = Tiff(path, reading, page, error)
    else:
        tiff = Tiff(path, reading, page)
    channels, height, width = tiff.shape
    several = 0 if channels in (1, 3) else channels
    return ImageHeader(height, width, channels == 1, tiff.maximum(), tiff.deep, several)


def _header_with_pillow(path: Path) -> ImageHeader:
    with _opened(path) as file:
        # In this order: the EXIF of a PNG is found by decoding it, after which nothing says how deep it was.
        grey = file.mode in _GREY_MODES or is_deep_grey(file) or (file.mode == "P" and _is_grey(file))
        levels = deep_levels(file)
        maximum = None if levels is None else int(levels.max())
        tags: Any = getattr(file, "tag_v2", {})
        # Pillow gives the size of a TIFF as it is shown, that of other files as it is stored.
        width, height = tags.get(_WIDTH, file.size[0]), tags.get(_HEIGHT, file.size[1])
        orientation = int(file.getexif().get(_ORIENTATION, 1))
        if orientation >= 5:
            width, height = height, width
        return ImageHeader(height, width, grey, maximum, orientation=orientation)


def read_integers(path: Path) -> Integer[ndarray, "h w ..."]:
    """Read the values of an image as they are stored, unscaled; of a palette, the numbers of its colours.

    Returns:
        (height, width) or (height, width, samples).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not an image of whole numbers, or has several pages or frames.
    """
    with _opened(path) as file:
        from PIL import ImageOps

        levels = deep_levels(file)
        if levels is not None:
            if file.getexif().get(_ORIENTATION, 1) != 1:
                raise UnreadableImageError(path, "it is rotated by its EXIF tag, and has 16 bits; save it upright")
            return levels
        return np.asarray(ImageOps.exif_transpose(file)).astype(np.uint8)  # of "1", True becomes 1


@contextlib.contextmanager
def _opened(path: Path) -> Generator["ImageFile", None, None]:
    """Open an image file of one page; every error inside becomes one that names the file."""
    require("PIL", extra="train", purpose="reading images")
    from PIL import Image, UnidentifiedImageError

    if why := why_unreadable(path):
        if why == "is not there":
            raise FileNotFoundError(f"there is no image {path}")
        raise UnreadableImageError(path, why)
    Image.init()
    known = [name for name in _FORMATS if name in Image.OPEN]
    try:
        with warnings.catch_warnings():
            # Ours comes below, with the file's name.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # Pillow finds fault with metadata that are not used here (EXIF of cameras, rare TIFF tags).
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with Image.open(path, formats=known) as file:
                _check_one_page(file, path)
                _warn_if_large(file, path)
                yield file
    except UnreadableImageError:
        raise
    except DeepImageError as error:
        raise UnreadableImageError(path, str(error)) from None
    except UnidentifiedImageError:
        what = "an empty file" if path.stat().st_size == 0 else "not an image of a known format, or damaged"
        raise UnreadableImageError(path, what) from None
    except Image.DecompressionBombError as error:
        pixels, limit = re.findall(r"\d+", str(error))[:2]
        sizes = f"{_millions(int(pixels))} pixels; at most {_millions(int(limit))} are read at once"
        raise UnreadableImageError(path, f"it has {sizes}, make it smaller") from None
    except MemoryError as error:
        raise UnreadableImageError(path, "it does not fit into memory") from error
    except OSError as error:
        raise UnreadableImageError(path, reason(error)) from error
    except Exception as error:  # a decoder can fail on a broken file with nearly any exception
        raise UnreadableImageError(path, f"damaged ({str(error) or type(error).__name__})") from error


def _check_one_page(file: "ImageFile", path: Path) -> None:
    # MPO is the JPEG of many cameras: its first image is the photograph, the others are previews or depth.
    pages = 1 if file.format == "MPO" else int(getattr(file, "n_frames", 1))
    if pages > 1:
        what = "pages" if file.format == "TIFF" else "frames"
        raise UnreadableImageError(path, f"it has {pages} {what}; save each as a file of its own")


def _warn_if_large(file: "ImageFile", path: Path) -> None:
    from PIL import Image

    pixels = file.width * file.height
    if Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS:
        memory = f"{pixels * len(file.getbands()) / 2**30:.1f} GiB of memory"
        warnings.warn(f"{path} has {_millions(pixels)} pixels; reading it takes {memory}", stacklevel=2)


def _millions(number: int) -> str:
    return f"{number / 1e6:.0f} million"


def _is_grey(image: "Image") -> bool:
    """Return whether all colours of a palette that the pixels use are grey."""
    colours = image.getpalette() or []
    used = image.getcolors(256) or []
    return all(len(set(colours[3 * int(index) : 3 * int(index) + 3])) <= 1 for _, index in cast("Any", used))


def _eight_bit(file: "ImageFile", path: Path, bit_depth: int | None) -> "Image":
    """Return an image of 8 bits a value, deep ones scaled by their range, which Pillow's own conversion would clip."""
    if file.mode == "P" and "transparency" in file.info:
        return file.convert("RGBA")  # Pillow warns when such an image becomes RGB in one step
    levels = deep_levels(file)
    if levels is None:
        return file
    maximum, bits = int(levels.max()), bit_depth or 16
    if maximum >= 2**bits:
        raise UnreadableImageError(path, too_bright(maximum, bits))
    if bit_depth is None and 0 < maximum < DARK * 2**16:
        warnings.warn(
            f"{path} has 16 bits a pixel, but values only up to {maximum}; it is read as 0 to 65535 and is nearly "
            "black, because no bit depth is known for it",
            stacklevel=2,
        )
    return from_levels(file, levels, bits)
