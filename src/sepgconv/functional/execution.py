"""How a separable convolution is run: the executions, what each multiplies, and the rule of execution="auto"."""

from typing import Literal

from sepgconv._messages import one_of
from sepgconv.functional.geometry import Geometry, Pair
from sepgconv.functional.kernels import SHARINGS

Execution = Literal["auto", "separable", "composed"]
EXECUTIONS: tuple[Execution, ...] = ("auto", "separable", "composed")


# Multiplications that touch each number a few times only are bound by memory, those of a dense product by arithmetic.
# On two CPU cores a thin one took 11 to 31 times as long as a dense one (p4 and p4m, 8 to 38 channels, k 3, 4 and 7).
THIN = 16


def executed_macs(
    execution: str, sharing: str, in_channels: int, out_channels: int, order: int, geometry: Geometry, size: Pair
) -> int:
    """Return the multiplications (multiply-accumulates) one picture costs in an execution.

    Separable: the mixing runs at *input* resolution, the planar filtering at output resolution (METHOD section 2 counts
    both at output resolution and calls it nominal). Composed: one dense convolution. Building the filters is left out:
    it does not grow with the picture.

    Args:
        execution: "separable" or "composed".
        sharing: "gc" or "g".
        in_channels: C.
        out_channels: C'.
        order: |G|.
        geometry: the planar arguments.
        size: (height, width) of the input maps.

    Raises:
        ValueError: an unknown execution or sharing.
    """
    return sum(_dense_and_thin(execution, sharing, in_channels, out_channels, order, geometry, size))


def _dense_and_thin(
    execution: str, sharing: str, in_channels: int, out_channels: int, order: int, geometry: Geometry, size: Pair
) -> Pair:
    """Split the multiplications into those of dense products and those that filter or mix few maps each."""
    one_of("sharing", sharing, SHARINGS)
    one_of("execution", execution, EXECUTIONS[1:])
    (height, width), (out_height, out_width) = size, geometry.output_size(*size)
    pixels_in, pixels_out = height * width, out_height * out_width
    taps = geometry.kernel_size[0] * geometry.kernel_size[1]
    if execution == "composed":
        return in_channels * order * taps * pixels_out * out_channels * order, 0
    if sharing == "gc":
        maps = out_channels * order
        return maps * in_channels * order * pixels_in, maps * taps * pixels_out
    return 0, in_channels * out_channels * order * (order * pixels_in + taps * pixels_out)


def select_execution(
    execution: str, sharing: str, in_channels: int, out_channels: int, order: int, geometry: Geometry, size: Pair
) -> Literal["separable", "composed"]:
    """Choose how to run a separable convolution; an explicit request is obeyed.

    "auto" takes the execution with the smaller cost, separable where they are equal. The cost is the number of
    multiplications, in which each one of a depthwise or grouped convolution counts as `THIN`; it depends on shapes
    alone. For sharing "g", all of whose separable multiplications are thin, the composed execution wins at every usual
    kernel size.

    Raises:
        ValueError: an unknown execution or sharing.
    """
    requested: Execution = one_of("execution", execution, EXECUTIONS)
    if requested != "auto":
        return requested
    costs: list[int] = []
    for candidate in ("separable", "composed"):
        dense, thin = _dense_and_thin(candidate, sharing, in_channels, out_channels, order, geometry, size)
        costs.append(dense + THIN * thin)
    return "composed" if costs[1] < costs[0] else "separable"
