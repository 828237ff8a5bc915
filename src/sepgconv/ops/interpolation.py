"""Images moved between the pixels of their grid: a windowed sinc, which keeps what is band-limited.

The moved image is `sum_u k(M^-1 v - u) f(u)` at every pixel v, where k is the product of a sinc along each axis and of
a Kaiser window (Kaiser & Schafer, IEEE Trans. ASSP 28, 1980). It is a matrix product for each tile of the image, whose
pixels read a small part of it; so it is differentiable, and runs wherever matrix products do.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from sepgconv.symmetry.finite import Matrix

RADIUS = 8  # pixels; the window is 0 beyond it
# Of the window; the error on waves |w| < 0.75 pi is smallest between 6 and 7 (tests/functional/test_interpolation.py).
SHAPE = 6.5
TILE = 16  # pixels along a side: small tiles read little that they do not use, large ones are few


def interpolate(x: Tensor, matrix: Matrix) -> Tensor:
    """Move images by an orthogonal matrix about their middle, `out(v) = x(M^-1 v)`; they keep their size.

    Args:
        x: (..., height, width), real or complex. Half precision is computed in single.
        matrix: by which a pixel (y, x) moves, y pointing down.

    Example:
        >>> interpolate(torch.ones(1, 1, 40, 40), ((0.6, -0.8), (0.8, 0.6)))[0, 0, 20, 20:22]
        tensor([1.0000, 1.0000])
    """
    height, width = x.shape[-2:]
    if x.numel() == 0 or height == width == 1:
        return x.clone()  # one pixel stays where it is
    halves = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.complex32: torch.complex64}
    image = x.to(halves.get(x.dtype, x.dtype))
    rows: list[Tensor] = []
    for across in _tiles(height):
        tiles = [_tile(image, matrix, across, along) for along in _tiles(width)]
        rows.append(torch.cat(tiles, -1))
    return torch.cat(rows, -2).to(x.dtype)


def _tiles(side: int) -> Iterator[range]:
    return (range(start, min(start + TILE, side)) for start in range(0, side, TILE))


def _tile(image: Tensor, matrix: Matrix, across: range, along: range) -> Tensor:
    """Return some rows and columns of the moved image."""
    sides = tuple(image.shape[-2:])
    pixels = [
        torch.arange(part.start, part.stop, dtype=torch.float64) - (side - 1) / 2
        for part, side in zip((across, along), sides, strict=True)
    ]
    y, x = (axis.flatten() for axis in torch.meshgrid(*pixels, indexing="ij"))
    # The inverse is the transpose. Points are in pixels from the first one, along y and x.
    points = [matrix[0][i] * y + matrix[1][i] * x + (sides[i] - 1) / 2 for i in (0, 1)]
    read = [_reach(axis, side) for axis, side in zip(points, sides, strict=True)]
    by_y, by_x = (_weights(axis, part) for axis, part in zip(points, read, strict=True))
    weights = (by_y[:, :, None] * by_x[:, None, :]).flatten(1)  # (pixels of the tile, pixels that it reads)
    source = image[..., read[0].start : read[0].stop, read[1].start : read[1].stop].flatten(-2)
    return (source @ weights.T.to(source)).unflatten(-1, (len(across), len(along)))


def _reach(points: Tensor, side: int) -> range:
    """Return the pixels along an axis that the window around some points reaches."""
    first, last = math.ceil(float(points.min()) - RADIUS), math.floor(float(points.max()) + RADIUS)
    start = min(max(first, 0), side)
    return range(start, max(start, min(last, side - 1) + 1))


def _weights(points: Tensor, pixels: range) -> Tensor:
    """Return the weight of each pixel along an axis for the value at each point, (points, pixels)."""
    whole = torch.arange(1 - RADIUS, RADIUS + 1, dtype=torch.float64)
    taps = windowed_sinc((points - points.floor())[:, None] - whole)
    # Divided by the sum of all, whether they lie within the image or not: what is constant stays as it is.
    found = windowed_sinc(points[:, None] - torch.arange(pixels.start, pixels.stop, dtype=torch.float64))
    return found / taps.sum(1, keepdim=True)


def windowed_sinc(distance: Tensor) -> Tensor:
    """Return k along one axis, at distances in pixels: 1 at 0, 0 at all other whole numbers and beyond the window.

    Example:
        >>> windowed_sinc(torch.tensor([0.0, 0.5, 1.0, 9.5]))
        tensor([1.0000, 0.6301, 0.0000, 0.0000])
    """
    within = (1 - (distance / RADIUS) ** 2).clamp_min(0)
    window = torch.special.i0(SHAPE * within.sqrt()) / torch.special.i0(distance.new_tensor(SHAPE))
    return torch.where(within > 0, torch.sinc(distance) * window, 0)
