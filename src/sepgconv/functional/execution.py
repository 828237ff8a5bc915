"""What a separable convolution costs in an execution, and which one execution="auto" takes."""

from sepgconv._messages import one_of
from sepgconv.conv import SEPARABLE, SHARINGS, ConvSpec, Geometry
from sepgconv.conv.checks import check_channels
from sepgconv.conv.geometry import Pair, as_pair
from sepgconv.conv.kinds import Sharing
from sepgconv.ops.dispatch import EXECUTIONS, Execution, choose_execution, requested
from sepgconv.symmetry import FiniteGroup, kernel_basis
from sepgconv.symmetry import group as get_group


def executed_macs(
    execution: Execution,
    sharing: Sharing,
    in_channels: int,
    out_channels: int,
    group: FiniteGroup | str,
    geometry: Geometry,
    size: Pair,
    *,
    rank: int = 1,
) -> int:
    """Return the multiplications (multiply-accumulates) that one image costs in an execution.

    Args:
        execution: "separable", "fourier" (sharing "gc" only) or "composed".
        sharing: "gc" or "g".
        in_channels: C.
        out_channels: C'.
        group: the group or its name.
        geometry: from `conv_geometry`.
        size: (height, width) of the maps that come in.
        rank: number of separable terms, each of which is mixed and filtered; composed, they cost the same as one.

    Raises:
        TypeError: the geometry is none.
        ValueError: an unknown execution or sharing, "fourier" with sharing "g", or a size that is none.

    Example:
        >>> import sepgconv
        >>> geometry = conv_geometry(sepgconv.group("p4"), 3, padding=1)
        >>> [executed_macs(way, "gc", 8, 8, "p4", geometry, (10, 10)) for way in ("separable", "fourier", "composed")]
        [131200, 67200, 921600]
    """
    spec = _spec("executed_macs", sharing, in_channels, out_channels, group, geometry, size, rank)
    one_of("execution", execution, EXECUTIONS[1:])
    work = spec.kind.work(spec, size)
    if requested(spec, execution) == "fourier" and spec.order == 1:  # one pose has nothing to transform
        execution = "separable"
    return work[execution].macs


def select_execution(
    execution: Execution,
    sharing: Sharing,
    in_channels: int,
    out_channels: int,
    group: FiniteGroup | str,
    geometry: Geometry,
    size: Pair,
    device: str = "cpu",
    *,
    rank: int = 1,
) -> str:
    """Return how a separable convolution runs: "separable", "fourier" or "composed"; an explicit request is obeyed.

    "auto" takes the execution with the smallest cost, the first of the three where they are equal: the number of dense
    multiplications, in which a multiplication of a depthwise or grouped convolution and an addition of a transform
    count as `sepgconv.ops.CostModel` says. It depends on the group, the shapes and the device alone. Arguments
    are those of `executed_macs`.

    Raises:
        TypeError: the geometry is none.
        ValueError: an unknown execution or sharing, "fourier" with sharing "g", or a size that is none.

    Example:
        >>> import sepgconv
        >>> geometry = conv_geometry(sepgconv.group("p4"), 3, padding=1)
        >>> select_execution("auto", "gc", 64, 64, "p4", geometry, (28, 28))
        'fourier'
    """
    spec = _spec("select_execution", sharing, in_channels, out_channels, group, geometry, size, rank)
    one_of("execution", execution, EXECUTIONS)
    return choose_execution(spec, size, execution, device, caller="select_execution")[0]


def _spec(
    caller: str,
    sharing: str,
    in_channels: int,
    out_channels: int,
    group: FiniteGroup | str,
    geometry: Geometry,
    size: Pair,
    rank: int,
) -> ConvSpec:
    check_channels(caller, in_channels=in_channels, out_channels=out_channels, rank=rank)
    if not isinstance(geometry, Geometry):
        raise TypeError(f"{caller}: geometry must come from conv_geometry, got {geometry!r}")
    as_pair(size, "size", least=1)
    kind = SEPARABLE[one_of("sharing", sharing, SHARINGS)]
    basis = kernel_basis(get_group(group), geometry.kernel_size, caller=caller)
    return ConvSpec(kind, in_channels, out_channels, basis, geometry, rank=rank)
