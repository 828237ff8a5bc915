"""Kernel size, stride, padding, dilation of a planar convolution: checked, refused where they break the symmetry."""

from dataclasses import dataclass
from typing import Literal, SupportsIndex

from sepgconv._messages import one_of
from sepgconv.groups import FiniteGroup

Pair = tuple[int, int]
PaddingMode = Literal["zeros", "circular", "reflect", "replicate"]
PADDING_MODES: tuple[PaddingMode, ...] = ("zeros", "circular", "reflect", "replicate")


def as_pair(value: int | Pair, name: str, *, least: int) -> Pair:
    """Return (value along y, value along x) from an integer or a pair.

    Raises:
        ValueError: it is neither, or smaller than `least`.
    """
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or any(
        not isinstance(side, SupportsIndex) or isinstance(side, bool) or side.__index__() < least for side in pair
    ):
        raise ValueError(f"{name} must be an integer, or a pair of them, of at least {least}; got {value!r}")
    return pair[0].__index__(), pair[1].__index__()


def check_equal_sides(group: FiniteGroup, **sides: Pair) -> None:
    """Refuse unequal sides under a group that exchanges the axes.

    Raises:
        ValueError: the group exchanges the axes and a pair has two different values.
    """
    for name, (along_y, along_x) in sides.items():
        if along_y != along_x and group.exchanges_axes:
            raise ValueError(
                f"{name}={(along_y, along_x)} breaks the equivariance to {group.name}, which exchanges the two "
                f"axes; give both axes the same {name}, or use a group that keeps each axis (p2, pm, pmm)"
            )


@dataclass(frozen=True, slots=True)
class Geometry:
    """A checked set of planar arguments, each as a pair (y, x); build it with `conv_geometry`."""

    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    padding_mode: PaddingMode

    def output_size(self, height: int, width: int) -> Pair:
        """Return the size of the output map; a side below 1 means that the input is too small."""
        sides = zip((height, width), self.padding, self.dilation, self.kernel_size, self.stride, strict=True)
        along_y, along_x = ((side + 2 * p - d * (k - 1) - 1) // s + 1 for side, p, d, k, s in sides)
        return along_y, along_x

    def check_size(self, height: int, width: int, caller: str) -> None:
        """Refuse maps that are too small.

        Raises:
            ValueError: smaller than the kernel, or than the padding mode needs; the smallest size is named.
        """
        if min(self.output_size(height, width)) < 1:
            reach = zip(self.kernel_size, self.dilation, self.padding, strict=True)
            least = tuple(max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in reach)
            what = f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}"
        elif self.padding_mode in ("reflect", "circular"):
            # Reflecting needs one pixel more than it mirrors; wrapping goes round once at most.
            more = 1 if self.padding_mode == "reflect" else 0
            least = tuple(max(1, padding + more) for padding in self.padding)
            what = f"{self.padding_mode} padding of {self.padding}"
            if height >= least[0] and width >= least[1]:
                return
        else:
            return
        raise ValueError(
            f"{caller}: maps of {height} x {width} are too small for {what}; "
            f"the smallest size is {least[0]} x {least[1]}"
        )


def conv_geometry(
    group: FiniteGroup,
    kernel_size: int | Pair,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
    dilation: int | Pair = 1,
    padding_mode: str = "zeros",
) -> Geometry:
    """Check the planar arguments of a convolution and write them out as pairs.

    Raises:
        ValueError: a value is out of range or of the wrong kind; sides differ under a group that exchanges the axes;
            "same" padding together with a stride, or with an even kernel, which could only be padded on one side.
    """
    kernel, strides = as_pair(kernel_size, "kernel_size", least=1), as_pair(stride, "stride", least=1)
    dilations = as_pair(dilation, "dilation", least=1)
    mode: PaddingMode = one_of("padding_mode", padding_mode, PADDING_MODES)
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"padding must be 'same', 'valid', an integer or a pair of them; got {padding!r}")
        total = (0, 0) if padding == "valid" else tuple(d * (k - 1) for d, k in zip(dilations, kernel, strict=True))
        if padding == "same" and strides != (1, 1):
            raise ValueError(f"padding='same' needs stride 1, got stride={strides}; give the padding as an integer")
        if any(side % 2 for side in total):
            raise ValueError(
                f"padding='same' with the even kernel {kernel} would pad one side more than the other and break the "
                f"equivariance; use an odd kernel_size, or give the padding as an integer"
            )
        paddings = (total[0] // 2, total[1] // 2)
    else:
        paddings = as_pair(padding, "padding", least=0)
    check_equal_sides(group, kernel_size=kernel, stride=strides, padding=paddings, dilation=dilations)
    return Geometry(kernel, strides, paddings, dilations, mode)
