"""Plane waves in a disc, and the responses of planar kernels to them, by which kernels are compared off the pixel grid.

The response of a kernel K to a wave w is `K^(w) = sum_v K[v] exp(i w.v)`, with pixels v = (y, x) counted from the
middle of the kernel, y pointing down, and waves in radians per pixel.
"""

import functools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]

Spectrum = Literal["natural", "white"]
SPECTRA: tuple[Spectrum, ...] = ("natural", "white")
# The disc is sampled on so many circles. The natural spectrum, which has no end at 0, is cut off below half a step.
RADII = 96


@dataclass(frozen=True, eq=False)
class Waves:
    """Waves on circles about 0, of which all waves of one circle have the same energy.

    Attributes:
        vectors: (radii, angles, 2), as (y, x), y pointing down.
        angles: of the waves, counter-clockwise on the screen from the direction to the right.
        weights: the share of the energy of each circle, (radii,); their sum is 1.
    """

    vectors: Real
    angles: Real
    weights: Real

    def responses(self, kernels: NDArray[np.generic], matrix: Real | None = None) -> Complex:
        """Return the responses of kernels (n, side, side), as (radii, angles, n).

        Args:
            kernels: real or complex.
            matrix: by which the waves (y, x) move first; None for no move.
        """
        vectors = self.vectors if matrix is None else self.vectors @ matrix.T
        pixels = np.stack([along.ravel() for along in pixel_positions(kernels.shape[-1])])  # (2, taps)
        return np.exp(1j * (vectors @ pixels)) @ kernels.reshape(len(kernels), -1).T

    def energy(self, responses: Complex) -> Complex:
        """Return the mean energy of responses (radii, angles, n) as a Hermitian form in their weights, (n, n)."""
        scale = np.sqrt(self.weights / responses.shape[1])
        scaled = (responses * scale[:, None, None]).reshape(-1, responses.shape[-1])
        return scaled.conj().T @ scaled

    def component(self, responses: Complex, frequency: int) -> Complex:
        """Return the part of responses (radii, angles, n) that turns with an angular frequency, as (radii, 1, n)."""
        phases = np.exp(-1j * frequency * self.angles) / len(self.angles)
        return np.einsum("a,ran->rn", phases, responses)[:, None]


@functools.lru_cache(maxsize=64)
def disc_of_waves(side: int, band: float, spectrum: Spectrum = "natural") -> Waves:
    """Return the waves `|w| < band * pi`.

    Args:
        side: of the kernels in pixels, by which the angles are dense enough.
        band: the radius of the disc, in units of pi per pixel.
        spectrum: their energy, "natural" for 1 / |w|^2, as in photographs, or "white" for equal energy.
    """
    # A multiple of 8 and half a step off the axes: the mirrors and rotations of the pixel grid keep them.
    count = 8 * max(12, math.ceil((band * math.pi * side + 16) / 4))
    angles = (np.arange(count) + 0.5) / count * 2 * math.pi
    radii = (np.arange(RADII) + 0.5) / RADII * band * math.pi
    weights = 1 / radii if spectrum == "natural" else radii  # the spectrum times the area element
    vectors = radii[:, None, None] * np.stack([-np.sin(angles), np.cos(angles)], -1)
    return Waves(vectors, angles, weights / weights.sum())


def pixel_positions(side: int) -> tuple[Real, Real]:
    """Return y (downwards) and x of the pixels of a square kernel, from its middle, each (side, side)."""
    along = np.arange(side, dtype=np.float64) - (side - 1) / 2
    y, x = np.meshgrid(along, along, indexing="ij")
    return y, x
