"""Which basis the kernels of a convolution have, by name."""

from typing import Literal

from sepgconv._messages import one_of
from sepgconv.symmetry.basis import KernelBasis, PixelBasis
from sepgconv.symmetry.finite import FiniteGroup
from sepgconv.symmetry.steerable import FAMILIES, FilterFamily, SteerableBasis

Kernel = Literal["auto", "pixel", "steerable"]
KERNELS: tuple[Kernel, ...] = ("auto", "pixel", "steerable")


def kernel_basis(
    group: FiniteGroup,
    size: tuple[int, ...],
    kernel: Kernel = "auto",
    basis: KernelBasis | FilterFamily | None = None,
    *,
    caller: str = "kernel_basis",
) -> KernelBasis:
    """Return the basis of the kernels of a convolution.

    Args:
        group: the group.
        size: sides of the kernel in pixels, as (height, width).
        kernel: "pixel", a weight for each pixel, where every element of the group keeps the pixel grid; "steerable", a
            weight for each filter of one angular frequency, for any group of the plane; "auto", the first where it is
            possible.
        basis: the family of steerable filters, "optimal" or "rings"; or a basis, which is checked and returned. None:
            "optimal" where the kernel is steerable.
        caller: named in errors.

    Raises:
        ValueError: an unknown name; pixels under a group that does not keep the grid; "pixel" together with a family of
            steerable filters; or a basis of another group, size or kind.

    Example:
        >>> import sepgconv
        >>> [kernel_basis(sepgconv.group(name), (3, 3)).weight_shape for name in ("p4", "C8")]
        [(3, 3), (6,)]
    """
    kernel = one_of("kernel", kernel, KERNELS)
    if basis is not None and not isinstance(basis, str):
        if not isinstance(basis, KernelBasis):
            names = " or ".join(map(repr, FAMILIES))
            raise ValueError(f"{caller}: basis must be {names} or a KernelBasis, got {basis!r}")
        if (basis.group, tuple(basis.size)) != (group, tuple(size)):
            raise ValueError(
                f"{caller}: the basis is that of {basis.group.name} and kernels of {_by(tuple(basis.size))}, and the "
                f"convolution one on {group.name} with kernels of {_by(tuple(size))}; build the basis for these"
            )
        if kernel != "auto" and isinstance(basis, PixelBasis if kernel == "steerable" else SteerableBasis):
            raise ValueError(f"{caller}: kernel={kernel!r} and a {type(basis).__name__} contradict each other")
        return basis
    if basis is not None and kernel == "pixel":
        raise ValueError(f'{caller}: basis={basis!r} is one of steerable kernels; leave it out with kernel="pixel"')
    if basis is None and (kernel == "pixel" or (kernel == "auto" and (group.keeps_grid or group.dimension != 2))):
        return PixelBasis(group, size)
    family: FilterFamily = one_of("basis", basis or "optimal", FAMILIES)
    try:
        return SteerableBasis(group, size, family)
    except ValueError as error:
        raise ValueError(f"{caller}: {error}") from error


def _by(sides: tuple[int, ...]) -> str:
    return " x ".join(map(str, sides))
