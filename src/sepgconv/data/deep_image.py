"""Images of 16 bits a value, read in full; of 16-bit colours Pillow keeps only the high byte."""

import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

Levels = Shaped[ndarray, "..."]

_ORIENTATION = 0x0112  # EXIF tag
_BITS, _PLANES = 0x0102, 0x011C  # TIFF tags: bits of each value; 2: each colour in a plane of its own
# What Pillow's decoders unpack deep colours from: B, L and N say where the high byte is.
_COLOURS = re.compile(r"(RGBA|RGBX|RGBa|RGB|LA|CMYK);16([BLN])")
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


class DeepImageError(ValueError):
    """Values of more than 8 bits that cannot be scaled without guessing."""


def is_deep_grey(file: "ImageFile") -> bool:
    """Return whether an image that was just opened is grey with more than 8 bits a value."""
    return file.mode.startswith("I") or any(kind.startswith("LA;16") for kind in _raw_modes(file))


def deep_levels(file: "ImageFile") -> Levels | None:
    """Return all values of an image that was just opened, if it has more than 8 bits a value; else None.

    Returns:
        (height, width) or (height, width, colours), 0 to 65535.

    Raises:
        DeepImageError: values without a known range.
    """
    if file.mode == "F":
        raise DeepImageError("floating-point images have no defined range; save it with 8 or 16 bits")
    _check_layout_of_tiff(file)
    if file.mode.startswith("I"):
        levels = np.asarray(file)
        if levels.min() < 0:
            raise DeepImageError(f"it holds values below 0, down to {levels.min()}; save it with 8 or 16 bits")
        if levels.max() > 0xFFFF:
            raise DeepImageError(f"it has more than 16 bits a pixel, up to {levels.max()}; save it with 8 or 16 bits")
        return levels.astype(np.uint16)
    kinds = _raw_modes(file)
    if not any(map(_COLOURS.fullmatch, kinds)):
        return None
    if any(kind.startswith("RGBa") for kind in kinds):
        raise DeepImageError("16-bit colours are multiplied with their transparency; save it without")
    if kinds == ["LA;16B"]:  # grey and transparency, each of two bytes, unpacked as four single ones
        high_and_low = _reread(file, _four_bytes).astype(np.uint16)
        return 256 * high_and_low[..., 0] + high_and_low[..., 1]
    low = _reread(file, _other_byte).astype(np.uint16)
    return 256 * np.asarray(file).astype(np.uint16) + low


def from_levels(file: "ImageFile", levels: Levels, bits: int) -> "Image":
    """Return the image of 8 bits a value whose `levels` used so many bits, to be rotated as the file says."""
    from PIL import Image

    bytes_ = (levels >> (bits - 8)).astype(np.uint8)
    image = Image.fromarray(bytes_) if file.mode != "CMYK" else Image.frombytes("CMYK", file.size, bytes_.tobytes())
    image.getexif()[_ORIENTATION] = file.getexif().get(_ORIENTATION, 1)
    return image


def _raw_modes(file: "ImageFile") -> list[str]:
    """Return what the decoders of a file unpack from: the first argument of each of its tiles."""
    found = (tile.args if isinstance(tile.args, str) else next(iter(tile.args or ()), "") for tile in file.tile)
    return list(dict.fromkeys(map(str, found)))


def _other_byte(raw_mode: str) -> str:
    return raw_mode[:-1] + _OTHER_BYTE[raw_mode[-1]]


def _four_bytes(raw_mode: str) -> str:
    return "RGBA"


def _reread(file: "ImageFile", raw_mode: Callable[[str], str]) -> Levels:
    """Decode the file once more with another order of bytes."""
    from PIL import Image

    with Image.open(cast("Any", file).filename, formats=[str(file.format)]) as again:
        tiles: list[Any] = []
        for tile in again.tile:
            args: Any = tile.args
            changed = raw_mode(args) if isinstance(args, str) else (raw_mode(args[0]), *args[1:])
            tiles.append(tile._replace(args=changed))
        again.tile = tiles
        return np.asarray(again)


def _check_layout_of_tiff(file: "ImageFile") -> None:
    """Raise if a file is one of the TIFFs that Pillow reads wrongly."""
    tags: Any = getattr(file, "tag_v2", {})
    if tags.get(_ORIENTATION, 1) >= 5 and any(tile.codec_name == "raw" for tile in file.tile):
        # Pillow 13 takes the height of the stored rows for their length.
        raise DeepImageError("not compressed, and rotated by its orientation tag; save it upright")
    if tags.get(_PLANES) == 2 and 16 in np.atleast_1d(tags.get(_BITS, 8)) and file.mode != "I;16":
        raise DeepImageError("16-bit colours lie in planes of their own; save it with the colours of a pixel together")
    if any(tile.codec_name == "libtiff" for tile in file.tile) and "I;16BS" in _raw_modes(file):
        raise DeepImageError("signed 16-bit, big-endian and compressed; save it without compression")
