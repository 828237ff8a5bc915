"""Filters of one angular frequency, which a rotation by any angle only multiplies by a phase.

A complex filter K has the angular frequency m if its response to a wave, K^(w) = sum_v K[v] exp(i w.v), turns by the
phase m phi when the wave turns by phi. A kernel of k x k pixels can have this property nearly only, and only for waves
that are not too fine: `optimal_filters` finds those that have it best (theory.md, Steerable kernels), `ring_filters`
builds those of e2cnn.

Angles are counter-clockwise on the screen, from the direction to the right.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np

from sepgconv.symmetry.waves import Complex, Real, disc_of_waves, pixel_positions

LARGEST_SIDE = 31
# A filter is left out if less than this share of it is new, beside the filters that are better.
LEAST_NEW = 0.15
# Noise of every pixel, against the energy of a wave. It counts as energy of another frequency, so that filters that
# hardly respond are the last ones, and of those of one frequency the strongest the first: rounding chooses nothing.
NOISE = 1e-6


@dataclass(frozen=True)
class CircularFilters:
    """Filters of one angular frequency each; a real filter for m = 0, and a real and an imaginary part for m > 0.

    Attributes:
        frequencies: m of each filter, ascending.
        filters: (number, k, k), complex, rows from the top; each has the norm 1 (for m > 0, each part on average), and
            `K(v mirrored top-bottom) = conj(K(v))`, so that the real part is even under that mirror.
        outside: the share of the energy of the response that is not of the frequency m, for each filter.
    """

    frequencies: tuple[int, ...]
    filters: Complex
    outside: tuple[float, ...]

    @property
    def dimension(self) -> int:
        """The number of real filters."""
        return sum(1 if m == 0 else 2 for m in self.frequencies)

    def expansion(self, matrix: tuple[tuple[int | float, ...], ...]) -> Real:
        """Return the filters after a rotation or reflection as (k * k, dimension): columns for the real weights.

        Weights (a, b) of a pair stand for `Re((a - i b) K)`, a times the real part and b times the imaginary part.

        Args:
            matrix: by which it moves a pixel (y, x), y pointing down.
        """
        (m00, m01), (m10, m11) = matrix
        reflects = m00 * m11 - m01 * m10 < 0
        # The direction to the right, x = 1, goes to (m11, -m01) in (x, y upwards). A rotation by t takes K to
        # exp(-i m t) K; a reflection that takes angle 0 to t takes K to exp(i m t) conj(K).
        phase = complex(m11, m01)  # exp(-i t)
        columns: list[Real] = []
        for m, kernel in zip(self.frequencies, self.filters, strict=True):
            turned = _power(phase, m) * kernel.ravel()
            columns.append(turned.real)
            if m > 0:
                columns.append(-turned.imag if reflects else turned.imag)
        return np.stack(columns, 1)


def _power(phase: complex, exponent: int) -> complex:
    """Return a power, exactly for the four phases of whole numbers."""
    if phase in (1, -1, 1j, -1j):
        return (1 + 0j, phase, phase * phase, phase * phase * phase)[exponent % 4]
    return phase**exponent


@functools.lru_cache(maxsize=64)
def optimal_filters(side: int, tolerance: float, band: float) -> CircularFilters:
    """Return the filters whose responses are closest to one angular frequency.

    For each m, the k x k kernels are ordered by the share of the energy of their response that is not of frequency m,
    over waves in the disc |w| < band * pi with the spectrum of natural images, 1 / |w|^2, and a little noise: a
    generalised eigenproblem, Slepian's idea for rotations (Slepian, Bell System Technical Journal 43, 1964). Those
    below the tolerance are kept, the best first, as long as they are new: of each, the share that is not in the span of
    the better ones must be more than 0.15.

    Eigenvectors have no sign, and nearly equally good ones no order: different libraries of linear algebra return
    different ones. So only the span of the filters of one m is taken from the eigenproblem. Within it the filters are
    those of definite mean squared radius, the eigenvectors of |v|^2, which are orthonormal; they are sorted by it, the
    smallest first. The phase is fixed by `K(mirrored) = conj(K)`, and the sign by the first pixel in reading order
    whose real part (where that is zero everywhere: imaginary part) has at least 0.9 of the largest magnitude: it is
    positive.

    Args:
        side: of the kernel in pixels, even or odd.
        tolerance: the largest share of energy of another angular frequency.
        band: the radius of the disc of waves, in units of pi per pixel.
    """
    spaces = _spaces(side, band)
    candidates: list[tuple[float, int, int]] = []  # (outside, m, rank within m)
    kernels: dict[tuple[int, int], Complex] = {}
    for m in (m for space in spaces.values() for m in space.inside):
        outside, found = spaces[m % 4].solve(m)
        for rank in np.flatnonzero(outside < tolerance):
            candidates.append((float(outside[rank]), m, int(rank)))
            kernels[m, int(rank)] = found[rank]
    span = np.zeros((0, side * side))
    kept: dict[int, int] = {}
    stopped: set[int] = set()
    for _, m, rank in sorted(candidates):
        parts = _real_parts(m, kernels[m, rank])
        rest = parts - (parts @ span.T) @ span
        # The best of each m are kept without gaps, so that the span is that of the first ones.
        if m in stopped or np.linalg.svd(rest, compute_uv=False).min() <= LEAST_NEW:
            stopped.add(m)
            continue
        kept[m] = kept.get(m, 0) + 1
        span = np.linalg.qr(np.concatenate([span, rest]).T)[0].T
    chosen = [
        (m, *spaces[m % 4].canonical(m, np.stack([kernels[m, rank] for rank in range(count)])))
        for m, count in sorted(kept.items())
    ]
    return CircularFilters(
        tuple(m for m, found, _ in chosen for _ in found),
        np.concatenate([np.zeros((0, side, side), np.complex128), *(found for _, found, _ in chosen)]),
        tuple(share for _, _, shares in chosen for share in shares),
    )


def _real_parts(m: int, kernel: Complex) -> Real:
    """Return the real filters of a complex one of norm 1, as rows."""
    parts = np.stack([kernel.real.ravel()] + ([kernel.imag.ravel()] if m else []))
    return parts / np.linalg.norm(kernel)


class _Residue:
    """The kernels that a quarter turn multiplies by exp(-i m pi / 2), for all m of one residue modulo 4.

    Only these have a response of frequency m at all. The phase of each is fixed by the mirror, so that they are a space
    over the real numbers; its basis are the orbits of pixels under the rotations and the mirror, all entries exact.
    """

    def __init__(self, basis: Complex, residue: int, band: float) -> None:
        self.basis = basis  # (n, side, side), orthonormal
        y, x = pixel_positions(basis.shape[-1])
        self.squared_radius = x**2 + y**2
        waves = disc_of_waves(basis.shape[-1], band)
        responses = waves.responses(basis)
        # Forms on the space, real as the coefficients are: the energy of all of the response, and that of frequency m.
        self.gram = waves.energy(responses).real
        frequencies = range(residue, 2 * basis.shape[-1] + 1, 4)
        self.inside = {m: waves.energy(waves.component(responses, m)).real for m in frequencies}

    def solve(self, m: int) -> tuple[Real, Complex]:
        """Return the share of energy that is noise or not of frequency m, ascending, and the kernels."""
        whole = self.gram + NOISE * np.eye(len(self.gram))
        root = np.linalg.inv(np.linalg.cholesky(whole))
        outside, vectors = np.linalg.eigh(root @ (whole - self.inside[m]) @ root.T)
        coefficients = (root.T @ vectors).T
        return outside, np.einsum("qn,nyx->qyx", coefficients, self.basis)

    def canonical(self, m: int, kernels: Complex) -> tuple[Complex, list[float]]:
        """Return the filters of definite mean squared radius in the span of some, and their energy outside of m."""
        flat = self.basis.reshape(len(self.basis), -1)
        coefficients = (kernels.reshape(len(kernels), -1) @ flat.conj().T).real
        span = np.linalg.qr(coefficients.T)[0].T  # orthonormal
        moments = (flat * self.squared_radius.ravel()) @ flat.conj().T
        _, vectors = np.linalg.eigh(span @ moments.real @ span.T)
        chosen = vectors.T @ span
        filters = np.einsum("qn,nyx->qyx", chosen, self.basis)
        signs = np.array([_sign(kernel) for kernel in filters])
        shares = [float(1 - (c @ self.inside[m] @ c) / (c @ self.gram @ c)) for c in chosen]
        # Both parts of a pair have the norm 1 on average.
        return filters * signs[:, None, None] * (1 if m == 0 else math.sqrt(2)), shares


@functools.lru_cache(maxsize=16)
def _spaces(side: int, band: float) -> dict[int, _Residue]:
    """Return the kernels of each residue; a single pixel has those of 0 alone."""
    orbits = {residue: _orbits(side, residue) for residue in range(4)}
    return {residue: _Residue(basis, residue, band) for residue, basis in orbits.items() if len(basis)}


def _sign(kernel: Complex) -> int:
    """Return +1 or -1, by which the first of the largest entries becomes positive."""
    part = kernel.real.ravel()
    if np.abs(part).max() < 1e-9 * np.abs(kernel).max():
        part = kernel.imag.ravel()
    first = part[np.abs(part) >= 0.9 * np.abs(part).max()][0]
    return 1 if first > 0 else -1


def _orbits(side: int, residue: int) -> Complex:
    """Return orthonormal kernels K with `K(v rotated by 90 degrees) = i^residue K(v)`, `K(mirrored v) = conj(K(v))`."""
    # Doubled coordinates are whole numbers, y upwards. The mirror is top-bottom: (x, y) -> (x, -y).
    y, x = (np.rint(2 * along).astype(int) for along in pixel_positions(side))
    y = -y
    place = {(int(a), int(b)): index for index, (a, b) in enumerate(zip(x.ravel(), y.ravel(), strict=True))}
    phases = (1, 1j, -1, -1j)
    kernels: list[Complex] = []
    seen: set[tuple[int, int]] = set()
    for start in sorted(place, key=lambda v: (v[0] ** 2 + v[1] ** 2, v)):
        if start in seen:
            continue
        for value in (1, 1j):
            kernel = np.zeros(side * side, dtype=np.complex128)
            (a, b) = start
            for phase in (phases[turn * residue % 4] for turn in range(4)):
                kernel[place[a, b]] += value * phase
                kernel[place[a, -b]] += np.conj(value * phase)
                seen |= {(a, b), (a, -b)}
                a, b = -b, a  # by 90 degrees, counter-clockwise
            # Where the orbit meets itself, on an axis or a diagonal, one of the two values may cancel out, or give the
            # same kernel once more.
            norm = np.linalg.norm(kernel)
            if norm > 0.5 and not any(abs(np.vdot(other, kernel).real) > 0.5 * norm for other in kernels):
                kernels.append(kernel / norm)
    return np.array(kernels, dtype=np.complex128).reshape(-1, side, side)


@dataclass(frozen=True, slots=True)
class Ring:
    """A Gaussian ring, which carries circular harmonics of some angular frequencies.

    Attributes:
        radius: of its middle, in pixels.
        width: the standard deviation of the Gaussian, in pixels.
        frequencies: the angular frequencies m on it, ascending.

    Example:
        >>> ring_filters(3, (Ring(1.0, 0.4, (0, 1, 4)),)).frequencies
        (0, 1, 4)
    """

    radius: float
    width: float
    frequencies: tuple[int, ...]


def default_rings(side: int) -> tuple[Ring, ...]:
    """Return the rings of e2cnn and escnn for a kernel, by their default cut-off.

    The radii are 0, 1, ... (k - 1) / 2, and the widths 0.6 pixels, of the last one 0.4 and of that of radius 0 0.005;
    the largest angular frequencies are 0 in the middle, min(2 r, 2) on the last ring, else 2 r - (r + 1) mod 2
    (Weiler & Cesa 2019, arXiv:1911.08251, appendix; read from the documentation of their library).

    Args:
        side: of the kernel in pixels, odd.

    Raises:
        ValueError: an even side; rings have a pixel in the middle.

    Example:
        >>> default_rings(3)
        (Ring(radius=0.0, width=0.005, frequencies=(0,)), Ring(radius=1.0, width=0.4, frequencies=(0, 1, 2)))
    """
    if side % 2 == 0:
        raise ValueError(
            f'basis="rings" needs an odd kernel_size, got {side}; the basis "optimal" has kernels of even sides too'
        )
    last = side // 2
    rings = [Ring(0.0, 0.005, (0,))]
    for radius in range(1, last + 1):
        most = min(2 * radius, 2 if radius == last else 2 * radius - (radius + 1) % 2)
        rings.append(Ring(float(radius), 0.4 if radius == last else 0.6, tuple(range(most + 1))))
    return tuple(rings)


@functools.lru_cache(maxsize=64)
def ring_filters(side: int, rings: tuple[Ring, ...] | None = None) -> CircularFilters:
    """Return the filters of e2cnn and escnn: Gaussian rings times circular harmonics.

    Filters that are zero at every pixel are left out, as are those of m > 0 on a ring that has only the middle.

    Args:
        side: of the kernel in pixels.
        rings: the rings; None: `default_rings`.

    Raises:
        ValueError: an even side and no rings.
    """
    y, x = pixel_positions(side)
    radius, angle = np.hypot(x, y), np.arctan2(-y, x)
    found: list[tuple[int, Complex]] = []
    for ring in default_rings(side) if rings is None else rings:
        profile = np.exp(-0.5 * ((radius - ring.radius) / ring.width) ** 2)
        for m in ring.frequencies:
            shape = profile * (radius > 1e-9) if m else profile
            kernel: Complex = shape * np.exp(1j * m * angle)
            norm = np.linalg.norm(kernel)
            if norm > 0:
                found.append((m, kernel / norm * (1 if m == 0 else math.sqrt(2))))
    found.sort(key=lambda pair: pair[0])  # stable: rings stay in order
    kernels = np.array([kernel for _, kernel in found], dtype=np.complex128).reshape(-1, side, side)
    return CircularFilters(tuple(m for m, _ in found), kernels, ())
