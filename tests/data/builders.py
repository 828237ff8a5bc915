"""Builders of small image folders and of image files that Pillow does not write."""

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy import ndarray
from PIL import Image


def images(folder: Path, count: int = 6, *, suffix: str = ".png", brightest: int = 255) -> Path:
    """Write grey noise of 8x8, other in every folder."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(zlib.crc32(str(folder).encode()))
    for number in range(count):
        pixels = generator.integers(0, brightest + 1, (8, 8)).astype(np.uint8)
        pixels[0, 0] = brightest
        Image.fromarray(pixels).save(folder / f"{number}{suffix}")
    return folder


def folders(root: Path, *names: str) -> Path:
    """Write six images into each of the folders."""
    for name in names:
        images(root / name)
    return root


def deep_images(folder: Path, bits: int, count: int = 6) -> Path:
    """Write 16-bit grey TIFFs whose values use so many bits, the largest of them too."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng([bits, zlib.crc32(str(folder).encode())])
    for number in range(count):
        levels = generator.integers(0, 2**bits, (8, 8)).astype(np.uint16)
        levels[0, 0] = 2**bits - 1
        Image.fromarray(levels).save(folder / f"{number}.tif")
    return folder


def write_png16(path: Path, values: ndarray) -> None:
    """Write 16-bit grey (h, w), grey and transparency (h, w, 2), RGB (h, w, 3) or RGBA (h, w, 4)."""
    height, width = values.shape[:2]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[1 if values.ndim == 2 else values.shape[2]]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    end = chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + end)


def write_tiff(path: Path, values: ndarray, *, order: str = "<", planes: bool = False, packed: bool = False) -> None:
    """Write a TIFF of any integer type: (h, w) or (h, w, 3); little- or big-endian, colours apart, deflated."""
    height, width = values.shape[:2]
    colours = 1 if values.ndim == 2 else values.shape[2]
    stored = values.astype(values.dtype.newbyteorder(order))
    strips = [np.ascontiguousarray(stored[..., c]) for c in range(colours)] if planes else [stored]
    content = [zlib.compress(strip.tobytes()) if packed else strip.tobytes() for strip in strips]
    starts = np.cumsum([8, *map(len, content)]).tolist()
    body, tail = b"".join(content), b""
    bits, sign = [8 * values.dtype.itemsize] * colours, [2 if values.dtype.kind == "i" else 1] * colours
    entries = {256: [width], 257: [height], 258: bits, 259: [8 if packed else 1], 262: [1 if colours == 1 else 2]}
    entries |= {273: starts[:-1], 277: [colours], 278: [height], 279: list(map(len, content))}
    entries |= {284: [2 if planes else 1], 339: sign}
    table = b""
    for tag, numbers in sorted(entries.items()):
        packed_numbers = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            place = 8 + len(body) + len(tail)
            tail += packed_numbers
            packed_numbers = struct.pack(f"{order}I", place)
        table += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + packed_numbers
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(body) + len(tail))
    ifd = struct.pack(f"{order}H", len(entries)) + table + struct.pack(f"{order}I", 0)
    path.write_bytes(head + body + tail + ifd)
