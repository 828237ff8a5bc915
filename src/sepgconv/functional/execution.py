"""How a separable convolution is run: the executions, what each multiplies, and the rule of execution="auto"."""

from typing import Literal

from sepgconv._messages import one_of
from sepgconv.functional.geometry import Geometry, Pair
from sepgconv.functional.kernels import Sharing

Execution = Literal["auto", "separable", "composed"]
EXECUTIONS: tuple[Execution, ...] = ("auto", "separable", "composed")
SHARINGS: tuple[Sharing, ...] = ("gc", "g")


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
    """
    (height, width), (out_height, out_width) = size, geometry.output_size(*size)
    taps, pixels_in, pixels_out = (
        geometry.kernel_size[0] * geometry.kernel_size[1],
        height * width,
        out_height * out_width,
    )
    if execution == "composed":
        return in_channels * order * taps * pixels_out * out_channels * order
    if sharing == "gc":
        return out_channels * order * (in_channels * order * pixels_in + taps * pixels_out)
    return in_channels * out_channels * order * (order * pixels_in + taps * pixels_out)


def select_execution(
    execution: str, sharing: str, in_channels: int, out_channels: int, order: int, geometry: Geometry, size: Pair
) -> Literal["separable", "composed"]:
    """Choose how to run a separable convolution; an explicit request is obeyed.

    "auto" takes the execution with fewer `executed_macs`, separable where they are equal. It depends on shapes alone.

    Raises:
        ValueError: an unknown execution or sharing.
    """
    one_of("sharing", sharing, SHARINGS)
    requested: Execution = one_of("execution", execution, EXECUTIONS)
    if requested != "auto":
        return requested
    separable, composed = (
        executed_macs(candidate, sharing, in_channels, out_channels, order, geometry, size)
        for candidate in ("separable", "composed")
    )
    return "composed" if composed < separable else "separable"
