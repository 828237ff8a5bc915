"""Kernel bases: how the weights of a kernel become filters for every pose; and the constant tables that they read.

Tables are made once for each device, where the tensors of a call are, and shared by all layers. Layers hold no tables:
those of a module's own would be where its parameters were last moved to, while the weights of a call may come from
elsewhere (`torch.func.functional_call` on a skeleton without memory, replicas of `DataParallel`).
"""

import functools
import math
from collections.abc import Callable, Generator, Hashable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import _disable_current_modes  # pyright: ignore[reportPrivateUsage]

from sepgconv.symmetry.actions import check_sides, filter_permutation, pixel_permutation, pose_division
from sepgconv.symmetry.finite import FiniteGroup
from sepgconv.symmetry.group_fft import block_tables


@runtime_checkable
class KernelBasis(Protocol):
    """How weights become filters for every pose: one linear map M, (|G|, taps, n), for kernels of n weights each.

    A basis is an immutable, hashable value. Layers, cost, export and analysis see nothing of it but this; another basis
    is another class with these members, and no other place asks whether a group keeps the pixel grid.

    Example:
        >>> import sepgconv
        >>> layer = sepgconv.nn.GroupConv2d(8, 16, 3, "p4")
        >>> isinstance(layer.spec.basis, KernelBasis), layer.spec.basis.weight_shape
        (True, (3, 3))
    """

    @property
    def group(self) -> FiniteGroup:
        """The group whose elements move the kernels."""
        ...

    @property
    def size(self) -> tuple[int, ...]:
        """Sides of the filters in pixels, as (height, width)."""
        ...

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """The last axes of a weight: those of one kernel."""
        ...

    def expand(self, weight: Tensor, *, over_poses: bool = False) -> Tensor:
        """Return the filters for every pose.

        Args:
            weight: (..., *weight_shape); with `over_poses` (..., |G|, *weight_shape).
            over_poses: whether the kernel has a pose axis, along which the elements move it too.

        Returns:
            (..., |G|, *size); with `over_poses` (..., |G|, |G|, *size), the new axis h first: T_h F at pose g.
        """
        ...


@dataclass(frozen=True, slots=True)
class PixelBasis:
    """The basis of single pixels: a weight for every pixel of a kernel, which the group permutes. Exact.

    It exists where every element of the group keeps the pixel grid (`FiniteGroup.keeps_grid`).

    Attributes:
        group: the group.
        size: sides of the kernel in pixels, as (height, width).

    Raises:
        ValueError: the group takes pixels between pixels, exchanges axes along which the sides differ, or has another
            number of axes.

    Example:
        >>> import torch, sepgconv
        >>> basis = PixelBasis(sepgconv.group("p4"), (3, 3))
        >>> filters = basis.expand(torch.rand(8, 3, 3))
        >>> filters.shape
        torch.Size([8, 4, 3, 3])
        >>> torch.equal(filters[:, 1], torch.rot90(filters[:, 0], 1, (-2, -1)))
        True
    """

    group: FiniteGroup
    size: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.group.keeps_grid:
            raise ValueError(
                f"{self.group.name} has elements that do not take pixels to pixels, so a kernel of pixels cannot "
                f'follow them; use kernel="steerable", or a group that keeps the pixel grid (p4, p4m, ...)'
            )
        check_sides(self.group, self.size)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """One weight for each pixel."""
        return self.size

    @property
    def matrix(self) -> NDArray[np.float64]:
        """M, (|G|, taps, n): `expand` as a matrix product, for reading and for tests."""
        taps = pixel_permutation(self.group, *self.size).reshape(self.group.order, -1)
        return np.eye(taps.shape[1])[taps]

    def expand(self, weight: Tensor, *, over_poses: bool = False) -> Tensor:
        """Return the filters for every pose, moved pixel by pixel: `(T_h F)(v) = F(h^-1 v)`; see `KernelBasis`."""
        make = filter_action if over_poses else pixel_action
        table = constant(make, self.group, self.size, like=weight)
        moved = table.ndim - 1
        pixels = weight.flatten(-moved).index_select(-1, table.flatten())
        return pixels.unflatten(-1, table.shape)


def kernel_energy(basis: KernelBasis) -> float:
    """Return the sum of the squared filters of a basis, averaged over poses.

    It counts as the number of pixels where weights are drawn: with weights of variance s, pixels of variance 1 that
    do not depend on each other give a response of variance `s * kernel_energy`. For single pixels it is their number.

    Example:
        >>> import sepgconv
        >>> kernel_energy(PixelBasis(sepgconv.group("p4"), (3, 3)))
        9.0
    """
    return float(math.prod(basis.size)) if isinstance(basis, PixelBasis) else _filter_energy(basis)


@functools.lru_cache(maxsize=256)
def _filter_energy(basis: KernelBasis) -> float:
    with _without_modes():
        return float(pose_filters(basis).square().sum()) / basis.group.order


def pose_filters(basis: KernelBasis) -> Tensor:
    """Return the filters of each single weight for every pose: M as (n, |G|, taps), float64.

    Example:
        >>> import sepgconv
        >>> pose_filters(PixelBasis(sepgconv.group("p4"), (3, 3))).shape
        torch.Size([9, 4, 9])
    """
    weights = math.prod(basis.weight_shape)

    def make(device: torch.device) -> Tensor:
        each = torch.eye(weights, dtype=torch.float64, device=device).unflatten(-1, basis.weight_shape)
        with torch.no_grad():
            return basis.expand(each).flatten(2)

    return _ordinary(make, torch.device("cpu"), [])


@functools.lru_cache(maxsize=256)
def kernel_metric(basis: KernelBasis) -> Tensor:
    """Return the inner products of the filters of a basis, averaged over poses: (n, n), float64; read only.

    The energy of a kernel, the sum of its squared pixels averaged over poses, is `w^T kernel_metric w` for its weights
    w. For single pixels it is the identity.

    Example:
        >>> import torch, sepgconv
        >>> torch.equal(kernel_metric(PixelBasis(sepgconv.group("p4"), (3, 3))), torch.eye(9, dtype=torch.float64))
        True
    """

    def make(device: torch.device) -> Tensor:
        filters = pose_filters(basis).to(device)
        return torch.einsum("igt,jgt->ij", filters, filters) / basis.group.order

    return _ordinary(make, torch.device("cpu"), [])


def pose_action(group: FiniteGroup, *, device: torch.device | str | None = None) -> Tensor:
    """Return the table of relative poses, `[h, g]` = index of h^-1 g, (|G|, |G|)."""
    return torch.tensor(pose_division(group), device=device)


def pixel_action(group: FiniteGroup, size: tuple[int, ...], *, device: torch.device | str | None = None) -> Tensor:
    """Return the table of moved pixels, (|G|, *size)."""
    return torch.tensor(pixel_permutation(group, *size), device=device)


def filter_action(group: FiniteGroup, size: tuple[int, ...], *, device: torch.device | str | None = None) -> Tensor:
    """Return the table of moved poses and pixels, (|G|, |G|, *size)."""
    return torch.tensor(filter_permutation(group, *size), device=device)


def fourier_table(group: FiniteGroup, block: int, double: bool, *, device: torch.device | str | None = None) -> Tensor:
    """Return how weights make up one size of block of the mixing in irreps; see `group_fft.block_tables`."""
    table = torch.tensor(_block_tables(group)[block], dtype=torch.float64 if double else torch.float32)
    return table.to(device)


@functools.lru_cache(maxsize=8)  # one call for all blocks of a group
def _block_tables(group: FiniteGroup) -> tuple[NDArray[np.float64], ...]:
    return block_tables(group.table, group.fft)


def fourier_tables(group: FiniteGroup, *, like: Tensor) -> list[Tensor]:
    """Return `fourier_table` of every size of block, where a tensor is.

    In double precision where the tensor has it, and in single else, from which half precision is rounded.
    """
    double = like.dtype == torch.float64
    return [constant(fourier_table, group, block, double, like=like) for block in range(len(group.fft.blocks))]


class _Kept:
    """Constants as attributes, for the compiler: it reads a tensor from an object's attribute as a graph's input."""


_made: dict[tuple[Hashable, ...], Tensor] = {}
_kept, _names = _Kept(), dict[tuple[Hashable, ...], str]()


def constant(make: Callable[..., Tensor], *arguments: Hashable, like: Tensor) -> Tensor:
    """Return `make(*arguments, device=like.device)`, made once for each device; it is read only.

    In compiled code and exported programs it is a constant, not something that each call computes.

    Args:
        make: a function of the arguments alone that returns a new tensor.
        arguments: what it takes.
        like: the tensor of the call beside which the constant is used.
    """
    if torch.compiler.is_dynamo_compiling():
        return getattr(_kept, _name(make, like.device, *arguments))
    # Asked for by name, because an active mode meets tensors that it wraps, as those of `torch.vmap`.
    fakes: Any = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE)  # pyright: ignore
    if fakes is None and isinstance(like, FakeTensor):
        fakes = like.fake_mode
    if fakes is not None and not fakes.allow_non_fake_inputs:
        with fakes:
            return make(*arguments, device=like.device)
    return _find((make, like.device, *arguments))


def _find(key: tuple[Any, ...]) -> Tensor:
    found = _made.get(key)
    if found is None:
        make, device, *arguments = key
        found = _made[key] = _ordinary(make, device, arguments)
    return found


def _name(*key: Hashable) -> str:
    """Return the attribute of `_kept` that holds a constant."""
    found = _find(key)
    name = _names.setdefault(key, f"constant{len(_names)}")
    setattr(_kept, name, found)
    return name


# The compiler calls it while it traces; by a guard of its own, what it traced holds for these very arguments. This mark
# is what `torch.compiler.assume_constant_result` leaves, which would import the whole compiler with this package.
setattr(_name, "_dynamo_marked_constant", True)  # noqa: B010 (no attribute that a type knows)


def _ordinary(make: Callable[..., Tensor], device: torch.device, arguments: list[Hashable]) -> Tensor:
    """Make a tensor that outlives what is going on: the modes, and the transforms of `torch.func`."""
    with _without_modes():
        table = make(*arguments, device=device)
    functorch: Any = torch._C._functorch  # pyright: ignore
    while functorch.is_functorch_wrapped_tensor(table):
        table = functorch.get_unwrapped(table)
    return table


@contextmanager
def _without_modes() -> Generator[None]:
    """Leave inference mode, tracing, and a device for all new tensors, as "meta" for networks without memory."""
    with torch.inference_mode(False), _disable_current_modes(), torch._C.DisableTorchFunction():  # pyright: ignore
        yield
