"""ConvSpec: what a convolution on a group is, before it runs; checked once, and read by everything else."""

import math
from dataclasses import dataclass, field
from typing import Any

from sepgconv.conv.checks import check_channels, is_integer
from sepgconv.conv.geometry import Geometry, Sides, conv_geometry
from sepgconv.conv.kinds import ConvKind
from sepgconv.symmetry import FiniteGroup, KernelBasis
from sepgconv.symmetry.basis import PixelBasis, kernel_energy
from sepgconv.symmetry.kernels import Kernel, kernel_basis
from sepgconv.symmetry.steerable import FilterFamily


@dataclass(frozen=True, slots=True)
class ConvSpec:
    """A convolution on a group as an immutable value: everything about it that is a matter of shapes.

    Build it with `conv_spec`, which checks the arguments.

    Attributes:
        kind: what distinguishes it: lifting, full, depthwise, separable with sharing "gc" or "g", or one of your own.
        in_channels: channels of what comes in.
        out_channels: channels of what goes out.
        basis: how its weights become filters for every pose; it knows the group.
        geometry: kernel size, stride, padding and dilation.
        groups: channel groups that do not mix, as in `torch.nn.Conv2d`.
        rank: number of separable terms.
        group: the group.
        order: |G|.
        channels_per_group: input channels that one channel group reads.
        shapes: name and shape of each weight, the bias left out.
        keeps_order_of_sums: whether gradients with respect to filters are summed as torch does it, where another order
            is faster; so for kernels of pixels, whose numbers stay those of earlier versions, bit for bit.
        choices: what `sepgconv.ops.dispatch` chose for sizes that it has seen.

    Example:
        >>> import sepgconv
        >>> spec = sepgconv.nn.GroupConv2d(8, 16, 3, "p4", padding=1).spec
        >>> spec.order, spec.channels_per_group, spec.nominal_macs((28, 28))
        (4, 8, 14450688)
    """

    kind: ConvKind
    in_channels: int
    out_channels: int
    basis: KernelBasis
    geometry: Geometry
    groups: int = 1
    rank: int = 1
    # Derived, and kept because they are read at every call.
    group: FiniteGroup = field(init=False, compare=False, repr=False)
    order: int = field(init=False, compare=False, repr=False)
    channels_per_group: int = field(init=False, compare=False, repr=False)
    shapes: tuple[tuple[str, Sides], ...] = field(init=False, compare=False)
    keeps_order_of_sums: bool = field(init=False, compare=False, repr=False)
    choices: dict[Any, Any] = field(init=False, compare=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        def keep(name: str, value: object) -> None:
            object.__setattr__(self, name, value)  # frozen for everybody else

        keep("group", self.basis.group)
        keep("order", self.basis.group.order)
        keep("keeps_order_of_sums", isinstance(self.basis, PixelBasis))
        keep("channels_per_group", self.in_channels // self.groups)
        keep("shapes", tuple(self.kind.parameter_shapes(self).items()))

    def __deepcopy__(self, memo: dict[int, object]) -> "ConvSpec":
        return self  # a value that never changes; what was chosen for it serves copies of a layer as well

    def __reduce__(self) -> tuple[Any, ...]:
        # Without what is derived, and what was chosen on this machine.
        given = (self.kind, self.in_channels, self.out_channels, self.basis, self.geometry, self.groups, self.rank)
        return ConvSpec, given

    def numbers_out(self, sides: Sides) -> int:
        """Return how many numbers the output has for one image of those sides."""
        return self.out_channels * self.order * math.prod(self.geometry.output_size(*sides))

    def nominal_macs(self, sides: Sides) -> int:
        """Return the multiply-accumulates for one image of those sides, by the formulas of the paper.

        They are those of arXiv:2106.04914, section 3.4, and count everything at the resolution of the output, for every
        execution.
        """
        return self.kind.macs_per_output(self) * self.numbers_out(sides)

    @property
    def kernel_energy(self) -> float:
        """What counts as the number of pixels of a kernel where its weights are drawn; see `kernel_energy`."""
        return kernel_energy(self.basis)

    def at_least(self, sides: Sides) -> Sides:
        """Return sides, those that are too small for the kernel as the smallest that are not."""
        return tuple(max(side, least) for side, least in zip(sides, self.geometry.smallest_size, strict=True))


def conv_spec(
    kind: ConvKind,
    in_channels: int,
    out_channels: int,
    kernel_size: int | Sides,
    group: FiniteGroup,
    *,
    stride: int | Sides = 1,
    padding: int | Sides | str = 0,
    dilation: int | Sides = 1,
    padding_mode: str = "zeros",
    groups: int = 1,
    rank: int = 1,
    kernel: Kernel = "auto",
    basis: KernelBasis | FilterFamily | None = None,
    caller: str,
) -> ConvSpec:
    """Check the arguments of a convolution on a group and put them into one value.

    Args:
        kind: see `ConvSpec`.
        in_channels: channels of what comes in.
        out_channels: channels of what goes out.
        kernel_size: sides of the kernel in pixels.
        group: the group.
        stride: step in pixels.
        padding: pixels on every side, "same" or "valid".
        dilation: distance of kernel pixels.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        groups: channel groups that do not mix.
        rank: number of separable terms.
        kernel: "auto", "pixel" or "steerable", see `sepgconv.symmetry.kernel_basis`.
        basis: how the weights become filters for every pose, as a basis or the name of a family of steerable filters.
        caller: named in errors.

    Raises:
        ValueError: an argument is out of range or breaks equivariance, `groups` does not divide the channels, or the
            basis is one of another group or size.

    Example:
        >>> import sepgconv
        >>> from sepgconv.conv import FULL, conv_spec
        >>> spec = conv_spec(FULL, 8, 16, 3, sepgconv.group("p4"), padding=1, caller="example")
        >>> dict(spec.shapes), spec.nominal_macs((28, 28))
        ({'weight': (16, 8, 4, 3, 3)}, 14450688)
    """
    check_channels(caller, in_channels=in_channels, out_channels=out_channels)
    geometry = conv_geometry(group, kernel_size, stride, padding, dilation, padding_mode)
    check_groups(groups, in_channels, out_channels, caller)
    found = kernel_basis(group, geometry.kernel_size, kernel, basis, caller=caller)
    rank = rank.__index__() if is_integer(rank) else rank
    return ConvSpec(kind, in_channels, out_channels, found, geometry, groups, rank)


def check_groups(groups: int, in_channels: int, out_channels: int, caller: str) -> None:
    """Raise if channels cannot be split into so many groups.

    Raises:
        ValueError: no positive integer, or one that does not divide both numbers of channels.
    """
    divides = is_integer(groups) and groups.__index__() > 0
    if not divides or in_channels % groups.__index__() or out_channels % groups.__index__():
        raise ValueError(
            f"{caller}: groups must be a positive integer that divides in_channels={in_channels} and "
            f"out_channels={out_channels}, got {groups!r}"
        )
