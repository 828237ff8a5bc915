"""Random band-limited images as functions of the plane: they are written down rotated, so nothing is interpolated."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sepgconv.symmetry.finite import Matrix
from sepgconv.symmetry.steerable import BAND
from sepgconv.symmetry.waves import RADII

Point = tuple[float, float]  # (y, x), y pointing down


@dataclass(frozen=True)
class WaveImages:
    """Images that are sums of 96 plane waves, as they are or under a window: 1 in the middle, 0 at the edge of a disc.

    The waves lie in the disc |w| < 0.75 pi radians per pixel and have the energies of natural images, 1 / |w|^2; the
    directions and phases are random. Pixels have about mean 0 and variance 1 in the middle.

    Attributes:
        directions: the angle of each wave, (images, channels, waves).
        phases: of each wave at the middle, of the same shape.
    """

    directions: Tensor
    phases: Tensor

    @classmethod
    def draw(cls, images: int, channels: int, generator: torch.Generator) -> "WaveImages":
        """Draw images.

        Args:
            images: how many.
            channels: of each; they are independent.
            generator: of the random numbers.
        """
        angles = torch.rand(2, images, channels, RADII, dtype=torch.float64, generator=generator) * (2 * math.pi)
        return cls(angles[0], angles[1])

    def at(self, matrix: Matrix, sides: tuple[int, int], middle: Point = (0.0, 0.0), *, in_disc: bool = True) -> Tensor:
        """Return the images, moved by an element, as pixels (images, channels, height, width), float64.

        Args:
            matrix: by which the element moves a pixel (y, x); the middle stays where it is.
            sides: (height, width) of the grid of pixels.
            middle: where the middle of the images lies, in pixels from the middle of the grid.
            in_disc: whether they fade to zero within the grid, so that nothing leaves it; else they fill the plane.
        """
        y, x = (
            torch.arange(side, dtype=torch.float64) - (side - 1) / 2 - at
            for side, at in zip(sides, middle, strict=True)
        )
        radii = (torch.arange(RADII, dtype=torch.float64) + 0.5) / RADII * BAND * math.pi
        energies = 1 / radii  # the spectrum 1 / r^2 times the area element r
        amplitudes = (2 * energies / energies.sum()).sqrt()
        # A moved image is made of moved waves: w . (M^-1 v) = (M w) . v.
        along_y, along_x = -radii * self.directions.sin(), radii * self.directions.cos()
        moved_y, moved_x = (row[0] * along_y + row[1] * along_x for row in matrix)
        rows = torch.exp(1j * (moved_y[..., None] * y + self.phases[..., None])) * amplitudes[:, None]
        columns = torch.exp(1j * moved_x[..., None] * x)
        pixels = (rows.mT @ columns).real  # (images, channels, height, width)
        if not in_disc:
            return pixels
        return pixels * _window(torch.hypot(y[:, None], x), (min(sides) - 1) / 2 - max(map(abs, middle)))


def _window(distance: Tensor, radius: float) -> Tensor:
    """Return 1 up to half of a radius, a falling cosine from there to it, and 0 beyond."""
    radius = max(radius, 1.0)
    fallen = ((distance - radius / 2) / (radius / 2)).clamp(0, 1)
    return (1 + torch.cos(math.pi * fallen)) / 2
