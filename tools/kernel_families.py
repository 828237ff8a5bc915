"""Families of planar kernels that can be rotated, those of other libraries and ours, from their formulas.

A family gives its filters rotated by any angle. Coordinates are x to the right and y upwards, from the middle of the
kernel; a rotation by t, counter-clockwise, gives `K_t(v) = K(v rotated by -t)`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import hermite_e
from numpy.typing import NDArray
from scipy import ndimage

from sepgconv.symmetry.circular_filters import CircularFilters, optimal_filters, ring_filters

Array = NDArray[np.float64]
Rotated = Callable[[float], Array]  # an angle in radians -> filters (n, k, k)


@dataclass(frozen=True)
class Family:
    """Kernels of one side.

    Attributes:
        name: what the table calls it.
        side: in pixels.
        rotated: the filters after a rotation.
    """

    name: str
    side: int
    rotated: Rotated


def rotation_matrix(angle: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the matrix by which a rotation moves a pixel (y, x), y pointing down."""
    cos, sin = math.cos(angle), math.sin(angle)
    return ((cos, -sin), (sin, cos))


def _grid(side: int, angle: float = 0.0) -> tuple[Array, Array]:
    """Return x and y of the pixels rotated back by an angle."""
    along = np.arange(side, dtype=np.float64) - (side - 1) / 2
    x, y = along[None] + 0 * along[:, None], -along[:, None] + 0 * along[None]
    return math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x


def circular(filters: CircularFilters) -> Rotated:
    """Return the filters of one angular frequency each, ours or e2cnn's."""
    side = filters.filters.shape[-1]

    def rotated(angle: float) -> Array:
        return filters.expansion(rotation_matrix(angle)).T.reshape(-1, side, side)

    return rotated


def interpolated(side: int, order: int, *, disc: bool = False) -> Rotated:
    """Return free pixels, rotated by splines of an order: 1 is bilinear, 3 cubic.

    Args:
        side: in pixels.
        order: of the splines.
        disc: whether the pixels are those in the disc of radius side / 2 alone, before and after.
    """
    x, y = _grid(side)
    inside = np.hypot(x, y) <= side / 2 if disc else np.ones((side, side), dtype=bool)
    far = 6  # pixels of zeros around, which a spline sees

    def rotated(angle: float) -> Array:
        x, y = _grid(side, angle)
        middle = (side - 1) / 2 + far
        found: list[Array] = []
        for row, column in np.argwhere(inside):
            pixel = np.zeros((side, side))
            pixel[row, column] = 1
            found.append(ndimage.map_coordinates(np.pad(pixel, far), [middle - y, middle + x], order=order) * inside)
        return np.stack(found)

    return rotated


def rings_with_aliases(side: int) -> Rotated:
    """Return e2cnn's rings with the cut-off of 3 r, which examples of its authors use instead of the default."""
    x, y = _grid(side)
    radius, direction = np.hypot(x, y), np.arctan2(y, x)
    last = side // 2

    def rotated(angle: float) -> Array:
        found: list[Array] = []
        for ring in range(last + 1):
            width = 0.005 if ring == 0 else 0.4 if ring == last else 0.6
            profile = np.exp(-0.5 * ((radius - ring) / width) ** 2)
            found.append(profile / np.linalg.norm(profile))
            profile = profile * (radius > 0)
            for m in range(1, 3 * ring + 1):
                for wave in (np.cos, np.sin):
                    norm = np.linalg.norm(profile * wave(m * direction))
                    if norm > 1e-6 * np.linalg.norm(profile):
                        found.append(profile * wave(m * (direction - angle)) / np.linalg.norm(profile) * math.sqrt(2))
        return np.stack(found)

    return rotated


# Central differences of orders 0 to 4, along x; d^3 and d^4 need five pixels.
_DIFFERENCES = {
    3: ([0, 1, 0], [-0.5, 0, 0.5], [1, -2, 1]),
    5: ([0, 0, 1, 0, 0], [0, -0.5, 0, 0.5, 0], [0, 1, -2, 1, 0], [-0.5, 1, 0, -1, 0.5], [1, -4, 6, -4, 1]),
}


def differential(side: int, width: float | None = None) -> Rotated:
    """Return polynomials in d/dx and d/dy up to degree 2 on 3 x 3 pixels and 4 on 5 x 5, as in PDO-eConvs.

    Args:
        side: 3 or 5.
        width: of the Gaussian whose derivatives they are (Jenner & Weiler, arXiv:2106.10163); None for central
            differences (Shen et al., arXiv:2007.10408).
    """
    degree = side - 1
    x, y = _grid(side)

    def derivative(order: int, along: Array) -> Array:
        assert width is not None
        polynomial = hermite_e.hermeval(along / width, [0.0] * order + [1.0])
        return (-1) ** order * polynomial / width**order * np.exp(-(along**2) / (2 * width**2))

    def kernel(i: int, j: int) -> Array:
        if width is not None:
            return (-1) ** (i + j) * derivative(i, x) * derivative(j, y)  # a correlation, so reflected
        rows, columns = _DIFFERENCES[side][j], _DIFFERENCES[side][i]
        return np.outer(rows[::-1], columns)

    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    kernels = {power: kernel(*power) for power in powers}

    def rotated(angle: float) -> Array:
        cos, sin = math.cos(angle), math.sin(angle)
        found: list[Array] = []
        for i, j in powers:  # (cos d/dx + sin d/dy)^i (cos d/dy - sin d/dx)^j
            total = np.zeros((side, side))
            for a in range(i + 1):
                for b in range(j + 1):
                    factor = math.comb(i, a) * cos ** (i - a) * sin**a * math.comb(j, b) * cos ** (j - b) * (-sin) ** b
                    total += factor * kernels[i - a + b, a + j - b]
            found.append(total / np.linalg.norm(kernels[i, j]))
        return np.stack(found)

    return rotated


def fourier_series(side: int, turns: int = 8) -> Rotated:
    """Return the Fourier series of F-Conv (Xie et al., TPAMI 2022): waves of folded frequencies in a soft disc.

    Their principal components over all rotations are kept, each with a weight that is smaller the more its mean and
    its energy change with the rotation.

    Args:
        side: in pixels.
        turns: rotations by 360 / turns degrees.
    """
    reach = (side - 1) / 2
    x, y = (along / reach for along in _grid(side))
    soft = np.exp(-np.maximum(x**2 + y**2 - 1, 0) / (0.2 if side > 4 else 2))
    folded = [k - side if k > side / 2 else k for k in range(side)]

    def waves(angle: float) -> Array:
        x, y = (along / reach for along in _grid(side, angle))
        phases = np.array([(a * x + b * y) * math.pi * (side - 1) / side for a in folded for b in folded])
        return (np.concatenate([np.cos(phases), np.sin(phases)]) * soft).reshape(2 * side**2, -1)

    angles = [2 * math.pi * turn / turns for turn in range(turns)]
    together = np.concatenate([waves(angle) for angle in angles], 1)
    vectors, values, _ = np.linalg.svd(together @ together.T)
    kept = values > 1e-4
    mix = (vectors[:, kept] / np.sqrt(values[kept])).T
    each = np.stack([mix @ waves(angle) for angle in angles], 1)  # (filter, rotation, pixel)
    mean, energy = each.sum(2) ** 2, (each**2).sum(2) * side**2
    change = (mean.std(1) + energy.std(1)) / (mean + energy).mean(1)
    weights = 0.04 / np.maximum(change, 0.04)

    def rotated(angle: float) -> Array:
        return (weights[:, None] * (mix @ waves(angle))).reshape(-1, side, side)

    return rotated


def families(side: int) -> list[Family]:
    """Return all families that have kernels of a side."""
    found = {
        "free pixels, bilinear": interpolated(side, 1),
        "free pixels, cubic spline": interpolated(side, 3),
        "free pixels in a disc, cubic spline": interpolated(side, 3, disc=True),
        "F-Conv": fourier_series(side),
    }
    if side in _DIFFERENCES:
        found["PDO, finite differences"] = differential(side)
        found["PDO, Gaussian"] = differential(side, 1.0 if side == 3 else 1.3)
    found |= {
        "e2cnn, cut-off 3 r": rings_with_aliases(side),
        'e2cnn (`basis="rings"`)': circular(ring_filters(side)),
        "optimal": circular(optimal_filters(side, 0.01, 0.75)),
    }
    return [Family(name, side, rotated) for name, rotated in found.items()]
