"""SteerableBasis: kernels as sums of filters of one angular frequency, which rotate exactly by any angle."""

import functools
import operator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sepgconv._messages import one_of
from sepgconv.symmetry.basis import constant, pose_action
from sepgconv.symmetry.circular_filters import LARGEST_SIDE, CircularFilters, Ring, optimal_filters, ring_filters
from sepgconv.symmetry.finite import FiniteGroup

FilterFamily = Literal["optimal", "rings"]
FAMILIES: tuple[FilterFamily, ...] = ("optimal", "rings")
TOLERANCE = 0.01
BAND = 0.75


@dataclass(frozen=True, slots=True)
class SteerableBasis:
    """The basis of filters of one angular frequency each: a rotation by any angle acts exactly on the weights.

    What is not exact is the filter itself: of its response to waves in the disc |w| < `band` * pi, a share of at most
    `tolerance` (of the energy, for natural images) has another angular frequency than the rotation takes it for
    (theory.md, Steerable kernels). Elements that keep the pixel grid move the kernels exactly, to rounding.

    Attributes:
        group: a group of the plane.
        size: sides of the kernel in pixels, as (height, width), equal.
        family: "optimal", the filters that keep the most of one angular frequency, for even and odd sides; "rings",
            those of e2cnn and escnn by their default cut-off, for odd sides; or rings of your own.
        tolerance: of the optimal filters, the largest share of energy at other frequencies. 0.01 gives 3, 6, 10, 15,
            21 and 30 filters for sides of 2 to 7 pixels.
        band: of the optimal filters, the radius of the disc, in units of pi per pixel, above 0 and at most 1.

    Raises:
        ValueError: an argument is out of range, the sides differ, or there is no such filter.

    Example:
        >>> import torch, sepgconv
        >>> basis = SteerableBasis(sepgconv.group("C8"), (5, 5))
        >>> basis.weight_shape
        (15,)
        >>> filters = basis.expand(torch.rand(4, 15))
        >>> filters.shape
        torch.Size([4, 8, 5, 5])
        >>> torch.allclose(filters[:, 2], torch.rot90(filters[:, 0], 1, (-2, -1)), atol=1e-6)  # element 2: 90 degrees
        True
    """

    group: FiniteGroup
    size: tuple[int, ...]
    family: FilterFamily | tuple[Ring, ...] = "optimal"
    tolerance: float = TOLERANCE
    band: float = BAND

    def __post_init__(self) -> None:
        if not isinstance(self.family, tuple):
            one_of("basis", self.family, FAMILIES)
        if self.group.dimension != 2:
            raise ValueError(f"steerable kernels are those of the plane, and {self.group.name} moves space")
        object.__setattr__(self, "size", tuple(operator.index(side) for side in self.size))
        if len(self.size) != 2 or self.size[0] != self.size[1] or self.size[0] not in range(1, LARGEST_SIDE + 1):
            raise ValueError(
                f"a steerable kernel is square, with sides of 1 to {LARGEST_SIDE} pixels, got "
                f"{' x '.join(map(str, self.size))}"
            )
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance must be above 0 and below 1, got {self.tolerance!r}")
        if not 0 < self.band <= 1:
            raise ValueError(f"band must be above 0 and at most 1 (in units of pi per pixel), got {self.band!r}")
        if not self.filters.frequencies and isinstance(self.family, tuple):
            sides = " x ".join(map(str, self.size))
            raise ValueError(f"none of the {len(self.family)} rings has a filter on {sides} pixels")
        if not self.filters.frequencies:
            raise ValueError(
                f"no kernel of {self.size[0]} x {self.size[1]} pixels has less than {self.tolerance} of its energy at "
                f"other angular frequencies; raise the tolerance"
            )

    @property
    def filters(self) -> CircularFilters:
        """The filters and their angular frequencies."""
        if self.family == "rings":
            return ring_filters(self.size[0])
        if isinstance(self.family, tuple):
            return ring_filters(self.size[0], self.family)
        return optimal_filters(self.size[0], float(self.tolerance), float(self.band))

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """One weight for each real filter."""
        return (self.filters.dimension,)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """M, (|G|, taps, n): the filters for every pose."""
        return _matrix(self)

    def expand(self, weight: Tensor, *, over_poses: bool = False) -> Tensor:
        """Return the filters for every pose; see `KernelBasis`."""
        double = weight.dtype == torch.float64
        matrix = constant(steerable_table, self, double, like=weight)  # (n, g * taps)
        # Half precision has too few digits for the sums of filters.
        exact = weight.to(matrix.dtype)
        if over_poses:
            table = constant(pose_action, self.group, like=weight)
            poses = exact.index_select(-2, table.flatten()).unflatten(-2, table.shape)  # (..., h, g, n)
            moved = poses @ matrix.unflatten(1, (self.group.order, -1)).transpose(0, 1)
        else:
            moved = (exact @ matrix).unflatten(-1, (self.group.order, -1))
        return moved.to(weight.dtype).unflatten(-1, self.size)

    def project(self, kernels: Tensor) -> Tensor:
        """Return the weights whose filters are nearest to kernels of pixels, by least squares.

        Args:
            kernels: (..., height, width), as the first pose shows them.

        Returns:
            (..., n).

        Raises:
            ValueError: the kernels have other sides.

        Example:
            >>> import torch, sepgconv
            >>> basis = SteerableBasis(sepgconv.group("C8"), (5, 5))
            >>> weight = torch.rand(2, 15, dtype=torch.float64)
            >>> torch.allclose(basis.project(basis.expand(weight)[:, 0]), weight)
            True
        """
        if tuple(kernels.shape[-2:]) != self.size:
            raise ValueError(
                f"project: expected kernels of shape (..., {self.size[0]}, {self.size[1]}), got {tuple(kernels.shape)}"
            )
        # As `expand`, not in half precision.
        precision = torch.float64 if kernels.dtype == torch.float64 else torch.float32
        first = torch.from_numpy(np.linalg.pinv(self.matrix[0])).to(kernels.device, precision)  # (n, taps)
        return (kernels.flatten(-2).to(precision) @ first.T).to(kernels.dtype)


@functools.lru_cache(maxsize=128)
def _matrix(basis: SteerableBasis) -> NDArray[np.float64]:
    filters = basis.filters
    return np.stack([filters.expansion(matrix) for matrix in basis.group.matrices])


def steerable_table(basis: SteerableBasis, double: bool, *, device: torch.device | str | None = None) -> Tensor:
    """Return the filters of a basis for every pose, (n, |G| * taps)."""
    matrix = np.ascontiguousarray(_matrix(basis).reshape(-1, basis.weight_shape[0]).T)
    # The device is said at once: a network is loaded under a default device without memory.
    return torch.tensor(matrix, dtype=torch.float64 if double else torch.float32, device=device)
