"""How a separable convolution is run: the executions, what each multiplies, and the rule of execution="auto"."""

from dataclasses import dataclass
from typing import Literal

from sepgconv._messages import one_of
from sepgconv.functional.checks import check_channels
from sepgconv.functional.geometry import Geometry, Pair, as_pair
from sepgconv.functional.kernels import SHARINGS
from sepgconv.symmetry import FiniteGroup
from sepgconv.symmetry import group as find_group

Execution = Literal["auto", "separable", "fourier", "composed"]
EXECUTIONS: tuple[Execution, ...] = ("auto", "separable", "fourier", "composed")

# Operations that touch each number a few times only are bound by memory, the multiplications of a dense product by
# arithmetic. On two CPU cores a multiplication of a depthwise or grouped convolution took 11 to 31 times as long as
# a dense one (p4 and p4m, 8 to 38 channels, k 3, 4 and 7).
THIN = 16
# A training step in the irreps, which keeps only its input and mixes once more in its backward pass, was as fast as the
# dense one that keeps everything from about 48 channels on for p4 and 32 for p4m: there the costs are equal.
ADDITION = 40


@dataclass(frozen=True, slots=True)
class Work:
    """What one picture costs in an execution.

    Attributes:
        dense: multiplications of dense products.
        thin: multiplications of depthwise and grouped convolutions, which filter or mix few maps each.
        additions: of the transforms to the irreps and back.
    """

    dense: int
    thin: int = 0
    additions: int = 0

    @property
    def cost(self) -> int:
        """What execution="auto" compares, in multiplications of a dense product."""
        return self.dense + THIN * self.thin + ADDITION * self.additions


def work(
    execution: str,
    sharing: str,
    in_channels: int,
    out_channels: int,
    group: FiniteGroup,
    geometry: Geometry,
    size: Pair,
    *,
    rank: int = 1,
) -> Work:
    """Count the operations of one picture.

    Separable and fourier: the mixing runs at *input* resolution, the planar filtering at output resolution; nominal
    MACs count both at output resolution (theory.md, Cost). Fourier: the mixing in the irreps of the group (theory.md,
    Mixing in irreps). Composed: one dense convolution. Building the filters is left out: it does not grow with the
    image.

    Args:
        execution: "separable", "fourier" (sharing "gc" only) or "composed".
        sharing: "gc" or "g".
        in_channels: C.
        out_channels: C'.
        group: G.
        geometry: the planar arguments.
        size: (height, width) of the input maps.
        rank: number of separable terms, each of which is mixed and filtered; composed, they cost the same as one.

    Raises:
        ValueError: an unknown execution or sharing, or "fourier" with sharing "g".
    """
    one_of("sharing", sharing, SHARINGS)
    one_of("execution", execution, EXECUTIONS[1:])
    (height, width), (out_height, out_width) = size, geometry.output_size(*size)
    pixels_in, pixels_out = height * width, out_height * out_width
    taps, order = geometry.kernel_size[0] * geometry.kernel_size[1], group.order
    if execution == "composed":
        return Work(in_channels * order * out_channels * order * taps * pixels_out)
    terms = rank * out_channels
    filtering = terms * order * taps * pixels_out
    if execution == "fourier":
        check_fourier(sharing)
        form = group.butterflies
        products = form.products * in_channels * terms * pixels_in
        return Work(products, filtering, form.additions * (in_channels + terms) * pixels_in)
    if sharing == "gc":
        return Work(terms * order * in_channels * order * pixels_in, filtering)
    return Work(0, in_channels * (terms * order * order * pixels_in + filtering))


def check_fourier(sharing: str) -> None:
    """Refuse execution="fourier" where the mixing is no convolution on the group over all channels.

    Raises:
        ValueError: sharing is not "gc".
    """
    if sharing != "gc":
        raise ValueError(
            f'execution="fourier" needs sharing="gc", got sharing={sharing!r}; use execution="composed" or "separable"'
        )


def executed_macs(
    execution: str,
    sharing: str,
    in_channels: int,
    out_channels: int,
    group: FiniteGroup | str,
    geometry: Geometry,
    size: Pair,
    *,
    rank: int = 1,
) -> int:
    """Return the multiplications (multiply-accumulates) one picture costs in an execution; arguments as for `work`.

    Raises:
        TypeError: the geometry is none.
        ValueError: an unknown execution or sharing, "fourier" with sharing "g", or a size that is none.
    """
    _check_sizes("executed_macs", in_channels, out_channels, geometry, size, rank)
    sizes = (in_channels, out_channels, find_group(group), geometry, size)
    done = work(execution, sharing, *sizes, rank=rank)
    return done.dense + done.thin


def _check_sizes(caller: str, in_channels: int, out_channels: int, geometry: Geometry, size: Pair, rank: int) -> None:
    check_channels(caller, in_channels=in_channels, out_channels=out_channels, rank=rank)
    if not isinstance(geometry, Geometry):
        raise TypeError(f"{caller}: geometry must come from conv_geometry, got {geometry!r}")
    as_pair(size, "size", least=1)


def select_execution(
    execution: str,
    sharing: str,
    in_channels: int,
    out_channels: int,
    group: FiniteGroup | str,
    geometry: Geometry,
    size: Pair,
    device: str = "cpu",
    *,
    rank: int = 1,
) -> Literal["separable", "fourier", "composed"]:
    """Choose how to run a separable convolution; an explicit request is obeyed.

    "auto" takes the execution with the smallest cost (`Work.cost`), the first of separable, fourier and composed where
    they are equal: the number of dense multiplications, in which a multiplication of a depthwise or grouped
    convolution counts as `THIN` and an addition of a transform as `ADDITION`. It depends on the group, the shapes and
    the device alone; each of several separable terms counts. For sharing "g", all of whose separable multiplications
    are thin, the composed execution wins at every usual kernel size. Fourier is considered on the CPU only: on GPUs
    dense products are all but free and the transforms are passes over memory.

    Raises:
        TypeError: the geometry is none.
        ValueError: an unknown execution or sharing, "fourier" with sharing "g", or a size that is none.
    """
    _check_sizes("select_execution", in_channels, out_channels, geometry, size, rank)
    sizes = (in_channels, out_channels, find_group(group), geometry, size)
    return choose_execution(execution, sharing, *sizes, device, rank=rank)


def choose_execution(
    execution: str,
    sharing: str,
    in_channels: int,
    out_channels: int,
    group: FiniteGroup,
    geometry: Geometry,
    size: Pair,
    device: str,
    *,
    rank: int,
) -> Literal["separable", "fourier", "composed"]:
    """Run `select_execution` on sizes that have been checked."""
    requested: Execution = one_of("execution", execution, EXECUTIONS)
    one_of("sharing", sharing, SHARINGS)
    if requested == "fourier":
        check_fourier(sharing)
    if requested != "auto":
        return requested
    candidates: list[Literal["separable", "fourier", "composed"]] = ["separable", "composed"]
    if sharing == "gc" and device in ("cpu", "meta") and group.order > 1:
        candidates.insert(1, "fourier")
    sizes = (sharing, in_channels, out_channels, group, geometry, size)
    best, least = candidates[0], work(candidates[0], *sizes, rank=rank).cost
    for candidate in candidates[1:]:  # a loop, because the compiler cannot read `min` with a key
        cost = work(candidate, *sizes, rank=rank).cost
        if cost < least:
            best, least = candidate, cost
    return best
