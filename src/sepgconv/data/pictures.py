"""Reading picture files with Pillow: size and colour from the header, pixels of a wanted shape."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor

from sepgconv._messages import require

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm")
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")
_ORIENTATION = 0x0112  # EXIF tag; values 5 to 8 turn the picture by 90 degrees


@dataclass(frozen=True)
class PictureHeader:
    """What is known of a picture before its pixels are read: size as shown, and whether it is grey."""

    height: int
    width: int
    grey: bool


def read_image(path: str | Path, image_shape: tuple[int, int, int]) -> Tensor:
    """Read a picture as a network wants it: float32 in [0, 1], (channels, height, width).

    It is turned as its EXIF orientation says, made grey or RGB, and, where its size differs, scaled and cut in the
    centre so that it fills the frame without being distorted. Transparency is ignored.

    Args:
        path: the file.
        image_shape: wanted (channels, height, width); 1 channel means grey, 3 mean RGB.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a readable picture, or the number of channels is neither 1 nor 3.
    """
    return torch.from_numpy(read_pixels(Path(path), image_shape)).float() / 255


def read_pixels(path: Path, image_shape: tuple[int, int, int]) -> UInt8[ndarray, "c h w"]:
    """Read a picture as `read_image` does, as bytes 0..255."""
    channels, height, width = image_shape
    if channels not in (1, 3):
        raise ValueError(f"pictures can be read as 1 channel (grey) or 3 (RGB), not as {channels}")
    _require_pillow()
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            picture = _eight_bit(ImageOps.exif_transpose(file)).convert("L" if channels == 1 else "RGB")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no picture {path}") from None
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read the picture {path} ({error})") from error
    if picture.size != (width, height):
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, np.uint8).reshape(height, width, channels)
    return pixels.transpose(2, 0, 1).copy()  # Pillow's memory is read-only


def read_header(path: Path) -> PictureHeader:
    """Read size and colour of a picture without decoding it.

    Raises:
        ValueError: it is not a picture.
    """
    _require_pillow()
    from PIL import Image

    try:
        with Image.open(path) as file:
            width, height = file.size
            if file.getexif().get(_ORIENTATION, 1) >= 5:
                width, height = height, width
            return PictureHeader(height, width, file.mode in _GREY_MODES)
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read the picture {path} ({error})") from error


def _require_pillow() -> None:
    require("PIL", extra="train", purpose="reading pictures")


def _eight_bit(picture: "Image") -> "Image":
    """Scale 16-bit grey to 8 bits, which Pillow's own conversion would clip instead; refuse what has no known range."""
    if picture.mode == "P" and "transparency" in picture.info:
        return picture.convert("RGBA")  # Pillow warns when such a picture becomes RGB in one step
    if picture.mode == "F":
        raise ValueError("floating-point pictures have no defined range; save it with 8 or 16 bits")
    if not picture.mode.startswith("I"):
        return picture
    from PIL import Image

    levels = np.asarray(picture)
    if levels.min() < 0 or levels.max() > 0xFFFF:
        raise ValueError("more than 16 bits a pixel; save it with 8 or 16 bits")
    return Image.fromarray((levels >> 8).astype(np.uint8))
