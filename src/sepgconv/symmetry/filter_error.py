"""How much a rotated filter is off: the error of its response, exact in the frequency domain; no image is interpolated.

An element g takes the kernel K to the kernel K_g, and a plane wave w to g w. If the pixels of K_g were those of K,
moved, both would give the same response, `K_g^(g w) = K^(w)`. The relative error is

    error^2 = E_w |K_g^(g w) - K^(w)|^2 / E_w |K^(w)|^2

with the mean E_w over the waves of a disc (theory.md, Steerable kernels).
"""

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sepgconv._messages import one_of
from sepgconv.symmetry.basis import KernelBasis, pose_filters
from sepgconv.symmetry.finite import Matrix
from sepgconv.symmetry.steerable import BAND
from sepgconv.symmetry.waves import SPECTRA, Spectrum, disc_of_waves

Real = NDArray[np.float64]
# A filter whose response has less than this share of the largest one's energy is none: rounding would be its error.
LEAST_ENERGY = 1e-9


def filter_error(
    basis: KernelBasis,
    element: int,
    weight: Tensor | None = None,
    *,
    band: float = BAND,
    spectrum: Spectrum = "natural",
) -> float:
    """Return the relative error of the response of filters that an element of their group has moved.

    It is the root of the mean squared error over waves and filters, divided by the root of the mean squared response.
    Elements that keep the pixel grid have an error of 0, to rounding.

    Args:
        basis: of the filters, in the plane; it knows the group.
        element: number of the element.
        weight: (..., *basis.weight_shape), the weights of the filters, on any device; None for random filters, whose
            weights are independent and of equal variance.
        band: the waves are those in the disc |w| < band * pi (radians per pixel), above 0 and at most 1.
        spectrum: energy of the waves, "natural" for 1 / |w|^2, as in photographs, or "white" for equal energy.

    Returns:
        The error, 0.01 for one percent; 0 where all weights are 0.

    Raises:
        ValueError: an argument is out of range, or the shape of the weight is not that of the basis.

    Example:
        >>> import sepgconv
        >>> eighths = SteerableBasis(sepgconv.group("C8"), (5, 5))
        >>> round(filter_error(eighths, 1), 3)  # by 45 degrees
        0.012
        >>> filter_error(eighths, 2) < 1e-9  # by 90 degrees
        True
    """
    error, response = _forms(basis, *_checked(basis, element, band, spectrum))
    if weight is None:
        return float(np.sqrt(np.trace(error) / np.trace(response)))
    if tuple(weight.shape[weight.ndim - len(basis.weight_shape) :]) != basis.weight_shape:
        raise ValueError(
            f"filter_error: expected a weight of shape (..., {', '.join(map(str, basis.weight_shape))}), as the basis "
            f"has them, got {tuple(weight.shape)}"
        )
    rows = weight.detach().to("cpu", torch.float64).reshape(-1, len(error)).numpy()
    covariance = rows.T @ rows
    whole = float((covariance * response).sum())
    return float(np.sqrt(max((covariance * error).sum(), 0) / whole)) if whole > 0 else 0.0


def worst_filter_error(
    basis: KernelBasis, element: int, *, band: float = BAND, spectrum: Spectrum = "natural"
) -> float:
    """Return the relative error of the filter of a basis that an element of the group moves worst.

    It is what training could make of the basis in the worst case; see `filter_error`.

    Args:
        basis: of the filters, in the plane.
        element: number of the element.
        band: radius of the disc of waves, in units of pi per pixel.
        spectrum: energy of the waves, "natural" or "white".

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> import sepgconv
        >>> eighths = SteerableBasis(sepgconv.group("C8"), (5, 5))
        >>> round(worst_filter_error(eighths, 1), 2)
        0.13
    """
    return largest_error(*_forms(basis, *_checked(basis, element, band, spectrum)))


def error_forms(
    kernels: Real, moved: Real, matrix: Matrix, *, band: float = BAND, spectrum: Spectrum = "natural"
) -> tuple[Real, Real]:
    """Return the energies of error and of response, as quadratic forms in the weights of filters, each (n, n).

    Args:
        kernels: the filters, (n, side, side).
        moved: the filters after the move, in the same order.
        matrix: by which a pixel (y, x) moves, y pointing down; orthogonal.
        band: radius of the disc of waves, in units of pi per pixel.
        spectrum: energy of the waves, "natural" or "white".
    """
    waves = disc_of_waves(kernels.shape[-1], band, spectrum)
    before = waves.responses(kernels)
    after = waves.responses(moved, np.array(matrix, dtype=np.float64))
    return waves.energy(after - before).real, waves.energy(before).real


def largest_error(error: Real, response: Real) -> float:
    """Return the largest relative error among all sums of filters, from `error_forms`."""
    energies, directions = np.linalg.eigh(response)
    heard = energies > LEAST_ENERGY * energies[-1]
    scaled = directions[:, heard] / np.sqrt(energies[heard])
    return float(np.sqrt(max(np.linalg.eigvalsh(scaled.T @ error @ scaled)[-1], 0)))


def _checked(basis: KernelBasis, element: int, band: float, spectrum: Spectrum) -> tuple[int, float, Spectrum]:
    group = basis.group
    if group.dimension != 2:
        raise ValueError(f"filter_error: expected filters of the plane, and {group.name} moves space")
    if len(set(basis.size)) > 1:
        raise ValueError(f"filter_error: expected square filters, got {basis.size[0]} x {basis.size[1]}")
    if not 0 <= element < group.order:
        raise ValueError(f"filter_error: {group.name} has the elements 0 to {group.order - 1}, got {element}")
    if not 0 < band <= 1:
        raise ValueError(f"filter_error: band must be above 0 and at most 1 (in units of pi per pixel), got {band!r}")
    return int(element), float(band), one_of("spectrum", spectrum, SPECTRA)


@functools.lru_cache(maxsize=256)
def _forms(basis: KernelBasis, element: int, band: float, spectrum: Spectrum) -> tuple[Real, Real]:
    filters = pose_filters(basis).unflatten(-1, basis.size).numpy()
    matrix = basis.group.matrices[element]
    return error_forms(filters[:, 0], filters[:, element], matrix, band=band, spectrum=spectrum)
