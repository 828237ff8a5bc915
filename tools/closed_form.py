"""Images that are known at every point, so that a rotation by any angle needs no interpolation.

A layer that commutes with shifts gives its output between pixels as well: shift the image, and look at a pixel. So what
a layer gives for a rotated image can be compared with the rotated output, at pixels, for every element of a group.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sepgconv.symmetry import FiniteGroup


@dataclass(frozen=True)
class Waves:
    """Maps that are sums of plane waves under a Gaussian window; float64.

    Attributes:
        amplitudes: (*maps, waves).
        frequencies: in radians per pixel along (y, x), (*maps, waves, 2).
        phases: (*maps, waves).
        width: standard deviation of the window in pixels.
    """

    amplitudes: Tensor
    frequencies: Tensor
    phases: Tensor
    width: float

    def at(self, points: Tensor) -> Tensor:
        """Return the values at points (..., 2), as (*maps, ...), in pixels (y, x) from the middle, y pointing down."""
        flat = points.reshape(-1, 2)
        waves = torch.cos(self.frequencies @ flat.T + self.phases[..., None])
        values = (self.amplitudes[..., None] * waves).sum(-2) * (-flat.square().sum(1) / (2 * self.width**2)).exp()
        return values.unflatten(-1, points.shape[:-1])


def draw_waves(*maps: int, band: float, width: float, seed: int, waves: int = 6) -> Waves:
    """Return random waves, for every map others: one without frequency, the others of 0 to `band` radians per pixel.

    Args:
        maps: (channels,) of an image, or (channels, poses).
        band: largest frequency.
        width: standard deviation of the window in pixels.
        seed: of the numbers.
        waves: number of waves.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, dtype=torch.float64, generator=generator)

    shape = (*maps, waves)
    radii, angles = band * uniform(*shape), 2 * math.pi * uniform(*shape)
    radii[..., 0] = 0
    frequencies = torch.stack((radii * angles.sin(), radii * angles.cos()), -1)
    return Waves(0.5 + uniform(*shape), frequencies, 2 * math.pi * uniform(*shape), width)


def pixel_grid(side: int, step: int = 1) -> Tensor:
    """Return the places (y, x) of the pixels of a square map, (side, side, 2), `step` apart, from the middle."""
    along = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2) * step
    return torch.stack(torch.meshgrid(along, along, indexing="ij"), -1)


def moved_poses(group: FiniteGroup, matrix: Tensor) -> list[int]:
    """Return, for every pose h, the pose g^-1 h whose map an element g puts there; by the matrices alone.

    Args:
        group: the group of the poses.
        matrix: of g, which may be given as one of another group.
    """
    matrices = torch.tensor(group.matrices, dtype=torch.float64)
    distances = (matrix.T @ matrices)[:, None] - matrices
    found = distances.abs().amax((2, 3)).min(1)
    if float(found.values.max()) > 1e-6:
        raise ValueError(f"{group.name} does not have the element {matrix.tolist()}")
    return found.indices.tolist()


@torch.no_grad()
def element_error(
    layer: nn.Module,
    waves: Waves,
    matrix: Tensor,
    side: int,
    *,
    before: FiniteGroup,
    after: FiniteGroup | None = None,
    step: int = 1,
    backwards: bool = False,
) -> float:
    """Return the relative error (root mean square) by which a layer misses one element of a group, at a few pixels.

    Args:
        layer: from images or feature maps to images or feature maps; it commutes with shifts.
        waves: what comes in.
        matrix: by which the element moves a pixel (y, x).
        side: of the maps that come in.
        before: the group of the poses that come in.
        after: that of the poses that go out, if another one.
        step: the stride of the layer.
        backwards: whether to compare with the inverse element: a control, which must fail.
    """
    after, grid = after or before, pixel_grid(side)
    has_poses = waves.amplitudes.ndim == 3
    image = waves.at(grid @ matrix)  # v @ M is the row of M^T v = g^-1 v
    found = layer((image[:, moved_poses(before, matrix)] if has_poses else image)[None])[0]
    if backwards:
        matrix = matrix.T
    middle = found.shape[-1] // 2
    near = {(middle + y, middle + x) for y, x in ((0, 0), (-2, 1), (1, 2))}
    pixels = [(y, x) for y, x in sorted(near) if max(y, x) < found.shape[-1] and min(y, x) >= 0]
    places = pixel_grid(found.shape[-1], step)
    shifts = [places[y, x] @ matrix - places[y, x] for y, x in pixels]
    outputs = layer(torch.stack([waves.at(grid + shift) for shift in shifts]))
    squares, total = 0.0, 0.0
    for (y, x), output in zip(pixels, outputs, strict=True):
        expected = output[:, moved_poses(after, matrix)] if output.ndim == 4 else output
        squares += float((found[..., y, x] - expected[..., y, x]).square().sum())
        total += float(expected[..., y, x].square().sum())
    return math.sqrt(squares / total)
